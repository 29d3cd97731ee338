"""Pieces arranged: one after the other in a file, or all on one instrument."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aurl.data.piece import Metre, Piece, Tempo, quantized, sorted_notes


def in_sequence(pieces: Sequence[Piece], *, bars_each: int, gap_bars: int = 1) -> Piece:
    """Join windows into one piece, each as long as its bars, with silence between them.

    Args:
        pieces: Windows on one tick grid, each without a pickup.
        bars_each: Bars every window is given, silent ones at its end included.
        gap_bars: Empty bars after each window.

    Returns:
        A piece in which window k starts at its own bar line; its metre and tempo are restated.
    """
    notes: list[np.ndarray] = []
    metres: dict[int, Metre] = {}
    tempos: dict[int, Tempo] = {}
    start = 0
    for piece in pieces:
        moved = piece.notes.copy()
        moved["onset"] += start
        notes.append(moved)
        for metre in piece.metres:
            tick = start + metre.tick
            metres[tick] = Metre(
                tick=tick, numerator=metre.numerator, denominator=metre.denominator
            )
        for tempo in piece.tempos:
            tempos[start + tempo.tick] = Tempo(tick=start + tempo.tick, bpm=tempo.bpm)
        start += int(piece.bar_lines(bars_each + gap_bars)[bars_each + gap_bars])
    return Piece(
        ticks_per_quarter=pieces[0].ticks_per_quarter,
        notes=np.concatenate(notes),
        metres=tuple(metres.values()),
        tempos=tuple(tempos.values()),
        length=start,
    )


def on_one_instrument(piece: Piece, program: int) -> Piece:
    """The piece played by one program, without its drums; on the grid of :func:`quantized`.

    Of notes that become the same, the longest stays. What has nothing but drums is left as it is.
    """
    notes = piece.notes[~piece.notes["is_drum"]]
    if not len(notes):
        return piece
    notes["program"] = program
    return quantized(replace(piece, notes=sorted_notes(notes)))
