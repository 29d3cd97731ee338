"""Which trials are better than others in several objectives at once."""

import numpy as np
from jaxtyping import Float, Int


def non_dominated_fronts(
    values: Float[np.ndarray, "trial objective"],
) -> Int[np.ndarray, " trial"]:
    """The number of each trial's front: 0 for those that no other trial dominates.

    A trial dominates another if it is at least as good in every objective and better in one;
    greater is better. Front 1 is what nothing dominates once front 0 is taken away, and so on.
    Equal trials are in the same front.

    Args:
        values: Finite numbers, all to be maximised.

    Source:
        Deb et al. 2002, section III.A, https://doi.org/10.1109/4235.996017
    """
    n_trials = len(values)
    at_least = np.ones((n_trials, n_trials), dtype=bool)
    better = np.zeros((n_trials, n_trials), dtype=bool)
    for column in values.T:
        at_least &= column[:, None] >= column[None, :]
        better |= column[:, None] > column[None, :]
    dominates = at_least & better  # [i, j]: i dominates j
    fronts = np.full(n_trials, -1)
    number = 0
    while (left := fronts < 0).any():
        fronts[left & ~dominates[left].any(axis=0)] = number
        number += 1
    return fronts
