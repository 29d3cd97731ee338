r"""Chords of a piece, and how likely their progression is by the music of a corpus.

A chord is the best fit of 84 templates (12 roots, 7 types) to the notes of a segment: half a bar,
or a whole bar where the metre's count is odd. The fit is the cosine between the template and the
time that each pitch class sounds, plus a little for a root in the bass, which decides between
chords of the same notes. A single note reads as a major chord on it, a bare fifth too.

A progression is scored by a bigram model of a reference corpus over how the root moves and the
types of both chords, so that it does not depend on the key:

.. math:: -\frac1{n-1} \sum_{i=2}^{n} \log p(r_i - r_{i-1} \bmod 12,\, t_i \mid t_{i-1})

in nats a transition. Low is not good: a drone is the likeliest progression of all.

Source: templates as in Fujishima 1999, "Realtime chord recognition of musical sound", ICMC; the
model is own, a first-order chain with half a count added to each of 84 outcomes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from aurl.data.piece import Piece

CHORD_TYPES: dict[str, tuple[int, ...]] = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "dominant 7": (0, 4, 7, 10),
    "major 7": (0, 4, 7, 11),
    "minor 7": (0, 3, 7, 10),
}
"""Semitones above the root; of equal fits the first in this order is taken, and of one type the
root that is nearest above the lowest note."""

ROOT_IN_BASS = 0.1
"""Added to a template's fit if its root is the lowest note that sounds in the segment."""

N_TYPES = len(CHORD_TYPES)
_PSEUDO_COUNT = 0.5


def _templates() -> Float[np.ndarray, "chord 12"]:
    rows = np.zeros((N_TYPES, 12, 12))
    for index, degrees in enumerate(CHORD_TYPES.values()):
        for root in range(12):
            rows[index, root, [(root + degree) % 12 for degree in degrees]] = 1.0
    flat = rows.reshape(-1, 12)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


_TEMPLATES = _templates()


def chords(piece: Piece) -> Int[np.ndarray, " segment"]:
    """The chord of every segment: ``12 * type + root``, or -1 where nothing sounds.

    ``type`` is a place in :data:`CHORD_TYPES`, ``root`` a pitch class; drums do not count.
    """
    edges = _segment_edges(piece)
    notes = piece.notes[~piece.notes["is_drum"]]
    pitch = notes["pitch"].astype(np.int64)
    onset, end = notes["onset"], notes["onset"] + notes["duration"]
    sounds = np.minimum(end, edges[1:, None]) - np.maximum(onset, edges[:-1, None])
    sounds = np.maximum(sounds, 0)  # ticks, by segment and note
    chroma = sounds @ np.eye(12)[pitch % 12]
    bass = np.where(sounds > 0, pitch, 128).min(axis=1, initial=128)
    length = np.linalg.norm(chroma, axis=1, keepdims=True)
    fit = chroma @ _TEMPLATES.T / np.maximum(length, 1.0)
    types, roots = np.divmod(np.arange(12 * N_TYPES), 12)
    above = (roots - bass[:, None]) % 12
    fit = (fit + ROOT_IN_BASS * (above == 0)).round(9)  # whatever order sums were taken in
    place = np.where(fit == fit.max(axis=1, keepdims=True), 12 * types + above, len(roots))
    return np.where(bass < 128, place.argmin(axis=1), -1)


def chord_type_counts(found: Int[np.ndarray, " segment"]) -> Int[np.ndarray, " type"]:
    """How many segments have each type of chord; silent ones do not count."""
    return np.bincount(found[found >= 0] // 12, minlength=N_TYPES).astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProgressionModel:
    """How likely a chord is after another, whatever the key."""

    log_probability: Float[np.ndarray, "type step"]
    """By the type of the chord before; ``step`` is ``12 * type + semitones`` up from its root."""

    @classmethod
    def of(cls, corpus: Sequence[Int[np.ndarray, " _"]]) -> "ProgressionModel":
        """The model of a corpus: the chords of each of its pieces, from :func:`chords`."""
        counts = np.full((N_TYPES, 12 * N_TYPES), _PSEUDO_COUNT)
        for found in corpus:
            before, step = _transitions(found)
            np.add.at(counts, (before, step), 1.0)
        return cls(log_probability=np.log(counts / counts.sum(axis=1, keepdims=True)))

    def nats(self, found: Int[np.ndarray, " segment"]) -> float:
        """Mean negative log-likelihood of a transition of the piece, in nats, from 0 on.

        Segments where nothing sounds are passed over. NaN with fewer than two chords.
        """
        before, step = _transitions(found)
        if not len(before):
            return np.nan
        return float(-self.log_probability[before, step].mean())


def progression_validity(
    nats: Float[np.ndarray, " piece"], reference: Float[np.ndarray, " other"]
) -> float:
    """Share of the pieces whose chords progress no less plausibly than 95 % of real music's.

    That is: :meth:`ProgressionModel.nats` is at most its 95th percentile in the reference. A piece
    with no progression (NaN) is not valid. About 0.95 for music like the reference, less where it
    has pieces without a progression.

    Returns:
        A value in [0, 1]; 0 if no piece of the reference has a progression.

    Source:
        Own.
    """
    known = reference[~np.isnan(reference)]
    if not len(known):
        return 0.0
    limit = np.quantile(known, 0.95, method="higher")
    return float((nats <= limit + 1e-9).mean())


def _transitions(
    found: Int[np.ndarray, " segment"],
) -> tuple[Int[np.ndarray, " transition"], Int[np.ndarray, " transition"]]:
    heard = found[found >= 0]
    before, after = heard[:-1], heard[1:]
    move = (after % 12 - before % 12) % 12
    return before // 12, 12 * (after // 12) + move


def _segment_edges(piece: Piece) -> Int[np.ndarray, " edge"]:
    """Ticks between which there is one chord."""
    lines = piece.bar_lines()
    middles = [
        (start + stop) // 2
        for start, stop in pairwise(lines.tolist())
        if piece.metre_at(start).numerator % 2 == 0
    ]
    return np.union1d(lines, np.asarray(middles, lines.dtype))
