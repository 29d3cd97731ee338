"""The laws of the `events` vocabulary: no drift, no silence lost, no pitch moved, none unsaid."""

import json
from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_music import advance, knows_where_it_is

from aurl.data.clock import BAR, clocked, is_clocked, seconds
from aurl.data.events import Events
from aurl.data.events_layout import TEMPOS
from aurl.data.events_reader import EventsReader
from aurl.data.piece import NOTE, Metre, Piece, Tempo, sliced, sorted_notes
from aurl.data.vocabularies import vocabulary_from
from aurl.data.vocabulary import Vocabulary
from aurl.errors import DataError

EVENTS = Events()
HALF_STEP_S = 1 / 128

rows = st.lists(
    st.tuples(
        st.integers(0, 900),  # onset
        st.integers(1, 400),  # duration
        st.sampled_from([0, 20, 21, 60, 61, 64, 107, 108, 109, 127]),
        st.integers(1, 127),
        st.sampled_from([0, 1, 7, 40, 41, 73, 127]),
        st.booleans(),
    ),
    max_size=14,
)
speeds = st.lists(st.tuples(st.integers(1, 900), st.floats(30.0, 260.0)), max_size=3)


def piece_of(
    notes: list[tuple[int, int, int, int, int, bool]],
    speeds: list[tuple[int, float]],
    per_quarter: int = 96,
) -> Piece:
    table = [(at, long, p, v, 0 if drum else prog, drum) for at, long, p, v, prog, drum in notes]
    at = {0: 120.0, **dict(sorted(speeds))}
    return Piece(
        ticks_per_quarter=per_quarter,
        notes=sorted_notes(np.array(table, NOTE)),
        tempos=tuple(Tempo(tick=tick, bpm=bpm) for tick, bpm in at.items()),
    )


def performance(seed: int = 0) -> Piece:
    """Ten minutes of piano at ever-changing tempo, on a fine grid."""
    rng = np.random.default_rng(seed)
    n = 6000
    notes = np.zeros(n, NOTE)
    notes["onset"] = np.sort(rng.integers(0, 480 * 1200, n))
    notes["duration"] = rng.integers(1, 900, n)
    notes["pitch"] = rng.integers(21, 109, n)
    notes["velocity"] = rng.integers(1, 128, n)
    ticks = np.arange(0, 480 * 1200, 1111)
    tempos = (Tempo(tick=int(tick), bpm=float(rng.uniform(90, 150))) for tick in ticks)
    return Piece(ticks_per_quarter=480, notes=sorted_notes(notes), tempos=tuple(tempos))


def walks(*, batch: int, n_bars: int, budget: int, seed: int) -> torch.Tensor:
    """Sequences of allowed tokens: the block is drawn evenly, then its value."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.tensor([1, 2, 3, 4, 92, 180, 692, 724, 726, 758, 774])
    block = torch.bucketize(torch.arange(774), edges, right=True)
    grammar = EVENTS.grammar(batch, n_bars)
    drawn: list[torch.Tensor] = []
    while not bool(grammar.ended.all()):
        allowed = grammar.allowed(budget - len(drawn)).float()
        of_block = torch.zeros(batch, 11).index_add(1, block, allowed)
        weights = allowed / of_block[:, block].clamp(min=1.0)
        tokens = torch.multinomial(weights, 1, generator=generator)[:, 0]
        grammar.advance(tokens)
        drawn.append(tokens)
    return torch.stack(drawn, dim=1)


def batch_of(tokens: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(tokens.astype(np.int64))[None]


def test_the_grammar_knows_where_it_is() -> None:
    tokens = walks(batch=4, n_bars=2, budget=80, seed=7)
    assert knows_where_it_is(EVENTS.grammar(4, 2), EVENTS, tokens)


def test_the_layout_is_the_seed_s() -> None:
    words = {
        0: "START",
        1: "END",
        2: "PAD",
        3: "UNK",
        4: "NOTE_ON 21",
        91: "NOTE_ON 108",
        92: "NOTE_OFF 21",
        179: "NOTE_OFF 108",
        180: "TIME_SHIFT 0",
        691: "TIME_SHIFT 511",
        692: "VELOCITY 1",
        723: "VELOCITY 127",
        724: "SUSTAIN on",
        725: "SUSTAIN off",
        726: "TEMPO 60.0",
        757: "TEMPO 200.0",
        758: "INSTRUMENT 0",
        773: "INSTRUMENT 15",
    }
    assert {token: EVENTS.describe(token) for token in words} == words
    assert EVENTS.size == 774
    with pytest.raises(ValueError, match=r"token must be in 0\.\.773, got 774"):
        EVENTS.describe(774)


def test_a_chord_of_two_instruments_is_said_in_one_order() -> None:
    notes = [(0, 32, 64, 80, 0, False), (0, 32, 60, 80, 0, False), (0, 16, 67, 127, 40, False)]
    tokens = EVENTS.encode(clocked(piece_of(notes, [], per_quarter=32)), 1)
    words = [EVENTS.describe(int(token)) for token in tokens]
    assert words == [
        "START",
        *["VELOCITY 78", "NOTE_ON 60", "NOTE_ON 64", "INSTRUMENT 5", "VELOCITY 127", "NOTE_ON 67"],
        *["TIME_SHIFT 16", "NOTE_OFF 67", "TIME_SHIFT 16", "INSTRUMENT 0"],
        *["NOTE_OFF 60", "NOTE_OFF 64", "END"],
    ]


@given(notes=rows, speeds=speeds)
def test_decoding_gives_back_what_can_be_said(
    notes: list[tuple[int, int, int, int, int, bool]], speeds: list[tuple[int, float]]
) -> None:
    piece = piece_of(notes, speeds)
    said, counts = EVENTS.said(piece)
    tokens = EVENTS.encode(piece)
    decoded = EVENTS.decode(tokens)
    assert np.array_equal(decoded.notes, said.notes)
    assert is_clocked(decoded)
    assert EVENTS.said(decoded) == (decoded, {})
    left_out = counts.get("drums", 0) + counts.get("pitch", 0) + counts.get("doubled", 0)
    assert len(said.notes) + left_out == len(piece.notes)
    assert EVENTS.note_count(batch_of(tokens)).tolist() == [len(said.notes)]
    assert EVENTS.is_valid(batch_of(tokens), max(said.n_bars, 1)).all()


def test_no_onset_of_a_ten_minute_performance_is_off_by_more_than_half_a_step() -> None:
    piece = performance()
    said, counts = EVENTS.said(piece)
    decoded = EVENTS.decode(EVENTS.encode(piece))
    assert np.array_equal(decoded.notes, said.notes)
    true = seconds(piece, piece.notes["onset"])
    assert true[-1] > 590.0
    assert set(counts) == {"cut", "doubled"}
    assert len(said.notes) == len(piece.notes) - counts["doubled"]
    for pitch in range(21, 109):
        of = true[piece.notes["pitch"] == pitch]
        found = decoded.notes["onset"][decoded.notes["pitch"] == pitch] / 64
        error = np.abs(found[:, None] - of).min(axis=1)
        assert error.max() <= HALF_STEP_S + 1e-9
        assert np.abs(found[:, None] - of).min(axis=0).max() <= HALF_STEP_S + 1e-9
    ends = seconds(piece, piece.notes["onset"] + piece.notes["duration"])
    assert abs(decoded.end / 64 - ends.max()) <= HALF_STEP_S + 1e-9


def test_silence_over_eight_seconds_is_kept() -> None:
    notes = [(64 * at, 32, 60, 80, 0, False) for at in (9, 40)]
    piece = clocked(piece_of(notes, [], per_quarter=32))
    tokens = EVENTS.encode(piece)
    shifts = [token - 180 for token in tokens.tolist() if 180 <= token < 692]
    assert shifts == [511, 65, 32, 511, 511, 511, 419, 32]
    assert EVENTS.decode(tokens).notes["onset"].tolist() == [64 * 9, 64 * 40]
    exact = clocked(piece_of([(1022, 32, 60, 80, 0, False)], [], per_quarter=32))
    tokens = EVENTS.encode(exact).tolist()
    assert [token - 180 for token in tokens if 180 <= token < 692] == [511, 511, 32]


def test_a_piece_lasts_whole_bars_of_two_seconds() -> None:
    full = piece_of([(0, BAR, 60, 80, 0, False)], [], per_quarter=32)
    assert EVENTS.decode(EVENTS.encode(full)).length == BAR
    slow = replace(full, notes=full.notes[:0], tempos=(Tempo(tick=0, bpm=60.0),), length=64)
    assert clocked(slow).length == BAR
    assert EVENTS.decode(np.asarray([0, 1])).length == BAR


def test_what_cannot_be_said_is_counted_and_never_moved() -> None:
    notes = [
        (0, 10, 10, 80, 0, False),
        (0, 10, 120, 80, 0, False),
        (0, 10, 60, 80, 0, True),
        (0, 30, 62, 80, 40, False),  # violin
        (0, 20, 62, 80, 41, False),  # viola: of the same family
        (20, 20, 62, 80, 40, False),
        (0, 10, 64, 80, 73, False),  # flute
    ]
    said, counts = EVENTS.said(piece_of(notes, [], per_quarter=32))
    assert counts == {"drums": 1, "pitch": 2, "program": 2, "doubled": 1, "cut": 1}
    found = said.notes[["onset", "duration", "pitch", "program"]].tolist()
    assert found == [(0, 20, 62, 40), (0, 10, 64, 72), (20, 20, 62, 40)]


@given(notes=rows, speeds=speeds)
@settings(max_examples=8)
def test_the_grammar_admits_every_piece_and_agrees_with_the_reader_on_every_token(
    notes: list[tuple[int, int, int, int, int, bool]], speeds: list[tuple[int, float]]
) -> None:
    tokens = EVENTS.encode(piece_of(notes, speeds))
    n_bars = max(EVENTS.said(piece_of(notes, speeds))[0].n_bars, 1)
    grammar, reader = EVENTS.grammar(1, n_bars), EventsReader(n_bars * BAR)
    for token in [*tokens.tolist(), EVENTS.pad]:
        allowed = grammar.allowed()[0]
        assert allowed.tolist() == [reader.accepts(each) for each in range(774)]
        assert allowed[token]
        grammar.advance(torch.tensor([token]))
        reader.read(token)
    assert grammar.ended.all()


def test_the_grammar_agrees_with_the_reader_wherever_a_walk_may_come() -> None:
    for row in walks(batch=2, n_bars=1, budget=40, seed=5):
        grammar, reader = EVENTS.grammar(1, 1), EventsReader(BAR)
        for token in row.tolist():
            allowed = grammar.allowed()[0].tolist()
            assert allowed == [reader.accepts(each) for each in range(774)]
            grammar.advance(torch.tensor([token]))
            reader.read(token)


def test_notes_that_sound_at_the_end_of_the_time_end_in_order() -> None:
    reader, ends = EventsReader(BAR), (92 + 39, 92 + 43)
    for token in (0, 700, 4 + 39, 4 + 43, 180 + BAR - 1):
        reader.read(token)
    assert [reader.accepts(token) for token in ends] == [True, True]
    reader = EventsReader(BAR)
    for token in (0, 700, 4 + 39, 4 + 43, 180 + BAR):
        reader.read(token)
    assert [reader.accepts(token) for token in ends] == [True, False]


@pytest.mark.parametrize(("budget", "n_bars"), [(2, 1), (5, 1), (12, 1), (30, 3), (90, 1)])
def test_generation_never_leaves_the_grammar_and_always_ends(budget: int, n_bars: int) -> None:
    tokens = walks(batch=100, n_bars=n_bars, budget=budget, seed=budget)
    assert tokens.shape[1] <= budget
    assert EVENTS.is_valid(tokens, n_bars).all()
    for row in tokens[:60].numpy():
        length = int((row == 1).argmax()) + 1
        piece = EVENTS.decode(row)
        without_tempo = row[:length][(row[:length] < 726) | (row[:length] >= 758)]
        if len(without_tempo) == length:
            assert np.array_equal(EVENTS.encode(piece, n_bars), row[:length])


def test_random_walks_say_everything_that_can_be_said() -> None:
    tokens = walks(batch=200, n_bars=8, budget=120, seed=3)
    seen = torch.bincount(tokens.flatten(), minlength=774)
    never = {3, 180, 724, 725}
    assert set(torch.nonzero(seen == 0).flatten().tolist()) - never <= set(range(181, 692))
    assert (seen[list(never)] == 0).all()
    assert (seen[181:692] > 0).float().mean() > 0.5


def test_every_state_has_a_way_to_end_in_the_budget_that_is_asked_for() -> None:
    """The plan is followed from every state of random walks with just what it asks for."""
    for seed in range(2):
        tokens = walks(batch=40, n_bars=1 + seed % 3, budget=40, seed=seed)
        for cut in range(1, tokens.shape[1], 9):
            whole = tokens[(tokens[:, :cut] != 1).all(dim=1)]
            if not len(whole):
                continue
            for row in whole[:4]:
                grammar = EVENTS.grammar(1, 1 + seed % 3)
                advance(grammar, row[None, :cut])
                needed = next(n for n in range(60) if _enough(grammar, n))
                for left in range(needed, -1, -1):
                    if grammar.ended.all():
                        break
                    grammar.advance(grammar.allowed(left).float().argmax(dim=1))
                assert grammar.ended.all()


def _enough(grammar: object, budget: int) -> bool:
    try:
        grammar.allowed(budget)  # type: ignore[attr-defined]
    except ValueError:
        return False
    return True


def test_a_budget_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"budget must be enough to end the sequences, got 1"):
        EVENTS.grammar(2, 1).allowed(1)
    with pytest.raises(ValueError, match=r"n_bars must be >= 1, got 0"):
        EVENTS.grammar(2, 0)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ([0, 43, 1], 1),  # a note before any VELOCITY
        ([0, 700, 43, 1], 3),  # END while it sounds
        ([0, 700, 43, 131, 1], 3),  # off at the moment it began
        ([0, 700, 43, 190, 700], 4),  # the VELOCITY in force
        ([0, 190, 1], 2),  # END after silence
        ([0, 190, 190], 2),  # silence said in two parts
        ([0, 691, 180], 2),  # TIME_SHIFT 0
        ([0, 758], 1),  # the INSTRUMENT in force
        ([0, 759, 760], 2),
        ([0, 700, 44, 43], 3),  # downwards
        ([0, 700, 43, 190, 740, 740], 5),
        ([4], 0),
        ([0, 700, 43], 3),  # no END
        ([0, 3], 1),
        ([0, 724], 1),
        ([0, 774], 1),
    ],
)
def test_decode_names_the_place_that_the_grammar_refuses(words: list[int], place: int) -> None:
    with pytest.raises(DataError, match=rf"^token {place} must be"):
        EVENTS.decode(np.asarray(words))


def test_positions_are_in_bars_of_two_seconds() -> None:
    tokens = torch.tensor([[0, 700, 43, 180 + 64, 131, 700, 43, 180 + 96, 131, 1, 2]])
    bar, phase = EVENTS.positions(tokens)
    assert bar[0].tolist() == [0] * 7 + [1] * 4
    assert phase[0].tolist() == [0.0] * 3 + [0.5] * 4 + [0.25] * 4
    changed = tokens.clone()
    changed[0, 7] = 181
    assert EVENTS.positions(changed)[0][0, :7].tolist() == bar[0, :7].tolist()


def test_augmentation_moves_all_or_nothing_and_stays_in_the_grammar() -> None:
    tokens = EVENTS.encode(piece_of([(0, 60, 60, 80, 0, False), (9, 50, 107, 80, 40, False)], []))
    batch = batch_of(tokens).repeat(3, 1)
    moved = EVENTS.transposed(batch, torch.tensor([1, 2, -39]))
    assert EVENTS.is_valid(moved, 1).all()
    assert [EVENTS.decode(row).notes["pitch"].tolist() for row in moved.numpy()] == [
        [61, 108],
        [60, 107],
        [21, 68],
    ]
    louder = EVENTS.with_velocity_shift(batch, torch.tensor([12, 13, -19]))
    assert EVENTS.is_valid(louder, 1).all()
    assert [EVENTS.decode(row).notes["velocity"][0] for row in louder.numpy()] == [127, 78, 1]
    with pytest.raises(ValueError, match=r"an events vocabulary has no tempos to shift"):
        EVENTS.with_tempo_shift(batch, torch.tensor([1, 1, 1]))


def test_tempos_are_said_where_they_change_and_time_nothing() -> None:
    notes = [(0, 96, 60, 80, 0, False), (960, 96, 62, 80, 0, False)]
    piece = piece_of(notes, [(0, 150.0), (480, 151.0), (960, 60.0), (5000, 200.0)])
    said = [EVENTS.describe(int(token)) for token in EVENTS.encode(piece)]
    near = f"TEMPO {TEMPOS[20]:.1f}"
    assert [word for word in said if word.startswith("TEMPO")] == [near, "TEMPO 60.0"]
    assert said.index("TEMPO 60.0") == said.index("NOTE_ON 62") - 1
    first, second = EVENTS.decode(EVENTS.encode(piece)).notes["onset"].tolist()
    assert (first, second) == (0, round(64 * (5 * 0.4 + 5 * 60 / 151)))


def test_a_window_is_cut_at_its_end_and_later_notes_are_refused() -> None:
    piece = piece_of([(0, 400, 60, 80, 0, False)], [], per_quarter=32)
    assert EVENTS.decode(EVENTS.encode(piece, 1)).notes["duration"].tolist() == [128]
    with pytest.raises(DataError, match=r"notes: every onset must be before 128 steps, got 128"):
        EVENTS.encode(piece_of([(128, 4, 60, 80, 0, False)], [], per_quarter=32), 1)
    with pytest.raises(ValueError, match=r"n_bars must be >= 1, got 0"):
        EVENTS.encode(piece, 0)


def test_windows_of_what_is_said_are_said_exactly() -> None:
    said, _ = EVENTS.said(performance(1))
    for first in (0, 7, 100):
        window = sliced(said, first, 2)
        decoded = EVENTS.decode(EVENTS.encode(window, 2))
        assert np.array_equal(decoded.notes, window.notes)


def test_the_clock_keeps_what_is_on_it() -> None:
    piece = clocked(performance(2))
    assert clocked(piece) is piece
    assert np.array_equal(seconds(piece, piece.notes["onset"]) * 64, piece.notes["onset"])
    assert not is_clocked(replace(piece, pickup=3))
    metres = (Metre(tick=0, numerator=3, denominator=4),)
    assert not is_clocked(replace(piece, metres=metres))


def test_a_vocabulary_comes_back_from_plain_data_as_what_it_was() -> None:
    data = json.loads(json.dumps(EVENTS.to_dict()))
    assert vocabulary_from(data) == EVENTS
    assert isinstance(EVENTS, Vocabulary)
    assert Counter(data) == Counter({"kind": "events", "version": 1})
