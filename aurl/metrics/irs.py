r"""Interventional robustness: how little a code moves while one factor is held fixed.

With :math:`q_{99}` the 99th percentile over the samples in which factor k has the value v, and
:math:`m_j = \max |z_j - \mathrm{E} z_j|`,

.. math:: \mathrm{IRS} = \frac{\sum_j m_j \max_k r_{jk}}{\sum_j m_j}, \quad
    r_{jk} = 1 - \frac{\mathrm{mean}_v\,
        q_{99}\bigl(|z_j - \mathrm{E}[z_j \mid v_k = v]|\bigr)}{m_j}

For comparison only, with the faults of the published estimator: codes are weighted by their
largest deviation, so that scale matters and one outlier can raise 0.5 to 0.98; codes of noise
score 0.35; a factor that never varies counts like any other; factors of more than 20 values are
cut into 20 equal parts.

Source: Suter et al. 2019, "Robustly disentangled causal mechanisms",
https://arxiv.org/abs/1811.00007; estimator: disentanglement_lib ``evaluation/metrics/irs.py`` at
86a644d. What that publishes as the number of active dimensions is a sum of latent values, and is
not reproduced.
"""

import numpy as np
from jaxtyping import Float, Int

from aurl.metrics.mutual_information import width_bins

_QUANTILE = 0.99


def robustness(
    codes: Float[np.ndarray, "sample latent"], factors: Int[np.ndarray, "sample factor"]
) -> Float[np.ndarray, "latent factor"]:
    """Robustness of every code to everything but one factor.

    Args:
        codes: Finite posterior means.
        factors: Classes, any integers.

    Returns:
        Values of at most 1, which an outlier can push below 0; 0 for a code that never varies.
    """
    largest = _largest_deviation(codes)
    used = largest > 0.0
    moved = np.zeros((codes.shape[1], factors.shape[1]))
    labels = width_bins(factors.astype(np.float64), n_bins=20)
    for k in range(factors.shape[1] if codes.size else 0):
        groups = [codes[labels[:, k] == label] for label in np.unique(labels[:, k])]
        reach = [
            np.quantile(np.abs(group - group.mean(axis=0)), _QUANTILE, axis=0) for group in groups
        ]
        moved[:, k] = np.mean(reach, axis=0)
    return np.where(used[:, None], 1.0 - moved / np.where(used, largest, 1.0)[:, None], 0.0)


def irs(
    codes: Float[np.ndarray, "sample latent"], factors: Int[np.ndarray, "sample factor"]
) -> float:
    """Interventional robustness score; codes that never vary are left out.

    Args:
        codes: Finite posterior means.
        factors: Classes, any integers.

    Returns:
        A value of at most 1; 0 without a factor, or where no code varies.
    """
    largest = _largest_deviation(codes)
    if not largest.any() or not factors.shape[1]:
        return 0.0
    return float(np.average(robustness(codes, factors).max(axis=1), weights=largest))


def _largest_deviation(codes: np.ndarray) -> np.ndarray:
    """Largest distance from the mean, and exactly 0 where all values are equal."""
    if not codes.size:
        return np.zeros(codes.shape[1])
    deviation = np.abs(codes - codes.mean(axis=0)).max(axis=0)
    return np.where(np.ptp(codes, axis=0) > 0.0, deviation, 0.0)
