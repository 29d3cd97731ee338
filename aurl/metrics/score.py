"""The two scalars that trials are compared by: at a rung, and at the end.

Neither is what is searched: Optuna is told the three objectives. A scalar is needed to stop a
trial early and to order the trials of one Pareto front.

Source: own; a geometric mean, so that no objective can be bought with another that is zero.
"""

import math

OBJECTIVES = ("val/kl_health", "val/disentanglement", "val/reconstruction_score")
"""What Optuna maximises and the Pareto front is of, by metric name."""

RUNG_SCALE = 2
"""Which quantity :func:`rung_score` is made of; each trial keeps the one that it was measured in.

Raise it when another quantity goes in: a resumed sweep then holds no trial against those of
before. 1 had the reconstruction score on every corpus, 2 has what docs/decisions/0024 says.
"""


def rung_score(kl_health: float, reconstruction: float) -> float:
    """Geometric mean of KL health and reconstruction, in [0, 1].

    Disentanglement is left out: it means nothing before the KL has settled.

    Args:
        kl_health: Is the latent space alive, in balance and used.
        reconstruction: A share that tells young models apart, the same one for all trials of a
            sweep: the reconstruction score, or the probability of a token where that counts whole
            windows. docs/decisions/0024 argues for it.

    Returns:
        0 if one of them is not a number: that is behind everybody.
    """
    product = kl_health * reconstruction
    return 0.0 if math.isnan(product) else product**0.5


def trial_score(kl_health: float, disentanglement: float, reconstruction_score: float) -> float:
    """Geometric mean of the three objectives, in [0, 1]."""
    return float((kl_health * disentanglement * reconstruction_score) ** (1.0 / 3.0))
