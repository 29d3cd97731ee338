r"""Active units: how many latent dimensions depend on the data, with the fraction that collapsed.

Two views of the same question. By *variance*, a dimension is active if its posterior mean moves
across the data, whatever the width of the posterior. By *KL*, it has collapsed if hardly any
sample pays for it. They part where the mean moves by less than the posterior's width, or the width
alone departs from the prior: then one is fooled, so both are published.

Sources: Burda, Grosse & Salakhutdinov 2016, https://arxiv.org/abs/1509.00519 (variance above
0.01); Lucas et al. 2019, https://arxiv.org/abs/1911.02469 (collapse).
"""

import numpy as np
from jaxtyping import Float, Int

from aurl.metrics.dimensions import aggregate_variance, over_slots

_LEAST_VARIANCE = 0.01  # over samples, N - 1 below the line


def active_units(
    mean: Float[np.ndarray, "sample coordinate"],
    dimension: Int[np.ndarray, " coordinate"] | None = None,
) -> int:
    r"""Number of dimensions whose posterior mean has a variance above 0.01.

    .. math:: \#\{d : \mathrm{Var}_x(\mathrm{E}_q[z_d \mid x]) > 0.01\}

    Args:
        mean: Posterior means; two samples at least.
        dimension: Dimension of every coordinate; the variance is the mean over its slots. None if
            every coordinate is its own dimension.

    Returns:
        A count; 0 is a model that ignores its input.
    """
    variance = mean.astype(np.float64).var(axis=0, ddof=1)
    return int(np.count_nonzero(over_slots(variance, dimension) > _LEAST_VARIANCE))


def collapsed_fraction(
    kl: Float[np.ndarray, "sample coordinate"],
    dimension: Int[np.ndarray, " coordinate"] | None = None,
    *,
    epsilon: float = 0.01,
    delta: float = 0.01,
) -> float:
    r"""Fraction of dimensions that are :math:`(\epsilon, \delta)`-collapsed.

    .. math:: P_x\bigl(\mathrm{KL}_d(x) < \epsilon\bigr) \ge 1 - \delta

    Args:
        kl: Raw KL in nats per sample and coordinate.
        dimension: Dimension of every coordinate; a sample's KL is the mean over the slots.
        epsilon: Nats below which a sample does not use the dimension.
        delta: Share of the samples that may still use it.

    Returns:
        A value in [0, 1].
    """
    unused = over_slots(kl, dimension) < epsilon
    return float(np.mean(unused.mean(axis=0) >= 1.0 - delta))


def kl_from_aggregate(
    mean: Float[np.ndarray, "sample coordinate"], log_var: Float[np.ndarray, "sample coordinate"]
) -> Float[np.ndarray, "sample coordinate"]:
    r"""KL of each posterior from the Gaussian with the moments of all of them together.

    .. math:: \mathrm{KL}\bigl(q(z_d|x) \,\|\, N(\mathrm{E} z_d, \mathrm{Var}\, z_d)\bigr)

    It needs no prior: 0 wherever a coordinate says the same of every sample. For
    :func:`collapsed_fraction` under a prior that gives coordinates no KL of their own.

    Args:
        mean: Posterior means.
        log_var: Posterior log-variances.

    Returns:
        Nats.
    """
    spread = aggregate_variance(mean, log_var)
    mean, log_var = mean.astype(np.float64), log_var.astype(np.float64)
    with np.errstate(all="ignore"):  # of a model that has diverged
        distance = np.exp(log_var) + (mean - mean.mean(axis=0)) ** 2
        return 0.5 * (distance / spread - 1.0 - log_var + np.log(spread))
