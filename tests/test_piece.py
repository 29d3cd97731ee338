import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pieces import Plan, made, notes_of, plans, tune

from aurl.data.piece import (
    NOTE,
    Key,
    Metre,
    Piece,
    Tempo,
    bar_length,
    quantized,
    sliced,
)

BARS = st.integers(0, 12)


@given(plans())
def test_bar_lines_ascend_from_0_to_the_end(plan: Plan) -> None:
    piece = made(plan)
    lines = piece.bar_lines()
    assert lines[0] == 0
    assert (np.diff(lines) > 0).all()
    assert lines[-1] >= max(piece.end, piece.length)
    assert len(lines) == 1 or lines[-2] < max(piece.end, piece.length)


@given(plans())
def test_bar_lines_are_a_bar_apart_unless_cut_by_a_change_or_a_pickup(plan: Plan) -> None:
    piece = made(plan)
    lines = piece.bar_lines().tolist()
    changes = {metre.tick for metre in piece.metres}
    assert {tick for tick in changes if tick < lines[-1]} <= set(lines)
    for index, (start, stop) in enumerate(itertools.pairwise(lines)):
        whole = bar_length(piece.metre_at(start), piece.ticks_per_quarter)
        if index == 0 and piece.pickup and stop not in changes:
            assert stop == piece.pickup
        elif stop in changes:
            assert stop - start <= whole + 1
        else:
            assert abs(stop - start - whole) <= 1  # odd grids: 7/8 of 7 ticks a quarter


@given(plans(), BARS)
def test_bar_lines_go_on_for_as_many_bars_as_asked(plan: Plan, n_bars: int) -> None:
    piece = made(plan)
    lines = piece.bar_lines(n_bars)
    assert len(lines) - 1 >= n_bars
    assert np.array_equal(lines[: piece.n_bars + 1], piece.bar_lines())


def test_bar_lines_follow_metres_in_mid_bar_and_pickups() -> None:
    piece = Piece(
        ticks_per_quarter=24,
        notes=notes_of([(0, 400, 60, 80, 0, False)]),
        metres=(
            Metre(tick=0, numerator=4, denominator=4),
            Metre(tick=240, numerator=3, denominator=8),
        ),
        pickup=12,
    )
    assert piece.bar_lines().tolist() == [0, 12, 108, 204, 240, 276, 312, 348, 384, 420]


def test_bar_lines_do_not_drift_where_the_grid_cannot_hold_a_bar() -> None:
    piece = Piece(
        ticks_per_quarter=7,
        notes=notes_of([(0, 4900, 60, 80, 0, False)]),
        metres=(Metre(tick=0, numerator=7, denominator=8),),
    )
    assert piece.bar_lines()[200] == 200 * 7 * 4 * 7 // 8


def test_an_empty_piece_has_one_bar_line_and_no_bar() -> None:
    empty = tune([])
    assert empty.end == 0
    assert empty.n_bars == 0
    assert empty.bar_lines(2).tolist() == [0, 96, 192]


@given(plans())
def test_quantized_moves_nothing_by_more_than_half_a_tick(plan: Plan) -> None:
    piece = made(plan)
    onsets = piece.notes["onset"] * 24 / piece.ticks_per_quarter
    moved = quantized(piece).notes["onset"]
    assert {round(float(each * 2)) for each in onsets - np.floor(onsets + 0.5)} <= {-1, 0, 1}
    assert set(np.floor(onsets + 0.5).astype(int)) == set(moved.tolist())


@given(plans())
def test_quantized_twice_is_quantized_once(plan: Plan) -> None:
    piece = made(plan)
    once = quantized(piece)
    assert quantized(once) == once


@given(plans())
def test_quantized_has_no_doubles_and_no_empty_note(plan: Plan) -> None:
    piece = made(plan)
    notes = quantized(piece).notes
    rows = notes[["onset", "pitch", "program", "is_drum"]].tolist()
    assert len(rows) == len(set(rows))
    assert (notes["duration"] >= 1).all()


@given(plans(grids=(24,)))
def test_quantized_leaves_bar_lines_on_the_grid_alone(plan: Plan) -> None:
    piece = made(plan)
    assert np.array_equal(quantized(piece).bar_lines(), piece.bar_lines())


def test_quantized_keeps_the_longest_of_notes_that_meet() -> None:
    rows = [(0, 480, 60, 80, 0, False), (3, 960, 60, 70, 0, False), (0, 480, 62, 80, 0, False)]
    piece = Piece(ticks_per_quarter=480, notes=notes_of(rows))
    assert quantized(piece).notes.tolist() == [
        (0, 48, 60, 70, 0, False),
        (0, 24, 62, 80, 0, False),
    ]


def test_quantized_snaps_onsets_one_tick_late_and_keeps_touching_notes_touching() -> None:
    rows = [(1, 239, 76, 80, 0, False), (241, 119, 72, 80, 0, False), (361, 359, 69, 80, 0, False)]
    moved = quantized(Piece(ticks_per_quarter=480, notes=notes_of(rows))).notes
    assert moved["onset"].tolist() == [0, 12, 18]
    assert moved["duration"].tolist() == [12, 6, 18]


@settings(max_examples=15)
@given(plans(), st.integers(1, 4))
def test_slices_share_out_every_note_once(plan: Plan, n_bars: int) -> None:
    piece = made(plan)
    lines = piece.bar_lines(piece.n_bars + n_bars)
    found: list[tuple[Any, ...]] = []
    for first_bar in range(0, piece.n_bars, n_bars):
        window = sliced(piece, first_bar, n_bars)
        start, stop = int(lines[first_bar]), int(lines[first_bar + n_bars])
        assert window.end <= stop - start == window.length
        notes = window.notes.copy()
        notes["onset"] += start
        found += notes[["onset", "pitch", "velocity", "program", "is_drum"]].tolist()
    rows = piece.notes[["onset", "pitch", "velocity", "program", "is_drum"]].tolist()
    assert sorted(found) == sorted(rows)


@given(plans(grids=(8, 24, 96, 480)), BARS, st.integers(1, 4))  # that hold their bars whole
def test_a_slice_has_the_bars_metres_tempos_and_keys_of_its_place(
    plan: Plan, first_bar: int, n_bars: int
) -> None:
    piece = made(plan)
    lines = piece.bar_lines(first_bar + n_bars)[first_bar : first_bar + n_bars + 1]
    window = sliced(piece, first_bar, n_bars)
    assert window.n_bars == n_bars
    start = int(lines[0])
    within = window.bar_lines()[:-1]  # the last line of a bar cut short at the very end is open
    if piece.pickup == 0 or first_bar == 0:
        assert np.array_equal(within + start, lines[:-1])
    for tick in within.tolist():
        there, here = piece.metre_at(start + tick), window.metre_at(tick)
        assert (there.numerator, there.denominator) == (here.numerator, here.denominator)
    changes = (*window.metres, *window.tempos, *window.keys)
    assert max(change.tick for change in changes) < window.length
    before = [tempo.bpm for tempo in piece.tempos if tempo.tick <= start]
    assert window.tempos[0] == Tempo(tick=0, bpm=before[-1])
    keys = [key for key in piece.keys if key.tick <= start]
    assert [key for key in window.keys if key.tick == 0] == [
        Key(tick=0, tonic=key.tonic, is_minor=key.is_minor) for key in keys[-1:]
    ]


def test_a_pickup_that_is_nearly_a_bar_is_none() -> None:
    notes = tune([60] * 24).notes
    piece = Piece(ticks_per_quarter=480, notes=notes, pickup=4 * 480 - 5)
    assert quantized(piece).pickup == 0


def test_a_slice_cuts_notes_at_its_end_and_pads_past_the_last_bar() -> None:
    piece = tune([60, 62, 64], ticks=80)
    first, second = sliced(piece, 0, 1), sliced(piece, 1, 4)
    assert first.notes["duration"].tolist() == [80, 16]
    assert second.notes["onset"].tolist() == [64]
    assert second.length == 4 * 96


def test_a_slice_of_a_pickup_piece_starts_with_its_pickup_and_later_ones_do_not() -> None:
    piece = tune([60] * 24, pickup=12)
    assert sliced(piece, 0, 2).pickup == 12
    assert sliced(piece, 0, 2).length == 12 + 96
    assert sliced(piece, 1, 2).pickup == 0
    assert sliced(piece, 1, 2).length == 2 * 96


def test_pieces_are_equal_by_content() -> None:
    assert tune([60, 62]) == tune([60, 62])
    assert tune([60, 62]) != tune([60, 63])
    assert tune([60, 62]) != tune([60, 62], pickup=12)
    assert tune([60]) != "a tune"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ticks_per_quarter": 0}, r"ticks_per_quarter must be >= 1, got 0\."),
        ({"notes": np.zeros(1)}, r"notes must have dtype NOTE, got float64\."),
        ({"notes": np.array([(0, 0, 60, 80, 0, False)], NOTE)}, r"duration in 1\.\..*, got 0\."),
        ({"notes": np.array([(-1, 1, 60, 80, 0, False)], NOTE)}, r"onset in 0\.\..*, got -1\."),
        ({"notes": np.array([(0, 1, 128, 80, 0, False)], NOTE)}, r"pitch in 0\.\.127, got 128\."),
        ({"notes": np.array([(0, 1, 60, 0, 0, False)], NOTE)}, r"velocity in 1\.\.127, got 0\."),
        ({"notes": np.array([(0, 1, 60, 80, 9, True)], NOTE)}, r"program 0 where is_drum"),
        (
            {"notes": np.array([(9, 1, 60, 80, 0, False), (0, 1, 60, 80, 0, False)], NOTE)},
            r"notes must be sorted by onset, .* Use sorted_notes\.",
        ),
        ({"metres": ()}, r"metres must start at tick 0, got \[\]\."),
        ({"tempos": (Tempo(tick=3, bpm=90.0),)}, r"tempos must start at tick 0, got \[3\]\."),
        ({"tempos": (Tempo(tick=0, bpm=0.0),)}, r"tempos must be > 0"),
        (
            {"keys": (Key(tick=2, tonic=0, is_minor=False), Key(tick=2, tonic=1, is_minor=False))},
            r"keys must be at strictly ascending ticks >= 0, got \[2, 2\]\.",
        ),
        ({"metres": (Metre(tick=0, numerator=1, denominator=128),)}, r"bars of >= 1 tick"),
        ({"pickup": 96}, r"pickup must be in 0\.\.95, got 96\."),
        ({"length": -1}, r"length must be >= 0 ticks, got -1\."),
    ],
)
def test_piece_names_the_rule_that_was_broken(values: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"ticks_per_quarter": 24, "notes": np.zeros(0, NOTE)}
    with pytest.raises(ValueError, match=message):
        Piece(**{**whole, **values})


@pytest.mark.parametrize(("first_bar", "n_bars"), [(-1, 2), (0, 0)])
def test_sliced_refuses_a_window_that_is_none(first_bar: int, n_bars: int) -> None:
    with pytest.raises(ValueError, match=r"a window must have >= 1 bars from bar >= 0 on"):
        sliced(tune([60]), first_bar, n_bars)
