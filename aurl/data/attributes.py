"""Musical attributes of a piece or window: the factors' part where no ground truth exists.

The set is nearly independent on purpose: of note density, rhythm density, mean duration and the
share of off-beat onsets, which say one thing four times (rank correlations 0.6 to 1), only rhythm
density is in it. A mutual information gap is out of reach for factors that are copies.

An attribute that a piece does not have is NaN: the pitches of drums, the key of a piece without
a key signature. As factors, NaN is a class of its own (see :func:`discretized`).
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, Shaped

from aurl.data.metrical_layout import METRES
from aurl.data.piece import Metre, Piece, bar_length

CATEGORICAL: tuple[str, ...] = ("tonic", "mode", "metre")
"""Attributes whose values are names: they have no order, and each value is a class."""

ATTRIBUTES: tuple[str, ...] = (
    "rhythm_density",
    "syncopation",
    "mean_pitch",
    "pitch_range",
    "contour",
    "polyphony",
    "pitch_class_entropy",
    "tempo",
    *CATEGORICAL,
)

NEAR_CONSTANT = 0.95
"""Largest share of the reference that may be in one class of a factor."""

log = logging.getLogger(__name__)


def attributes(piece: Piece) -> Float[np.ndarray, " attribute"]:
    """The value of each of :data:`ATTRIBUTES`.

    ``mean_pitch`` is in MIDI numbers and ``pitch_range`` in semitones, highest minus lowest, both
    over the notes that are not drums, as are ``contour``, ``polyphony`` and
    ``pitch_class_entropy``. ``tempo``, in quarters a minute, and the categorical ones are those in
    force at the start: ``tonic`` is a pitch class, ``mode`` 0 for major and 1 for minor, ``metre``
    a place in :data:`~aurl.data.metrical.METRES`.

    Returns:
        NaN where an attribute is not defined: without notes all but tempo and the categorical
        ones.
    """
    pitched = piece.notes[~piece.notes["is_drum"]]
    key = [each for each in piece.keys if each.tick == 0]
    metre = (piece.metres[0].numerator, piece.metres[0].denominator)
    values = {
        "rhythm_density": rhythm_density(piece),
        "syncopation": syncopation(piece),
        "mean_pitch": float(pitched["pitch"].mean()) if len(pitched) else np.nan,
        "pitch_range": float(np.ptp(pitched["pitch"])) if len(pitched) else np.nan,
        "contour": contour(pitched, piece.ticks_per_quarter),
        "polyphony": polyphony(pitched),
        "pitch_class_entropy": pitch_class_entropy(pitched),
        "tempo": piece.tempos[0].bpm,
        "tonic": float(key[0].tonic) if key else np.nan,
        "mode": float(key[0].is_minor) if key else np.nan,
        "metre": float(METRES.index(metre)) if metre in METRES else np.nan,
    }
    return np.asarray([values[name] for name in ATTRIBUTES], np.float64)


def rhythm_density(piece: Piece) -> float:
    """Share of the sixteenth steps of the piece's bars in which a note begins, in [0, 1].

    A step is a quarter of a quarter note, from its tick up to the next; drums count. NaN without
    notes.

    Source:
        Tan and Herremans 2020 (Music FaderNets), https://arxiv.org/abs/2007.15474
    """
    if not len(piece.notes):
        return np.nan
    sixteenths = 4 * piece.notes["onset"] // piece.ticks_per_quarter
    steps = -(-4 * int(piece.bar_lines()[-1]) // piece.ticks_per_quarter)
    return len(np.unique(sixteenths)) / steps


def syncopation(piece: Piece) -> float:
    """Share of beats without an onset whose beat before has one off the beat, in [0, 1].

    That is a note on a weak place that is followed by a rest or a tie on the strong one. The first
    beat has no beat before and does not count. A beat is one unit of the metre, or three in 6/8,
    9/8 and the like; drums count. The share of off-beat onsets, which is used elsewhere, grows
    with density (rank correlation 0.55 on the bundled tunes); this does not (-0.08). In those
    tunes it is almost always 0. NaN without notes or with fewer than two beats.

    Source:
        After Longuet-Higgins and Lee 1984, Music Perception 1(4): their pairs of a note and a
        rest or tied note, without weights and at the level of the beat.
    """
    beats = np.asarray(list(_beats(piece)))
    onsets = np.unique(piece.notes["onset"])
    if len(beats) < 2 or not len(onsets):
        return np.nan
    on_beat = np.isin(beats, onsets)
    off_beat = onsets[~np.isin(onsets, beats)]
    busy = np.isin(np.arange(len(beats)), np.searchsorted(beats, off_beat) - 1)
    return float(np.mean(busy[:-1] & ~on_beat[1:]))


def contour(notes: Shaped[np.ndarray, " note"], ticks_per_quarter: int) -> float:
    """Slope of pitch against time, in semitones a quarter note: the least-squares line.

    The sum of successive intervals, which is used elsewhere, telescopes to last minus first. NaN
    with fewer than two different onsets.

    Source:
        Own; the attribute is that of Pati and Lerch 2020, https://arxiv.org/abs/2004.05485
    """
    if len(np.unique(notes["onset"])) < 2:
        return np.nan
    time = notes["onset"] / ticks_per_quarter
    time = time - time.mean()
    return float((time * notes["pitch"]).sum() / np.square(time).sum())


def polyphony(notes: Shaped[np.ndarray, " note"]) -> float:
    """Mean number of notes that sound at one time, over the time in which any does, from 1 on.

    NaN without notes.

    Source:
        Dong et al. 2020 (MusPy), ``polyphony``, https://arxiv.org/abs/2008.01951
    """
    if not len(notes):
        return np.nan
    ends = np.maximum.accumulate(notes["onset"] + notes["duration"])
    starts = np.maximum(notes["onset"], np.append(0, ends[:-1]))
    sounding = np.maximum(ends - starts, 0).sum()
    return float(notes["duration"].sum() / sounding)


def pitch_class_entropy(notes: Shaped[np.ndarray, " note"]) -> float:
    """Entropy of the pitch classes of the notes, each note counted once, in bits: 0 to 3.585.

    NaN without notes.

    Source:
        Wu and Yang 2020 (MusDr), https://arxiv.org/abs/2008.01307
    """
    if not len(notes):
        return np.nan
    return _entropy(notes["pitch"] % 12) / float(np.log(2.0))


def discretized(
    values: Float[np.ndarray, "sample attribute"],
    reference: Float[np.ndarray, "row attribute"],
    names: Sequence[str] = ATTRIBUTES,
    *,
    n_bins: int = 8,
) -> tuple[Int[np.ndarray, "sample factor"], list[str]]:
    """Attributes as discrete factors.

    The classes of an attribute are the quantile bins of the reference, fewer where quantiles
    coincide; a value outside it falls into the first or the last. The classes of a categorical
    attribute are the values in the reference. NaN, and a category that the reference does not
    have, are one more class after these: "unknown".

    An attribute of which more than :data:`NEAR_CONSTANT` of the reference is in one class is left
    out, and named in the log.

    Args:
        values: What to discretise.
        reference: Where the bins come from: the rows of the training split.
        names: Of the columns.
        n_bins: Classes of an attribute that has an order, unknown ones aside.

    Returns:
        Classes from 0 on, and the names of the attributes that are in it.

    Raises:
        ValueError: If a shape or number does not fit.
    """
    if not (len(names) == values.shape[1] == reference.shape[1]):
        raise ValueError(
            f"names must be one for each column, got {len(names)} names, "
            f"{values.shape[1]} and {reference.shape[1]} columns."
        )
    if n_bins < 2:
        raise ValueError(f"n_bins must be >= 2, got {n_bins}.")
    if not len(reference):
        raise ValueError("reference must have rows, got none. Use more music.")
    columns: list[Int[np.ndarray, " sample"]] = []
    kept: list[str] = []
    for name, column, known in zip(names, values.T, reference.T, strict=True):
        classes = _classes if name in CATEGORICAL else _bins
        share = np.bincount(classes(known, known, n_bins)).max() / len(known)
        if share > NEAR_CONSTANT:
            log.info("%s is left out: %.1f %% of it is one value.", name, 100.0 * share)
            continue
        columns.append(classes(column, known, n_bins))
        kept.append(name)
    factors = np.stack(columns, axis=1) if columns else np.zeros((len(values), 0), np.int64)
    return factors, kept


def attribute_entropies(
    factors: Int[np.ndarray, "sample factor"],
) -> Float[np.ndarray, " factor"]:
    """Plug-in entropy of each discrete factor, in nats.

    Their sum is the rate of a code that says every factor once; it is an upper bound where the
    factors depend on one another.
    """
    return np.asarray([_entropy(column) for column in factors.T], np.float64)


def _entropy(values: Int[np.ndarray, " sample"]) -> float:
    _, counts = np.unique(values, return_counts=True)
    share = counts / max(counts.sum(), 1)
    return float(-(share * np.log(share)).sum()) + 0.0  # never -0.0


def _bins(
    values: Float[np.ndarray, " sample"], reference: Float[np.ndarray, " row"], n_bins: int
) -> Int[np.ndarray, " sample"]:
    known = reference[~np.isnan(reference)]
    if not len(known):
        return np.zeros(len(values), np.int64)
    edges = np.unique(np.quantile(known, np.arange(1, n_bins) / n_bins, method="higher"))
    edges = edges[edges > known.min()]  # no bin is empty
    found = np.searchsorted(edges, values, side="right")
    return np.where(np.isnan(values), len(edges) + 1, found)


def _classes(
    values: Float[np.ndarray, " sample"], reference: Float[np.ndarray, " row"], n_bins: int
) -> Int[np.ndarray, " sample"]:
    del n_bins  # there are as many classes as values
    known = np.unique(reference[~np.isnan(reference)])
    found = np.searchsorted(known, values)
    at = np.minimum(found, max(len(known) - 1, 0))
    same = known[at] == values if len(known) else np.zeros(len(values), np.bool_)
    return np.where(same, found, len(known))


def _beats(piece: Piece) -> Iterator[float]:
    """The tick of every beat; those of a pickup are counted back from its end."""
    lines = piece.bar_lines().tolist()
    for start, stop in pairwise(lines):
        metre = piece.metre_at(start)
        pickup = start == 0 and stop == piece.pickup
        first = stop - bar_length(metre, piece.ticks_per_quarter) if pickup else start
        beats = np.arange(first, stop, _beat_ticks(metre, piece.ticks_per_quarter))
        yield from beats[beats >= start].tolist()


def _beat_ticks(metre: Metre, ticks_per_quarter: int) -> float:
    units = 3 if metre.numerator > 3 and metre.numerator % 3 == 0 else 1
    return units * 4 * ticks_per_quarter / metre.denominator
