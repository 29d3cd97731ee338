"""Time in seconds: a piece laid on a clock of 64 ticks a second, whatever its tempos.

On the clock a piece is written in 4/4 at 120, so a quarter is 32 ticks, and what other modules
call a bar is a stretch of two seconds.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from aurl.data.piece import Metre, Piece, Tempo, sorted_notes

TICKS_PER_SECOND = 64
TICKS_PER_QUARTER = 32
BAR = 128
"""Ticks of a bar on the clock: two seconds."""

_METRES = (Metre(tick=0, numerator=4, denominator=4),)
_TEMPOS = (Tempo(tick=0, bpm=120.0),)


def seconds(piece: Piece, ticks: Int[np.ndarray, " tick"]) -> Float[np.ndarray, " tick"]:
    """When some ticks of a piece are, in seconds from its start."""
    starts = np.asarray([tempo.tick for tempo in piece.tempos])
    per_tick = 60.0 / (piece.ticks_per_quarter * np.asarray([t.bpm for t in piece.tempos]))
    reached = np.append(0.0, np.cumsum(np.diff(starts) * per_tick[:-1]))
    index = np.searchsorted(starts, ticks, side="right") - 1
    return reached[index] + (ticks - starts[index]) * per_tick[index]


def clocked(piece: Piece) -> Piece:
    """The piece on the clock, each onset and each end at its nearest tick (halves up).

    Absolute times are rounded, so the error is at most half a tick, 7.8125 ms, anywhere in the
    piece. A note keeps at least one tick. Metres, tempos and the pickup are not carried.
    """
    if is_clocked(piece):
        return piece
    notes = piece.notes.copy()
    ends = nearest(piece, notes["onset"] + notes["duration"])
    notes["onset"] = nearest(piece, notes["onset"])
    notes["duration"] = np.maximum(ends - notes["onset"], 1)
    keys = {int(nearest(piece, np.asarray([key.tick]))[0]): key for key in piece.keys}
    return Piece(
        ticks_per_quarter=TICKS_PER_QUARTER,
        notes=sorted_notes(notes),
        metres=_METRES,
        tempos=_TEMPOS,
        keys=tuple(replace(key, tick=tick) for tick, key in keys.items()),
        name=piece.name,
        length=int(nearest(piece, np.asarray([piece.length]))[0]),
    )


def is_clocked(piece: Piece) -> bool:
    """Whether a piece is on the clock already."""
    return (
        piece.ticks_per_quarter == TICKS_PER_QUARTER
        and piece.metres == _METRES
        and piece.tempos == _TEMPOS
        and piece.pickup == 0
    )


def nearest(piece: Piece, ticks: Int[np.ndarray, " tick"]) -> Int[np.ndarray, " tick"]:
    """The tick of the clock nearest to each of some ticks of a piece."""
    return np.floor(seconds(piece, ticks) * TICKS_PER_SECOND + 0.5).astype(np.int64)
