"""Latent dimensions and their slots.

A latent *dimension* is one coordinate of one level. A level with several slots (one per bar, say)
repeats it, so that arrays have one column per *coordinate*: a dimension in a slot. An index
``dimension`` maps coordinates to dimensions. The rate of a dimension is the mean over its slots;
totals are sums over all coordinates.

What a dimension *carries* is its KL without what it pays for being off its prior, and it is *live*
if that is 0.05 nats. A dimension with the codes of its prior carries its KL; one that says the
same of everything carries nothing, wherever it is and whatever that costs.

Source: the KL of a dimension is its information about the data and the KL of its aggregate
posterior from the prior (Hoffman & Johnson 2016, "ELBO surgery"); here the aggregate is the
Gaussian with its moments. docs/decisions/0020 argues for it.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

LIVE_THRESHOLD_NATS = 0.05
"""A dimension is live if it carries at least this."""


def over_slots(
    values: Float[np.ndarray, "*rows coordinate"], dimension: Int[np.ndarray, " coordinate"] | None
) -> Float[np.ndarray, "*rows latent"]:
    """Mean over the slots of every dimension.

    Args:
        values: One column per coordinate.
        dimension: Dimension of every coordinate, numbered from 0; None if each is its own.

    Returns:
        One column per dimension.

    Raises:
        ValueError: If a dimension number is negative or left out.
    """
    values = values.astype(np.float64)
    if dimension is None:
        return values
    slots = _slots(dimension)
    totals = np.zeros((slots.size, *values.shape[:-1]))
    # Not a matrix product: NaN must stay in its own dimension.
    np.add.at(totals, dimension, np.moveaxis(values, -1, 0))
    return np.moveaxis(totals, 0, -1) / slots


def aggregate_variance(
    mean: Float[np.ndarray, "sample coordinate"], log_var: Float[np.ndarray, "sample coordinate"]
) -> Float[np.ndarray, " coordinate"]:
    """Variance of the codes of all the data together, by the law of total variance.

    Args:
        mean: Posterior means.
        log_var: Posterior log-variances.
    """
    with np.errstate(all="ignore"):  # of a model that has diverged
        within = np.exp(log_var.astype(np.float64)).mean(axis=0)
        return within + mean.astype(np.float64).var(axis=0)


def carried_nats(
    mean: Float[np.ndarray, "sample coordinate"],
    log_var: Float[np.ndarray, "sample coordinate"],
) -> Float[np.ndarray, " coordinate"]:
    r"""What each coordinate carries: KL of the posteriors from the Gaussian with their moments.

    .. math:: \tfrac12 \bigl(\ln \operatorname{Var}(z) - \mathbb E \ln \sigma^2(x)\bigr)

    It needs no prior, and no shift or scale of the codes changes it. It is at most the KL from any
    Gaussian prior and at least the information about the data, and it is both where the codes of
    the data, together, are that prior.

    Args:
        mean: Posterior means.
        log_var: Posterior log-variances.

    Returns:
        Nats, from 0 on; NaN where a number is not finite.
    """
    spread = aggregate_variance(mean, log_var)
    with np.errstate(all="ignore"):  # of a model that has diverged
        known = np.log(np.maximum(spread, np.finfo(np.float64).tiny))
        return np.maximum(0.5 * (known - log_var.astype(np.float64).mean(axis=0)), 0.0)


def own_rates(
    kl: Float[np.ndarray, " coordinate"],
    information: Float[np.ndarray, " coordinate"],
    closed_form: Bool[np.ndarray, " coordinate"],
    slot: Int[np.ndarray, " coordinate"],
) -> Float[np.ndarray, " coordinate"]:
    """The rate of each coordinate: its KL where that has a closed form, else its information.

    A prior that is told of the context, or of coarser levels, may know a part of that information:
    of the data, given what the prior is told, no coordinate tells more than its slot costs.

    Args:
        kl: Mean KL of each coordinate; without a closed form only its sums over slots count.
        information: I(x; z) of each coordinate, in nats.
        closed_form: Where the KL has one.
        slot: The slot of each coordinate, numbered from 0 over all levels.
    """
    of_slot = np.maximum(np.bincount(slot, weights=kl), 0.0)[slot]
    return np.where(closed_form, kl, np.minimum(information, of_slot))


def _slots(dimension: np.ndarray) -> np.ndarray:
    """Number of slots of every dimension."""
    if dimension.size and dimension.min() < 0:
        raise ValueError(f"dimension must not be negative, got {dimension.min()}.")
    slots = np.bincount(dimension)
    if not slots.all():
        missing = np.flatnonzero(slots == 0).tolist()
        raise ValueError(f"dimension must number every dimension from 0, got none of {missing}.")
    return slots
