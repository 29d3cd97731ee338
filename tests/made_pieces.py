"""Pieces for tests: simple ones by hand, and any at all from hypothesis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from aurl.data.piece import NOTE, Key, Metre, Piece, Tempo, bar_length, sorted_notes

Row = tuple[int, int, int, int, int, bool]
CHANGE_TICKS = st.integers(1, 4000)


def notes_of(rows: Sequence[Row]) -> np.ndarray:
    """Notes from (onset, duration, pitch, velocity, program, is_drum) in any order."""
    return sorted_notes(np.array(list(rows), NOTE))


def tune(
    pitches: Sequence[int],
    *,
    ticks: int = 12,
    velocities: Sequence[int] | None = None,
    metre: tuple[int, int] = (4, 4),
    pickup: int = 0,
    name: str = "",
) -> Piece:
    """A melody of equal notes on the 24-grid."""
    loudness = velocities or [80] * len(pitches)
    rows = [
        (index * ticks, ticks, pitch, velocity, 0, False)
        for index, (pitch, velocity) in enumerate(zip(pitches, loudness, strict=True))
    ]
    return Piece(
        ticks_per_quarter=24,
        notes=notes_of(rows),
        metres=(Metre(tick=0, numerator=metre[0], denominator=metre[1]),),
        pickup=pickup,
        name=name,
    )


def random_tune(seed: int, n_notes: int = 64) -> Piece:
    """A random walk that no other seed shares."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-4, 5, n_notes).cumsum()
    return tune((60 + steps - (steps // 12) * 12).tolist())


Plan = dict[str, Any]
"""Plain data for :func:`made`: a strategy may not call functions whose types beartype checks."""


def plans(*, grids: Sequence[int] = (1, 7, 24, 96, 480), pickups: bool = True) -> Any:
    """Any piece: overlaps, doubles, drums, changes in mid-bar, pickups, silence at the end."""
    row = st.tuples(
        st.integers(0, 3000),
        st.integers(1, 2000),
        st.integers(0, 127),
        st.integers(1, 127),
        st.sampled_from([0, 0, 40, 127]),
        st.booleans(),
    )
    size = st.sampled_from([(4, 4), (3, 4), (6, 8), (7, 8), (2, 2), (5, 4)])
    return st.fixed_dictionaries(
        {
            "per_quarter": st.sampled_from(grids),
            "rows": st.lists(row, max_size=12),
            "metres": st.tuples(size, st.dictionaries(CHANGE_TICKS, size, max_size=3)),
            "tempos": st.dictionaries(CHANGE_TICKS, st.integers(200_000, 1_500_000), max_size=2),
            "keys": st.dictionaries(CHANGE_TICKS, st.tuples(st.integers(0, 11), st.booleans())),
            "pickup": st.integers(0, 10_000) if pickups else st.just(0),
            "length": st.sampled_from([0, 0, 500, 5000]) if pickups else st.just(0),
        }
    )


def made(plan: Plan, name: str = "") -> Piece:
    """The piece of a plan."""
    first, later = plan["metres"]
    metres = tuple(
        Metre(tick=tick, numerator=numerator, denominator=denominator)
        for tick, (numerator, denominator) in sorted({0: first, **later}.items())
    )
    return Piece(
        ticks_per_quarter=plan["per_quarter"],
        notes=notes_of([(*row[:4], 0 if row[5] else row[4], row[5]) for row in plan["rows"]]),
        metres=metres,
        tempos=tuple(
            Tempo(tick=tick, bpm=60e6 / each)
            for tick, each in sorted({0: 500_000, **plan["tempos"]}.items())
        ),
        keys=tuple(
            Key(tick=tick, tonic=tonic, is_minor=is_minor)
            for tick, (tonic, is_minor) in sorted(plan["keys"].items())
        ),
        pickup=plan["pickup"] % bar_length(metres[0], plan["per_quarter"]),
        length=plan["length"],
        name=name,
    )
