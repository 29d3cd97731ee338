import json
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_music import advance, knows_where_it_is

from aurl.data.grid import BAR, Grid
from aurl.data.piece import NOTE, Metre, Piece, sorted_notes
from aurl.data.vocabularies import vocabulary_from
from aurl.data.vocabulary import Vocabulary
from aurl.errors import ConfigError, DataError

EIGHTHS = Grid(steps_per_bar=8, lowest=60, highest=109)
VOCABULARIES = {"eighths": EIGHTHS, "default": Grid(), "thirds": Grid(steps_per_bar=12)}
each_vocabulary = pytest.mark.parametrize("name", list(VOCABULARIES))

voices = st.tuples(
    st.integers(1, 3),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 5), st.sampled_from([60, 61, 72, 108])),
        max_size=12,
    ),
)
"""Bars, and notes as (steps of silence before it, steps it lasts, pitch)."""


def sung(plan: tuple[int, list[tuple[int, int, int]]], vocabulary: Grid) -> Piece:
    """One voice that fills whole bars; what comes after the last bar is left out."""
    n_bars, rows = plan
    steps = n_bars * vocabulary.steps_per_bar
    notes: list[tuple[int, ...]] = []
    at = 0
    for silence, lasts, pitch in rows:
        at += silence
        if at + lasts > steps:
            break
        tick = vocabulary.step_ticks
        notes.append((at * tick, lasts * tick, pitch, vocabulary.velocity, 0, False))
        at += lasts
    return Piece(ticks_per_quarter=24, notes=np.array(notes, NOTE), length=n_bars * BAR)


def walks(vocabulary: Grid, *, batch: int, n_bars: int, seed: int) -> torch.Tensor:
    """Sequences of allowed tokens, drawn evenly."""
    generator = torch.Generator().manual_seed(seed)
    grammar = vocabulary.grammar(batch, n_bars)
    drawn: list[torch.Tensor] = []
    while not bool(grammar.ended.all()):
        chosen = torch.multinomial(grammar.allowed().double(), 1, generator=generator)[:, 0]
        grammar.advance(chosen)
        drawn.append(chosen)
    return torch.stack(drawn, dim=1)


def test_the_grammar_knows_where_it_is() -> None:
    tokens = walks(EIGHTHS, batch=5, n_bars=2, seed=0)
    assert knows_where_it_is(EIGHTHS.grammar(5, 2), EIGHTHS, tokens)


def test_a_melody_is_start_and_one_token_a_step() -> None:
    notes = np.array([(0, 24, 60, 80, 0, False), (36, 12, 109, 80, 0, False)], NOTE)
    tokens = EIGHTHS.encode(Piece(ticks_per_quarter=24, notes=notes, length=96))
    start, rest, hold, first = EIGHTHS.start, EIGHTHS.rest, EIGHTHS.hold, EIGHTHS.first_note
    assert tokens.tolist() == [start, first, hold, rest, first + 49, *[rest] * 4]
    assert EIGHTHS.size == 4 + 50


@each_vocabulary
@given(plan=voices)
def test_decoding_gives_the_piece_back(
    name: str, plan: tuple[int, list[tuple[int, int, int]]]
) -> None:
    vocabulary = VOCABULARIES[name]
    piece = sung(plan, vocabulary)
    tokens = vocabulary.encode(piece)
    assert len(tokens) == 1 + plan[0] * vocabulary.steps_per_bar
    assert vocabulary.decode(tokens) == piece
    assert vocabulary.decode(np.append(tokens, [vocabulary.pad] * 3)) == piece
    batch = torch.from_numpy(tokens.astype(np.int64))[None]
    assert vocabulary.is_valid(batch, plan[0]).all()
    assert vocabulary.note_count(batch).tolist() == [len(piece.notes)]


@each_vocabulary
def test_whatever_the_grammar_allows_is_a_piece_and_encodes_to_itself(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    tokens = walks(vocabulary, batch=40, n_bars=2, seed=1)
    assert vocabulary.is_valid(tokens, 2).all()
    seen = torch.bincount(tokens.flatten(), minlength=vocabulary.size)
    assert (seen[[vocabulary.rest, vocabulary.hold]] > 0).all()
    for row in tokens.numpy():
        assert np.array_equal(vocabulary.encode(vocabulary.decode(row), 2), row)


@each_vocabulary
@settings(max_examples=50)
@given(seed=st.integers(0, 2**16), place=st.integers(0, 30), token=st.integers(0, 60))
def test_the_grammar_and_the_check_agree_on_any_change(
    name: str, seed: int, place: int, token: int
) -> None:
    vocabulary = VOCABULARIES[name]
    tokens = walks(vocabulary, batch=1, n_bars=2, seed=seed)
    tokens[0, place % tokens.shape[1]] = token % vocabulary.size
    grammar = vocabulary.grammar(1, 2)
    good = True
    for column in tokens.unbind(dim=1):
        good = good and bool(grammar.allowed()[0, column[0]])
        grammar.advance(column)
    assert vocabulary.is_valid(tokens, 2).tolist() == [good]


def test_after_the_last_step_only_padding_is_allowed_and_the_budget_must_suffice() -> None:
    grammar = EIGHTHS.grammar(2, 1)
    assert grammar.allowed(9).sum(dim=1).tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"budget must be enough to end the sequences, got 8"):
        grammar.allowed(8)
    advance(grammar, torch.tensor([[1, 2, 2, 2, 2, 2, 2, 2, 2]] * 2))
    assert grammar.ended.all()
    assert grammar.allowed(0).nonzero().tolist() == [[0, 0], [1, 0]]


def test_hold_follows_only_a_note() -> None:
    grammar = EIGHTHS.grammar(3, 1)
    advance(grammar, torch.tensor([[1, 2], [1, 4], [1, 3]]))
    assert grammar.allowed()[:, EIGHTHS.hold].tolist() == [False, True, True]
    assert not EIGHTHS.is_valid(torch.tensor([[1, 3, *[2] * 7]]), 1).any()
    assert not EIGHTHS.is_valid(torch.tensor([[1, 2]]), 1).any()


def test_positions_are_those_of_the_step_and_start_is_at_the_first() -> None:
    bar, phase = EIGHTHS.positions(torch.full((2, 17), 5))
    assert bar[1].tolist() == [0, *[0] * 8, *[1] * 8]
    assert phase[1].tolist() == [0.0, *(step / 8 for step in [*range(8), *range(8)])]


def test_transposition_moves_notes_and_stays_where_one_would_leave() -> None:
    tokens = torch.tensor([[1, 4, 3, 2, 10], [1, 4, 3, 2, 10], [1, 4, 3, 2, 53]])
    moved = EIGHTHS.transposed(tokens, torch.tensor([2, -1, 1]))
    assert moved.tolist() == [[1, 6, 3, 2, 12], [1, 4, 3, 2, 10], [1, 4, 3, 2, 53]]
    for shift in (EIGHTHS.with_tempo_shift, EIGHTHS.with_velocity_shift):
        with pytest.raises(ValueError, match=r"a grid vocabulary has no"):
            shift(tokens, torch.tensor([1, 1, 1]))


def piece_with(*rows: tuple[int, int, int], **changes: Any) -> Piece:
    program = changes.pop("program", 0)
    notes = np.array([(at, long, pitch, 80, program, False) for at, long, pitch in rows], NOTE)
    return Piece(ticks_per_quarter=24, notes=sorted_notes(notes), **changes)


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (piece_with((0, 12, 59)), r"notes: every pitch must be in 60\.\.109, got 59"),
        (piece_with((0, 12, 110)), r"notes: every pitch must be in 60\.\.109, got 110"),
        (piece_with((6, 12, 60)), r"notes: every onset and end must be a multiple of 12 ticks"),
        (piece_with((0, 11, 60)), r"notes: every onset and end .* from 0 to 11"),
        (piece_with((0, 24, 60), (12, 12, 62)), r"notes: one note must end before the next"),
        (piece_with((0, 12, 60), (0, 12, 62)), r"notes: one note must end before the next"),
        (piece_with((84, 24, 60)), r"notes: every note must end by tick 96, got 108"),
        (piece_with((0, 12, 60), program=40), r"program: every note must be of program 0"),
        (
            piece_with((0, 12, 60), metres=(Metre(tick=0, numerator=3, denominator=4),)),
            r"metre: every bar must be a whole one of 4/4",
        ),
        (piece_with((0, 12, 60), pickup=24), r"metre: every bar must be a whole one of 4/4"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_reason(piece: Piece, message: str) -> None:
    with pytest.raises(DataError, match=message):
        EIGHTHS.encode(piece, 1)


@pytest.mark.parametrize("tokens", [[], [0], [1], [1, 2, 2], [1, *[2] * 7, 54], [2] * 9])
def test_decode_refuses_what_the_grammar_does(tokens: list[int]) -> None:
    with pytest.raises(DataError, match=r"tokens must be"):
        EIGHTHS.decode(np.asarray(tokens, np.int64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps_per_bar": 7}, r"steps_per_bar must divide 96, got 7"),
        ({"lowest": 70, "highest": 69}, r"lowest and highest must be in 0\.\.127 and in order"),
        ({"velocity": 0}, r"velocity must be in 1\.\.127, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grid(**change)


def test_a_vocabulary_comes_back_from_plain_data_as_what_it_was() -> None:
    data = json.loads(json.dumps(EIGHTHS.to_dict()))
    assert vocabulary_from(data) == EIGHTHS
    assert isinstance(EIGHTHS, Vocabulary)
    with pytest.raises(DataError, match=r"one of metrical, grid, events, got 'gird'"):
        vocabulary_from({**data, "kind": "gird"})
    with pytest.raises(DataError, match=r"vocabulary\.steps is not a setting"):
        vocabulary_from({**data, "steps": 3})
