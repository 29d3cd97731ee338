r"""Mutual information between binned codes and discrete factors, in nats.

Two ways to bin a code. *Rank bins* hold equal numbers of samples: scale, skew and outliers change
nothing. *Width bins* cut the range of a code into equal parts, as the published MIG does; one
outlier empties them. The plug-in estimate is too high by about ``(bins - 1)(classes - 1) / 2N``;
the Miller–Madow form subtracts that bias, counting only the cells that occur. Where samples are
few for the cells it leaves some: of independent codes in 32 bins 0.007 nats with 1,000 samples and
6 classes, 0.22 with 28, and with 256 samples 0.15 and 1.04. A gap between two codes keeps less of
it: MIG was within 3 % of its value for endless samples with 1,000 and 6 classes, 14 % low with 28.

Sources: Miller 1955, "Note on the bias of information estimates"; Paninski 2003, section 4.1,
https://doi.org/10.1162/089976603321780272. The width bins are those of disentanglement_lib
(``evaluation/metrics/utils.py`` at 86a644d), https://github.com/google-research/disentanglement_lib.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_MANY_EDGES = 64  # from which on a binary search is faster
_PACKED_CLASSES = 64  # of factors counted together: their counts stay in the processor's cache
_ROUNDING = 1e-12  # nats; entropies that should cancel leave up to 1e-14


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MutualInformation:
    """What every code says about every factor."""

    matrix: Float[np.ndarray, "latent factor"]
    """I(z_j; v_k) in nats."""

    entropy: Float[np.ndarray, " factor"]
    """H(v_k) in nats, plug-in; 0 for a factor that never varies."""


def rank_bins(
    codes: Float[np.ndarray, "sample latent"], *, n_bins: int = 32
) -> Int[np.ndarray, "sample latent"]:
    r"""Equal-frequency bin of every value within its own column, numbered from 0.

    A value belongs to bin :math:`\lfloor B\,(n_< + n_\le) / 2N \rfloor`, where :math:`n_<` and
    :math:`n_\le` count the samples below it and not above it. Equal values always share a bin, and
    any strictly increasing map of a column leaves its labels as they are. Empty bins are skipped.

    Args:
        codes: Finite values.
        n_bins: The most bins a column may have.

    Returns:
        Labels from 0, dense in every column; a constant column is all 0.

    Raises:
        ValueError: If ``n_bins`` is not positive or a code is not finite.
    """
    _require_bins(n_bins)
    columns = _finite_columns(codes)
    labels = np.empty(columns.shape, dtype=np.int64)
    for row, column in zip(labels, columns, strict=True):
        row[:] = _labels(column, _rank_edges(np.sort(column), n_bins))
    return labels.T


def width_bins(
    codes: Float[np.ndarray, "sample latent"], *, n_bins: int = 20
) -> Int[np.ndarray, "sample latent"]:
    """Bin of every value among ``n_bins`` equal parts of its column's range, as labels from 0.

    Args:
        codes: Finite values.
        n_bins: Parts the range is cut into.

    Returns:
        Labels 0 to ``n_bins - 1``; a constant column is all in one bin.

    Raises:
        ValueError: If ``n_bins`` is not positive or a code is not finite.

    Source:
        disentanglement_lib, ``_histogram_discretize``: the last edge is dropped, so that the
        largest value stays in the last bin.
    """
    _require_bins(n_bins)
    columns = _finite_columns(codes)
    labels = np.zeros(columns.shape, dtype=np.int64)
    if columns.shape[1] == 0:
        return labels.T
    for row, column in zip(labels, columns, strict=True):
        low, high = column.min(), column.max()
        if low < high:
            row[:] = _labels(column, np.linspace(low, high, n_bins + 1)[1:-1])
    return labels.T


def _labels(column: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of the ascending edges are not above each value."""
    if edges.size > _MANY_EDGES:
        return np.searchsorted(edges, column, side="right")
    above = np.zeros(column.shape, dtype=np.int8)  # a few passes over bytes beat a binary search
    for edge in edges:
        above += column >= edge
    return above


def class_labels(factors: Int[np.ndarray, "sample factor"]) -> Int[np.ndarray, "sample factor"]:
    """The classes of every factor renumbered 0, 1, 2, … in ascending order."""
    labels = np.empty(factors.shape, dtype=np.int64)
    for k in range(factors.shape[1]):
        labels[:, k] = np.unique(factors[:, k], return_inverse=True)[1]
    return labels


def class_entropies(factors: Int[np.ndarray, "sample factor"]) -> Float[np.ndarray, " factor"]:
    """Plug-in entropy of every factor in nats; 0 where there is no sample."""
    if factors.size == 0:
        return np.zeros(factors.shape[1])
    columns = class_labels(factors).T
    return np.concatenate([_entropy(np.bincount(column)[None]) for column in columns])


def mutual_information(
    bins: Int[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
    *,
    corrected: bool,
) -> MutualInformation:
    r"""Mutual information of every binned code with every factor.

    .. math:: I(z_j; v_k) = H(z_j) + H(v_k) - H(z_j, v_k)

    Args:
        bins: Labels from 0, from :func:`rank_bins` or :func:`width_bins`.
        factors: Classes, any integers.
        corrected: Miller–Madow: add (cells that occur - 1) / 2N to each of the three entropies;
            the result is clipped to [0, H(v_k)]. Otherwise the plug-in estimate.

    Returns:
        Nats. All 0 when there is no sample; exactly 0 for a code that never varies.
    """
    n_latents = bins.shape[1]
    matrix = np.zeros((n_latents, factors.shape[1]))
    entropy = np.zeros(factors.shape[1])
    labels = class_labels(factors)
    if bins.size == 0 or factors.size == 0:
        return MutualInformation(matrix=matrix, entropy=class_entropies(factors))
    n_bins = int(bins.max()) + 1
    cells = np.ascontiguousarray(bins.T) + n_bins * np.arange(n_latents)[:, None]
    for packed in _packed(labels.max(axis=0) + 1):
        joint = _joint_counts(cells, labels, packed, n_latents * n_bins)
        for place, k in enumerate(packed):
            others = tuple(1 + axis for axis in range(len(packed)) if axis != place)
            counts = joint.sum(axis=others).reshape(n_latents, n_bins, -1)
            entropy[k] = _entropy(counts[:1].sum(axis=1))[0]
            matrix[:, k] = _information(counts, corrected=corrected)
    matrix = np.where(matrix > _ROUNDING, matrix, 0.0)
    return MutualInformation(matrix=np.minimum(matrix, entropy), entropy=entropy)


def rank_mutual_information(
    codes: Float[np.ndarray, "sample latent"], factors: Int[np.ndarray, "sample factor"]
) -> MutualInformation:
    """Mutual information from 32 rank bins, Miller–Madow-corrected: the estimate aurl ranks by."""
    return mutual_information(rank_bins(codes, n_bins=32), factors, corrected=True)


def width_mutual_information(
    codes: Float[np.ndarray, "sample latent"], factors: Int[np.ndarray, "sample factor"]
) -> MutualInformation:
    """Plug-in mutual information from 20 width bins: the estimate of disentanglement_lib."""
    return mutual_information(width_bins(codes, n_bins=20), factors, corrected=False)


def _require_bins(n_bins: int) -> None:
    if n_bins < 1:
        raise ValueError(f"n_bins must be >= 1, got {n_bins}.")


def _finite_columns(codes: np.ndarray) -> np.ndarray:
    columns = np.ascontiguousarray(codes.T, dtype=np.float64)
    if not np.isfinite(columns).all():
        bad = np.flatnonzero(~np.isfinite(columns).all(axis=1)).tolist()
        raise ValueError(f"codes must be finite, got NaN or infinity in columns {bad}.")
    return columns


def _rank_edges(ordered: np.ndarray, n_bins: int) -> np.ndarray:
    """The smallest value of every bin but the first, from one sorted column."""
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: ordered.size])
    ends = np.append(starts[1:], ordered.size)
    bins = (starts + ends) * n_bins // max(2 * ordered.size, 1)
    return ordered[starts[1:][bins[1:] != bins[:-1]]]


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Plug-in entropy of every row of counts, in nats."""
    total = counts.sum(axis=1)
    weighted = (counts * np.log(np.maximum(counts, 1))).sum(axis=1)
    return np.maximum(np.log(total) - weighted / total, 0.0)


def _packed(n_classes: np.ndarray) -> list[dict[int, int]]:
    """Factors with their classes, in groups that are counted in one pass over the samples."""
    groups: list[dict[int, int]] = []
    for k in np.argsort(-n_classes, kind="stable").tolist():
        size = int(n_classes[k])
        for group in groups:
            if math.prod(group.values()) * size <= _PACKED_CLASSES:
                group[k] = size
                break
        else:
            groups.append({k: size})
    return groups


def _joint_counts(
    cells: np.ndarray, labels: np.ndarray, packed: dict[int, int], n_cells: int
) -> np.ndarray:
    """Samples in every cell of codes and bins, by the classes of a group of factors."""
    classes = np.zeros(len(labels), dtype=np.int64)
    for k, size in packed.items():
        classes = classes * size + labels[:, k]
    sizes = tuple(packed.values())
    index = cells * math.prod(sizes)
    index += classes
    return np.bincount(index.ravel(), minlength=n_cells * math.prod(sizes)).reshape(-1, *sizes)


def _information(joint: np.ndarray, *, corrected: bool) -> np.ndarray:
    """Nats for every code from its counts, ``latent bin class``."""
    codes, classes = joint.sum(axis=2), joint[:1].sum(axis=1)
    cells = joint.reshape(len(joint), -1)
    information = _entropy(codes) + _entropy(classes) - _entropy(cells)
    if not corrected:
        return information
    occupied = np.count_nonzero(codes, axis=1) + np.count_nonzero(classes)
    excess = occupied - np.count_nonzero(cells, axis=1) - 1
    return information + excess / (2 * classes.sum())
