"""The `melodies` corpus: two-bar melodies, made from nine factors, so that the truth is known.

A melody has six notes of an eighth each in either bar: the tones of the chords I, IV, V, I, each
broken up or down. ``tonic``, ``octave`` and ``scale`` say which tones those are, ``rhythm_bar1``
and ``rhythm_bar2`` which six of a bar's eight slots have a note, ``arp_chord1`` to ``arp_chord4``
the direction of each chord. Every combination is one melody: 1,354,752 of them, all different. Its
*row* is its place in the order of the combinations, the last factor changing fastest.

``python -m aurl.data.melodies --hash`` builds them all and prints their hashes.

Source:
    The data set of Pati, Gururani and Lerch 2020 (dMelodies), https://arxiv.org/abs/2007.15067,
    rebuilt from its description.
"""

import argparse
import hashlib
import math
from itertools import combinations, pairwise

import numpy as np
from jaxtyping import Bool, Int, Int8

from aurl.config import MelodiesConfig
from aurl.data.corpus import Corpus
from aurl.data.grid import Grid
from aurl.data.piece import Piece

FACTORS = {
    "tonic": 12,
    "octave": 3,
    "scale": 3,
    "rhythm_bar1": 28,
    "rhythm_bar2": 28,
    "arp_chord1": 2,
    "arp_chord2": 2,
    "arp_chord3": 2,
    "arp_chord4": 2,
}
"""How many values each factor has, in the order of columns."""

SIZES = tuple(FACTORS.values())
N_MELODIES = math.prod(SIZES)
ENTROPY_NATS = math.log(N_MELODIES)
"""Of the factors together, which are uniform and independent: 14.119 nats."""

REST = -1
N_BARS = 2
SLOTS = 8
"""Eighths of a bar."""

LOWEST, HIGHEST = 60, 109
VOCABULARY = Grid(steps_per_bar=SLOTS, lowest=LOWEST, highest=HIGHEST)

_SCALES = np.asarray(
    [
        [0, 2, 4, 5, 7, 9, 11, 12, 14],  # major
        [0, 2, 3, 5, 7, 8, 11, 12, 14],  # harmonic minor
        [0, 2, 3, 5, 6, 9, 10, 12, 14],  # blues
    ],
    np.int8,
)
"""Semitones above the root, by scale and degree."""

_CHORDS = np.asarray([[0, 2, 4], [3, 5, 7], [4, 6, 8], [0, 2, 4]], np.int8)
"""The degrees of I, IV, V and I, upwards."""

_RHYTHMS = np.asarray(list(combinations(range(SLOTS), 6)))
"""The slots of the six notes of a bar, by rhythm."""

_TRAIN, _VAL = 948_326, 270_950
"""Melodies of the published splits: 70 %, 20 %, and the rest."""


def factors_of_rows(rows: Int[np.ndarray, " melody"]) -> Int8[np.ndarray, "melody 9"]:
    """The factors of the melodies at some rows."""
    columns = np.unravel_index(rows, SIZES)
    return np.stack([column.astype(np.int8) for column in columns], axis=1)


def midi_grid(factors: Int8[np.ndarray, "melody 9"]) -> Int8[np.ndarray, "melody 16"]:
    """The MIDI number of the note in each slot, or :data:`REST`."""
    tonic, octave, scale = factors[:, :3].T
    degree = np.where(factors[:, 5:, None] == 0, _CHORDS, _CHORDS[:, ::-1]).reshape(-1, 12)
    root = (60 + tonic + 12 * octave).astype(np.int8)
    pitch = root[:, None] + _SCALES[scale[:, None], degree]
    slots = np.concatenate([_RHYTHMS[factors[:, 3]], SLOTS + _RHYTHMS[factors[:, 4]]], axis=1)
    grid = np.full((len(factors), N_BARS * SLOTS), REST, np.int8)
    np.put_along_axis(grid, slots, pitch, axis=1)
    return grid


def read_factors(grid: Int8[np.ndarray, "melody 16"]) -> Int8[np.ndarray, "melody 9"]:
    """The factors that melodies show, each read from the notes; -1 where they do not show it.

    A rhythm needs six notes in its bar, the other factors twelve notes in all. The root is the
    lowest of the first three notes, which are those of chord I; the scale is the first that has
    all notes; an arpeggio is up if its three notes rise from first to last.
    """
    sounds = grid != REST
    factors = np.full((len(grid), len(FACTORS)), -1, np.int8)
    factors[:, 3] = _read_rhythm(sounds[:, :SLOTS])
    factors[:, 4] = _read_rhythm(sounds[:, SLOTS:])
    whole = np.flatnonzero(sounds.sum(axis=1) == 12)
    notes = grid[whole][sounds[whole]].reshape(-1, 4, 3).astype(np.int64)
    root = notes[:, 0].min(axis=1)
    octave, tonic = np.divmod(root - 60, 12)
    inside = (octave >= 0) & (octave < FACTORS["octave"])
    factors[whole, 0] = np.where(inside, tonic, -1)
    factors[whole, 1] = np.where(inside, octave, -1)
    has = np.zeros((len(_SCALES), 12), np.bool_)
    np.put_along_axis(has, _SCALES % 12, values=True, axis=1)
    above = (notes.reshape(-1, 12) - root[:, None]) % 12
    fits = has[:, above].all(axis=2)
    factors[whole, 2] = np.where(fits.any(axis=0), fits.argmax(axis=0), -1)
    rise = notes[:, :, 2] - notes[:, :, 0]
    factors[whole, 5:] = np.where(rise > 0, 0, np.where(rise < 0, 1, -1))
    return factors


def _read_rhythm(sounds: Bool[np.ndarray, "melody 8"]) -> Int[np.ndarray, " melody"]:
    weights = 1 << np.arange(SLOTS)
    index = np.full(1 << SLOTS, -1)
    index[weights[_RHYTHMS].sum(axis=1)] = np.arange(len(_RHYTHMS))
    return index[sounds @ weights]


def tokens_of(grid: Int8[np.ndarray, "melody 16"]) -> Int[np.ndarray, "melody 17"]:
    """Melodies as tokens of :data:`VOCABULARY`."""
    notes = VOCABULARY.first_note + grid.astype(np.int64) - LOWEST
    steps = np.where(grid == REST, VOCABULARY.rest, notes)
    return np.pad(steps, ((0, 0), (1, 0)), constant_values=VOCABULARY.start)


def grid_of(tokens: Int[np.ndarray, "melody 17"]) -> Int8[np.ndarray, "melody 16"]:
    """The MIDI number of the note that begins in each slot, or :data:`REST`."""
    steps = tokens[:, 1:]
    notes = steps - VOCABULARY.first_note + LOWEST
    return np.where(steps >= VOCABULARY.first_note, notes, REST).astype(np.int8)


def piece_of(row: int) -> Piece:
    """One melody as a piece: two bars of 4/4."""
    (tokens,) = tokens_of(midi_grid(factors_of_rows(np.asarray([row]))))
    return VOCABULARY.decode(tokens)


def permutation(seed: int) -> Int[np.ndarray, " melody"]:
    """All rows in the order that the published splits cut: train, val, test.

    The seed is one of NumPy's legacy generator, which is what results on this data set name.
    """
    rows = np.arange(N_MELODIES)
    np.random.RandomState(seed).shuffle(rows)
    return rows


def melodies_corpus(config: MelodiesConfig) -> Corpus:
    """The corpus, or part of it; built in memory each time.

    Of each published split the first melodies are taken, as many as its share. ``piece`` is the
    row, and the attributes are the factors.
    """
    order = permutation(config.seed)
    edges = (0, _TRAIN, _TRAIN + _VAL, N_MELODIES)
    parts = [
        order[first : first + (stop - first) * config.train // _TRAIN]
        for first, stop in pairwise(edges)
    ]
    rows = np.concatenate(parts)
    factors = factors_of_rows(rows)
    tokens = tokens_of(midi_grid(factors))
    return Corpus(
        vocabulary=VOCABULARY,
        n_bars=N_BARS,
        tokens=tokens.astype("<u2").ravel(),
        offsets=(np.arange(len(rows) + 1) * tokens.shape[1]).astype("<i8"),
        piece=rows.astype("<i4"),
        first_bar=np.zeros(len(rows), "<i4"),
        split=np.repeat(np.arange(3), [len(part) for part in parts]).astype("i1"),
        attributes=factors.astype("<f4"),
        attribute_names=tuple(FACTORS),
        piece_names=(),
        name="melodies",
        licence="none needed: constructed",
        factor_entropy_nats=ENTROPY_NATS,
    )


def hashes() -> dict[str, str]:
    """SHA-256 of the notes and of the factors of all melodies, as C-ordered 8-bit integers."""
    factors = factors_of_rows(np.arange(N_MELODIES))
    arrays = {"midi_grid_int8": midi_grid(factors), "factors_int8": factors}
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


def main() -> None:
    """``python -m aurl.data.melodies --hash``."""
    parser = argparse.ArgumentParser(prog="python -m aurl.data.melodies", description=__doc__)
    parser.add_argument("--hash", action="store_true", required=True, help="build and hash all")
    parser.parse_args()
    for name, value in hashes().items():
        print(name, value)


if __name__ == "__main__":
    main()
