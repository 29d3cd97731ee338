r"""Bootstrap intervals of means, and of other scores, over windows that come in pieces.

Windows of one piece resemble each other, so the pieces are resampled, not the windows: an interval
over windows would be far too narrow. The mean of a resample is the sum over its windows over their
number, so that long pieces weigh what they weigh in the data. Resamples of few pieces lie too
near to their mean: the bounds are moved away from it (:func:`widening`).

Source: Efron & Tibshirani 1993, "An introduction to the bootstrap", chapters 8 (structured data)
and 13 (the percentile interval); Field & Welsh 2007, "Bootstrapping clustered data"; for few
pieces Hesterberg 2015, "What teachers should know about the bootstrap", The American Statistician
69, https://arxiv.org/abs/1411.5279.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri, stdtrit

LEVEL = 0.95
"""Coverage that all intervals aim at."""

_RESAMPLES = 1000
_BLOCK = 1_000_000  # draws held in memory at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean, or another score, with its bootstrap interval."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: Float[np.ndarray, " sample"],
    pieces: Int[np.ndarray, " sample"],
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Bootstrap interval of a mean, clustered by piece.

    It covered 91 to 99 % of the time where pieces are of equal or unequal length, and
    normal, heavy-tailed or in ties, and 88 to 95 % where they are skewed (exponential), with 2, 3,
    5, 10, 16, 30 and 134 of them.

    Args:
        values: One number per window.
        pieces: Piece of every window.
        within: The range that the mean can be in.

    Returns:
        The mean of the values and the bounds.

    Raises:
        ValueError: If a value is not finite, or there are fewer than two pieces.
    """
    if not np.isfinite(values).all():
        raise ValueError(
            f"values must be finite, got {np.count_nonzero(~np.isfinite(values))} NaN or infinite."
        )
    n_pieces, position = _numbered(pieces)
    means = _resampled_means(np.bincount(position, weights=values), np.bincount(position))
    mean = float(values.mean())
    low, high = np.clip(mean + spread(means, mean, n_pieces), *within)
    return Interval(mean=mean, low=float(low), high=float(high))


def score_intervals(
    scores: Callable[[Int[np.ndarray, " row"]], Float[np.ndarray, " score"]],
    pieces: Int[np.ndarray, " sample"],
    *,
    n_resamples: int = 100,
) -> list[Interval]:
    """Bootstrap intervals of scores that are not means, clustered by piece.

    A resample holds samples twice, which scores of information take for structure: they come out
    higher. That bias is removed: an interval lies around the score as its resamples lie around
    their own mean.

    It is of the score at this size, not of that of endless music. What few pieces tell by chance
    is in both: about a true 0, intervals of MIG leave 0 out in a quarter of the cases with 1,000
    windows that are alike in nothing and in three fifths with 30 pieces of ten. Hold a score
    against its floor, not against 0.

    Args:
        scores: Scores in [0, 1] from rows, some of which are given more than once.
        pieces: Piece of every row; each its own where rows are independent.
        n_resamples: Resamples of the pieces.

    Returns:
        For every score its value for all rows, as ``mean``, and bounds within [0, 1].

    Raises:
        ValueError: If there are fewer than two pieces.

    Source:
        As above; the shift is that of the bootstrap estimate of bias, Efron & Tibshirani 1993,
        chapter 10.
    """
    n_pieces, position = _numbered(pieces)
    members = np.split(np.argsort(position, kind="stable"), np.cumsum(np.bincount(position))[:-1])
    rng = np.random.default_rng(0)
    values = np.stack(
        [
            scores(np.concatenate([members[piece] for piece in drawn]))
            for drawn in rng.integers(n_pieces, size=(n_resamples, n_pieces))
        ]
    )
    score = scores(np.arange(position.size))
    low, high = np.clip(score + spread(values, values.mean(axis=0), n_pieces), 0.0, 1.0)
    return [
        Interval(mean=float(each), low=float(lower), high=float(upper))
        for each, lower, upper in zip(score, low, high, strict=True)
    ]


def spread(
    draws: Float[np.ndarray, "draw ..."], centre: float | np.ndarray, n_pieces: int
) -> Float[np.ndarray, "2 ..."]:
    """How far below and above a value its bounds are, by resamples that lie around ``centre``."""
    bounds = np.quantile(draws, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0], axis=0)
    return widening(n_pieces) * (bounds - centre)


def widening(n: int) -> float:
    r"""How many times as far from the mean the bounds of n pieces are as those of their resamples.

    .. math:: \sqrt{\frac{n}{n - 1}} \; \frac{t_{n-1}}{z}

    with the quantiles of Student's t and the normal distribution: 9.2 of two pieces,
    1.01 of 134. The first factor is how much less resamples spread than the pieces do; the second
    is for a spread that is itself an estimate.
    """
    above = (1.0 + LEVEL) / 2.0
    return math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, above) / ndtri(above))


def _numbered(pieces: np.ndarray) -> tuple[int, np.ndarray]:
    """How many pieces there are, and which of them each window is of, from 0."""
    labels, position = np.unique(pieces, return_inverse=True)
    if labels.size < 2:
        raise ValueError(f"pieces must name at least 2 pieces, got {labels.size}.")
    return labels.size, position


def _resampled_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    n_pieces = sums.size
    rng = np.random.default_rng(0)
    means = np.empty(_RESAMPLES)
    step = max(1, _BLOCK // n_pieces)
    for start in range(0, _RESAMPLES, step):
        drawn = rng.integers(n_pieces, size=(min(step, _RESAMPLES - start), n_pieces))
        means[start : start + step] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means
