"""Which trials are better than others in several objectives at once."""

import numpy as np
from jaxtyping import Float, Int


def non_dominated_fronts(
    values: Float[np.ndarray, "trial objective"],
) -> Int[np.ndarray, " trial"]:
    """The number of each trial's front: 0 for those that no other trial dominates.

    A trial dominates another if it is at least as good in every objective and better in one;
    greater is better. Front 1 is what nothing dominates once front 0 is taken away, and so on.
    Equal trials are in the same front. Memory grows linearly with the trials.

    Args:
        values: Finite numbers, all to be maximised.

    Source:
        Deb et al. 2002, section III.A, https://doi.org/10.1109/4235.996017
    """
    distinct, row_of = np.unique(values, axis=0, return_inverse=True)
    fronts = np.full(len(distinct), -1)
    left = np.arange(len(distinct))[::-1]  # whoever dominates a row stands before it
    number = 0
    while len(left):
        fronts[_not_dominated(distinct, left)] = number
        left = left[fronts[left] < 0]
        number += 1
    return fronts[row_of]


def _not_dominated(
    rows: Float[np.ndarray, "row objective"], left: Int[np.ndarray, " some"]
) -> list[int]:
    """Of some distinct rows, from the greatest in the order of words, those nobody dominates."""
    found: list[int] = []
    while len(left):
        found.append(int(left[0]))
        left = left[(rows[left] > rows[left[0]]).any(axis=1)]
    return found
