"""Chords by template and the likelihood of their progressions."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aurl.data.piece import Metre, Piece
from aurl.metrics.chords import (
    CHORD_TYPES,
    N_TYPES,
    ProgressionModel,
    chord_type_counts,
    chords,
    progression_validity,
)
from tests.made_pieces import notes_of

TYPES = list(CHORD_TYPES)
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def sounding(*segments: tuple[int, ...], metre: tuple[int, int] = (2, 4)) -> Piece:
    """Each segment's pitches, together, for half a bar of 2/4 (or a whole bar of 3/4)."""
    ticks = 96 * metre[0] // metre[1] // (2 if metre[0] % 2 == 0 else 1)
    rows = [
        (index * ticks, ticks, pitch, 80, 0, False)
        for index, pitches in enumerate(segments)
        for pitch in pitches
    ]
    first = Metre(tick=0, numerator=metre[0], denominator=metre[1])
    length = len(segments) * ticks
    return Piece(ticks_per_quarter=24, notes=notes_of(rows), metres=(first,), length=length)


def named(piece: Piece) -> list[str]:
    return [
        f"{NAMES[chord % 12]} {TYPES[chord // 12]}" if chord >= 0 else "-"
        for chord in chords(piece).tolist()
    ]


@pytest.mark.parametrize("root", range(12))
@pytest.mark.parametrize("name", TYPES)
def test_every_chord_in_root_position_is_itself(name: str, root: int) -> None:
    pitches = tuple(48 + root + degree for degree in CHORD_TYPES[name])
    assert named(sounding(pitches))[0] == f"{NAMES[root]} {name}"


@pytest.mark.parametrize(
    ("pitches", "name"),
    [
        pytest.param((52, 60, 67), "C major", id="first_inversion"),
        pytest.param((55, 60, 64), "C major", id="second_inversion"),
        pytest.param((53, 59, 62, 67), "G dominant 7", id="seventh_in_the_bass"),
        pytest.param((56, 60, 64), "G# augmented", id="the_bass_names_an_augmented_chord"),
        pytest.param((60,), "C major", id="single_note"),
        pytest.param((62, 69), "D major", id="fifth"),
        pytest.param((60, 63), "C minor", id="minor_third"),
        pytest.param((60, 64, 76, 79, 91), "C major", id="doubled"),
    ],
)
def test_known_chords(pitches: tuple[int, ...], name: str) -> None:
    assert named(sounding(pitches, ()))[0] == name


def test_a_chord_lasts_half_a_bar_or_a_whole_one_where_the_count_is_odd() -> None:
    progression = ((60, 64, 67), (53, 57, 60), (55, 59, 62), (60, 64, 67))
    names = ["C major", "F major", "G major", "C major"]
    assert named(sounding(*progression)) == names
    assert named(sounding(*progression, metre=(6, 8))) == names
    assert named(sounding(*progression, metre=(3, 4))) == names


def test_time_counts_and_notes_sound_on_across_the_segment() -> None:
    rows = [(0, 96, 48, 80, 0, False), (0, 96, 52, 80, 0, False), (0, 96, 55, 80, 0, False)]
    passing = [(0, 4, 61, 80, 0, False), (60, 4, 66, 80, 0, False)]
    piece = Piece(ticks_per_quarter=24, notes=notes_of([*rows, *passing]), length=96)
    assert named(piece) == ["C major", "C major"]


def test_an_arpeggio_is_its_chord() -> None:
    rows = [(6 * index, 6, pitch, 80, 0, False) for index, pitch in enumerate((62, 65, 69, 65))]
    metres = (Metre(tick=0, numerator=2, denominator=4),)
    piece = Piece(ticks_per_quarter=24, notes=notes_of(rows), metres=metres, length=48)
    assert named(piece) == ["D minor", "-"]


def test_drums_and_silence_have_no_chord() -> None:
    drums = Piece(ticks_per_quarter=24, notes=notes_of([(0, 96, 36, 80, 0, True)]))
    assert named(drums) == ["-", "-"]
    assert chords(Piece(ticks_per_quarter=24, notes=notes_of([]))).tolist() == []
    assert chord_type_counts(chords(drums)).tolist() == [0] * N_TYPES
    assert chord_type_counts(np.array([0, -1, 11, 12])).tolist() == [2, 1] + [0] * (N_TYPES - 2)


@example([[41, 54, 86]], 2)  # D and B flat major fit alike
@given(
    st.lists(st.lists(st.integers(30, 90), max_size=4), min_size=1, max_size=6),
    st.integers(-11, 11),
)
def test_chords_move_with_the_key(segments: list[list[int]], semitones: int) -> None:
    found = chords(sounding(*(tuple(each) for each in segments)))
    moved = chords(sounding(*(tuple(pitch + semitones for pitch in each) for each in segments)))
    expected = [
        chord if chord < 0 else chord // 12 * 12 + (chord % 12 + semitones) % 12
        for chord in found.tolist()
    ]
    assert moved.tolist() == expected


MAJOR = 0
CADENCE = np.array([0, 5, 7, 0])  # C F G C
IN_D = np.array([2, 7, 9, 2])


def test_likelihood_of_a_progression_in_closed_form() -> None:
    model = ProgressionModel.of([CADENCE, CADENCE])
    # six transitions from major, by moves: up 5 four times (C F and G C), up 2 twice (F G)
    total = 6 + 0.5 * 12 * N_TYPES
    assert model.log_probability[MAJOR].argmax() == 5  # semitones up
    fourth, second = 4.5 / total, 2.5 / total
    expected = -(2 * math.log(fourth) + math.log(second)) / 3
    assert model.nats(CADENCE) == pytest.approx(expected)
    assert model.nats(IN_D) == pytest.approx(expected)  # whatever the key
    assert model.nats(np.array([0, 1])) == pytest.approx(-math.log(0.5 / total))
    from_minor = model.nats(np.array([12, 5]))  # never seen: all moves are alike
    assert from_minor == pytest.approx(math.log(12 * N_TYPES))


def test_probabilities_sum_to_one_with_and_without_data() -> None:
    for corpus in ([], [CADENCE], [np.array([-1, -1])]):
        model = ProgressionModel.of(corpus)
        np.testing.assert_allclose(np.exp(model.log_probability).sum(axis=1), 1.0)


def test_silent_segments_are_passed_over_and_one_chord_is_no_progression() -> None:
    model = ProgressionModel.of([CADENCE])
    rests = np.array([-1, 0, -1, 5, 7, -1, 0])
    assert model.nats(rests) == pytest.approx(model.nats(CADENCE))
    assert math.isnan(model.nats(np.array([0, -1])))
    assert math.isnan(model.nats(np.array([], np.int64)))


def test_validity_is_being_no_less_plausible_than_most_of_the_reference() -> None:
    reference = np.arange(1.0, 101.0)
    assert progression_validity(reference, reference) == pytest.approx(0.95, abs=0.011)
    assert progression_validity(np.array([1.0, 50.0, 99.5, 200.0]), reference) == 0.5
    assert progression_validity(np.full(4, 1.0), reference) == 1.0
    assert progression_validity(np.array([96.0, 97.0]), reference) == 0.5  # at most 96


def test_what_has_no_progression_is_not_valid() -> None:
    reference = np.arange(1.0, 101.0)
    assert progression_validity(np.array([math.nan, 1.0]), reference) == 0.5
    assert progression_validity(np.array([1.0]), np.full(3, math.nan)) == 0.0
