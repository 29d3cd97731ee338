r"""Modularity: whether every code tells of one factor only.

.. math:: 1 - \frac{\sum_k I(z_j; v_k)^2 - \max_k I(z_j; v_k)^2}
    {(K - 1)\,\max_k I(z_j; v_k)^2}, \quad \text{mean over all codes } j

For comparison only. Its range is tiny: 32 codes of pure noise score 0.86 on the nine factors of
the melodies, and a code rotated by 45 degrees 0.96. Codes that nobody uses count like all others,
and information is not divided by entropy, so factors of many classes decide.

Source: Ridgeway & Mozer 2018, "Learning deep disentangled embeddings with the F-statistic loss",
https://arxiv.org/abs/1802.05312; estimator: disentanglement_lib
``evaluation/metrics/modularity_explicitness.py`` at 86a644d, 20 width bins.
"""

import numpy as np
from jaxtyping import Float

from aurl.metrics.mutual_information import MutualInformation


def modularity_per_code(information: MutualInformation) -> Float[np.ndarray, " latent"]:
    """Modularity of every code, in [0, 1].

    Args:
        information: In nats; :func:`~aurl.metrics.mutual_information.width_mutual_information`
            for the published score.

    Returns:
        0 for a code that tells nothing. With one factor, where the published form divides by
        zero, 1 for any other code.
    """
    squared = np.square(information.matrix)
    best = squared.max(axis=1, initial=0.0)
    others = np.maximum(squared.sum(axis=1) - best, 0.0)
    room = best * (squared.shape[1] - 1)
    shared = np.divide(others, room, out=np.zeros_like(best), where=room > 0.0)
    return np.where(best > 0.0, 1.0 - shared, 0.0)


def modularity_dlib(information: MutualInformation) -> float:
    """Mean modularity of all codes, dead ones included; 0 where there is none.

    Args:
        information: From 20 width bins, for the published score.
    """
    per_code = modularity_per_code(information)
    return float(per_code.mean()) if per_code.size else 0.0
