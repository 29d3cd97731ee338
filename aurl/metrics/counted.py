"""Which factors can be scored at all: those that vary where a score needs them to.

A factor with one class cannot be coded, well or badly, so it is left out of every mean. The data
decide that, not the model: it is the same for every model that is compared.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def varying(factors: Int[np.ndarray, "sample factor"]) -> Bool[np.ndarray, " factor"]:
    """True for a factor with two classes at least; nothing varies where there is no sample."""
    if factors.shape[0] == 0:
        return np.zeros(factors.shape[1], dtype=bool)
    return (factors != factors[0]).any(axis=0)


def counted_factors(
    factors: Int[np.ndarray, "sample factor"], train: Bool[np.ndarray, " sample"]
) -> Bool[np.ndarray, " factor"]:
    """True for a factor that varies among the training and among the held-out samples."""
    return varying(factors[train]) & varying(factors[~train])


def mean_of_counted(
    values: Float[np.ndarray, " factor"], counted: Bool[np.ndarray, " factor"]
) -> float:
    """Mean over the counted factors; 0 where there is none."""
    return float(values[counted].mean()) if counted.any() else 0.0
