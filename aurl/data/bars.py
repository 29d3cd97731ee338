"""Where the bars of a piece begin: MIDI has no word for an incomplete first bar.

A tune that starts with a pickup has its bar lines written nowhere; what tells them is that bars
begin loud. Of the positions within a bar, one must hold most of the accent, clearly more than any
other, in most of the bars; without such evidence the piece is taken to start on a bar line.

Long notes are no evidence: on the bundled tunes, where the accents tell the truth, the position
that holds the longest notes is the start of the bar in 13-22 % of the tunes, however clear it
looks. Drums are left out: the loudest of them is the backbeat.
"""

from dataclasses import replace

import numpy as np

from aurl.data.piece import Piece, bar_length

MIN_SHARE = 0.5
"""Of the squared velocity above the median that falls on one position in the bar."""

MIN_LEAD = 1.5
"""Times as much as the next best position."""

MIN_BARS = 4
"""Bars that begin with an accent; at least half of all bars must, too."""


def with_pickup(piece: Piece) -> Piece:
    """The piece with ``pickup`` set from its accents (see :func:`found_pickup`)."""
    return replace(piece, pickup=found_pickup(piece))


def found_pickup(piece: Piece) -> int:
    """Ticks before the first bar line, where accents show one clearly; else 0.

    Of the 1,059 bundled tunes 743 have one. A piece whose next metre starts a whole number of
    bars after tick 0 (or after the pickup) has said where its bar lines are, and no accent
    overrules that.

    Args:
        piece: On a coarse grid (:func:`~aurl.data.piece.quantized`), so that positions coincide.
    """
    notes = piece.notes[~piece.notes["is_drum"]]
    later = {metre.tick for metre in piece.metres[1:2] if metre.tick < piece.end}
    for tick in later:
        notes = notes[notes["onset"] < tick]
    if not len(notes):
        return 0
    bar = bar_length(piece.metres[0], piece.ticks_per_quarter)
    velocity = notes["velocity"].astype(np.float64)
    accent = np.maximum(velocity - np.median(velocity), 0.0) ** 2
    position = notes["onset"] % bar
    weight = np.bincount(position, weights=accent, minlength=bar)
    best = int(weight.argmax())
    rest = np.delete(weight, best).max(initial=0.0)
    if weight[best] < MIN_SHARE * weight.sum() or weight[best] < MIN_LEAD * rest:
        return 0
    n_bars = len(np.unique(notes["onset"] // bar))
    n_accented = len(np.unique(notes["onset"][(position == best) & (accent > 0)]))
    if n_accented < max(MIN_BARS, n_bars / 2):
        return 0
    return best if {tick % bar for tick in later} <= {best} else 0
