"""What Gaussian posteriors of any framework say, from arrays alone: KL health, each dimension."""

from typing import Any

import numpy as np

from aurl.metrics.active_units import active_units, collapsed_fraction
from aurl.metrics.dimensions import carried_nats
from aurl.metrics.kl_health import KLHealth, KLHealthSettings, LatentEvidence, kl_health
from aurl.metrics.latent_information import latent_information
from aurl.reporting.codes import Codes

INFORMED = 1000
"""Samples that information is estimated from; the time grows with their square."""


def of_dimensions(codes: Codes) -> dict[str, Any]:
    """What is known of each dimension; its prior is taken to be standard normal.

    ``kl_nats`` is ``carried_nats`` and what being off the prior costs; a dimension is live if it
    carries 0.05 nats. ``information_nats`` is I(x; z), estimated from the first
    1,000 samples with one draw each, and at most the logarithm of their number.
    """
    if codes.log_var is None:
        return {}
    mean, log_var = codes.codes, codes.log_var
    kl = _kl(mean, log_var)
    some, spread = mean[:INFORMED], log_var[:INFORMED]
    noise = np.random.default_rng(0).normal(size=some.shape)
    information = latent_information(some + np.exp(0.5 * spread) * noise, some, spread)
    return {
        "kl_nats": kl.mean(axis=0).tolist(),
        "carried_nats": carried_nats(mean, log_var).tolist(),
        "information_nats": information.tolist(),
        "active_units": active_units(mean),
        "collapsed_fraction": collapsed_fraction(kl),
    }


def health_of(codes: Codes, entropy_nats: float, n_factors: int) -> KLHealth | None:
    """KL health of a file that has the losses for it; None of one that has not.

    Args:
        codes: What the file holds.
        entropy_nats: Of the factors together: R*, where the file does not say.
        n_factors: Factors that vary: so many live dimensions are enough.
    """
    if codes.losses is None or codes.log_var is None:
        return None
    target = codes.losses.target_rate_nats or entropy_nats
    if target <= 0.0:  # no factor varies, so nothing says how much is to be told
        return None
    evidence = LatentEvidence(
        kl=_kl(codes.codes, codes.log_var),
        mean=codes.codes,
        log_var=codes.log_var,
        reconstruction=codes.losses.own,
        reconstruction_shuffled_z=codes.losses.shuffled,
    )
    settings = KLHealthSettings(target_rate_nats=target, n_target=max(1, n_factors))
    return kl_health(evidence, settings)


def _kl(mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    """Of each posterior from a standard normal prior, by dimension."""
    return 0.5 * (mean**2 + np.exp(log_var) - 1.0 - log_var)
