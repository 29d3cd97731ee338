"""A matrix of numbers from 0 up as shades, with its rows and columns named."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from aurl.drawing.canvas import (
    INK,
    PAPER,
    RULE,
    TEXT,
    Canvas,
    Picture,
    is_dark,
    shade,
    text_width,
)

MARGIN = 12
BAR = 14
CELL_HEIGHT = 16
WIDEST = 720
"""Pixels that the cells of a row take at most, if a cell then is at least two pixels wide."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What stands around a matrix."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    across: str = ""
    """What the columns are, below their names."""


def heat_map(values: Float[np.ndarray, "row column"], labels: Labels) -> Picture:
    """The matrix, one cell a value; a value is written into its cell where there is room.

    A rule parts rows whose names begin differently, up to their last ``/``: the levels of a latent
    space. NaN has a colour of its own.

    Raises:
        ValueError: If a row or a column has no name.
    """
    n_rows, n_columns = values.shape
    if (len(labels.rows), len(labels.columns)) != values.shape:
        raise ValueError(
            f"labels must name {n_rows} rows and {n_columns} columns, "
            f"got {len(labels.rows)} and {len(labels.columns)}."
        )
    most = float(values[np.isfinite(values)].max(initial=0.0))  # has the darkest shade
    wide = min(56, max(2, WIDEST // max(n_columns, 1)))
    left = MARGIN + 8 + max(map(text_width, labels.rows), default=0.0)
    top = MARGIN + TEXT + 12
    right, bottom = left + wide * n_columns, top + CELL_HEIGHT * n_rows
    below = 10 + max(map(text_width, labels.columns), default=0.0)
    scale = right + 18
    width = max(scale + BAR + 8 + text_width(_said(most)), left + text_width(labels.title))
    canvas = Canvas(
        round(width + MARGIN), round(bottom + below + (TEXT + 8 if labels.across else 0) + MARGIN)
    )
    canvas.words(left, MARGIN, labels.title, anchor="lt")
    for row, name in enumerate(labels.rows):
        y = top + CELL_HEIGHT * row
        canvas.words(left - 6, y + CELL_HEIGHT / 2, name, anchor="rm")
        for column in range(n_columns):
            _cell(canvas, (left + wide * column, y, wide), float(values[row, column]), most)
        if row and name.rpartition("/")[0] != labels.rows[row - 1].rpartition("/")[0]:
            canvas.line(left, y, right, y, INK)
    every = 1 + int((TEXT + 2) // wide)
    for column in range(0, n_columns, every):
        canvas.upright(left + wide * (column + 0.5), bottom + 6, labels.columns[column])
    if labels.across:
        canvas.words((left + right) / 2, bottom + below + 2, labels.across, anchor="mt")
    _scale(canvas, (scale, top, min(bottom, top + 160)), most)
    return canvas.picture()


def _cell(canvas: Canvas, place: tuple[float, float, int], value: float, most: float) -> None:
    x, y, wide = place
    colour = shade(value, most)
    gap = 1 if wide > 4 else 0
    canvas.box(x, y, x + wide - gap, y + CELL_HEIGHT - 1, colour)
    if wide >= 32 and np.isfinite(value):
        ink = PAPER if is_dark(colour) else INK
        canvas.words(x + wide / 2, y + CELL_HEIGHT / 2 - 1, _said(value), anchor="mm", colour=ink)


def _scale(canvas: Canvas, place: tuple[float, float, float], most: float) -> None:
    x, top, bottom = place
    high = round(bottom - top)
    for row in range(high):
        y = top + row
        canvas.box(x, y, x + BAR, y + 1, shade(1.0 - (row + 0.5) / high, 1.0))
    for edge in (x, x + BAR):
        canvas.line(edge, top, edge, bottom, RULE)
    canvas.words(x + BAR + 4, top, _said(most), anchor="lt")
    canvas.words(x + BAR + 4, bottom, "0", anchor="ls")


def _said(value: float) -> str:
    return f"{value:z.2f}" if abs(value) < 10 else f"{value:.1f}"
