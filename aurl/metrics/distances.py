r"""How far apart two sets of pieces are, as distributions over shared classes.

A quantity is a table of counts, pieces by classes: the notes of each pitch class, or a 1 in the
class of the piece's value. Two sets are compared by the shares p, q of their summed counts:

.. math:: \mathrm{overlap} = \sum_k \min(p_k, q_k), \qquad
    \mathrm{KL}(q \Vert p) = \sum_k \tilde q_k \log (\tilde q_k / \tilde p_k)

with q the data, and in the KL half a count added to every class that either has, so that it is
finite. The classes of a real number (:func:`classes`) come from the data alone: its tenths, a
class for each value that a tenth of the data has, one below and one above all of the data, and one
for "not defined". They are the same for both sides, so a shift is seen however large it is, and a
constant is a class like any other: no kernel, no bandwidth, no grid.

Two finite samples of one distribution overlap less than 1 (some 0.9 for 256 pieces). A distance
means something only beside the same distance of other data of the same size: the control.

Source: the overlapped area of Yang and Lerch 2020, "On the evaluation of generative models in
music", Neural Computing and Applications 32, on the quantity itself instead of on pairwise
distances, and by classes instead of kernel densities; half a count: Krichevsky and Trofimov 1981.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real

from aurl.metrics.bootstrap import Interval, spread

N_BINS = 10
N_RESAMPLES = 1000
DECIMALS = 9  # values closer than this are the same, whatever order sums were taken in


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """How far apart two sets are in one quantity, or in the mean over several; 95 % intervals."""

    overlap: Interval
    """In [0, 1]; 1 is the same shares."""

    kl_nats: Interval
    """KL(data ‖ samples), from 0 on."""


def classes(
    values: Float[np.ndarray, " piece"], data: Float[np.ndarray, " row"]
) -> Int[np.ndarray, "piece class"]:
    """The class of each value as a table of counts: one 1 a row.

    Args:
        values: NaN where a piece does not have the quantity.
        data: What the classes are made from.

    Raises:
        ValueError: If a value is infinite.
    """
    if np.isinf(values).any() or np.isinf(data).any():
        raise ValueError("values must be finite or NaN, got an infinite one.")
    known = np.sort(data[~np.isnan(data)].round(DECIMALS))
    edges = _edges(known)
    found = np.searchsorted(edges, values.round(DECIMALS), side="right")
    found = np.where(np.isnan(values), len(edges) + 1, found)
    return np.eye(len(edges) + 2, dtype=np.int64)[found]


def _edges(known: Float[np.ndarray, " row"]) -> Float[np.ndarray, " edge"]:
    """Where a class begins; ``known`` is ascending."""
    if not len(known):
        return np.zeros(0)
    tenths = np.quantile(known, np.arange(N_BINS) / N_BINS, method="higher")
    value, count = np.unique(known, return_counts=True)
    common = value[count * N_BINS >= len(known)]
    after = np.nextafter(np.append(common, known[-1]), np.inf)
    return np.unique(np.concatenate([known[:1], tenths, common, after]))


def distances(
    samples: Mapping[str, Real[np.ndarray, "sample _"]],
    data: Mapping[str, Real[np.ndarray, "row _"]],
    piece: Int[np.ndarray, " row"],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, Distance]:
    """The distance in each quantity, and under ``""`` the mean over all of them.

    The intervals resample the samples and, together, all rows of a piece of the data. A bootstrap
    has the small-sample bias twice, so its spread is put around the value: the interval is of the
    estimate at these sizes, not of the distance between endless samples. It covered 92 to 100 % in
    simulations of 256 samples and 134, 10, 5 and 2 pieces, the most where there is no difference.
    Of one piece it does not say how others would differ.

    Args:
        samples: Counts by quantity; the rows are independent.
        data: Counts of the same classes.
        piece: Piece of every row of the data.
        n_resamples: Resamples of the bootstrap.
        seed: Its seed.

    Returns:
        Finite values always. A side without any count has the overlap 0.

    Raises:
        ValueError: If the quantities differ or a side has no rows.
    """
    if set(samples) != set(data) or not samples:
        raise ValueError(
            f"samples and data must have the same quantities, got {sorted(samples)} "
            f"and {sorted(data)}."
        )
    if not len(piece) or not all(len(table) for table in samples.values()):
        raise ValueError("samples and data must have one row or more, got none.")
    rng = np.random.default_rng(seed)
    n_samples = len(next(iter(samples.values())))
    ours = _resampled(n_samples, n_resamples, rng)
    _, position = np.unique(piece, return_inverse=True)
    n_pieces = int(position.max()) + 1
    theirs = _resampled(n_pieces, n_resamples, rng)[:, position]
    drawn = {
        name: _compared(ours @ samples[name], theirs @ data[name]) for name in sorted(samples)
    }
    drawn[""] = np.mean(list(drawn.values()), axis=0)
    return {
        name: Distance(
            overlap=_estimate(overlap, n_pieces, highest=1.0),
            kl_nats=_estimate(kl, n_pieces, highest=np.inf),
        )
        for name, (overlap, kl) in drawn.items()
    }


def _resampled(n: int, n_resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "draw n"]:
    """How often each of ``n`` is drawn; the first row is one each: what was measured."""
    drawn = rng.multinomial(n, np.full(n, 1.0 / n), size=n_resamples)
    return np.concatenate([np.ones((1, n)), drawn])


def _compared(
    p: Float[np.ndarray, "draw class"], q: Float[np.ndarray, "draw class"]
) -> Float[np.ndarray, "measure draw"]:
    """Overlap and KL of each row of counts ``q`` from that of ``p``."""
    shares = [counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0) for counts in (p, q)]
    overlap = np.minimum(*shares).sum(axis=1)
    some = (p[0] + q[0]) > 0
    smooth_p, smooth_q = p[:, some] + 0.5, q[:, some] + 0.5
    smooth_p /= smooth_p.sum(axis=1, keepdims=True)
    smooth_q /= smooth_q.sum(axis=1, keepdims=True)
    return np.stack([overlap, (smooth_q * np.log(smooth_q / smooth_p)).sum(axis=1)])


def _estimate(draws: Float[np.ndarray, " draw"], n_pieces: int, *, highest: float) -> Interval:
    value, resampled = float(draws[0]), draws[1:]
    around = spread(resampled, float(resampled.mean()), max(2, n_pieces))
    low, high = np.clip(value + around, 0.0, highest)
    return Interval(mean=value, low=float(min(low, value)), high=float(max(high, value)))
