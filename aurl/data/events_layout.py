"""The ids of the `events` vocabulary: where each block begins, and what its values are."""

import numpy as np
from jaxtyping import Int

START, END, PAD, UNK = range(4)
NOTE_ON, NOTE_OFF, TIME_SHIFT, VELOCITY, SUSTAIN, TEMPO, INSTRUMENT, SIZE = (
    4,
    92,
    180,
    692,
    724,
    726,
    758,
    774,
)
"""The first id of each block; SIZE is the number of ids."""

LOWEST = 21
"""MIDI number of the lowest pitch."""

PITCHES = 88
FAMILIES = 16
FULL_SHIFT = 511
"""Steps of the longest TIME_SHIFT."""

VELOCITIES = np.rint(np.linspace(1.0, 127.0, 32)).astype(np.int64)
"""The MIDI velocity of each VELOCITY."""

TEMPOS = np.linspace(60.0, 200.0, 32)
"""Quarters a minute of each TEMPO."""


def nearest_velocity(velocities: Int[np.ndarray, " note"]) -> Int[np.ndarray, " note"]:
    """The VELOCITY nearest to each MIDI velocity."""
    return np.abs(VELOCITIES - velocities[:, None]).argmin(axis=1)


def nearest_tempo(bpm: float) -> int:
    """The TEMPO nearest to a speed; the first and the last are open."""
    return int(np.abs(TEMPOS - bpm).argmin())


STARTING_TEMPO = nearest_tempo(120.0)
"""The TEMPO in force before any is said."""
