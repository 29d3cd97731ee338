from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from made_pieces import notes_of, tune

from aurl.data.bars import found_pickup, with_pickup
from aurl.data.piece import Metre, Piece, quantized


def accented(*, first: int, n_notes: int = 64, loud: int = 105) -> Piece:
    """Eighths in 4/4 of which every eighth one, from ``first`` on, is loud."""
    velocities = [loud if index % 8 == first else 80 for index in range(n_notes)]
    return tune([60] * n_notes, velocities=velocities)


@pytest.mark.parametrize("first", range(8))
def test_pickup_is_what_stands_before_the_first_accent(first: int) -> None:
    piece = with_pickup(accented(first=first))
    assert piece.pickup == 12 * first
    loud = piece.notes["onset"][piece.notes["velocity"] == 105]
    assert set(loud.tolist()) <= set(piece.bar_lines().tolist())


def repeated(velocities: Sequence[int]) -> Piece:
    """Eight bars of eighths, each as loud as the one before."""
    return tune([60] * 64, velocities=[*velocities] * 8)


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(repeated([80, 92, 92, 100, 80, 92, 80, 80]), id="lesser_accents"),
        pytest.param(repeated([20, 100, 100, 105, 100, 100, 100, 100]), id="one_soft_note"),
    ],
)
def test_most_of_the_accent_is_told_from_the_usual_loudness(piece: Piece) -> None:
    assert found_pickup(piece) == 36


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(tune([60] * 64), id="no_accents"),
        pytest.param(repeated([80, 96, 96, 100, 80, 96, 80, 80]), id="less_than_half"),
        pytest.param(tune([]), id="no_notes"),
        pytest.param(accented(first=3, n_notes=24), id="three_bars"),
        pytest.param(
            tune([60] * 64, velocities=[105 if i % 8 in (3, 7) else 80 for i in range(64)]),
            id="two_equal_accents",
        ),
        pytest.param(
            tune([60] * 72, velocities=[105 if i % 24 == 3 else 80 for i in range(72)]),
            id="one_bar_in_three",
        ),
        pytest.param(
            tune([60] * 64, velocities=np.random.default_rng(0).integers(40, 90, 64).tolist()),
            id="a_player",
        ),
    ],
)
def test_pickup_is_0_without_clear_evidence(piece: Piece) -> None:
    assert found_pickup(piece) == 0


def test_pickup_does_not_come_from_drums() -> None:
    backbeat = accented(first=4).notes
    backbeat["is_drum"] = True
    assert found_pickup(replace(tune([]), notes=backbeat)) == 0


@pytest.mark.parametrize(("tick", "pickup"), [(4 * 96, 0), (36 + 4 * 96, 36)])
def test_a_later_metre_says_where_bars_begin(tick: int, pickup: int) -> None:
    piece = accented(first=3)
    later = piece.notes["onset"] >= tick  # in other bars, which say nothing of the first ones
    piece.notes["velocity"][later & (piece.notes["onset"] % 96 == 72)] = 127
    metres = (*piece.metres, Metre(tick=tick, numerator=3, denominator=4))
    assert found_pickup(replace(piece, metres=metres)) == pickup


def test_an_unused_later_metre_says_nothing() -> None:
    piece = accented(first=3)
    metres = (*piece.metres, Metre(tick=9600, numerator=3, denominator=4))
    assert found_pickup(replace(piece, metres=metres)) == 36


def test_a_pickup_needs_notes_on_one_grid() -> None:
    late = notes_of(
        [
            (index * 240 + 1, 239, 60, 105 if index % 8 == 1 else 80, 0, False)
            for index in range(64)
        ]
    )
    piece = quantized(Piece(ticks_per_quarter=480, notes=late))
    assert found_pickup(piece) == 12
