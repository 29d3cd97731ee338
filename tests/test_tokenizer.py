import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_music import VOCABULARIES, Plan, planned, plans, random_walks

from aurl.data.grammar import is_valid
from aurl.data.metrical import Metrical, choose_vocabulary
from aurl.data.metrical_layout import DRUMS, Kind, tempos
from aurl.data.piece import NOTE, Key, Metre, Piece, Tempo, sliced, sorted_notes
from aurl.data.tokenizer import decode, encode
from aurl.errors import DataError

each_vocabulary = pytest.mark.parametrize("name", list(VOCABULARIES))
PLAIN = VOCABULARIES["plain"]


def piece_of(*notes: tuple[int, ...], **facts: object) -> Piece:
    """A piece of (onset, duration, pitch[, velocity, program, is_drum]) notes."""
    rows = [(*note, *(80, 0, False)[len(note) - 3 :]) for note in notes]
    found = sorted_notes(np.array(rows, NOTE))
    fields: dict[str, Any] = {"ticks_per_quarter": 24, "notes": found, **facts}
    return Piece(**fields)


def words(tokens: np.ndarray, vocabulary: Metrical) -> str:
    return " | ".join(vocabulary.describe(int(token)) for token in tokens)


def metre(tick: int, numerator: int, denominator: int) -> Metre:
    return Metre(tick=tick, numerator=numerator, denominator=denominator)


@each_vocabulary
@settings(max_examples=50)
@given(plan=plans)
def test_decoding_what_was_encoded_gives_the_piece(name: str, plan: Plan) -> None:
    vocabulary = VOCABULARIES[name]
    piece = planned(plan, vocabulary)
    tokens = encode(piece, vocabulary)
    assert tokens.dtype == np.uint16
    assert decode(tokens, vocabulary) == piece
    whole = torch.from_numpy(tokens.astype(np.int64))[None]
    assert is_valid(vocabulary, whole, piece.n_bars).all()


@each_vocabulary
@pytest.mark.parametrize("n_bars", [1, 2, 5])
def test_whatever_the_grammar_lets_through_decodes_and_encodes_to_itself(
    name: str, n_bars: int
) -> None:
    vocabulary = VOCABULARIES[name]
    walks = random_walks(vocabulary, batch=40, n_bars=n_bars, budget=150, seed=n_bars)
    for walk in walks.numpy():
        tokens = walk[: int((walk == vocabulary.end).argmax()) + 1]
        assert encode(decode(walk, vocabulary), vocabulary, n_bars).tolist() == tokens.tolist()


def test_encoding_writes_only_what_differs_from_what_is_in_force() -> None:
    piece = piece_of(
        (0, 24, 60, 127),
        (0, 24, 64, 127),
        (0, 24, 36, 127, 0, True),
        (24, 97, 60, 127),
        (72, 24, 60, 127),
        metres=(metre(0, 3, 4),),
        length=144,
    )
    assert words(encode(piece, Metrical()), Metrical()) == (
        "START | BAR | METRE 3/4 | TEMPO 125.2 | POSITION 0 | VELOCITY 127 | PITCH 60 | "
        "DURATION 24 | PITCH 64 | DURATION 24 | PROGRAM drums | PITCH 36 | DURATION 24 | "
        "POSITION 24 | PROGRAM 0 | PITCH 60 | DURATION 96 | DURATION 1 | "
        "BAR | POSITION 0 | VELOCITY 127 | PITCH 60 | DURATION 24 | END"
    )


def test_a_duration_of_a_whole_number_of_96_ends_in_96() -> None:
    tokens = encode(piece_of((0, 192, 60)), PLAIN)
    assert words(tokens, PLAIN).endswith("PITCH 60 | DURATION 96 | DURATION 96 | BAR | END")


def test_a_pickup_stands_at_the_end_of_a_whole_bar() -> None:
    piece = piece_of((0, 24, 60), (24, 48, 62), pickup=24, metres=(metre(0, 3, 4),), length=96)
    tokens = encode(piece, PLAIN)
    assert words(tokens, PLAIN).startswith("START | BAR | METRE 3/4 | POSITION 48 | PITCH 60")
    again = decode(tokens, PLAIN)
    assert again.notes["onset"].tolist() == [48, 72]
    assert again.length == 144
    assert again.pickup == 0


def test_a_bar_cut_short_by_a_new_metre_is_written_at_its_own_length() -> None:
    piece = piece_of(
        (0, 24, 60), (120, 24, 62), (144, 24, 64), metres=(metre(0, 4, 4), metre(144, 3, 4))
    )
    tokens = encode(piece, PLAIN)
    again = decode(tokens, PLAIN)
    assert again.metres == (metre(0, 4, 4), metre(96, 2, 4), metre(144, 3, 4))
    assert np.array_equal(again.notes["onset"], piece.notes["onset"])


def test_a_tempo_inside_a_bar_holds_from_its_bar_line() -> None:
    slow, fast = (tempos()[value] for value in (3, 20))
    changes = (Tempo(tick=0, bpm=slow), Tempo(tick=110, bpm=slow), Tempo(tick=120, bpm=fast))
    piece = piece_of((0, 24, 60), (150, 24, 60), tempos=changes)
    again = decode(encode(piece, Metrical()), Metrical())
    assert again.tempos == (Tempo(tick=0, bpm=slow), Tempo(tick=96, bpm=fast))


def test_a_window_of_silence_is_its_bars() -> None:
    empty = piece_of(length=192)
    assert words(encode(empty, PLAIN), PLAIN) == "START | BAR | METRE 4/4 | BAR | END"
    assert words(encode(piece_of(), PLAIN), PLAIN) == "START | BAR | METRE 4/4 | END"
    assert words(encode(piece_of(), PLAIN, 3), PLAIN).count("BAR") == 3


@given(plan=plans)
def test_windows_of_a_piece_are_sequences_of_their_number_of_bars(plan: Plan) -> None:
    window = sliced(planned(plan, PLAIN), 0, 2)
    tokens = torch.from_numpy(encode(window, PLAIN).astype(np.int64))[None]
    assert is_valid(PLAIN, tokens, 2).all()


def test_velocity_and_tempo_read_as_the_nearest_bin() -> None:
    piece = piece_of((0, 24, 60, 63), tempos=(Tempo(tick=0, bpm=700.0),))
    again = decode(encode(piece, Metrical()), Metrical())
    assert abs(int(again.notes["velocity"][0]) - 63) <= 2
    assert again.tempos[0].bpm == 300.0


@pytest.mark.parametrize(
    ("piece", "vocabulary", "message"),
    [
        pytest.param(
            piece_of((0, 1, 60), metres=(metre(0, 9, 4),)),
            PLAIN,
            "metre: a bar must be of a metre n/1 to n/32, n <= 32, and at most 192 ticks, "
            "got 9/4 for 216 ticks at a bar line.",
            id="long_bar",
        ),
        pytest.param(
            piece_of((0, 1, 60), metres=(metre(0, 5, 64),)),
            PLAIN,
            "got 5/64 for 7 ticks",
            id="off_the_grid",
        ),
        pytest.param(
            piece_of((0, 1, 60), (10, 1, 60), metres=(metre(0, 4, 4), metre(10, 3, 4))),
            PLAIN,
            "got 4/4 for 10 ticks",
            id="short_bar_off_the_grid",
        ),
        pytest.param(
            piece_of((0, 1, 60, 80, 5)),
            PLAIN,
            "program: every note must be of program 0 for a vocabulary without programs, got 5.",
            id="program",
        ),
        pytest.param(
            piece_of((0, 1, 60, 80, 0, True)), PLAIN, "without programs, got drums.", id="drums"
        ),
        pytest.param(
            piece_of((3, 1, 60), (3, 2, 60)),
            PLAIN,
            "notes: there must be one note of a pitch and program at an onset, got pitch 60 twice "
            "at tick 3.",
            id="doubled_note",
        ),
    ],
)
def test_encode_refuses_what_cannot_be_said(
    piece: Piece, vocabulary: Metrical, message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        encode(piece, vocabulary)


def test_encode_refuses_notes_after_the_bars_it_is_given() -> None:
    with pytest.raises(DataError, match=r"before the end of bar 1 at tick 96, got 100\."):
        encode(piece_of((100, 1, 60)), PLAIN, 1)
    with pytest.raises(ValueError, match=r"n_bars must be >= 1, got 0\."):
        encode(piece_of(), PLAIN, 0)


def test_encode_refuses_a_piece_off_the_grid() -> None:
    with pytest.raises(ValueError, match=r"must be 24, got 480\. Call quantized\(piece\) first\."):
        encode(piece_of((0, 1, 60), ticks_per_quarter=480), PLAIN)


def test_decode_reads_nothing_after_end() -> None:
    tokens = encode(piece_of((0, 24, 60), length=96), PLAIN)
    assert decode(np.append(tokens, [0, 0, 9999]).astype(np.int64), PLAIN) == decode(tokens, PLAIN)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], r"token 0 must be there: the sequence has no END\."),
        ([2], r"token 0 must be one the grammar allows at the beginning, got END\."),
        ([1, 3, 3, 2], r"token 2 must be one the grammar allows after BAR, got BAR\."),
        ([1, 3, 5], r"token 3 must be there: the sequence has no END\."),
        ([1, 3, 514, 2], r"token 2 must be an id in 0\.\.513, got 514\."),
        ([1, 3, -1, 2], r"token 2 must be an id in 0\.\.513, got -1\."),
    ],
    ids=["nothing", "only_end", "no_metre", "no_end", "too_great", "negative"],
)
def test_decode_names_the_place_of_the_fault(tokens: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode(np.asarray(tokens, np.int64), PLAIN)


def test_chosen_vocabulary_makes_the_commonest_the_default() -> None:
    drums = [(2, 1, 60, 90, 0, True), (3, 1, 60, 91, 0, True)]  # two velocities of one bin
    quiet = piece_of((0, 1, 60, 41, 7), (1, 1, 60, 41, 7), *drums)
    slower = [Tempo(tick=tick, bpm=bpm) for tick, bpm in ((0, 120.0), (12, 60.0), (24, 60.0))]
    other = piece_of((0, 1, 60, 41, 7), tempos=tuple(slower))
    vocabulary = choose_vocabulary([quiet, other], velocity_bins=32)
    assert vocabulary == Metrical(
        default_program=7, default_velocity=42, programs=True, tempo=True, default_tempo=60.0
    )


def test_chosen_vocabulary_leaves_out_what_never_changes() -> None:
    piece = piece_of((0, 1, 60, 33, 40), tempos=(Tempo(tick=0, bpm=100.0),))
    hardly_slower = replace(piece, tempos=(*piece.tempos, Tempo(tick=12, bpm=99.0)))
    vocabulary = choose_vocabulary([piece, piece, hardly_slower], velocity_bins=0)
    assert vocabulary == Metrical(
        velocity_bins=0,
        programs=False,
        tempo=False,
        default_program=40,
        default_velocity=33,
        default_tempo=100.0,
    )
    said = replace(piece, length=96)
    assert decode(encode(said, vocabulary), vocabulary) == said


def test_chosen_vocabulary_keeps_programs_where_there_are_drums() -> None:
    vocabulary = choose_vocabulary([piece_of((0, 1, 36, 80, 0, True))], velocity_bins=0)
    assert vocabulary.programs
    assert vocabulary.default_program == DRUMS


def test_vocabulary_of_silence_is_plain() -> None:
    assert choose_vocabulary([piece_of()], velocity_bins=0) == Metrical(
        velocity_bins=0, programs=False, tempo=False
    )


def test_names_and_keys_are_not_in_the_tokens() -> None:
    piece = piece_of((0, 24, 60), length=96)
    named = replace(piece, name="a", keys=(Key(tick=0, tonic=2, is_minor=True),))
    assert encode(named, PLAIN).tolist() == encode(piece, PLAIN).tolist()


def test_empty_kinds_have_no_ids() -> None:
    assert [len(PLAIN.ids(kind)) for kind in (Kind.PROGRAM, Kind.VELOCITY, Kind.TEMPO)] == [0] * 3
