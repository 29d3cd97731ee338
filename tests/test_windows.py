import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_pieces import Plan, made, notes_of, plans, random_tune, tune

from aurl.data.attributes import attributes
from aurl.data.metrical import choose_vocabulary
from aurl.data.piece import Metre, Piece, quantized, sliced
from aurl.data.tokenizer import decode
from aurl.data.windows import WindowRequest, Windows, cut, first_bars


def windows_of(piece: Piece, *, n_bars: int = 2, max_tokens: int = 10_000) -> Windows:
    vocabulary = choose_vocabulary([piece], velocity_bins=0)
    return cut(
        WindowRequest(piece=piece, vocabulary=vocabulary, n_bars=n_bars, max_tokens=max_tokens)
    )


@given(st.integers(0, 60), st.integers(1, 8))
def test_windows_cover_every_bar_and_overlap_only_at_the_end(total: int, n_bars: int) -> None:
    starts = first_bars(total, n_bars)
    covered = {bar for start in starts for bar in range(start, start + n_bars)}
    assert set(range(total)) <= covered
    assert starts[:-1] == list(range(0, n_bars * (len(starts) - 1), n_bars))
    if total >= n_bars:
        assert max(covered) == total - 1


@settings(max_examples=10)
@given(plans(grids=(96, 480)))
def test_the_notes_of_all_windows_are_the_notes_of_the_piece(plan: Plan) -> None:
    piece = quantized(made(plan))
    found = windows_of(piece, n_bars=1)
    assert found.n_notes == len(piece.notes)
    assert found.left_out.keys() <= {"empty"}
    assert len(found.lengths) + found.left_out.get("empty", 0) == max(piece.n_bars, 1)


def test_a_window_is_its_slice_as_tokens_and_attributes() -> None:
    piece = random_tune(0, n_notes=40)
    found = windows_of(piece)
    assert found.first_bar.tolist() == [0, 2, 3]
    assert found.n_notes == 3 * 16  # those of the bar that two windows share count in both
    ends = np.cumsum(found.lengths)
    vocabulary = choose_vocabulary([piece], velocity_bins=0)
    for index, first_bar in enumerate(found.first_bar.tolist()):
        tokens = found.tokens[ends[index] - found.lengths[index] : ends[index]]
        window = sliced(piece, first_bar, 2)
        assert np.array_equal(decode(tokens, vocabulary).notes, window.notes)
        assert np.allclose(found.attributes[index], attributes(window), equal_nan=True)


def test_a_piece_shorter_than_a_window_is_padded_with_empty_bars() -> None:
    found = windows_of(tune([60, 62]), n_bars=4)
    assert found.first_bar.tolist() == [0]
    vocabulary = choose_vocabulary([tune([60, 62])], velocity_bins=0)
    assert decode(found.tokens, vocabulary).n_bars == 4


def test_empty_and_too_long_windows_are_left_out_and_counted() -> None:
    rows = [(0, 12, 60, 80, 0, False)]
    rows += [(960 + 6 * index, 6, 60, 80, 0, False) for index in range(16)]
    piece = Piece(ticks_per_quarter=24, notes=notes_of(rows))
    found = windows_of(piece, max_tokens=int(windows_of(piece).lengths[0]))
    assert found.first_bar.tolist() == [0]
    assert found.left_out == {"empty": 4, "too_long": 1}


def test_notes_that_sound_past_their_window_are_counted() -> None:
    assert windows_of(tune([60, 62, 64], ticks=150)).n_clipped == 2
    assert windows_of(tune([60, 62, 64], ticks=96)).n_clipped == 0


@pytest.mark.parametrize("metre", [(9, 4), (32, 8)])
def test_windows_in_a_metre_without_a_word_are_left_out(metre: tuple[int, int]) -> None:
    piece = Piece(
        ticks_per_quarter=24,
        notes=tune([60] * 64).notes,
        metres=(
            Metre(tick=0, numerator=4, denominator=4),
            Metre(tick=192, numerator=metre[0], denominator=metre[1]),
        ),
    )
    found = windows_of(piece)
    assert found.first_bar.tolist() == [0]
    assert set(found.left_out) == {"metre"}
