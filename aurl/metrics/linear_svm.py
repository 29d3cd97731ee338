r"""Linear classifiers of one number, exactly: what scikit-learn's ``LinearSVC`` approaches.

For every class against the rest, with labels :math:`y_i = \pm 1` and costs :math:`C_i`,

.. math:: \min_{w, b}\; \tfrac12 (w^2 + b^2) + \sum_i C_i \max\bigl(0, 1 - y_i (w x_i + b)\bigr)^2

The samples inside the margin are a range of the sorted numbers for each sign of the label, so
their sums are differences of running sums. A Newton step is then exact for the samples that are
inside, and costs a binary search; a step that does not lower the objective is halved.

Source: Chang, Hsieh & Lin 2008, "Coordinate descent method for large-scale L2-loss linear SVM"
(the objective); costs as in scikit-learn: ``class_weight="balanced"`` is on both sides with two
classes, and with more on the positive side only. The solution is our own.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_STEPS = 200  # a bound: about twenty are needed
_TOLERANCE = 1e-10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Problems:
    """Classifiers to fit on the same samples, for several factors: one for each class.

    A factor with two classes has one, for its second class.
    """

    labels: Int[np.ndarray, "factor sample"]
    """Classes numbered from 0, every factor after the one before it."""

    counts: Int[np.ndarray, " class"]
    """Samples of every class."""

    positive: Int[np.ndarray, " problem"]
    """The class that is told from the rest."""

    factor: Int[np.ndarray, " problem"]

    positive_cost: Float[np.ndarray, " problem"]
    negative_cost: Float[np.ndarray, " problem"]


def problems(labels: Int[np.ndarray, "sample factor"], *, cost: float) -> Problems:
    """One against the rest for every class of every factor, balanced as scikit-learn does.

    Args:
        labels: Classes of each factor numbered from 0 without a gap, two at least.
        cost: C of an unweighted sample.

    Returns:
        The problems, factor after factor and class after class.
    """
    n_samples, n_factors = labels.shape
    n_classes = labels.max(axis=0) + 1 if n_samples else np.zeros(n_factors, dtype=np.int64)
    first = np.cumsum(n_classes) - n_classes
    shifted = (labels + first).T
    counts = np.bincount(shifted.ravel(), minlength=int(n_classes.sum()))
    factor = np.repeat(np.arange(n_factors), n_classes)
    balanced = cost * n_samples / (n_classes[factor] * counts)
    is_binary = n_classes[factor] == 2
    is_first = np.arange(factor.size) == first[factor]
    kept = np.flatnonzero(~(is_binary & is_first))
    negative = np.where(is_binary, np.roll(balanced, 1), cost)
    return Problems(
        labels=shifted,
        counts=counts,
        positive=kept,
        factor=factor[kept],
        positive_cost=balanced[kept],
        negative_cost=negative[kept],
    )


def fit(
    column: Float[np.ndarray, " sample"], problems: Problems
) -> tuple[Float[np.ndarray, " problem"], Float[np.ndarray, " problem"]]:
    """Slope and offset of every classifier of one column of numbers.

    Args:
        column: Finite numbers, not all equal: then a class may tie with the rest.
        problems: What to tell apart.

    Returns:
        The minimiser, to about ten digits.
    """
    ranges = _Ranges(column, problems)
    point = np.zeros((2, problems.factor.size))
    value, target = ranges.newton(point)
    move, scale = target - point, np.ones_like(value)
    for _ in range(_STEPS):
        trial = point + scale * move
        trial_value, trial_target = ranges.newton(trial)
        lower = trial_value <= value * (1.0 + 1e-12)
        point = np.where(lower, trial, point)
        value = np.where(lower, trial_value, value)
        move = np.where(lower, trial_target - trial, move)
        scale = np.where(lower, 1.0, 0.5 * scale)
        if (np.abs(scale * move).max(axis=0) <= _TOLERANCE * np.abs(point).max(axis=0)).all():
            break
    return point[0], point[1]


class _Ranges:
    """Sums over ranges of one sorted column, by class.

    Args:
        column: The numbers.
        problems: Whose classes the sums are by.
    """

    def __init__(self, column: np.ndarray, problems: Problems) -> None:
        self._problems = problems
        self._n = column.size
        order = np.argsort(column, kind="stable")
        self._values = column[order]
        labels = problems.labels[:, order]
        small = np.uint16 if labels.size and labels.max() < 2**16 else np.int64
        by_class = np.argsort(labels.astype(small), axis=1, kind="stable")  # radix, for 16 bits
        classes = np.repeat(np.arange(problems.counts.size), problems.counts)
        self._keys = classes * (self._n + 1) + by_class.ravel()
        self._of_class = _running(self._values[by_class])
        self._of_all = _running(self._values[None])[:, 0]
        self._own = self._own_below(np.full(problems.factor.size, self._n))

    def newton(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value of the objective, and the point that the samples inside the margin ask for."""
        slope, offset = point
        positive, negative = self._inside(slope, offset)
        plus, minus = self._problems.positive_cost, self._problems.negative_cost
        ones, linear, square = plus * positive + minus * negative
        label, cross, _ = plus * positive - minus * negative
        value = 0.5 * (slope**2 + offset**2) + ones
        value += slope**2 * square + 2.0 * slope * offset * linear + offset**2 * ones
        value -= 2.0 * (slope * cross + offset * label)
        a, b, d = 1.0 + 2.0 * square, 2.0 * linear, 1.0 + 2.0 * ones
        determinant = np.maximum(a * d - b * b, a + d - 1.0)  # its least value, but for rounding
        target = 2.0 * np.stack([d * cross - b * label, a * label - b * cross]) / determinant
        return value, target

    def _inside(self, slope: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number, sum and sum of squares of the samples inside the margin, by sign of label."""
        up = slope >= 0.0
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            edges = np.stack([1.0 - offset, -1.0 - offset]) / (slope + 0.0)  # not by minus zero
        first, second = np.searchsorted(self._values, edges)
        below = self._own_below(first)
        positive = np.where(up, below, self._own - below)
        below = self._of_all[:, second] - self._own_below(second)
        rest = self._of_all[:, -1:] - self._own
        negative = np.where(up, rest - below, below)
        return positive, negative

    def _own_below(self, place: np.ndarray) -> np.ndarray:
        """Sums over the positive class among the ``place`` smallest numbers."""
        factor, positive = self._problems.factor, self._problems.positive
        keys = positive * (self._n + 1) + np.stack([place, np.zeros_like(place)])
        index = np.searchsorted(self._keys, keys) - factor * self._n
        sums = self._of_class[:, factor, index]
        return sums[:, 0] - sums[:, 1]


def _running(values: np.ndarray) -> np.ndarray:
    """Running number, sum and sum of squares along the rows, from 0: ``3 row sample+1``."""
    sums = np.zeros((3, values.shape[0], values.shape[1] + 1))
    sums[0, :, 1:] = np.arange(1, values.shape[1] + 1)
    np.cumsum(values, axis=1, out=sums[1, :, 1:])
    np.cumsum(values**2, axis=1, out=sums[2, :, 1:])
    return sums
