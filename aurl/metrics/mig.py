r"""Mutual information gap: how far the best code for a factor beats the runner-up.

.. math:: \mathrm{MIG} = \frac1K \sum_k \frac{I(z_{j_1}; v_k) - I(z_{j_2}; v_k)}{H(v_k)}

Source: Chen et al. 2018, "Isolating sources of disentanglement in variational autoencoders",
https://arxiv.org/abs/1802.04942. The estimator is in the name: ``mig_rank32`` is the one to rank
by; ``mig_dlib20`` is the published one (disentanglement_lib ``evaluation/metrics/mig.py`` at
86a644d), which one outlier sample can bring from 0.99 to 0. MIG does not see two factors merged
into one code: see ``dcimig``.
"""

import numpy as np
from jaxtyping import Float

from aurl.metrics.mutual_information import MutualInformation


def mutual_information_gap(information: MutualInformation) -> Float[np.ndarray, " factor"]:
    """Gap between the best and the second-best code of every factor, over the factor's entropy.

    Args:
        information: In nats; from whichever estimator.

    Returns:
        Values in [0, 1]. With one code the runner-up is 0 nats; with none, or for a factor that
        never varies, the gap is 0.
    """
    matrix, entropy = information.matrix, information.entropy
    runners_up = np.zeros((2, entropy.size))
    second, first = np.sort(np.concatenate([runners_up, matrix]), axis=0)[-2:]
    return np.divide(first - second, entropy, out=np.zeros_like(entropy), where=entropy > 0.0)


def mig(information: MutualInformation) -> float:
    """Mean gap of the factors that vary, in [0, 1]; 0 when none does.

    A factor that never varies cannot be coded, well or badly, so it is left out of the mean.

    Args:
        information: In nats; from whichever estimator.
    """
    varying = information.entropy > 0.0
    return float(mutual_information_gap(information)[varying].mean()) if varying.any() else 0.0
