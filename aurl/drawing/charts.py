"""What numbers of trials are drawn as: pairs of objectives, slices, bars, and places in a range.

Each function takes plain values and gives a drawing that is readable at the width of a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from aurl.drawing.svg import Drawing, Role

WIDTH, HEIGHT = 340, 250
LEFT, TOP, BELOW, RIGHT = 44, 26, 42, 14
TICKS = 5
NARROWEST = 0.05
LETTER = 6.4
"""Width of an average letter."""
LINE = 18
"""Height of a line of a legend."""

Label: TypeAlias = tuple[float, str]
"""Where on an axis, from 0 to 1, and what stands there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One direction of a chart."""

    name: str
    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False
    """Whether values are whole numbers."""

    options: tuple[str, ...] = ()
    """What the whole numbers from 0 on stand for, if values are choices."""

    def place(self, value: float) -> float:
        """Where a value is, from 0 to 1."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return (at - low) / (high - low) if high > low else 0.5

    @property
    def room(self) -> float:
        """Width of an option's name below a :func:`scatter`."""
        return (WIDTH - RIGHT - LEFT) / max(len(self.options), 1)

    @property
    def is_crowded(self) -> bool:
        """Whether names of options would be cut there; see :func:`tracks`."""
        return any(_cut(option, self.room) != option for option in self.options)

    def labels(self) -> list[Label]:
        """What is written along it."""
        if self.options:
            return [(self.place(index), name) for index, name in enumerate(self.options)]
        if self.is_log:
            middle = math.sqrt(self.low * self.high)
            ends = (self.low, middle, self.high)
            return [(self.place(each), f"{float(f'{each:.2g}'):.10g}") for each in ends]
        step = _nice_step(self.high - self.low)
        step = max(1.0, step) if self.is_whole else step
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        values = [index * step for index in range(first, last + 1)]
        return [(self.place(each), f"{each:.10g}") for each in values]


def axis_around(name: str, values: Sequence[float]) -> Axis:
    """An axis of scores in [0, 1], as wide as the values need, :data:`NARROWEST` at least."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    middle, half = (min(finite) + max(finite)) / 2, (max(finite) - min(finite)) * 0.56
    half = max(half, NARROWEST / 2)
    return Axis(name=name, low=max(0.0, middle - half), high=min(1.0, middle + half))


def axis_of_options(name: str, options: Sequence[str]) -> Axis:
    """An axis of choices, with room at both ends."""
    return Axis(name=name, low=-0.5, high=len(options) - 0.5, options=tuple(options))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A trial in a chart."""

    x: float
    y: float
    key: str
    """Its id."""

    tip: str
    role: Role = "other"


Legend: TypeAlias = Sequence[tuple[Role, str]]
"""What dots of some roles mean, in a word."""


def scatter(
    marks: Sequence[Mark], across: Axis, up: Axis, *, title: str = "", legend: Legend = ()
) -> Drawing:
    """Trials, or windows, by two of their values; those that matter are drawn on top.

    Args:
        marks: What is drawn.
        across: From left to right.
        up: From below.
        title: Above it, if it is of more than both values; then ``up`` is named beside it.
        legend: Below it.
    """
    label = f"{title or up.name} against {across.name}, {len(marks)} dots"
    drawing = _above(legend, HEIGHT, label)
    right, bottom = WIDTH - RIGHT, HEIGHT - BELOW
    for place, text in up.labels():
        y = bottom + (TOP - bottom) * place
        drawing.line(LEFT, y, right, y)
        drawing.words(LEFT - 6, y + 4, text, align="end", role="pale")
    for place, text in across.labels():
        x = LEFT + (right - LEFT) * place
        drawing.line(x, TOP, x, bottom)
        shown = _cut(text, across.room) if across.options else text
        inside = min(x, WIDTH - LETTER * len(shown) / 2)
        drawing.words(inside, bottom + 16, shown, align="middle", role="pale")
    drawing.line(LEFT, bottom, right, bottom, "axis")
    drawing.line(LEFT, TOP, LEFT, bottom, "axis")
    drawing.words((LEFT + right) / 2, HEIGHT - 6, _cut(across.name, right), align="middle")
    drawing.words(8, 15, title or f"↑ {up.name}", role="words")
    if title:
        drawing.words(right, 15, f"↑ {up.name}", align="end", role="pale")
    order: Sequence[Role] = ("other", "front", "first", "best")
    for mark in sorted(
        marks, key=lambda mark: order.index(mark.role) if mark.role in order else 0
    ):
        shift = _jitter(mark.key) * 0.5 if across.options else 0.0
        x = LEFT + (right - LEFT) * across.place(mark.x + shift)
        y = bottom + (TOP - bottom) * up.place(mark.y)
        radius = {"other": 4.0, "front": 5.0, "first": 6.0, "best": 6.0}.get(mark.role, 3.0)
        drawing.dot((x, y), radius, mark.role, key=mark.key, tip=mark.tip)
    return drawing


def _above(legend: Legend, height: float, label: str) -> Drawing:
    """A sheet with room for a drawing of some height, and a legend below that."""
    places, below = _flow([text for _, text in legend])
    drawing = Drawing(WIDTH, height + below, label)
    for (x, y), (role, text) in zip(places, legend, strict=True):
        drawing.sign((x + 4, height + y + 8), role)
        drawing.words(x + 12, height + y + 12, text, role="pale")
    return drawing


def _flow(texts: Sequence[str]) -> tuple[list[tuple[float, float]], float]:
    """Where each entry of a legend begins, and how high all of it is."""
    places: list[tuple[float, float]] = []
    x, y = 8.0, 4.0
    for text in texts:
        wide = 12.0 + (LETTER * len(text) + 10.0 if text else 0.0)
        if x > 8.0 and x + wide > WIDTH - 8:
            x, y = 8.0, y + LINE
        places.append((x, y))
        x += wide
    return places, y + LINE if places else 0.0


def bars(title: str, names: Sequence[str], shares: Float[np.ndarray, " name"]) -> Drawing:
    """A bar for each name, its value from 0 to 1 written behind it."""
    high = 34
    drawing = Drawing(WIDTH, TOP + high * len(names) + 4, f"{title}: {len(names)} values")
    drawing.words(8, 15, title)
    for row, (name, share) in enumerate(zip(names, shares.tolist(), strict=True)):
        y = TOP + high * row
        drawing.words(8, y + 13, _cut(name, WIDTH - 16), role="pale")
        drawing.box(8, y + 18, WIDTH - 60, 9, "track")
        drawing.box(8, y + 18, (WIDTH - 60) * min(max(share, 0.0), 1.0), 9, "bar")
        drawing.words(WIDTH - 8, y + 27, f"{share:.2f}", align="end")
    return drawing


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """A range, and where in it some trials are."""

    name: str
    low: str
    high: str
    marks: Sequence[Mark]
    """``x`` is from 0 to 1; ``y`` is not used."""

    flagged: bool = False
    """Whether an end of it is where the best is."""


def tracks(title: str, rows: Sequence[Track], *, legend: Legend = ()) -> Drawing:
    """A line for each range, with dots where the trials are; the legend is below."""
    high = 52
    drawing = _above(legend, TOP + high * len(rows) + 4, f"{title}: {len(rows)} lines")
    drawing.words(8, 15, title)
    left, right = 14, WIDTH - 14
    for row, track in enumerate(rows):
        y = TOP + high * row
        name = _cut(track.name, WIDTH - 16)
        drawing.words(8, y + 13, name, role="flagged" if track.flagged else "words")
        drawing.box(left, y + 23, right - left, 4, "track")
        drawing.words(left - 6, y + 43, track.low, role="pale")
        drawing.words(right + 6, y + 43, track.high, align="end", role="pale")
        for mark in track.marks:
            x = left + (right - left) * min(max(mark.x, 0.0), 1.0)
            radius = 6.0 if mark.role == "best" else 4.5
            drawing.dot((x, y + 25), radius, mark.role, key=mark.key, tip=mark.tip)
    return drawing


def _nice_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that about ``TICKS`` of them fill the span."""
    rough = max(span, 1e-12) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough)


def _cut(text: str, room: float) -> str:
    """As much of a text as fits, by the width of an average letter."""
    most = max(3, int(room / LETTER))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _jitter(key: str) -> float:
    """Between -0.5 and 0.5, the same for the same key: so that equal choices do not hide."""
    return (sum(place * ord(letter) for place, letter in enumerate(key, 1)) * 0.618) % 1.0 - 0.5
