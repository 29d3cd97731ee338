r"""BetaVAE score: can a linear classifier tell which factor pairs of samples share?

A point is the mean over 64 pairs of :math:`|z - z'|`, where the two samples of a pair have the
same value of one factor; logistic regression tells which. Chance is 1 / K.

For comparison only: two factors merged into one code score 1, and the codes are not standardised,
so that scale matters. Pairs come from arrays by the rule of :mod:`~aurl.metrics.matching`:
training points from training rows, fresh ones from the others.

Source: Higgins et al. 2017, "beta-VAE", https://openreview.net/forum?id=Sy2fzU9gl, with the
settings of disentanglement_lib ``evaluation/metrics/beta_vae.py`` at 86a644d: 64 pairs, 10,000
training and 5,000 fresh points, scikit-learn's ``LogisticRegression`` with its defaults.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.metrics.counted import counted_factors
from aurl.metrics.fitted import fitted
from aurl.metrics.matching import RowMatching

_PAIRS = 64
_TRAINING_POINTS = 10_000
_FRESH_POINTS = 5_000
_BLOCK = 256  # points made at once


def beta_vae(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> float:
    """BetaVAE score of codes, with the factors that vary on both sides.

    Args:
        codes: Finite posterior means.
        factors: Classes, any integers.
        train: True for the rows that training points come from.

    Returns:
        Held-out accuracy in [0, 1]; 1 with a single factor, 0 without a factor or a code.
    """
    counted = counted_factors(factors, train)
    if not counted.any() or not codes.shape[1]:
        return 0.0
    if counted.sum() == 1:
        return 1.0
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng([0, 3])
    (points, shared), (fresh, truth) = (
        _points(codes[side].astype(np.float64), factors[side][:, counted], n_points, rng)
        for side, n_points in ((train, _TRAINING_POINTS), (~train, _FRESH_POINTS))
    )
    model = fitted(LogisticRegression(), points, shared)
    return float(np.mean(model.predict(fresh) == truth))


def _points(
    codes: np.ndarray, factors: np.ndarray, n_points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points, and the factor that the pairs of each one share."""
    matching = RowMatching(factors)
    shared = rng.integers(factors.shape[1], size=n_points)
    points = np.empty((n_points, codes.shape[1]))
    for start in range(0, n_points, _BLOCK):
        factor = shared[start : start + _BLOCK, None]
        first = matching.any_rows(rng, (len(factor), _PAIRS))
        second = matching.rows_like(rng, first, factor)
        points[start : start + _BLOCK] = np.abs(codes[first] - codes[second]).mean(axis=1)
    return points, shared
