r"""Disentanglement score: whether each factor has a code of its own that tells what it is.

.. math:: \mathrm{DIS} = \bigl(\mathrm{MIG} \cdot \mathrm{DCIMIG} \cdot D \cdot C\bigr)^{1/4}
    \cdot I

with MIG and DCIMIG from rank bins, D and C weighted by informativeness, and I the held-out
accuracy above chance. Each part covers what another cannot see: MIG misses merged factors, D and C
miss a rotation, and none of them asks how well a factor is coded at all.

The score is in [0, 1], about 0 on noise and 1 for one exact code per factor; it is never NaN. A
factor that does not vary, on either side of the split, is left out: the data decide that, not the
model, so it is the same for every trial.

Source: own combination; its parts are cited in their own modules.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.metrics.dci import FOREST, DciScores, ForestSettings, dci_et
from aurl.metrics.dcimig import dcimig, own_code_gap
from aurl.metrics.mig import mutual_information_gap
from aurl.metrics.mutual_information import (
    MutualInformation,
    rank_mutual_information,
    width_mutual_information,
)

HELD_OUT = 1.0 / 3.0
"""Share of the samples that no forest is fitted to, where ``n_train`` is not given."""

Status = Literal["ok", "non_finite", "no_live_dimension", "no_varying_factor"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Disentanglement:
    """The score, its parts, and what each factor contributes; every number is finite."""

    status: Status
    """Why the scores are 0, or ``ok``."""

    disentanglement: float = 0.0
    mig_rank32: float = 0.0
    mig_dlib20: float = 0.0
    dcimig: float = 0.0
    dci_et_disentanglement: float = 0.0
    dci_et_completeness: float = 0.0
    dci_et_informativeness: float = 0.0
    per_factor: dict[str, Float[np.ndarray, " factor"]]
    """``mig_rank32``, ``mig_dlib20``, ``dcimig`` (own-code gap over entropy), ``accuracy``,
    ``chance``, ``predictability`` and ``entropy`` (nats); 0 where a factor is not counted."""

    counted: Bool[np.ndarray, " factor"]
    """The factors the scores are about."""

    def to_dict(self) -> dict[str, float]:
        """The seven scores by their published names."""
        names = ("disentanglement", "mig_rank32", "mig_dlib20", "dcimig")
        dci = ("disentanglement", "completeness", "informativeness")
        return {name: getattr(self, name) for name in (*names, *(f"dci_et_{d}" for d in dci))}


def disentanglement(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    *,
    live: Bool[np.ndarray, " latent"] | None = None,
    n_train: int | None = None,
    groups: Int[np.ndarray, " sample"] | None = None,
    forest: ForestSettings = FOREST,
) -> Disentanglement:
    """Disentanglement of the live codes with respect to known factors.

    Args:
        codes: Posterior means.
        factors: Classes, any integers.
        live: Codes that count; the others change nothing. All by default. Leave out those without
            KL: a mean of scale 1e-3 under a posterior of scale 1 carries nothing that a sample
            would keep, yet rank bins read it.
        n_train: The first ``n_train`` samples fit the forest, and information is measured on them
            alone, as published protocols do. By default a seeded draw fits the forest, and
            information, which needs no fit, is of all samples.
        groups: Piece of every sample; a piece is never on both sides of the split.
        forest: The predictor of DCI.

    Returns:
        Scores, all 0 unless ``status`` is ``ok``: ``non_finite`` if a code, live or
        not, is NaN or infinite, ``no_live_dimension`` if no code is live, ``no_varying_factor`` if
        every factor is constant on one side of the split.

    Raises:
        ValueError: If ``n_train`` or ``groups`` do not fit: see :func:`split`.
    """
    train = split(len(codes), n_train=n_train, groups=groups)
    if not np.isfinite(codes).all():
        return _nothing("non_finite", factors)
    codes = codes.astype(np.float64) if live is None else codes[:, live].astype(np.float64)
    if codes.shape[1] == 0:
        return _nothing("no_live_dimension", factors)
    dci = dci_et(codes, factors, train, forest)
    if not dci.counted.any():
        return _nothing("no_varying_factor", factors)
    rows = train if n_train is not None else np.ones(len(codes), dtype=bool)
    seen, counted = codes[rows], factors[rows][:, dci.counted]
    ranked = rank_mutual_information(seen, counted)
    return _combined(ranked, width_mutual_information(seen, counted), dci)


def permutation_floor(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    *,
    live: Bool[np.ndarray, " latent"] | None = None,
    groups: Int[np.ndarray, " sample"],
    forest: ForestSettings,
) -> Disentanglement:
    """The same scores when codes and factors have nothing to do with each other.

    All factors of a row are torn from it together. Whole pieces change places, so that the
    likeness of windows within a piece, which raises the floor, is kept.

    Args:
        codes: As in :func:`disentanglement`, and so are the other arguments.
        factors: What is torn.
        live: Codes that count.
        groups: Piece of every sample.
        forest: The predictor of DCI.

    Returns:
        One draw of what chance scores: half of such draws are higher, so a score that is not well
        above it means nothing.
    """
    order = torn_rows(groups, np.random.default_rng([0, 1]))
    return disentanglement(codes, factors[order], live=live, groups=groups, forest=forest)


def split(
    n_samples: int,
    *,
    n_train: int | None,
    groups: Int[np.ndarray, " sample"] | None,
) -> Bool[np.ndarray, " sample"]:
    """Which samples fit the forest: the first ``n_train``, or a seeded draw of whole groups.

    Args:
        n_samples: Rows of the codes.
        n_train: Samples on the training side, or None for a draw.
        groups: Piece of every sample; without it every sample is its own piece.

    Returns:
        True for training. Both sides hold at least one group where there are two.

    Raises:
        ValueError: If ``n_train`` is out of range or given with ``groups``, or the number of
            groups is not ``n_samples``.
    """
    if n_train is not None:
        if groups is not None:
            raise ValueError("n_train must not be given together with groups. Leave one out.")
        if not 0 < n_train < n_samples:
            raise ValueError(f"n_train must be in 1..{n_samples - 1}, got {n_train}.")
        return np.arange(n_samples) < n_train
    groups = np.arange(n_samples) if groups is None else groups
    if groups.size != n_samples:
        raise ValueError(f"groups must hold {n_samples} values, got {groups.size}.")
    labels, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng([0, 0]).permutation(labels.size)
    held_out = np.cumsum(sizes[order]) <= HELD_OUT * n_samples
    held_out[:1] = labels.size > 1  # a first piece larger than the share is still held out
    return ~np.isin(groups, labels[order[held_out]])


def _combined(
    ranked: MutualInformation, published: MutualInformation, dci: DciScores
) -> Disentanglement:
    per_factor = {
        "mig_rank32": mutual_information_gap(ranked),
        "mig_dlib20": mutual_information_gap(published),
        "dcimig": own_code_gap(ranked) / ranked.entropy,
        "entropy": ranked.entropy,
    }
    mig = float(per_factor["mig_rank32"].mean())
    own = dcimig(ranked)
    parts = mig * own * dci.weighted_disentanglement * dci.weighted_completeness
    return Disentanglement(
        status="ok",
        disentanglement=parts**0.25 * dci.normalized_informativeness,
        mig_rank32=mig,
        mig_dlib20=float(per_factor["mig_dlib20"].mean()),
        dcimig=own,
        dci_et_disentanglement=dci.disentanglement,
        dci_et_completeness=dci.completeness,
        dci_et_informativeness=dci.informativeness,
        per_factor={
            **{name: _scattered(values, dci.counted) for name, values in per_factor.items()},
            "accuracy": dci.accuracy,
            "chance": dci.chance,
            "predictability": dci.predictability,
        },
        counted=dci.counted,
    )


def _scattered(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Values of the counted factors among zeros for the others."""
    full = np.zeros(counted.size)
    full[counted] = values
    return full


def _nothing(status: Status, factors: np.ndarray) -> Disentanglement:
    names = ("mig_rank32", "mig_dlib20", "dcimig", "entropy", "accuracy", "chance")
    zeros = {name: np.zeros(factors.shape[1]) for name in (*names, "predictability")}
    return Disentanglement(
        status=status, per_factor=zeros, counted=np.zeros(factors.shape[1], dtype=bool)
    )


def torn_rows(
    groups: Int[np.ndarray, " sample"], rng: np.random.Generator
) -> Int[np.ndarray, " sample"]:
    """Rows to take in place of each one's own, so that all belong elsewhere.

    Each group takes the rows of one drawn group, in their order from a drawn one on, all around
    and spread over its own size: groups are as alike within, and as large, as they were.
    """
    _, position, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    by_group = np.argsort(position, kind="stable")
    own, first = position[by_group], np.cumsum(sizes) - sizes
    taken = rng.permutation(sizes.size)[own]
    start = rng.integers(sizes)[taken]
    place = (np.arange(groups.size) - first[own]) * sizes[taken] // sizes[own] + start
    order = np.empty(groups.size, dtype=np.int64)
    order[by_group] = by_group[first[taken] + place % sizes[taken]]
    return order
