"""Musical features: closed forms on small pieces, laws, and the faults of other libraries."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from made_codes import mig_dlib20, mig_rank32

from aurl.data.piece import NOTE, Metre, Piece
from aurl.metrics.music import (
    FEATURES,
    NOTE_VALUES,
    duration_counts,
    empty_bar_rate,
    features,
    groove_consistency,
    note_density,
    pitch_class_counts,
    polyphony_rate,
    repetition,
    rhythmic_pattern_coherence,
    scale_consistency,
)
from tests.made_pieces import Plan, made, notes_of, plans

BAR = 96


def piece_of(*rows: tuple[int, int, int], bars: int = 2, metre: tuple[int, int] = (4, 4)) -> Piece:
    """A piece on the 24-grid from (onset, duration, pitch) and so many bars."""
    first = Metre(tick=0, numerator=metre[0], denominator=metre[1])
    ticks = bars * 96 * metre[0] // metre[1]
    notes = notes_of([(*row, 80, 0, False) for row in rows])
    return Piece(ticks_per_quarter=24, notes=notes, metres=(first,), length=ticks)


def with_pitches(*pitches: int) -> Piece:
    return piece_of(*((12 * index, 12, pitch) for index, pitch in enumerate(pitches)))


def at_resolution(piece: Piece, times: int) -> Piece:
    """The same music with as many times the ticks."""
    notes = piece.notes.copy()
    notes["onset"] *= times
    notes["duration"] *= times
    return replace(
        piece,
        ticks_per_quarter=piece.ticks_per_quarter * times,
        notes=notes,
        metres=tuple(replace(metre, tick=metre.tick * times) for metre in piece.metres),
        tempos=tuple(replace(tempo, tick=tempo.tick * times) for tempo in piece.tempos),
        keys=tuple(replace(key, tick=key.tick * times) for key in piece.keys),
        pickup=piece.pickup * times,
        length=piece.length * times,
    )


def by_name(piece: Piece) -> dict[str, float]:
    return dict(zip(FEATURES, features(piece).tolist(), strict=True))


SILENCE = piece_of(bars=2)
NOTHING = Piece(ticks_per_quarter=24, notes=np.zeros(0, NOTE))


@pytest.mark.parametrize(
    ("pitches", "share"),
    [
        pytest.param((60, 62, 64, 65, 67, 69, 71), 1.0, id="c_major"),
        pytest.param((57, 59, 60, 62, 64, 65, 67), 1.0, id="a_minor"),
        pytest.param((66, 68, 70, 71, 73, 75, 77), 1.0, id="f_sharp_major"),
        pytest.param(tuple(range(60, 72)), 7 / 12, id="chromatic"),
        pytest.param((60, 62, 64, 65, 67, 69, 71, 61), 7 / 8, id="one_foreign_note"),
        pytest.param((60, 60, 60), 1.0, id="drone"),
    ],
)
def test_scale_consistency_is_the_share_in_the_best_scale(
    pitches: tuple[int, ...], share: float
) -> None:
    assert scale_consistency(with_pitches(*pitches).notes) == pytest.approx(share)


def test_grooves_of_known_bars() -> None:
    same = piece_of((0, 12, 60), (48, 12, 60), (96, 12, 72), (144, 12, 50))
    assert groove_consistency(same) == 1.0
    assert rhythmic_pattern_coherence(same) == 1.0
    half = piece_of((0, 12, 60), (48, 12, 60), (96, 12, 72), (150, 12, 50))
    assert groove_consistency(half) == 1 - 2 / 16
    assert rhythmic_pattern_coherence(half) == 0.5
    disjoint = piece_of((0, 12, 60), (BAR + 6, 12, 60))
    assert groove_consistency(disjoint) == 1 - 2 / 16  # shared silence agrees ...
    assert rhythmic_pattern_coherence(disjoint) == 0.0  # ... and here it counts for nothing


def test_grooves_compare_neighbours_and_pass_over_shared_silence() -> None:
    piece = piece_of((0, 12, 60), (BAR, 12, 60), (4 * BAR + 6, 12, 60), bars=5)
    # pairs: the same; onset and silence; two silences, which have no groove; silence and onset
    assert groove_consistency(piece) == pytest.approx((1 + 15 / 16 + 15 / 16) / 3)
    assert rhythmic_pattern_coherence(piece) == pytest.approx(1 / 3)


def test_grooves_of_bars_of_two_lengths_are_over_the_longer_one() -> None:
    piece = Piece(
        ticks_per_quarter=24,
        notes=notes_of([(0, 12, 60, 80, 0, False), (78, 12, 60, 80, 0, False)]),
        metres=(
            Metre(tick=0, numerator=3, denominator=4),
            Metre(tick=72, numerator=4, denominator=4),
        ),
        length=72 + 96,
    )
    assert groove_consistency(piece) == 1 - 2 / 16


def test_a_chord_is_one_onset_of_the_groove() -> None:
    chord = piece_of((0, 12, 60), (0, 12, 64), (BAR, 12, 60), (BAR, 12, 67))
    assert rhythmic_pattern_coherence(chord) == 1.0


def test_empty_bars_and_notes_that_end_on_a_bar_line() -> None:
    assert empty_bar_rate(piece_of((0, BAR, 60), bars=2)) == 0.5
    assert empty_bar_rate(piece_of((0, BAR + 1, 60), bars=2)) == 0.0
    assert empty_bar_rate(SILENCE) == 1.0


def test_polyphony_rate_is_exact_in_time() -> None:
    piece = piece_of((0, 48, 60), (24, 48, 64), bars=1)
    assert polyphony_rate(piece) == 24 / 96
    assert polyphony_rate(piece_of((0, 48, 60), (48, 48, 64), bars=1)) == 0.0  # they only touch


def test_density_is_by_quarter_notes_whatever_the_metre() -> None:
    assert note_density(with_pitches(60, 62, 64, 65)) == 4 / 8
    assert note_density(piece_of((0, 12, 60), (36, 12, 60), bars=1, metre=(6, 8))) == 2 / 3


def test_repetition_counts_bars_heard_before() -> None:
    first, second = (0, 12, 60), (24, 12, 64)
    again = ((BAR, 12, 60), (BAR + 24, 12, 64))
    assert repetition(piece_of(first, second, *again)) == 0.5
    assert repetition(piece_of(first, second, *again, bars=4)) == 0.5  # silence repeats nothing
    assert repetition(piece_of(first, (BAR, 24, 60))) == 0.0  # another duration
    assert repetition(piece_of(first, (BAR, 12, 61))) == 0.0  # another pitch
    assert repetition(piece_of(first, (BAR + 6, 12, 60))) == 0.0  # another place
    assert repetition(piece_of(*((BAR * bar, 12, 60) for bar in range(4)), bars=4)) == 0.75
    drum = notes_of([(0, 12, 60, 80, 0, False), (BAR, 12, 60, 80, 0, True)])
    assert repetition(Piece(ticks_per_quarter=24, notes=drum)) == 0.0
    parts = [(0, 12, 0), (0, 24, 40), (BAR, 24, 0), (BAR, 12, 40)]  # two instruments exchange
    notes = notes_of([(at, long, 60, 80, program, False) for at, long, program in parts])
    assert repetition(Piece(ticks_per_quarter=24, notes=notes)) == 0.5


def test_pitch_classes_are_counted_by_note_without_drums() -> None:
    notes = notes_of(
        [(0, 12, 60, 80, 0, False), (0, 90, 72, 80, 0, False), (0, 1, 38, 80, 0, True)]
    )
    piece = Piece(ticks_per_quarter=24, notes=notes)
    assert pitch_class_counts(piece).tolist() == [2] + [0] * 11


def test_durations_are_counted_at_the_nearest_note_value() -> None:
    ticks = (1, 3, 5, 12, 13, 24, 25, 70, 96, 500)
    piece = piece_of(*((0, long, 60 + index) for index, long in enumerate(ticks)))
    found = dict(zip(NOTE_VALUES, duration_counts(piece).tolist(), strict=True))
    expected = {3: 2, 6: 1, 12: 2, 24: 2, 72: 1, 96: 2}
    assert {value: count for value, count in found.items() if count} == expected


def test_a_drone_has_the_extremes_and_shows_that_more_is_not_better() -> None:
    found = by_name(piece_of(*((12 * index, 12, 60) for index in range(16))))
    assert found["pitch_class_entropy"] == 0.0
    assert found["scale_consistency"] == found["groove_consistency"] == 1.0


def test_silence_gets_no_grade() -> None:
    """A grammar metric of nothing must be 0 or not defined, never some 0.7."""
    zero = {"polyphony_rate": 0.0, "note_density": 0.0, "empty_bar_rate": 1.0}
    found = by_name(SILENCE)
    assert {name: value for name, value in found.items() if not math.isnan(value)} == zero
    assert np.isnan(features(NOTHING)).all()
    assert not pitch_class_counts(SILENCE).any()
    assert not duration_counts(SILENCE).any()


def test_drums_have_a_groove_and_no_scale() -> None:
    rows = [(0, 6, 36, 80, 0, True), (BAR, 6, 36, 80, 0, True)]
    found = by_name(Piece(ticks_per_quarter=24, notes=notes_of(rows), length=2 * BAR))
    assert found["groove_consistency"] == 1.0
    assert math.isnan(found["scale_consistency"])
    assert math.isnan(found["pitch_class_entropy"])
    assert math.isnan(found["polyphony"])
    assert found["polyphony_rate"] == 0.0


LIMITS = {
    "pitch_class_entropy": (0.0, math.log2(12) + 1e-9),
    "scale_consistency": (7 / 12, 1.0),
    "groove_consistency": (0.0, 1.0),
    "rhythmic_pattern_coherence": (0.0, 1.0),
    "polyphony": (1.0, 100.0),
    "polyphony_rate": (0.0, 1.0),
    "empty_bar_rate": (0.0, 1.0),
    "note_density": (0.0, math.inf),
    "repetition": (0.0, 1.0),
}


@settings(max_examples=100)
@given(plan=plans())
def test_features_of_any_piece_are_in_range(plan: Plan) -> None:
    found = by_name(made(plan))
    assert list(found) == list(LIMITS)
    for name, value in found.items():
        low, high = LIMITS[name]
        assert math.isnan(value) or low <= value <= high, name


@settings(max_examples=50)
@given(plan=plans())
def test_features_do_not_change_with_the_key(plan: Plan) -> None:
    plan["rows"] = [(*row[:2], row[2] % 100, *row[3:]) for row in plan["rows"]]
    piece = made(plan)
    notes = piece.notes.copy()
    notes["pitch"] += np.where(notes["is_drum"], 0, 7).astype(np.int16)
    moved = replace(piece, notes=notes)
    np.testing.assert_allclose(features(moved), features(piece))
    assert pitch_class_counts(moved).tolist() == np.roll(pitch_class_counts(piece), 7).tolist()


@settings(max_examples=50)
@given(plan=plans(grids=(24, 480)))
def test_features_do_not_change_with_the_resolution(plan: Plan) -> None:
    piece = made(plan)
    np.testing.assert_allclose(features(at_resolution(piece, 5)), features(piece))
    np.testing.assert_array_equal(duration_counts(at_resolution(piece, 5)), duration_counts(piece))


# What published libraries get wrong, on the inputs that show it.


def test_two_notes_are_polyphony() -> None:
    """MusPy 0.5.0 (and smg-metrics, which calls it) counts three or more and says 0.0."""
    dyad = piece_of((0, BAR, 60), (0, BAR, 64), bars=1)
    assert polyphony_rate(dyad) == 1.0


@pytest.mark.parametrize(
    ("n_bars", "sounding", "metre", "rate"),
    [
        pytest.param(3, (0, 2), (4, 4), 1 / 3, id="bars"),
        pytest.param(12, (0, 1, 2, 4, 5, 6, 8, 9), (1, 4), 4 / 12, id="beats"),
    ],
)
def test_a_note_fills_its_own_bar_only_and_no_bar_is_made_up(
    n_bars: int, sounding: tuple[int, ...], metre: tuple[int, int], rate: float
) -> None:
    """MusPy 0.5.0 counts the end of a note as inside and adds a bar: 0.0, and 3/13 of beats."""
    ticks = 96 * metre[0] // metre[1]
    rows = ((bar * ticks, ticks, 60) for bar in sounding)
    assert empty_bar_rate(piece_of(*rows, bars=n_bars, metre=metre)) == pytest.approx(rate)


@pytest.mark.parametrize("times", [1, 20])
def test_groove_does_not_saturate_at_a_fine_resolution(times: int) -> None:
    """MusPy 0.5.0 compares ticks: at 480 a quarter, 1 - 8/1920 = 0.996 for grooves with no onset
    in common. In sixteenths eight of sixteen steps differ."""
    beats = [(24 * beat, 6, 60) for beat in range(4)]
    after = [(BAR + 24 * beat + 12, 6, 60) for beat in range(4)]
    piece = at_resolution(piece_of(*beats, *after), times)
    assert groove_consistency(piece) == 1 - 8 / 16
    assert rhythmic_pattern_coherence(piece) == 0.0


@pytest.mark.parametrize("n", [1000, 8000])
def test_mig_of_an_exact_code_does_not_depend_on_how_many_samples(n: int) -> None:
    """AR-VAE divides by a nearest-neighbour estimate of I(y; y), which grows with n; the entropy
    of the discrete factor does not."""
    rng = np.random.default_rng(0)
    factor = np.arange(n) % 8
    codes = np.stack([factor + 0.01 * rng.normal(size=n), rng.normal(size=n)], axis=1)
    assert mig_rank32(codes, factor[:, None]) == pytest.approx(1.0, abs=0.03)
    assert mig_dlib20(codes, factor[:, None]) == pytest.approx(1.0, abs=0.1)
