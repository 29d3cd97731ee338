import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from random_music import VOCABULARIES, Plan, planned, plans

from aurl.data.attributes import (
    ATTRIBUTES,
    CATEGORICAL,
    attribute_entropies,
    attributes,
    discretized,
)
from aurl.data.metrical_layout import METRES
from aurl.data.piece import NOTE, Key, Metre, Piece, Tempo, sorted_notes

NAN = float("nan")


def piece_of(*notes: tuple[int, ...], metre: str = "4/4", **facts: Any) -> Piece:
    """A piece of (onset, duration, pitch[, is_drum]) notes, at least one bar of it."""
    numerator, denominator = map(int, metre.split("/"))
    rows = [(*note[:3], 80, 0, len(note) > 3) for note in notes]
    first = Metre(tick=0, numerator=numerator, denominator=denominator)
    given: dict[str, Any] = {"ticks_per_quarter": 24, "metres": (first,), "length": 1, **facts}
    return Piece(notes=sorted_notes(np.array(rows, NOTE)), **given)


def value(piece: Piece, name: str) -> float:
    return float(attributes(piece)[ATTRIBUTES.index(name)])


@pytest.mark.parametrize(
    ("name", "piece", "expected"),
    [
        pytest.param("rhythm_density", piece_of((0, 6, 60), (6, 6, 60)), 2 / 16, id="two_of_16"),
        pytest.param("rhythm_density", piece_of((0, 6, 60), (0, 6, 64)), 1 / 16, id="a_chord"),
        pytest.param("rhythm_density", piece_of((0, 6, 60), (5, 6, 64)), 1 / 16, id="one_step"),
        pytest.param("rhythm_density", piece_of((0, 6, 36, True)), 1 / 16, id="drums_count"),
        pytest.param("rhythm_density", piece_of((0, 6, 60), metre="6/8"), 1 / 12, id="in_6_8"),
        pytest.param("rhythm_density", piece_of((0, 6, 60), length=192), 1 / 32, id="silent_bar"),
        pytest.param("mean_pitch", piece_of((0, 6, 60), (3, 90, 67)), 63.5, id="notes_not_time"),
        pytest.param("mean_pitch", piece_of((0, 6, 60), (0, 6, 36, True)), 60.0, id="no_drums"),
        pytest.param(
            "pitch_range", piece_of((0, 6, 60), (3, 90, 67), (9, 1, 62)), 7.0, id="fifth"
        ),
        pytest.param("pitch_range", piece_of((0, 6, 60)), 0.0, id="one_note"),
        pytest.param("contour", piece_of((0, 6, 60), (24, 6, 62), (48, 6, 64)), 2.0, id="rising"),
        pytest.param("contour", piece_of((0, 6, 60), (24, 6, 65), (48, 6, 60)), 0.0, id="arch"),
        pytest.param("contour", piece_of((0, 6, 60), (0, 6, 65)), NAN, id="one_onset"),
        pytest.param("polyphony", piece_of((0, 6, 60), (50, 9, 62)), 1.0, id="melody_with_rests"),
        pytest.param("polyphony", piece_of((0, 8, 60), (0, 8, 64)), 2.0, id="dyad"),
        pytest.param("polyphony", piece_of((0, 8, 60), (4, 8, 64)), 16 / 12, id="overlap"),
        pytest.param(
            "polyphony", piece_of((0, 20, 60), (4, 2, 64), (10, 2, 64)), 24 / 20, id="in"
        ),
        pytest.param("pitch_class_entropy", piece_of((0, 6, 60), (9, 6, 72)), 0.0, id="octave"),
        pytest.param("pitch_class_entropy", piece_of((0, 6, 60), (9, 90, 61)), 1.0, id="one_bit"),
        pytest.param(
            "pitch_class_entropy",
            piece_of(*((3 * step, 3, 60 + step) for step in range(12))),
            math.log2(12),
            id="chromatic",
        ),
        pytest.param("tonic", piece_of((0, 6, 60)), NAN, id="no_key"),
        pytest.param("metre", piece_of(metre="6/8"), float(METRES.index((6, 8))), id="metre"),
        pytest.param("metre", piece_of(metre="9/4"), NAN, id="metre_without_a_token"),
    ],
)
def test_attribute_has_its_known_value(name: str, piece: Piece, expected: float) -> None:
    assert value(piece, name) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        pytest.param(piece_of((0, 6, 60), (24, 6, 60), (48, 6, 60)), 0.0, id="on_the_beat"),
        pytest.param(piece_of((0, 6, 60), (12, 6, 60), (24, 6, 60)), 0.0, id="even_eighths"),
        pytest.param(piece_of((12, 6, 60), (36, 6, 60), (60, 6, 60)), 1.0, id="all_off"),
        pytest.param(
            piece_of((0, 6, 60), (12, 24, 60), (36, 6, 60), (48, 6, 60)), 1 / 3, id="one"
        ),
        pytest.param(piece_of((12, 6, 60), (24, 6, 60), (84, 6, 60)), 0.0, id="open_end"),
        pytest.param(piece_of((12, 6, 60), (36, 6, 60), metre="6/8"), 0.0, id="compound_on"),
        pytest.param(piece_of((12, 6, 60), (48, 6, 60), metre="6/8"), 1.0, id="compound_off"),
        pytest.param(piece_of((24, 6, 60), metre="2/2"), 1.0, id="half_note_beats"),
        pytest.param(piece_of((0, 6, 60), (36, 6, 60), metre="3/4"), 1 / 2, id="three_beats"),
        pytest.param(piece_of((12, 6, 60), metre="1/4"), NAN, id="one_beat"),
    ],
)
def test_syncopation_is_the_share_of_beats_left_empty_after_a_note(
    piece: Piece, expected: float
) -> None:
    assert value(piece, "syncopation") == pytest.approx(expected, nan_ok=True)


def test_beats_of_a_pickup_are_counted_back_from_its_end() -> None:
    notes = ((0, 12, 60), (12, 24, 62), (36, 12, 64), (48, 24, 62))
    after_three_eighths = piece_of(*notes, pickup=36)  # beats at 12, 36, 60, 84 and 108
    assert value(after_three_eighths, "syncopation") == 1 / 4
    # Without the pickup the second of four beats is empty.
    assert value(replace(after_three_eighths, pickup=0), "syncopation") == 1 / 3


def test_key_is_the_one_in_force_at_the_start() -> None:
    keys = (Key(tick=0, tonic=9, is_minor=True), Key(tick=48, tonic=2, is_minor=False))
    piece = piece_of((0, 96, 60), keys=keys)
    assert (value(piece, "tonic"), value(piece, "mode")) == (9.0, 1.0)
    assert math.isnan(value(replace(piece, keys=keys[1:]), "tonic"))


def test_without_notes_only_tempo_and_the_categorical_attributes_are_defined() -> None:
    piece = piece_of(keys=(Key(tick=0, tonic=0, is_minor=False),))
    defined = [name for name in ATTRIBUTES if not math.isnan(value(piece, name))]
    assert tuple(defined) == ("tempo", *CATEGORICAL)


def test_tempo_is_the_one_in_force_at_the_start() -> None:
    tempos = (Tempo(tick=0, bpm=90.0), Tempo(tick=48, bpm=140.0))
    assert value(replace(piece_of((0, 96, 60)), tempos=tempos), "tempo") == 90.0


def test_drums_alone_have_no_pitches() -> None:
    piece = piece_of((0, 6, 36, True), (24, 6, 38, True))
    undefined = [name for name in ATTRIBUTES if math.isnan(value(piece, name))]
    pitched = ["mean_pitch", "pitch_range", "contour", "polyphony", "pitch_class_entropy"]
    assert undefined == [*pitched, "tonic", "mode"]


@settings(max_examples=50)
@given(plan=plans)
def test_attributes_of_any_piece_are_in_range(plan: Plan) -> None:
    piece = planned(plan, VOCABULARIES["default"])
    found = dict(zip(ATTRIBUTES, attributes(piece).tolist(), strict=True))
    limits = {
        "rhythm_density": (0, 1),
        "syncopation": (0, 1),
        "mean_pitch": (0, 127),
        "pitch_range": (0, 127),
        "polyphony": (1, 100),
        "pitch_class_entropy": (0, math.log2(12) + 1e-9),
    }
    for name, (low, high) in limits.items():
        assert math.isnan(found[name]) or low <= found[name] <= high


@settings(max_examples=50)
@given(plan=plans)
def test_attributes_do_not_depend_on_the_resolution(plan: Plan) -> None:
    piece = planned(plan, VOCABULARIES["plain"])
    notes = piece.notes.copy()
    notes["onset"] *= 5
    notes["duration"] *= 5
    fine = Piece(
        ticks_per_quarter=120,
        notes=notes,
        metres=tuple(replace(metre, tick=5 * metre.tick) for metre in piece.metres),
        tempos=tuple(replace(tempo, tick=5 * tempo.tick) for tempo in piece.tempos),
        length=5 * piece.length,
    )
    np.testing.assert_allclose(attributes(fine), attributes(piece))


def test_bins_are_quantiles_of_the_reference() -> None:
    reference = np.arange(800.0)[:, None]
    factors, names = discretized(reference, reference, ["x"])
    assert names == ["x"]
    assert np.bincount(factors[:, 0]).tolist() == [100] * 8
    outside, _ = discretized(np.array([[-5.0], [1e9]]), reference, ["x"], n_bins=4)
    assert outside[:, 0].tolist() == [0, 3]


def test_coinciding_quantiles_make_fewer_bins_and_none_is_empty() -> None:
    reference = np.repeat([0.0, 1.0, 5.0], [50, 30, 20])[:, None]
    factors, _ = discretized(reference, reference, ["x"])
    assert np.bincount(factors[:, 0]).tolist() == [50, 30, 20]


def test_nan_is_a_class_of_its_own() -> None:
    reference = np.array([0.0, 1.0, 2.0, 3.0, NAN, NAN])[:, None]
    factors, _ = discretized(reference, reference, ["x"], n_bins=2)
    assert factors[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    unseen, _ = discretized(np.array([[NAN], [3.0]]), reference[:4], ["x"], n_bins=2)
    assert unseen[:, 0].tolist() == [2, 1]


def test_a_category_is_a_class_and_an_unseen_one_is_unknown() -> None:
    reference = np.array([7.0, 2.0, 2.0, 9.0])[:, None]
    values = np.array([2.0, 7.0, 9.0, 8.0, 100.0, NAN])[:, None]
    factors, _ = discretized(values, reference, ["tonic"], n_bins=2)
    assert factors[:, 0].tolist() == [0, 1, 2, 3, 3, 3]


def test_near_constant_attributes_are_left_out_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 4))
    rows[:, 1] = 5.0
    rows[:, 2] = NAN
    rows[:, 3] = 0.0
    rows[:4, 3] = 1.0  # 96 % are 0
    with caplog.at_level(logging.INFO, logger="aurl.data.attributes"):
        factors, names = discretized(rows, rows, ["contour", "mean_pitch", "tonic", "mode"])
    assert names == ["contour"]
    assert factors.shape == (100, 1)
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
        "mean_pitch",
        "tonic",
        "mode",
    ]


def test_all_left_out_is_no_factors() -> None:
    factors, names = discretized(np.zeros((3, 1)), np.zeros((5, 1)), ["contour"])
    assert factors.shape == (3, 0)
    assert names == []


def test_discretized_names_the_columns_of_attributes_by_default() -> None:
    plan: list[Plan] = [([(5, 0)], [(0, 0, pitch, 96, 0, 0)]) for pitch in range(40, 80)]
    rows = np.stack([attributes(planned(each, VOCABULARIES["plain"])) for each in plan])
    factors, names = discretized(rows.astype(np.float32), rows.astype(np.float32))
    assert names == ["mean_pitch"]
    assert np.bincount(factors[:, 0]).tolist() == [5] * 8


@pytest.mark.parametrize(
    ("shape", "names", "n_bins", "message"),
    [
        ((3, 2), ["x"], 8, r"names must be one for each column, got 1 names, 2 and 2 columns\."),
        ((3, 1), ["x"], 1, r"n_bins must be >= 2, got 1\."),
        ((0, 1), ["x"], 8, r"reference must have rows, got none\."),
    ],
    ids=["names", "bins", "rows"],
)
def test_discretized_refuses(
    shape: tuple[int, int], names: list[str], n_bins: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        discretized(np.zeros(shape), np.zeros(shape), names, n_bins=n_bins)


def test_entropies_are_in_nats() -> None:
    factors = np.array([[0, 0, 0], [0, 1, 1], [0, 0, 2], [0, 1, 3]])
    np.testing.assert_allclose(attribute_entropies(factors), [0.0, math.log(2), math.log(4)])
