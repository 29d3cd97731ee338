"""Traversal: codes moved along one dimension, and what that does to what is heard.

A dimension is moved in units of the aggregate posterior, the distribution of its codes over the
music, and in all slots of its level together; the other dimensions keep the codes of the window
that is started from. Effects of any movement of codes are measured here, those along an attribute
direction too (:mod:`aurl.analysis.directions`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.analysis.readings import Readings
from aurl.metrics.bootstrap import Interval, mean_interval
from aurl.metrics.dimensions import aggregate_variance


@dataclass(frozen=True, kw_only=True, eq=False)
class Aggregate:
    """The aggregate posterior: how codes are distributed over the music."""

    mean: Float[np.ndarray, " coordinate"]
    std: Float[np.ndarray, " coordinate"]

    @staticmethod
    def of(
        mean: Float[np.ndarray, "window coordinate"],
        log_var: Float[np.ndarray, "window coordinate"],
    ) -> "Aggregate":
        """That of the posteriors of some windows."""
        return Aggregate(mean=mean.mean(axis=0), std=np.sqrt(aggregate_variance(mean, log_var)))


def traversed(
    z: Float[np.ndarray, "window coordinate"],
    part: Bool[np.ndarray, " coordinate"],
    aggregate: Aggregate,
    steps: Float[np.ndarray, " step"],
) -> Float[np.ndarray, "window step coordinate"]:
    """Codes with some coordinates put at each step, in units of the aggregate posterior."""
    put = aggregate.mean + steps[:, None] * aggregate.std
    return np.where(part, put[None], z[:, None])


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What moving a code does to one attribute."""

    attribute: str
    unit: str
    """Of ``size``: ``deviations`` of the attribute in the music a step of 1, the least-squares
    slope; of an attribute without order ``changed``, the share of windows in which it is not the
    same at both ends."""

    size: Interval
    monotonicity: float
    """Of the mean over windows: rises less falls from step to step, over both; 1 if it only
    rises. 0 without order."""

    windows: int
    """In which it could be measured."""

    @property
    def is_certain(self) -> bool:
        """Whether the interval of its size excludes 0."""
        return self.size.low > 0.0 or self.size.high < 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """What effects are measured on."""

    readings: Readings
    scale: Float[np.ndarray, " attribute"]
    """Standard deviation of each attribute in the music."""

    pieces: Int[np.ndarray, " window"]
    """The piece of each window that codes start from; intervals are over pieces."""


def effects(
    curves: Float[np.ndarray, "window step attribute"],
    steps: Float[np.ndarray, " step"],
    ground: Ground,
) -> list[Effect]:
    """The effect on each attribute, with a 95 % interval over pieces, the largest first.

    Attributes that do not vary in the music, and those that windows of one piece only show, are
    left out. No correction is made for looking at many dimensions: of twenty intervals around
    nothing, one excludes 0, so that of 20 dimensions and 12 attributes that have nothing to do
    with each other some 14 effects are "certain".

    Args:
        curves: What is heard.
        steps: How far each step is, ascending.
        ground: What the attributes are, and the pieces the windows are from.
    """
    found: list[Effect] = []
    for column, name in enumerate(ground.readings.names):
        curve = curves[:, :, column]
        if not ground.scale[column] > 0.0:
            continue
        ordered = not ground.readings.categorical[column]
        sizes = _slopes(curve, steps) / ground.scale[column] if ordered else _changes(curve)
        within = (-np.inf, np.inf) if ordered else (0.0, 1.0)
        known = np.isfinite(sizes)
        if len(np.unique(ground.pieces[known])) < 2:
            continue
        found.append(
            Effect(
                attribute=name,
                unit="deviations" if ordered else "changed",
                size=mean_interval(sizes[known], ground.pieces[known], within=within),
                monotonicity=monotonicity(_means(curve)) if ordered else 0.0,
                windows=int(known.sum()),
            )
        )
    return sorted(found, key=lambda effect: -abs(effect.size.mean))


def monotonicity(curve: Float[np.ndarray, " step"]) -> float:
    """Rises less falls from one step to the next, over both: 1 if it only rises, 0 if constant."""
    signs = np.sign(np.diff(curve[np.isfinite(curve)]))
    moves = np.abs(signs).sum()
    return float(signs.sum() / moves) if moves else 0.0


def _slopes(
    curve: Float[np.ndarray, "window step"], steps: Float[np.ndarray, " step"]
) -> Float[np.ndarray, " window"]:
    """Least-squares slope of each row over the steps at which it is known; NaN below two."""
    known = np.isfinite(curve)
    n = known.sum(axis=1)
    at = np.where(known, steps, 0.0)
    value = np.where(known, curve, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.where(known, steps - (at.sum(axis=1) / n)[:, None], 0.0)
        slope = (deviation * value).sum(axis=1) / np.square(deviation).sum(axis=1)
    return np.where(n >= 2, slope, np.nan)


def _changes(curve: Float[np.ndarray, "window step"]) -> Float[np.ndarray, " window"]:
    """1 where the ends differ; NaN where one of them shows nothing."""
    first, last = curve[:, 0], curve[:, -1]
    known = np.isfinite(first) & np.isfinite(last)
    return np.where(known, (first != last).astype(np.float64), np.nan)


def _means(curve: Float[np.ndarray, "window step"]) -> Float[np.ndarray, " step"]:
    known = np.isfinite(curve)
    n = known.sum(axis=0)
    return np.where(n > 0, np.where(known, curve, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)
