r"""SAP: how far the best single code predicts a factor better than the runner-up.

.. math:: \mathrm{SAP} = \frac1K \sum_k \bigl(S_{(1)k} - S_{(2)k}\bigr)

where :math:`S_{jk}` is the held-out accuracy with which a linear SVM tells factor k by code j
alone.

For comparison only: the classifier cannot tell more than about four ordered classes apart by one
number, so that a perfect code of the melodies scores 0.377. The published form is kept with its
faults: the intercept is regularised, so that the scale of a code matters; with three classes or
more, only the positive side is balanced; and a dead code predicts the commonest class, which can
make it the runner-up. The solution is exact (:mod:`~aurl.metrics.linear_svm`) where scikit-learn
stops early: scores agree within 0.001, and within 0.01 for codes of a scale of 1e-4. A code with
a value beyond 1,000, where they would not, is left to scikit-learn (up to 1e8, beyond which that
may run without end).

Source: Kumar, Sattigeri & Balakrishnan 2018, https://arxiv.org/abs/1711.00848; estimator:
disentanglement_lib ``evaluation/metrics/sap_score.py`` at 86a644d, discrete factors:
``LinearSVC(C=0.01, class_weight="balanced")``, one class against the rest.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.metrics.counted import mean_of_counted, varying
from aurl.metrics.fitted import fitted
from aurl.metrics.linear_svm import fit, problems
from aurl.metrics.mutual_information import class_labels

_COST = 0.01
_FAR = 1e3, 1e8  # scikit-learn stops far from the minimum; beyond, it may not stop at all


def sap_per_factor(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> Float[np.ndarray, " factor"]:
    """Gap between the two best accuracies of every factor, in [0, 1].

    Args:
        codes: Finite posterior means.
        factors: Classes, any integers.
        train: True where the classifiers are fitted; they are scored on the other samples.

    Returns:
        With one code, the published form is not defined: its runner-up is then a dead code. 0
        with no code, for a factor that does not vary in training, and if nothing is held out.
    """
    if codes.shape[1] == 0:
        return np.zeros(factors.shape[1])
    if codes.shape[1] == 1:
        codes = np.concatenate([codes, np.zeros_like(codes)], axis=1)
    second, first = np.sort(svm_accuracies(codes, factors, train), axis=0)[-2:]
    return first - second


def sap_dlib(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> float:
    """Mean of :func:`sap_per_factor` over the factors that vary in training; 0 if none does."""
    return mean_of_counted(sap_per_factor(codes, factors, train), varying(factors[train]))


def svm_accuracies(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> Float[np.ndarray, "latent factor"]:
    """Held-out accuracy of a linear SVM for every code and factor.

    Args:
        codes: Finite posterior means.
        factors: Classes, any integers.
        train: True where the classifiers are fitted; they are scored on the other samples.

    Returns:
        Accuracies; 0 for a factor that does not vary in training, or if nothing is held out.
    """
    accuracies = np.zeros((codes.shape[1], factors.shape[1]))
    fitted = np.flatnonzero(varying(factors[train]))
    if not fitted.size or train.all():
        return accuracies
    known, truth = factors[train][:, fitted], factors[~train][:, fitted]
    asked = problems(class_labels(known), cost=_COST)
    classes = [np.unique(column) for column in known.T]
    dead: dict[bytes, np.ndarray] = {}
    for j, column in enumerate(codes.T.astype(np.float64)):
        seen, unseen = column[train], column[~train]
        if np.ptp(seen) > 0.0 and not _FAR[0] < np.abs(seen).max() <= _FAR[1]:
            slope, offset = fit(seen, asked)
            answers = [
                _answers(slope[asked.factor == k], offset[asked.factor == k], unseen)
                for k in range(fitted.size)
            ]
            told = np.stack([each[chosen] for each, chosen in zip(classes, answers, strict=True)])
            accuracies[j, fitted] = (told == truth.T).mean(axis=1)
            continue
        alike = column.tobytes()  # dead codes often are, and scikit-learn is slow
        if alike not in dead:
            dead[alike] = _by_scikit_learn(seen, known, unseen, truth)
        accuracies[j, fitted] = dead[alike]
    return accuracies


def _answers(slope: np.ndarray, offset: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Place of the class that is answered for every number; the first of those that tie."""
    if slope.size == 1:  # two classes
        return (slope * unseen + offset > 0.0).astype(np.int64)
    answers = np.zeros(unseen.size, dtype=np.int64)
    highest = slope[0] * unseen + offset[0]
    for place in range(1, slope.size):
        decision = slope[place] * unseen + offset[place]
        answers[decision > highest] = place
        np.maximum(highest, decision, out=highest)
    return answers


def _by_scikit_learn(
    seen: np.ndarray, known: np.ndarray, unseen: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """Accuracies of one code from the published classifier itself, where that is not exact.

    Of a code that never varies, balanced classes tie, and what is answered is a matter of
    rounding; of one with an outlier far away, it is where the iteration gave up.
    """
    from sklearn.svm import LinearSVC

    found = np.zeros(known.shape[1])
    for k in range(known.shape[1]):
        svm = LinearSVC(C=_COST, class_weight="balanced")
        classifier = fitted(svm, seen[:, None], known[:, k])
        found[k] = np.mean(classifier.predict(unseen[:, None]) == truth[:, k])
    return found
