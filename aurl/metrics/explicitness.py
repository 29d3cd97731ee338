r"""Explicitness: how well a linear classifier of all codes ranks the classes of a factor.

The area under the ROC curve of every class against the rest, on held-out samples, averaged over
classes and then over factors: 0.5 is guessing, 1 is perfect. For comparison only: it asks whether
a factor can be read off linearly, not whether it has a code of its own.

Source: Ridgeway & Mozer 2018, https://arxiv.org/abs/1802.05312; estimator: disentanglement_lib
``evaluation/metrics/modularity_explicitness.py`` at 86a644d: codes standardised by their training
samples, scikit-learn's ``LogisticRegression`` with its defaults.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.metrics.counted import counted_factors
from aurl.metrics.fitted import fitted

GUESSING = 0.5


def explicitness_per_factor(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> Float[np.ndarray, " factor"]:
    """Area under the ROC curve for every factor.

    Args:
        codes: Finite posterior means. One that never varies in training carries nothing, where
            the published form divides by zero.
        factors: Classes, any integers.
        train: True where the classifiers are fitted; they are scored on the other samples.

    Returns:
        Means over the classes that training knows and that some, not all, held-out samples have;
        0.5 for a factor that does not vary on both sides, and without a code.
    """
    areas = np.full(factors.shape[1], GUESSING)
    if codes.shape[1]:
        inputs = standardized(codes, train)
        for k in np.flatnonzero(counted_factors(factors, train)):
            areas[k] = _area(inputs, factors[:, k], train)
    return areas


def explicitness(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> float:
    """Mean of :func:`explicitness_per_factor` over the counted factors; 0.5 if there is none."""
    counted = counted_factors(factors, train)
    areas = explicitness_per_factor(codes, factors, train)
    return float(areas[counted].mean()) if counted.any() else GUESSING


def standardized(
    codes: Float[np.ndarray, "sample latent"], train: Bool[np.ndarray, " sample"]
) -> Float[np.ndarray, "sample latent"]:
    """Codes with mean 0 and standard deviation 1 in training; 0 for one that is constant there."""
    known = codes[train].astype(np.float64)
    if not known.size:
        return np.zeros(codes.shape)
    varies = np.ptp(known, axis=0) > 0.0
    scale = np.where(varies, known.std(axis=0), 1.0)
    return np.where(varies, (codes - known.mean(axis=0)) / np.where(scale > 0.0, scale, 1.0), 0.0)


def _area(inputs: np.ndarray, classes: np.ndarray, train: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    model = fitted(LogisticRegression(), inputs[train], classes[train])
    probability = model.predict_proba(inputs[~train])
    areas = [
        roc_auc_score(truth, column)
        for truth, column in zip(
            model.classes_[:, None] == classes[~train], probability.T, strict=True
        )
        if truth.any() and not truth.all()
    ]
    return float(np.mean(areas)) if areas else GUESSING
