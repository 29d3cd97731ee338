"""Samples against data: a control that passes, and bad music that does not."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from aurl.data.piece import NOTE, Piece, sorted_notes
from aurl.metrics.chords import ProgressionModel
from aurl.metrics.musical_evaluation import HISTOGRAMS, SCALARS, Music, musical_evaluation

N = 60


def tune(rng: np.random.Generator) -> Piece:
    """Two bars of eighths in some key: I and V, the second bar in the rhythm of the first."""
    tonic = int(rng.integers(55, 67))
    places = np.sort(rng.choice(8, size=int(rng.integers(4, 8)), replace=False))
    notes = np.zeros(2 * len(places), NOTE)
    notes["onset"] = np.concatenate([12 * places, 96 + 12 * places])
    notes["duration"] = 12
    first = rng.choice([0, 4, 7], size=len(places))
    second = rng.choice([7, 11, 14], size=len(places))
    notes["pitch"] = tonic + np.concatenate([first, second])
    notes["velocity"] = 80
    return Piece(ticks_per_quarter=24, notes=sorted_notes(notes), length=192)


def tunes(seed: int) -> list[Piece]:
    rng = np.random.default_rng(seed)
    return [tune(rng) for _ in range(N)]


def uniform_pitches(piece: Piece, rng: np.random.Generator) -> Piece:
    notes = piece.notes.copy()
    notes["pitch"] = rng.integers(55, 80, len(notes))
    return replace(piece, notes=sorted_notes(notes))


def uniform_onsets(piece: Piece, rng: np.random.Generator) -> Piece:
    notes = piece.notes.copy()
    notes["onset"] = rng.integers(0, 180, len(notes))
    return replace(piece, notes=sorted_notes(notes))


def drone(piece: Piece, rng: np.random.Generator) -> Piece:
    del rng
    notes = piece.notes.copy()
    notes["pitch"] = 60
    return replace(piece, notes=notes)


def silence(piece: Piece, rng: np.random.Generator) -> Piece:
    del rng
    return replace(piece, notes=piece.notes[:0])


@cache
def evaluated(change: Callable[[Piece, np.random.Generator], Piece] | None) -> dict[str, float]:
    rng = np.random.default_rng(9)
    samples = [change(piece, rng) if change else piece for piece in tunes(1)]
    return musical_evaluation(
        Music.of(samples),
        Music.of(tunes(2)),
        Music.of(tunes(3)),
        piece=np.arange(N) // 3,
        model=ProgressionModel.of(Music.of(tunes(4)).chords),
    )


BAD = [uniform_pitches, uniform_onsets, drone, silence]


def test_music_like_the_data_does_as_well_as_the_control() -> None:
    found = evaluated(None)
    assert found["overlap"] == pytest.approx(found["overlap/control"], abs=0.03)
    assert found["overlap"] > 0.9
    assert found["kl_nats"] < 0.1
    for name in SCALARS:
        assert found[name] == pytest.approx(found[f"{name}/data"], abs=0.3), name
    assert found["harmonic_progression_validity"] > 0.85


@pytest.mark.parametrize("change", BAD)
def test_bad_music_is_told_from_the_data(
    change: Callable[[Piece, np.random.Generator], Piece],
) -> None:
    found = evaluated(change)
    assert found["overlap/high"] < found["overlap/control"] - 0.1
    assert found["kl_nats/low"] > 3 * found["kl_nats/control"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (uniform_pitches, ("scale_consistency", "harmonic_progression_nats", "chord_type")),
        (uniform_onsets, ("groove_consistency", "rhythmic_pattern_coherence", "polyphony")),
        (drone, ("pitch_class_entropy", "pitch_class", "harmonic_progression_nats")),
        (silence, ("empty_bar_rate", "note_density", "duration")),
    ],
)
def test_each_fault_shows_where_it_is(
    change: Callable[[Piece, np.random.Generator], Piece], told: tuple[str, ...]
) -> None:
    found = evaluated(change)
    for name in told:
        assert found[f"{name}/overlap/high"] < found[f"{name}/overlap/control"], name


def test_progressions_are_held_against_those_of_the_data() -> None:
    noise, alike = evaluated(uniform_pitches), evaluated(None)
    for found in (noise, alike):
        assert found["harmonic_progression_validity/data"] == pytest.approx(0.95, abs=0.02)
        assert found["harmonic_progression_validity/control"] > 0.85
    assert noise["harmonic_progression_validity"] < 0.5


def test_a_drone_progresses_plausibly_and_is_still_told() -> None:
    found = evaluated(drone)
    assert found["harmonic_progression_validity"] == 1.0
    assert found["harmonic_progression_nats/overlap"] < 0.2


def test_silence_is_finite_and_gets_no_grade() -> None:
    found = evaluated(silence)
    assert all(math.isfinite(value) for value in found.values())
    plain = {name: found[name] for name in (*SCALARS, "harmonic_progression_validity")}
    assert {name: value for name, value in plain.items() if value} == {"empty_bar_rate": 1.0}
    for name in HISTOGRAMS:
        assert found[f"{name}/overlap"] == 0.0


def test_a_mean_is_of_the_pieces_that_have_the_quantity() -> None:
    heard, rng = tunes(1)[:4], np.random.default_rng(0)
    quiet = [silence(piece, rng) for piece in heard]
    few, half = (
        musical_evaluation(
            Music.of(samples),
            Music.of(heard),
            Music.of(heard),
            piece=np.arange(4),
            model=ProgressionModel.of([]),
        )
        for samples in (heard, heard + quiet)
    )
    assert half["scale_consistency"] == pytest.approx(few["scale_consistency"])
    assert half["empty_bar_rate"] == 0.5


def test_names_are_the_same_whatever_the_music() -> None:
    assert len({tuple(evaluated(change)) for change in (None, *BAD)}) == 1
    assert len(evaluated(None)) == 2 * len(SCALARS) + 8 * (len(SCALARS) + len(HISTOGRAMS) + 1) + 3


def test_music_is_of_some_pieces() -> None:
    with pytest.raises(ValueError, match="pieces must hold one piece or more, got none"):
        Music.of([])
