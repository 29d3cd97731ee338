"""Latent dimensions and their slots.

A latent *dimension* is one coordinate of one level. A level with several slots (one per bar, say)
repeats it, so that arrays have one column per *coordinate*: a dimension in a slot. An index
``dimension`` maps coordinates to dimensions. The rate of a dimension is the mean over its slots;
totals are sums over all coordinates.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

LIVE_THRESHOLD_NATS = 0.05
"""A dimension is live if its mean KL (its rate) is at least this."""


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


def live_coordinates(
    kl: Float[np.ndarray, "sample coordinate"],
    dimension: Int[np.ndarray, " coordinate"] | None = None,
    *,
    threshold: float = LIVE_THRESHOLD_NATS,
) -> Bool[np.ndarray, " coordinate"]:
    """Coordinates of live dimensions: the columns of the codes that metrics should see.

    Args:
        kl: Raw KL in nats per sample and coordinate, before any floor.
        dimension: Dimension of every coordinate; None if each is its own.
        threshold: Least mean KL of a live dimension, in nats.

    Returns:
        True for every slot of a dimension whose rate is at least ``threshold``; NaN is not live.
    """
    live = over_slots(kl.mean(axis=0), dimension) >= threshold
    return live if dimension is None else live[dimension]


def _slots(dimension: np.ndarray) -> np.ndarray:
    """Number of slots of every dimension."""
    if dimension.size and dimension.min() < 0:
        raise ValueError(f"dimension must not be negative, got {dimension.min()}.")
    slots = np.bincount(dimension)
    if not slots.all():
        missing = np.flatnonzero(slots == 0).tolist()
        raise ValueError(f"dimension must number every dimension from 0, got none of {missing}.")
    return slots
