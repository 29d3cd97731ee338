import json
import pickle
from dataclasses import asdict, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from random_music import VOCABULARIES, Plan, planned, plans, random_walks

from aurl.data.grammar import is_valid
from aurl.data.metrical import Metrical
from aurl.data.metrical_layout import BAR_TICKS, Kind, tempo_value, tempos
from aurl.data.piece import Piece, Tempo
from aurl.data.tokenizer import decode, encode
from aurl.data.vocabularies import vocabulary_from
from aurl.errors import ConfigError, DataError

each_vocabulary = pytest.mark.parametrize("name", list(VOCABULARIES))
DEFAULT, PLAIN = VOCABULARIES["default"], VOCABULARIES["plain"]


def tokens_of(piece: Piece, vocabulary: Metrical, room: int = 4) -> torch.Tensor:
    """The piece as a batch of one, with room for some tokens more."""
    ids = encode(piece, vocabulary).astype(np.int64)
    return torch.from_numpy(np.pad(ids, (0, room)))[None]


@each_vocabulary
def test_blocks_of_ids_follow_one_another_and_fill_the_vocabulary(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    ids = [token for kind in Kind for token in vocabulary.ids(kind)]
    assert ids == list(range(vocabulary.size))
    assert [vocabulary.pad, vocabulary.start, vocabulary.end, vocabulary.bar] == [0, 1, 2, 3]


def test_size_of_the_default_and_of_the_plainest_vocabulary() -> None:
    assert Metrical().size == 707
    assert Metrical(velocity_bins=0).size == 675
    assert PLAIN.size == 514


@each_vocabulary
def test_every_token_has_words_of_its_own(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    words = [vocabulary.describe(token) for token in range(vocabulary.size)]
    assert len(set(words)) == vocabulary.size
    assert words[:5] == ["PAD", "START", "END", "BAR", "METRE 1/1"]
    assert vocabulary.describe(vocabulary.ids(Kind.PITCH)[67]) == "PITCH 67"
    assert vocabulary.describe(vocabulary.ids(Kind.DURATION)[23]) == "DURATION 24"


def test_describe_says_programs_velocities_and_tempos() -> None:
    last = [DEFAULT.ids(kind)[-1] for kind in (Kind.PROGRAM, Kind.VELOCITY, Kind.TEMPO)]
    assert [DEFAULT.describe(token) for token in last] == [
        "PROGRAM drums",
        "VELOCITY 127",
        "TEMPO 300.0",
    ]


@pytest.mark.parametrize("token", [-1, 514])
def test_describe_refuses_what_is_not_a_token(token: int) -> None:
    with pytest.raises(ValueError, match=rf"token must be in 0\.\.513, got {token}\."):
        PLAIN.describe(token)


@each_vocabulary
def test_a_vocabulary_survives_json_and_pickle(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    assert vocabulary_from(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary
    assert hash(replace(vocabulary)) == hash(vocabulary)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "midi"},
            r"vocabulary\.kind must be one of metrical, grid, .* got 'midi'\.",
        ),
        ({"version": 2}, r"vocabulary\.version must be 1, got 2\."),
        ({"tempos": 1}, r"vocabulary\.tempos is not a setting\. Did you mean 'tempo'\?"),
        ({"zzz": 1}, r"vocabulary\.zzz is not a setting\.$"),
        ({"tempo": 1}, r"vocabulary\.tempo must be of type bool, got 1\."),
        ({"default_program": None}, r"vocabulary\.default_program must be of type int, got None"),
    ],
)
def test_a_stored_vocabulary_names_the_wrong_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        vocabulary_from({**PLAIN.to_dict(), **change})


def test_a_stored_vocabulary_is_refused_with_a_missing_key() -> None:
    data = PLAIN.to_dict()
    del data["tempo"]
    with pytest.raises(DataError, match=r"vocabulary\.tempo must be given, got nothing\."):
        vocabulary_from(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"velocity_bins": 1}, r"velocity_bins must be 0 or in 2\.\.127, got 1\."),
        ({"velocity_bins": 128}, r"velocity_bins must be 0 or in 2\.\.127, got 128\."),
        ({"default_program": 129}, r"default_program must be in 0\.\.128, got 129\."),
        ({"default_velocity": 0}, r"default_velocity must be in 1\.\.127, got 0\."),
        ({"default_tempo": 0.0}, r"default_tempo must be > 0, got 0\.0\."),
        ({"default_tempo": float("nan")}, r"default_tempo must be > 0, got nan\."),
    ],
)
def test_vocabulary_refuses_values_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Metrical(**change)


@pytest.mark.parametrize("bins", [2, 5, 32, 64, 100, 127])
def test_every_velocity_reads_as_the_nearest_bin(bins: int) -> None:
    vocabulary = Metrical(velocity_bins=bins)
    centres = vocabulary.velocities()
    assert vocabulary.velocity_values(centres).tolist() == list(range(bins))
    every = np.arange(1, 128)
    error = np.abs(centres[vocabulary.velocity_values(every)] - every)
    assert error.max() <= 0.5 * 126 / (bins - 1) + 0.5  # half a step, and rounding of the centre


def test_every_tempo_reads_as_the_nearest_bin_in_ratio() -> None:
    assert [tempo_value(bpm) for bpm in tempos()] == list(range(32))
    assert (tempo_value(1.0), tempo_value(1000.0)) == (0, 31)
    step = np.log(300 / 20) / 31
    for bpm in (33.0, 60.0, 120.0, 211.0):
        assert abs(np.log(tempos()[tempo_value(bpm)] / bpm)) <= step / 2


def slow_positions(vocabulary: Metrical, ids: list[int]) -> tuple[list[int], list[float]]:
    """Bar and phase by reading the tokens one after the other."""
    bars, phases = [], []
    bar, position, ticks = -1, 0, 96
    for token in ids:
        if token == vocabulary.bar:
            bar, position = bar + 1, 0
        elif token in vocabulary.ids(Kind.METRE):
            ticks = BAR_TICKS[token - vocabulary.ids(Kind.METRE).start]
        elif token in vocabulary.ids(Kind.POSITION):
            position = token - vocabulary.ids(Kind.POSITION).start
        bars.append(max(bar, 0))
        phases.append(min(position, ticks - 1) / ticks)
    return bars, phases


@each_vocabulary
def test_positions_equal_the_slow_reference(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    valid = random_walks(vocabulary, batch=30, n_bars=3, budget=90, seed=3)
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, vocabulary.size, (30, 60)))
    for tokens in (valid, noise):
        bar, phase = vocabulary.positions(tokens)
        for row in range(30):
            bars, phases = slow_positions(vocabulary, tokens[row].tolist())
            assert bar[row].tolist() == bars
            torch.testing.assert_close(phase[row], torch.tensor(phases))
        assert bool(((phase >= 0) & (phase < 1)).all())


@given(seed=st.integers(0, 10**6), at=st.integers(0, 29), token=st.integers(0, 706))
def test_positions_before_a_token_do_not_depend_on_it(seed: int, at: int, token: int) -> None:
    ids = np.random.default_rng(seed).integers(0, DEFAULT.size, (1, 30))
    changed = ids.copy()
    changed[0, at] = token
    bar, phase = DEFAULT.positions(torch.from_numpy(ids))
    other_bar, other_phase = DEFAULT.positions(torch.from_numpy(changed))
    assert torch.equal(bar[:, :at], other_bar[:, :at])
    assert torch.equal(phase[:, :at], other_phase[:, :at])


def test_note_count_is_the_number_of_notes() -> None:
    walks = random_walks(DEFAULT, batch=20, n_bars=2, budget=80, seed=5)
    expected = [len(decode(walk, DEFAULT).notes) for walk in walks.numpy()]
    assert DEFAULT.note_count(walks).tolist() == expected
    assert sum(expected) > 20


@each_vocabulary
@settings(max_examples=50)
@given(plan=plans, semitones=st.integers(-8, 8))
def test_transposed_tokens_are_those_of_the_transposed_piece(
    name: str, plan: Plan, semitones: int
) -> None:
    vocabulary = VOCABULARIES[name]
    piece = planned(plan, vocabulary)
    notes = piece.notes.copy()
    notes["pitch"][~notes["is_drum"]] += semitones
    fits = bool(((notes["pitch"] >= 0) & (notes["pitch"] <= 127)).all())
    tokens = tokens_of(piece, vocabulary)
    found = vocabulary.transposed(tokens, torch.tensor([semitones]))
    expected = tokens_of(replace(piece, notes=notes), vocabulary) if fits else tokens
    assert torch.equal(found, expected)


def test_sequences_of_a_batch_are_transposed_each_by_its_own() -> None:
    walks = random_walks(DEFAULT, batch=6, n_bars=2, budget=60, seed=6)
    semitones = torch.tensor([0, 1, -1, 2, 12, -12])
    together = DEFAULT.transposed(walks, semitones)
    for row in range(6):
        alone = DEFAULT.transposed(walks[row : row + 1], semitones[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)
    assert is_valid(DEFAULT, together, 2).all()
    assert not torch.equal(together, walks)


@given(plan=plans, bins=st.integers(-12, 12))
def test_tempo_shifted_tokens_are_those_of_the_faster_piece(plan: Plan, bins: int) -> None:
    piece = planned(plan, DEFAULT)
    values = [tempo_value(tempo.bpm) + bins for tempo in piece.tempos]
    tokens = expected = tokens_of(piece, DEFAULT)
    if all(0 <= value < 32 for value in values):
        changes = zip(piece.tempos, values, strict=True)
        faster = tuple(Tempo(tick=old.tick, bpm=tempos()[value]) for old, value in changes)
        expected = tokens_of(replace(piece, tempos=faster), DEFAULT)
    assert torch.equal(DEFAULT.with_tempo_shift(tokens, torch.tensor([bins])), expected)


@pytest.mark.parametrize("name", ["default", "drum_default"])
@example(plan=([(5, 9)], [(0, 0, 60, 1, 0, 31)]), bins=1)
@given(plan=plans, bins=st.integers(-9, 9))
def test_velocity_shifted_tokens_are_those_of_the_louder_piece(
    name: str, plan: Plan, bins: int
) -> None:
    vocabulary = VOCABULARIES[name]
    piece = planned(plan, vocabulary)
    values = vocabulary.velocity_values(piece.notes["velocity"].astype(np.int64)) + bins
    tokens = expected = tokens_of(piece, vocabulary)
    if ((values >= 0) & (values < vocabulary.velocity_bins)).all():
        notes = piece.notes.copy()
        notes["velocity"] = vocabulary.velocities()[values]
        ids = encode(replace(piece, notes=notes), vocabulary)
        expected = torch.from_numpy(np.pad(ids, (0, tokens.shape[1] - len(ids))).astype(np.int64))
        expected = expected[None]
    assert torch.equal(vocabulary.with_velocity_shift(tokens, torch.tensor([bins])), expected)


def test_a_velocity_shift_for_which_there_is_no_room_is_dropped() -> None:
    plan: Plan = ([(5, 9), (5, 9)], [(0, 0, 60, 1, 0, 20), (1, 0, 60, 1, 0, 20)])
    quiet = replace(DEFAULT, default_velocity=int(DEFAULT.velocities()[20]))
    piece = planned(plan, quiet)
    one = torch.tensor([1])
    for room, fits in ((1, False), (2, True)):
        tokens = tokens_of(piece, quiet, room=room)
        louder = quiet.with_velocity_shift(tokens, one)
        assert torch.equal(louder, tokens) is not fits
        assert is_valid(quiet, louder, 2).all()


def test_shifts_of_what_is_not_in_the_vocabulary_are_refused() -> None:
    tokens, one = torch.zeros(1, 4, dtype=torch.int64), torch.tensor([1])
    with pytest.raises(ValueError, match=r"tempo must be true to shift tempos, got false\."):
        PLAIN.with_tempo_shift(tokens, one)
    with pytest.raises(ValueError, match=r"velocity_bins must be >= 2 to shift velocities, got 0"):
        PLAIN.with_velocity_shift(tokens, one)


def test_plain_data_holds_every_field() -> None:
    assert DEFAULT.to_dict() == {"kind": "metrical", "version": 1, **asdict(DEFAULT)}
    assert len(asdict(DEFAULT)) == 6
