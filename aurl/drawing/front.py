"""A Pareto front: every pair of the objectives against each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from aurl.drawing.canvas import PALE, RULE, TEXT, Canvas, Colour, Picture, text_width

MARGIN = 12
SIDE = 260
LEFT = 44
BELOW = 40
FRONT: Colour = (196, 84, 30)
OTHER: Colour = (150, 160, 176)
NAME_WIDTH = 46
"""Pixels beside a dot that its name needs; a dot whose name would lie on another's has none."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What is compared, and of which trial each row is."""

    names: Sequence[str]
    objectives: Sequence[str]
    values: Float[np.ndarray, "trial objective"]
    """In [0, 1]; greater is better."""

    on_front: Bool[np.ndarray, " trial"]


def pareto_front(trials: Trials, *, title: str) -> Picture:
    """Every pair of objectives as a panel from 0 to 1.

    The front is drawn on top, and named where there is room.

    Raises:
        ValueError: If there are fewer than two objectives.
    """
    pairs = list(combinations(range(len(trials.objectives)), 2))
    if not pairs:
        raise ValueError(f"objectives must be 2 at least, got {len(trials.objectives)}.")
    top = MARGIN + 2 * (TEXT + 10)
    width = len(pairs) * (LEFT + SIDE + MARGIN) + MARGIN
    canvas = Canvas(
        round(max(width, LEFT + text_width(title) + MARGIN)), top + SIDE + BELOW + MARGIN
    )
    canvas.words(LEFT, MARGIN, title, anchor="lt")
    for panel, (across, up) in enumerate(pairs):
        left = LEFT + panel * (LEFT + SIDE + MARGIN)
        _axes(canvas, left, top, (trials.objectives[across], trials.objectives[up]))
        for chosen in (~trials.on_front, trials.on_front):
            _dots(canvas, (left, top), trials, chosen, (across, up))
    return canvas.picture()


def _axes(canvas: Canvas, left: int, top: int, names: tuple[str, str]) -> None:
    bottom = top + SIDE
    for tick in np.linspace(0.0, 1.0, 6).tolist():
        x, y = left + SIDE * tick, bottom - SIDE * tick
        colour = PALE if tick == 0.0 else RULE
        canvas.line(x, top, x, bottom, colour)
        canvas.line(left, y, left + SIDE, y, colour)
        canvas.words(x, bottom + 5, f"{tick:.1f}", anchor="mt", colour=PALE)
        canvas.words(left - 5, y, f"{tick:.1f}", anchor="rm", colour=PALE)
    canvas.words(left + SIDE / 2, bottom + 22, names[0], anchor="mt")
    canvas.words(left, top - 8, names[1], anchor="ls")


def _dots(
    canvas: Canvas,
    corner: tuple[int, int],
    trials: Trials,
    chosen: Bool[np.ndarray, " trial"],
    axes: tuple[int, int],
) -> None:
    left, top = corner
    named: list[tuple[float, float]] = []
    for index in np.flatnonzero(chosen).tolist():
        across, up = trials.values[index, axes[0]], trials.values[index, axes[1]]
        x, y = left + SIDE * float(across), top + SIDE * (1.0 - float(up))
        on_front = bool(trials.on_front[index])
        canvas.dot(x, y, 4.5 if on_front else 3.0, FRONT if on_front else OTHER)
        is_near = any(abs(x - a) < NAME_WIDTH and abs(y - b) < TEXT for a, b in named)
        if on_front and not is_near:
            named.append((x, y))
            is_right = x > left + SIDE - NAME_WIDTH
            anchor = "rm" if is_right else "lm"
            canvas.words(x + (-7 if is_right else 7), y, trials.names[index], anchor=anchor)
