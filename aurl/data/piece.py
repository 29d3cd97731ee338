"""A piece of music: notes on a tick grid, with its metres, tempos, keys and bar lines.

Three ideas. Time is counted in integer ticks, ``ticks_per_quarter`` of them to a quarter note, and
is always absolute, so nothing drifts. A bar line is where a metre says it is: bars follow one
another from tick 0 (or from the end of the ``pickup``), and a metre that comes before a bar is
full starts a new one. A piece is a value: :func:`quantized` and :func:`sliced` make new ones.
"""

import bisect
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Int, Shaped

NOTE = np.dtype(
    [
        ("onset", "<i8"),
        ("duration", "<i8"),
        ("pitch", "<i2"),
        ("velocity", "<i2"),
        ("program", "<i2"),
        ("is_drum", "?"),
    ]
)
"""One note: onset and duration in ticks, pitch 0..127, velocity 1..127, program 0..127."""

SORT_ORDER = ("onset", "is_drum", "program", "pitch", "duration", "velocity")
GRID = 24
"""Ticks a quarter note of all that becomes tokens: thirds and eighths of a quarter are whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metre:
    """A time signature from ``tick`` on."""

    tick: int
    numerator: int
    denominator: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tempo:
    """A speed in quarter notes a minute from ``tick`` on."""

    tick: int
    bpm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key from ``tick`` on; ``tonic`` is a pitch class, 0 = C."""

    tick: int
    tonic: int
    is_minor: bool


Change = TypeVar("Change", Metre, Tempo, Key)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """Notes and what is printed above them.

    Raises:
        ValueError: If the notes are not in :data:`SORT_ORDER`, a note or a change is out of range,
            changes are not strictly ascending, or a metre or tempo is not in force at tick 0.
    """

    ticks_per_quarter: int
    notes: Shaped[np.ndarray, " note"]
    """Of dtype :data:`NOTE`, in :data:`SORT_ORDER`; drums have program 0."""

    metres: tuple[Metre, ...] = (Metre(tick=0, numerator=4, denominator=4),)
    tempos: tuple[Tempo, ...] = (Tempo(tick=0, bpm=120.0),)
    keys: tuple[Key, ...] = ()
    name: str = ""
    pickup: int = 0
    """Ticks of an incomplete first bar; 0 where the piece starts on a bar line."""

    length: int = 0
    """Ticks the piece lasts at least: the silence after the last note that belongs to it."""

    _lines: Int[np.ndarray, " line"] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.ticks_per_quarter < 1:
            raise ValueError(f"ticks_per_quarter must be >= 1, got {self.ticks_per_quarter}.")
        _check_notes(self.notes)
        _check_changes("metres", self.metres, needed=True)
        _check_changes("tempos", self.tempos, needed=True)
        _check_changes("keys", self.keys, needed=False)
        for metre in self.metres:
            if bar_length(metre, self.ticks_per_quarter) < 1:
                raise ValueError(f"metres must have bars of >= 1 tick, got {metre}.")
        if not all(tempo.bpm > 0 for tempo in self.tempos):
            raise ValueError(f"tempos must be > 0 quarters a minute, got {self.tempos}.")
        first = bar_length(self.metres[0], self.ticks_per_quarter)
        if not 0 <= self.pickup < first:
            raise ValueError(f"pickup must be in 0..{first - 1}, got {self.pickup}.")
        if self.length < 0:
            raise ValueError(f"length must be >= 0 ticks, got {self.length}.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Piece):
            return NotImplemented
        return _facts(self) == _facts(other) and np.array_equal(self.notes, other.notes)

    @property
    def end(self) -> int:
        """The tick at which the last note ends; 0 without notes."""
        return int((self.notes["onset"] + self.notes["duration"]).max(initial=0))

    @property
    def n_bars(self) -> int:
        """How many bars hold the notes and ``length``."""
        return len(self.bar_lines()) - 1

    def bar_lines(self, n_bars: int = 0) -> Int[np.ndarray, " line"]:
        """The tick of every bar line: the first is 0, the last at or after the end.

        Args:
            n_bars: Go on in the last metre until there are at least so many bars.
        """
        if self._lines is None:
            object.__setattr__(self, "_lines", self._computed_lines(0))
        lines = self._lines
        assert lines is not None
        return (self._computed_lines(n_bars) if len(lines) <= n_bars else lines).copy()

    def _computed_lines(self, n_bars: int) -> Int[np.ndarray, " line"]:
        last = max(self.end, self.length)
        parts = [np.zeros(1, np.int64)]
        n_lines, newest = 1, 0
        stops = [metre.tick for metre in self.metres[1:]] + [None]
        for index, (metre, stop) in enumerate(zip(self.metres, stops, strict=True)):
            if newest >= last and n_lines > n_bars + 1:
                break
            origin = self.pickup if index == 0 else metre.tick
            quarters = metre.numerator * 4 * self.ticks_per_quarter
            enough = max(last - origin, 0) * metre.denominator // quarters + n_bars + 2
            found = origin + np.arange(enough) * quarters // metre.denominator
            parts.append(found if stop is None else found[found < stop])
            n_lines += len(parts[-1])
            newest = int(parts[-1].max(initial=newest))
        lines = np.unique(np.concatenate(parts))
        return lines[: max(int(np.searchsorted(lines, last)), n_bars) + 1]

    def metre_at(self, tick: int) -> Metre:
        """The metre in force at ``tick`` (>= 0)."""
        index = bisect.bisect_right(self.metres, tick, key=lambda metre: metre.tick)
        return self.metres[max(index, 1) - 1]


def bar_length(metre: Metre, ticks_per_quarter: int) -> int:
    """Ticks of one bar, rounded down where the grid cannot hold it."""
    return metre.numerator * 4 * ticks_per_quarter // metre.denominator


def sorted_notes(notes: Shaped[np.ndarray, " note"]) -> Shaped[np.ndarray, " note"]:
    """The notes in :data:`SORT_ORDER`."""
    return notes[np.lexsort([notes[column] for column in reversed(SORT_ORDER)])]


def quantized(piece: Piece) -> Piece:
    """The piece on :data:`GRID` ticks a quarter, each onset and each end at its nearest tick.

    Absolute times are rounded (halves up), so the error is at most half a tick anywhere in the
    piece, and notes that touched still touch. A note keeps at least one tick. Of notes with the
    same onset, pitch and instrument the longest stays, then the loudest.
    """
    per_quarter = piece.ticks_per_quarter

    def nearest(ticks: Int[np.ndarray, " tick"]) -> Int[np.ndarray, " tick"]:
        return (2 * ticks * GRID + per_quarter) // (2 * per_quarter)

    def moved(changes: tuple[Change, ...]) -> tuple[Change, ...]:
        at = {int(nearest(np.asarray([each.tick]))[0]): each for each in changes}
        return tuple(replace(each, tick=tick) for tick, each in at.items())

    notes = piece.notes.copy()
    ends = nearest(notes["onset"] + notes["duration"])
    notes["onset"] = nearest(notes["onset"])
    notes["duration"] = np.maximum(ends - notes["onset"], 1)
    metres = moved(piece.metres)
    pickup, length = (int(tick) for tick in nearest(np.asarray([piece.pickup, piece.length])))
    return replace(
        piece,
        ticks_per_quarter=GRID,
        notes=_without_doubles(sorted_notes(notes)),
        metres=metres,
        tempos=moved(piece.tempos),
        keys=moved(piece.keys),
        pickup=pickup % bar_length(metres[0], GRID),
        length=length,
    )


def sliced(piece: Piece, first_bar: int, n_bars: int) -> Piece:
    """``n_bars`` bars from ``first_bar`` on, as a piece of their own that starts at tick 0.

    It holds the notes whose onset is inside; those that sound on are cut at its end, and those
    that began earlier are not in it. The metre, tempo and key in force are restated at tick 0. A
    window past the last bar is padded with empty bars of the last metre.

    Raises:
        ValueError: If ``first_bar`` or ``n_bars`` is out of range.
    """
    if first_bar < 0 or n_bars < 1:
        raise ValueError(
            f"a window must have >= 1 bars from bar >= 0 on, got {first_bar=}, {n_bars=}."
        )
    lines = piece.bar_lines(first_bar + n_bars)
    start, stop = int(lines[first_bar]), int(lines[first_bar + n_bars])
    first, last = np.searchsorted(piece.notes["onset"], [start, stop])
    notes = piece.notes[first:last].copy()
    notes["onset"] -= start
    notes["duration"] = np.minimum(notes["duration"], stop - start - notes["onset"])
    return replace(
        piece,
        notes=sorted_notes(notes),
        metres=_in_force(piece.metres, start, stop),
        tempos=_in_force(piece.tempos, start, stop),
        keys=_in_force(piece.keys, start, stop),
        pickup=piece.pickup if first_bar == 0 else 0,
        length=stop - start,
    )


def _in_force(changes: tuple[Change, ...], start: int, stop: int) -> tuple[Change, ...]:
    first = bisect.bisect_right(changes, start, key=lambda change: change.tick)
    last = bisect.bisect_left(changes, stop, key=lambda change: change.tick)
    inside = tuple(replace(each, tick=each.tick - start) for each in changes[first:last])
    return (replace(changes[first - 1], tick=0), *inside) if first else inside


def _without_doubles(notes: Shaped[np.ndarray, " note"]) -> Shaped[np.ndarray, " kept"]:
    if len(notes) < 2:
        return notes
    same = np.ones(len(notes) - 1, np.bool_)
    for column in ("onset", "is_drum", "program", "pitch"):
        same &= notes[column][1:] == notes[column][:-1]
    return notes[~np.append(same, False)]  # the order puts the longest last


def _facts(piece: Piece) -> tuple[object, ...]:
    return (
        piece.ticks_per_quarter,
        piece.metres,
        piece.tempos,
        piece.keys,
        piece.name,
        piece.pickup,
        piece.length,
    )


def _check_notes(notes: Shaped[np.ndarray, " note"]) -> None:
    if notes.dtype != NOTE:
        raise ValueError(f"notes must have dtype NOTE, got {notes.dtype}.")
    for column, low, high in (
        ("onset", 0, 2**53),
        ("duration", 1, 2**53),
        ("pitch", 0, 127),
        ("velocity", 1, 127),
        ("program", 0, 127),
    ):
        bad = (notes[column] < low) | (notes[column] > high)
        if bad.any():
            raise ValueError(
                f"notes must have {column} in {low}..{high}, got {notes[column][bad][0]}."
            )
    if (notes["program"][notes["is_drum"]] != 0).any():
        raise ValueError("notes must have program 0 where is_drum is true.")
    if not np.array_equal(notes, sorted_notes(notes)):
        raise ValueError(f"notes must be sorted by {', '.join(SORT_ORDER)}. Use sorted_notes.")


def _check_changes(name: str, changes: tuple[Change, ...], *, needed: bool) -> None:
    ticks = [change.tick for change in changes]
    if needed and ticks[:1] != [0]:
        raise ValueError(f"{name} must start at tick 0, got {ticks[:1]}.")
    if ticks != sorted(set(ticks)) or min(ticks, default=0) < 0:
        raise ValueError(f"{name} must be at strictly ascending ticks >= 0, got {ticks}.")
