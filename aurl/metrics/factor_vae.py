r"""FactorVAE score: does the code that moves least tell which factor was held fixed?

A vote fixes one factor over a batch and names the code of least variance relative to its variance
over all samples. A code stands for the factor that most of its training votes come from; the
score is the share of fresh votes that this gets right, between 1 / K and 1.

For comparison only: codes of noise 0.3 around the factors score 1, and so does a duplicated
factor. Codes with a standard deviation below 0.05 are left out, so that scale matters. Batches
come from arrays by the rule of :mod:`~aurl.metrics.matching`: training votes from training rows,
fresh ones from the others.

Source: Kim & Mnih 2018, "Disentangling by factorising", https://arxiv.org/abs/1802.05983, with
the settings of disentanglement_lib ``evaluation/metrics/factor_vae.py`` at 86a644d: batches of
64, 10,000 training and 5,000 fresh votes. The number of active dimensions that is published there
is the number of all, and is not reproduced.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.metrics.counted import counted_factors
from aurl.metrics.matching import RowMatching

_BATCH = 64
_TRAINING_VOTES = 10_000
_FRESH_VOTES = 5_000
_LEAST_DEVIATION = 0.05
_BLOCK = 256  # votes held in memory at once


def factor_vae(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> float:
    """FactorVAE score of codes, with the factors that vary on both sides.

    Args:
        codes: Finite posterior means.
        factors: Classes, any integers.
        train: True for the rows that training votes come from.

    Returns:
        A share in [0, 1]; 0 if no factor varies on both sides or no code is left.
    """
    counted = counted_factors(factors, train)
    if not counted.any():
        return 0.0
    known = codes[train].astype(np.float64)
    variance = known.var(axis=0, ddof=1)  # a counted factor has two training rows at least
    active = np.sqrt(variance) >= _LEAST_DEVIATION
    if not active.any():
        return 0.0
    rng = np.random.default_rng([0, 2])
    relative = codes[:, active] / np.sqrt(variance[active])
    votes, fresh = (
        _votes(relative[side], factors[side][:, counted], n_votes, rng)
        for side, n_votes in ((train, _TRAINING_VOTES), (~train, _FRESH_VOTES))
    )
    named = votes.argmax(axis=0)
    return float(fresh[named, np.arange(named.size)].sum() / fresh.sum())


def _votes(
    codes: np.ndarray, factors: np.ndarray, n_votes: int, rng: np.random.Generator
) -> np.ndarray:
    """Number of votes for every factor (that was fixed) and code (that moved least)."""
    matching = RowMatching(factors)
    n_codes, n_factors = codes.shape[1], factors.shape[1]
    votes = np.zeros(n_factors * n_codes, dtype=np.int64)
    for start in range(0, n_votes, _BLOCK):
        count = min(_BLOCK, n_votes - start)
        factor = rng.integers(n_factors, size=(count, 1))
        first = np.broadcast_to(matching.any_rows(rng, (count, 1)), (count, _BATCH))
        rows = matching.rows_like(rng, first, factor)
        least = codes[rows].var(axis=1, ddof=1).argmin(axis=1)
        votes += np.bincount(factor[:, 0] * n_codes + least, minlength=votes.size)
    return votes.reshape(n_factors, n_codes)
