r"""KL health: whether a latent space is alive, in balance, on its prior, and used by the decoder.

The geometric mean of five terms in [0, 1], each floored, all published; the last counts twice:

==========================  ==============================================================
``live_dimensions``         enough dimensions carry something
``kl_band``                 what they carry is neither a trickle nor a memory of the sample
``rate``                    the total is near the target rate R*
``aggregate_posterior``     the codes of the data, together, look like the prior
``latent_use``              the decoder is worse off with another sample's code
==========================  ==============================================================

All KL here is raw, in nats, before free bits. Rates are per latent dimension (the mean over its
slots), totals are per sequence (see ``dimensions``). What a dimension carries is its KL without
what it pays for being off its prior, and never more than its rate; where a prior has no closed
form ``rates`` says that, and the aggregate posterior is held against ``prior_samples``.

Source: own; docs/decisions/0009 and 0020. The fourth is the moment-matched form of the marginal KL
of Hoffman & Johnson 2016, "ELBO surgery", which is also what a dimension pays for being off its
prior. The last is 1 - NLL(z) / NLL(z shuffled), and counts twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.errors import ConfigError
from aurl.metrics.active_units import active_units
from aurl.metrics.dimensions import (
    LIVE_THRESHOLD_NATS,
    aggregate_variance,
    carried_nats,
    over_slots,
)

Status = Literal["ok", "non_finite", "no_live_dimension", "collapsed", "unused"]
TERMS: Mapping[str, float] = {
    "live_dimensions": 1.0,
    "kl_band": 1.0,
    "rate": 1.0,
    "aggregate_posterior": 1.0,
    "latent_use": 2.0,
}
"""How often each term counts in the geometric mean: the last looks at whether the code is read,
the others at the code."""

TERM_FLOOR = 1e-3
"""Least value of a term in the geometric mean."""

SOFT_LIVE_NATS = (0.01, 0.1)
"""A dimension counts 0 below the first rate and 1 above the second, linearly in between."""

BAND_NATS = (0.02, 0.15, 4.5, 9.0)
"""Trapezoid of healthy rates: 0 at the outer values, 1 between the inner ones."""

RATE_TOLERANCE = (0.8, 1.8)
"""Multiples of R* between which the total rate is perfect."""

COLLAPSED_NATS = 0.1
"""Total KL below which the model is collapsed, and cost of shuffled codes below which its decoder
does not use them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KLHealthSettings:
    """What a latent space is held against."""

    target_rate_nats: float
    """R*: the KL per sequence to aim at; the entropy of the factors where it is known."""

    n_target: int = 8
    """Dimensions that are enough: one for each factor that R* is the entropy of. The default are
    the musical attributes of docs/decisions/0003."""

    def __post_init__(self) -> None:
        if not 0.0 < self.target_rate_nats < np.inf:  # also rejects NaN
            raise ConfigError(
                f"kl_health.target_rate_nats must be > 0, got {self.target_rate_nats}."
            )
        if self.n_target < 1:
            raise ConfigError(f"kl_health.n_target must be >= 1, got {self.n_target}.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LatentEvidence:
    """What one pass over held-out sequences saw of the latent space."""

    kl: Float[np.ndarray, "sample coordinate"]
    """Raw KL (or rate) in nats."""

    mean: Float[np.ndarray, "sample coordinate"]
    log_var: Float[np.ndarray, "sample coordinate"]
    """Log-variance of the posterior that z is sampled from."""

    reconstruction: Float[np.ndarray, " decoded"]
    """-log p(x|z) in nats, of the sequences or of some of them."""

    reconstruction_shuffled_z: Float[np.ndarray, " decoded"]
    """The same with the code of another sequence."""

    dimension: Int[np.ndarray, " coordinate"] | None = None
    """Dimension of every coordinate, numbered from 0; None if each is its own."""

    rates: Float[np.ndarray, " coordinate"] | None = None
    """Rate of each coordinate in nats, where that is not its mean ``kl``: under a prior without a
    closed form, its information about the data. None if it is."""

    prior_samples: Float[np.ndarray, "draw coordinate"] | None = None
    """Draws from a learned prior; None if the prior is standard normal."""

    def __post_init__(self) -> None:
        if len(self.kl) < 2:
            raise ValueError(f"kl must hold at least 2 samples, got {len(self.kl)}.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KLHealth:
    """The score, its five terms before the floor, and the rates behind them; all finite."""

    status: Status
    """Why the score is 0, or ``ok``."""

    kl_health: float = 0.0
    live_dimensions: float = 0.0
    kl_band: float = 0.0
    rate: float = 0.0
    aggregate_posterior: float = 0.0
    latent_use: float = 0.0
    kl_per_dimension: Float[np.ndarray, " latent"]
    """Rate of every dimension in nats."""

    live: Bool[np.ndarray, " latent"]

    def to_dict(self) -> dict[str, float]:
        """``kl_health`` with its terms as ``kl_health/<term>``."""
        terms = {f"kl_health/{term}": float(getattr(self, term)) for term in TERMS}
        return {"kl_health": self.kl_health, **terms}


def kl_health(evidence: LatentEvidence, settings: KLHealthSettings) -> KLHealth:
    r"""Weighted geometric mean of the five terms, each floored.

    .. math:: \mathrm{KLH} = \Bigl(\prod_{t=1}^{5} \max(\mathrm{term}_t, \mathrm{floor})^{w_t}
        \Bigr)^{1 / \sum_t w_t}

    with the weights of :data:`TERMS`.

    Args:
        evidence: One pass over held-out sequences.
        settings: Targets.

    Returns:
        A score in [0, 1]. It is 0, with the reason as ``status``, if a number or variance is not
        finite (``non_finite``; no term is computed), if the total KL is below
        :data:`COLLAPSED_NATS` (``collapsed``), if no dimension has the KL to be live or the
        variance of the mean to be active (``no_live_dimension``), or if codes of other samples
        serve the decoder as well, to the same (``unused``).
    """
    variance = aggregate_variance(evidence.mean, evidence.log_var)
    if not _is_finite(evidence, variance):
        none = over_slots(np.zeros(evidence.kl.shape[1]), evidence.dimension)
        return KLHealth(status="non_finite", kl_per_dimension=none, live=none > 0.0)
    given = evidence.rates
    kl = evidence.kl.astype(np.float64).mean(axis=0)
    rates = over_slots(kl if given is None else given, evidence.dimension)
    told = over_slots(carried_nats(evidence.mean, evidence.log_var), evidence.dimension)
    carried = np.minimum(told, rates)  # a conditional prior may know some of it
    live = carried >= LIVE_THRESHOLD_NATS
    total = float(evidence.kl.astype(np.float64).sum(axis=1).mean())
    wrong = float(evidence.reconstruction_shuffled_z.astype(np.float64).mean())
    cost = wrong - float(evidence.reconstruction.astype(np.float64).mean())
    terms = {
        "live_dimensions": _live_term(carried, settings.n_target),
        "kl_band": _band_term(carried, live, evidence.dimension),
        "rate": _rate_term(total, settings.target_rate_nats),
        "aggregate_posterior": _aggregate_term(evidence, variance, live),
        "latent_use": _use_term(cost, wrong),
    }
    status = _status(evidence, live, total, cost)
    floored = np.maximum([terms[name] for name in TERMS], TERM_FLOOR)
    score = float(np.exp(np.average(np.log(floored), weights=[*TERMS.values()])))
    return KLHealth(
        status=status,
        kl_health=score if status == "ok" else 0.0,
        kl_per_dimension=rates,
        live=live,
        **terms,
    )


def level_health(
    evidence: LatentEvidence,
    settings: KLHealthSettings,
    level: Bool[np.ndarray, " coordinate"],
    losses: tuple[Float[np.ndarray, " window"], Float[np.ndarray, " window"]],
) -> KLHealth:
    """KL health of one level of the code, by the same five terms.

    Nothing says how a hierarchy has to share the targets out, so a level is held against its part
    of the coordinates: of R*, and, of its dimensions, of ``n_target``. The parts add up to the
    whole, one level alone is the whole, and both a level that takes all and one that is left
    without are marked.

    Args:
        evidence: Of the whole code.
        settings: Of the whole code.
        level: Coordinates of the level; it has all slots of its dimensions.
        losses: -log p(x|z) in nats of some sequences, and the same where this level alone has the
            code of another one.
    """
    own, rates, draws = evidence.dimension, evidence.rates, evidence.prior_samples
    all_of_them = np.arange(level.size) if own is None else own
    dimensions, dimension = np.unique(all_of_them[level], return_inverse=True)
    part = replace(
        evidence,
        kl=evidence.kl[:, level],
        mean=evidence.mean[:, level],
        log_var=evidence.log_var[:, level],
        reconstruction=losses[0],
        reconstruction_shuffled_z=losses[1],
        dimension=dimension,
        rates=None if rates is None else rates[level],
        prior_samples=None if draws is None else draws[:, level],
    )
    share = dimensions.size / np.unique(all_of_them).size
    targets = replace(
        settings,
        target_rate_nats=settings.target_rate_nats * float(level.mean()),
        n_target=max(1, round(settings.n_target * share)),
    )
    return kl_health(part, targets)


def _status(evidence: LatentEvidence, live: np.ndarray, total: float, cost: float) -> Status:
    if total < COLLAPSED_NATS:
        return "collapsed"
    if not live.any() or active_units(evidence.mean, evidence.dimension) == 0:
        return "no_live_dimension"
    return "unused" if cost < COLLAPSED_NATS else "ok"


def _live_term(rates: np.ndarray, n_target: int) -> float:
    counts = np.interp(rates, SOFT_LIVE_NATS, (0.0, 1.0))
    return min(1.0, float(counts.sum()) / n_target)


def _band_term(rates: np.ndarray, live: np.ndarray, dimension: np.ndarray | None) -> float:
    """Mean of the trapezoid over live dimensions, weighted by their KL over all slots."""
    if not live.any():
        return 0.0
    slots = np.ones(rates.size) if dimension is None else np.bincount(dimension)
    band = np.interp(rates[live], BAND_NATS, (0.0, 1.0, 1.0, 0.0))
    return float(np.average(band, weights=(rates * slots)[live]))


def _rate_term(total: float, target: float) -> float:
    low, high = (factor * target for factor in RATE_TOLERANCE)
    return max(total, 0.0) / low if total < low else min(1.0, high / total)


def _aggregate_term(evidence: LatentEvidence, variance: np.ndarray, live: np.ndarray) -> float:
    """exp(-KL) of the moment-matched aggregate posterior from the prior, mean over live dims."""
    if not live.any():
        return 0.0
    tiny = np.finfo(np.float64).tiny
    mean = evidence.mean.astype(np.float64).mean(axis=0)
    if evidence.prior_samples is not None:
        draws = evidence.prior_samples.astype(np.float64)
        prior_variance = np.maximum(draws.var(axis=0), tiny)
        mean = (mean - draws.mean(axis=0)) / np.sqrt(prior_variance)
        variance = variance / prior_variance
    variance = np.maximum(variance, tiny)
    divergence = 0.5 * (mean**2 + variance - 1.0 - np.log(variance))
    return float(np.exp(-over_slots(divergence, evidence.dimension)[live].mean()))


def _use_term(cost: float, shuffled: float) -> float:
    return min(1.0, cost / shuffled) if cost > 0.0 else 0.0


def _is_finite(evidence: LatentEvidence, variance: np.ndarray) -> bool:
    seen = (
        evidence.kl,
        evidence.mean,
        evidence.log_var,
        evidence.reconstruction,
        evidence.reconstruction_shuffled_z,
        variance,
        evidence.rates,
        evidence.prior_samples,
    )
    return all(bool(np.isfinite(values).all()) for values in seen if values is not None)
