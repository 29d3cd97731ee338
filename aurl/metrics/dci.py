r"""Disentanglement, completeness, informativeness (DCI), from ExtraTrees importances.

A forest predicts every factor from all codes. A code is *disentangled* if it is important for one
factor only, a factor is *complete* if one code only is important for it, and *informativeness* is
the accuracy on held-out samples. The published form trains gradient boosting (671 CPU-seconds for
10,000 x 32 codes and nine factors); extremely randomised trees give the same scores in about a
hundredth of that. The forest sees rank bins of the codes, so that their scale, their outliers and
the float32 of scikit-learn change nothing.

Plain DCI normalises the importances of every factor, also of one that no code carries: noise then
pours into both scores. The ``weighted_*`` forms weigh a factor by how far it can be predicted.

Sources: Eastwood & Williams 2018, https://openreview.net/forum?id=By-7dz-AZ; the weighting of rows
and columns is that of disentanglement_lib ``evaluation/metrics/dci.py`` at 86a644d; ExtraTrees:
Geurts et al. 2006, https://doi.org/10.1007/s10994-006-6226-1. The weighted forms are our own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from aurl.metrics.counted import counted_factors, mean_of_counted
from aurl.metrics.fitted import fitted
from aurl.metrics.mutual_information import rank_bins

_INPUT_BINS = 256  # what the forest sees of a code: finer than any split it needs
_MAX_DEPTH = 12
_MIN_LEAF = 3
"""Fewest training samples of a leaf; with 1, leaves that fit noise take 0.03 from both scores of
noisy codes, and gradient boosting does not. Below six samples nothing is learnt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForestSettings:
    """The forest that predicts a factor from the codes."""

    n_trees: int = 50
    """Cost grows with it: about 0.05 s a tree for 1,500 samples of 48 codes and seven factors."""

    n_jobs: int = 1
    """Threads; the scores do not depend on it."""


FOREST = ForestSettings()
"""That of a table; 20 trees are enough to rank trials."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DciScores:
    """DCI of one set of codes; every number is in [0, 1] and never NaN."""

    disentanglement: float
    completeness: float
    informativeness: float
    """Mean held-out accuracy of the counted factors."""

    weighted_disentanglement: float
    weighted_completeness: float
    normalized_informativeness: float
    """Mean of :attr:`predictability` over the counted factors: 0 at chance, 1 when perfect."""

    importance: Float[np.ndarray, "latent factor"]
    """Every column sums to 1, or is 0 where nothing was learnt."""

    accuracy: Float[np.ndarray, " factor"]
    chance: Float[np.ndarray, " factor"]
    """Held-out accuracy of always answering the commonest training class."""

    predictability: Float[np.ndarray, " factor"]
    """(accuracy - chance) / (1 - chance), not below 0; 0 for a factor that is not counted."""

    counted: Bool[np.ndarray, " factor"]
    """Factors that vary among the training and among the held-out samples."""


def dci_et(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
    settings: ForestSettings = FOREST,
) -> DciScores:
    """DCI with one ExtraTrees classifier per factor (entropy, all codes tried at every split).

    Args:
        codes: Finite posterior means.
        factors: Classes, any integers.
        train: True where the forest is fitted; it is scored on the other samples.
        settings: The forest; that of factor k has the seed k.

    Returns:
        Scores of the factors that vary on both sides; all 0 when there is none, or no code.

    Raises:
        ValueError: If a code is not finite.
    """
    # 70 MB that most processes of a sweep, which import this module too, never need.
    from sklearn.ensemble import ExtraTreesClassifier

    def forest(k: int) -> ExtraTreesClassifier:
        return ExtraTreesClassifier(
            settings.n_trees,
            criterion="entropy",
            max_depth=_MAX_DEPTH,
            min_samples_leaf=_MIN_LEAF,
            max_features=None,  # pyrefly: ignore[bad-argument-type]  # inferred from its default
            n_jobs=settings.n_jobs,
            random_state=k,
        )

    return dci_scores(forest, rank_bins(codes, n_bins=_INPUT_BINS), factors, train)


def dci_scores(
    classifier: Callable[[int], Any],
    inputs: Real[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    train: Bool[np.ndarray, " sample"],
) -> DciScores:
    """DCI from the importances of whichever classifier.

    Args:
        classifier: A new scikit-learn classifier with ``feature_importances_`` for factor k.
        inputs: What it sees of the codes.
        factors: Classes, any integers.
        train: True where it is fitted; it is scored on the other samples.

    Returns:
        Scores of the factors that vary on both sides; all 0 when there is none, or no code.
    """
    n_factors = factors.shape[1]
    importance = np.zeros((inputs.shape[1], n_factors))
    accuracy, chance = np.zeros(n_factors), np.zeros(n_factors)
    counted = counted_factors(factors, train) & (inputs.shape[1] > 0)
    for k in np.flatnonzero(counted):
        trees = fitted(classifier(int(k)), inputs[train], factors[train, k])
        with np.errstate(invalid="ignore"):  # 0 / 0 where every split of every tree gains nothing
            importance[:, k] = np.nan_to_num(trees.feature_importances_)
        truth = factors[~train, k]
        accuracy[k] = np.mean(trees.predict(inputs[~train]) == truth)
        chance[k] = np.mean(_commonest(factors[train, k]) == truth)
    # A counted factor varies among the held-out samples, so its chance is below 1.
    predictability = np.clip((accuracy - chance) / (1.0 - chance), 0.0, 1.0)
    weighted = importance * predictability
    return DciScores(
        disentanglement=disentanglement_of(importance[:, counted]),
        completeness=completeness_of(importance[:, counted]),
        informativeness=mean_of_counted(accuracy, counted),
        weighted_disentanglement=disentanglement_of(weighted[:, counted]),
        weighted_completeness=completeness_of(weighted[:, counted]),
        normalized_informativeness=mean_of_counted(predictability, counted),
        importance=importance,
        accuracy=accuracy,
        chance=chance,
        predictability=predictability,
        counted=counted,
    )


def disentanglement_of(importance: Float[np.ndarray, "latent factor"]) -> float:
    r"""Mean over codes of one minus the entropy of their importances, weighted by importance.

    .. math:: D = \sum_j \rho_j \bigl(1 - H_F(R_{j\cdot} / \textstyle\sum_k R_{jk})\bigr),
        \quad \rho_j = \textstyle\sum_k R_{jk} / \sum_{jk} R_{jk}

    Args:
        importance: Not negative. Columns that sum to 1 give the published score.

    Returns:
        A score in [0, 1]; 0 when nothing is important. With a single factor every code is 1.

    Source:
        Eastwood & Williams 2018, section 2.
    """
    mass = importance.sum(axis=1)
    used = mass > 0.0
    if not used.any():
        return 0.0
    rows = importance[used] / mass[used, None]
    concentration = 1.0 - _relative_entropy(rows)
    return float((concentration * mass[used]).sum() / mass.sum())


def completeness_of(importance: Float[np.ndarray, "latent factor"]) -> float:
    """Mean over factors of one minus the entropy of their importances, weighted by importance.

    Args:
        importance: Not negative.

    Returns:
        A score in [0, 1]; 0 when nothing is important. With a single code every factor is 1.

    Source:
        Eastwood & Williams 2018, section 2.
    """
    return disentanglement_of(importance.T)


def _relative_entropy(rows: np.ndarray) -> np.ndarray:
    """Entropy of every row over its largest value, in [0, 1]; 0 where there is one column."""
    if rows.shape[1] == 1:
        return np.zeros(rows.shape[0])
    logs = np.log(rows, out=np.zeros_like(rows), where=rows > 0.0)
    return np.clip(-(rows * logs).sum(axis=1) / np.log(rows.shape[1]), 0.0, 1.0)


def _commonest(classes: np.ndarray) -> np.integer:
    values, counts = np.unique(classes, return_counts=True)
    return values[counts.argmax()]
