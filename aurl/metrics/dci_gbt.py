"""DCI as published: importances of gradient boosting, seen by the raw codes.

It is for comparison with published tables only, and slow: 671 CPU-seconds for 10,000 x 32 codes
and nine factors, where ``dci_et`` takes a few. Its scores depend on the seed through ties between
splits. Every factor counts the same, also one that no code carries; the noise that this pours into
both scores is part of the published form.

Source: Eastwood & Williams 2018, https://openreview.net/forum?id=By-7dz-AZ, as in
disentanglement_lib ``evaluation/metrics/dci.py`` at 86a644d: scikit-learn's
``GradientBoostingClassifier`` with its defaults (100 trees of depth 3, learning rate 0.1), one
random stream for all factors.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.metrics.dci import DciScores, dci_scores


def dci_gbt(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> DciScores:
    """DCI with one gradient-boosting classifier per factor.

    Args:
        codes: Finite posterior means; their scale changes nothing.
        factors: Classes, any integers.
        train: True where the classifiers are fitted; they are scored on the other samples.

    Returns:
        Scores of the factors that vary on both sides; all 0 when there is none, or no code.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    # Trees see float32; a power of two keeps huge codes finite there and rounds as before.
    exponent = np.frexp(np.abs(codes).max(axis=0, initial=0.0))[1]
    stream = np.random.RandomState(0)
    return dci_scores(
        lambda _: GradientBoostingClassifier(random_state=stream),
        np.ldexp(codes.astype(np.float64), -exponent),
        factors,
        train,
    )
