r"""DCIMIG (3CharM): the mutual information gap seen from the side of the codes.

Every code keeps only its gap between the factor it tells most about and the next one; every factor
takes the best code that is its own:

.. math:: \frac{\sum_k \max_{j: k_j = k} \bigl(I(z_j; v_k) - \max_{l \ne k} I(z_j; v_l)\bigr)}
    {\sum_k H(v_k)}, \quad k_j = \arg\max_k I(z_j; v_k)

So a code that merges two factors scores little, and codes that nobody uses cost nothing.

Source: Sepliarskaia, Kiseleva & de Rijke 2019, "How to not measure disentanglement",
https://arxiv.org/abs/1910.05587.
"""

import numpy as np
from jaxtyping import Float

from aurl.metrics.mutual_information import MutualInformation


def own_code_gap(information: MutualInformation) -> Float[np.ndarray, " factor"]:
    """Largest gap, in nats, among the codes that tell most about each factor.

    Returns:
        Nats in [0, H(v_k)]; 0 for a factor that no code prefers.
    """
    matrix = information.matrix
    gaps = np.zeros(matrix.shape[1])
    if matrix.size == 0:
        return gaps
    others = np.zeros((matrix.shape[0], 1))
    second, first = np.sort(np.concatenate([others, matrix], axis=1), axis=1)[:, -2:].T
    np.maximum.at(gaps, matrix.argmax(axis=1), first - second)
    return gaps


def dcimig(information: MutualInformation) -> float:
    """DCIMIG in [0, 1]; 0 when no factor varies or there is no code.

    Args:
        information: In nats; :func:`~aurl.metrics.mutual_information.rank_mutual_information`
            for the score aurl publishes.
    """
    total = float(information.entropy.sum())
    return float(own_code_gap(information).sum()) / total if total > 0.0 else 0.0
