"""Pieces as piano rolls: time to the right, pitch upwards, a rectangle a note; one, or a sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aurl.data.piece import Piece
from aurl.drawing.canvas import PALE, RULE, TEXT, Canvas, Colour, Picture, text_width

MARGIN = 12
GAP = 10
LEAST_PITCHES = 13
"""Semitones that a roll shows at least, so that a single note is no wall."""

FAMILIES: tuple[Colour, ...] = (
    (34, 96, 148),
    (176, 92, 32),
    (52, 120, 72),
    (130, 70, 140),
    (160, 60, 70),
    (90, 100, 40),
    (40, 120, 130),
    (110, 90, 70),
)
"""Of the General MIDI families of eight programs, two by two."""

DRUMS: Colour = (90, 90, 98)
PALEST = 0.35
"""Of its colour that the softest note has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What part of music a roll shows."""

    quarters: float
    """From the beginning, in quarter notes."""

    lowest: int
    highest: int
    """Both are shown."""


def frame_of(pieces: Sequence[Piece]) -> Frame:
    """The frame that holds every note of some pieces, and their bars."""
    notes = np.concatenate([piece.notes["pitch"] for piece in pieces]).astype(np.int64)
    lowest, highest = (int(notes.min()), int(notes.max())) if len(notes) else (60, 72)
    lacking = max(0, LEAST_PITCHES - (highest - lowest + 1))
    lowest = max(0, lowest - lacking // 2 - 1)
    lengths = [max(piece.end, piece.length) / piece.ticks_per_quarter for piece in pieces]
    return Frame(
        quarters=max(lengths, default=0.0) or 4.0,
        lowest=lowest,
        highest=min(127, max(highest + 1, lowest + LEAST_PITCHES - 1)),
    )


def piano_roll(piece: Piece, *, width: int = 640, height: int = 200) -> Picture:
    """One piece, with its bars numbered and its octaves named.

    Args:
        piece: What is shown.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
    """
    canvas = Canvas(width, height)
    frame = frame_of([piece])
    left = 44
    place = (left, MARGIN, width - MARGIN, height - MARGIN - TEXT - 4)
    _roll(canvas, piece, frame, place)
    row = (place[3] - place[1]) / (frame.highest - frame.lowest + 1)
    for pitch in range(frame.lowest, frame.highest + 1):
        if pitch % 12 == 0:
            y = place[3] - row * (pitch - frame.lowest + 0.5)
            canvas.words(left - 5, y, f"C{pitch // 12 - 1}", anchor="rm", colour=PALE)
    scale = (place[2] - place[0]) / (frame.quarters * piece.ticks_per_quarter)
    lines = piece.bar_lines()
    for bar, tick in enumerate(lines[:-1].tolist(), start=1):
        x = left + tick * scale
        if len(lines) <= 33 or bar % 4 == 1:
            canvas.words(x + 2, place[3] + 3, str(bar), anchor="lt", colour=PALE)
    return canvas.picture()


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What stands around a sheet."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]


def sheet(
    rolls: Sequence[Sequence[Piece]], captions: Captions, *, cell: tuple[int, int] = (168, 72)
) -> Picture:
    """Rows and columns of piano rolls, all in one frame so that they can be compared.

    Args:
        rolls: The pieces, by row and column.
        captions: Names of rows and columns.
        cell: Width and height of a roll, in pixels.

    Raises:
        ValueError: If there is no piece, or a row or a column has no name.
    """
    n_rows, n_columns = len(captions.rows), len(captions.columns)
    if not n_rows or len(rolls) != n_rows or any(len(row) != n_columns for row in rolls):
        raise ValueError(
            f"rolls must be {n_rows} rows of {n_columns} pieces, as named, "
            f"got {[len(row) for row in rolls]}."
        )
    frame = frame_of([piece for row in rolls for piece in row])
    wide, high = cell
    left = MARGIN + 8 + max(map(text_width, captions.rows))
    top = MARGIN + 2 * (TEXT + 8)
    canvas = Canvas(
        round(max(left + n_columns * (wide + GAP), left + text_width(captions.title) + MARGIN)),
        round(top + n_rows * (high + GAP) + MARGIN - GAP),
    )
    canvas.words(left, MARGIN, captions.title, anchor="lt")
    for column, name in enumerate(captions.columns):
        x = left + column * (wide + GAP) + wide / 2
        canvas.words(x, top - 6, name, anchor="ms", colour=PALE)
    for row, name in enumerate(captions.rows):
        y = top + row * (high + GAP)
        canvas.words(left - 8, y + high / 2, name, anchor="rm")
        for column, piece in enumerate(rolls[row]):
            x = left + column * (wide + GAP)
            _roll(canvas, piece, frame, (x, y, x + wide, y + high))
    return canvas.picture()


def _roll(
    canvas: Canvas, piece: Piece, frame: Frame, place: tuple[float, float, float, float]
) -> None:
    """A roll within left, top, right and bottom."""
    left, top, right, bottom = place
    scale = (right - left) / (frame.quarters * piece.ticks_per_quarter)
    row = (bottom - top) / (frame.highest - frame.lowest + 1)
    for pitch in range(frame.lowest, frame.highest + 1):
        if pitch % 12 == 0:
            y = bottom - row * (pitch - frame.lowest)
            canvas.line(left, y, right, y)
    for tick in piece.bar_lines().tolist():
        if tick * scale <= right - left:
            canvas.line(left + tick * scale, top, left + tick * scale, bottom, PALE)
    for edge in (top, bottom):
        canvas.line(left, edge, right, edge, RULE)
    if not len(piece.notes):
        canvas.words((left + right) / 2, (top + bottom) / 2, "silence", anchor="mm", colour=PALE)
    for onset, duration, pitch, velocity, program, is_drum in piece.notes.tolist():
        x, y = left + onset * scale, bottom - row * (pitch - frame.lowest + 1)
        colour = _colour(velocity, program, is_drum=is_drum)
        gap = 1.0 if duration * scale > 3 else 0.0
        canvas.box(x, y, x + duration * scale - gap, y + max(row, 1.5), colour)


def _colour(velocity: int, program: int, *, is_drum: bool) -> Colour:
    """The instrument's hue, paler where the note is softer."""
    hue = DRUMS if is_drum else FAMILIES[program // 16]
    share = PALEST + (1.0 - PALEST) * velocity / 127
    red, green, blue = (round(255 + (channel - 255) * share) for channel in hue)
    return red, green, blue
