"""The studio without its page: moves, what they do to codes, and pieces to begin with."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurl.analysis.interpolation import path
from aurl.analysis.readings import musical_readings
from aurl.audio import rendered, wav
from aurl.data.arrange import in_sequence
from aurl.data.midi import MAX_BYTES, read_midi, write_midi
from aurl.errors import ConfigError, DataError
from aurl.studio import sources
from aurl.studio.controls import WORDS
from aurl.studio.instrument import drawable
from aurl.studio.move import LARGEST, MOST_SEED, Move, parsed
from aurl.studio.sources import dropped
from tests.made_studio import N_WINDOWS, a_move, made_studio
from tests.test_latent_tools import DEAD
from tests.tiny import N_BARS, random_piece, tiny_corpus


def test_a_move_that_moves_nothing_is_the_piece() -> None:
    studio = made_studio()
    move = a_move(studio)
    np.testing.assert_array_equal(studio.instrument.codes(move), move.first)
    np.testing.assert_array_equal(studio.instrument.codes(replace(move, at=1.0)), move.last)
    decoded = studio.instrument.model.decode(np.asarray(move.first))
    expected = in_sequence(decoded, bars_each=N_BARS, gap_bars=0)
    assert studio.instrument.music(move) == expected


def test_between_both_pieces_is_the_path_of_the_analysis() -> None:
    studio = made_studio()
    move = a_move(studio, at=0.25)
    prior = studio.instrument.model.trained.model.prior
    expected = [
        path(prior, np.asarray(first), np.asarray(last), np.asarray([0.25]), "spherical")[0]
        for first, last in zip(move.first, move.last, strict=True)
    ]
    np.testing.assert_array_equal(studio.instrument.codes(move), expected)


def test_a_level_comes_from_where_it_is_told_to() -> None:
    studio = made_studio()
    layout = studio.instrument.layout
    move = a_move(studio, at=0.5, levels=("last", "mean"))
    codes = studio.instrument.codes(move)
    other, fine = layout.levels
    np.testing.assert_array_equal(codes[:, : other.size], np.asarray(move.last)[:, : other.size])
    mean = studio.instrument.controls.aggregate.mean[fine.start :]
    np.testing.assert_array_equal(codes[:, fine.start :], np.stack([mean, mean]))
    codes = studio.instrument.codes(replace(move, levels=("first", "path")))
    np.testing.assert_array_equal(codes[:, : other.size], np.asarray(move.first)[:, : other.size])


def test_a_slider_moves_its_dimension_in_all_its_slots_and_no_other() -> None:
    studio = made_studio()
    controls = studio.instrument.controls
    names = [slider.name for slider in controls.sliders]
    assert "local/0" in names
    assert DEAD not in names  # what tells nothing has no slider
    place = names.index("local/0")
    sliders = tuple(2.0 * (index == place) for index in range(len(names)))
    move = a_move(studio)
    change = studio.instrument.codes(replace(move, sliders=sliders)) - np.asarray(move.first)
    own = studio.instrument.layout.dimension.numpy() == controls.sliders[place].dimension
    assert own.sum() == 2  # a slot a bar
    np.testing.assert_allclose(change[:, own], 2.0 * controls.aggregate.std[own] * np.ones((2, 2)))
    np.testing.assert_array_equal(change[:, ~own], 0.0)


def test_a_fader_moves_codes_along_its_direction() -> None:
    studio = made_studio()
    faders = studio.instrument.controls.faders
    assert faders  # the random codes of this model tell something
    assert all(fader.r2_interval.low > 0.0 for fader in faders)
    move = a_move(studio)
    moved = replace(move, faders=(-1.5, *(0.0 for _ in faders[1:])))
    change = studio.instrument.codes(moved) - np.asarray(move.first)
    np.testing.assert_allclose(change, np.stack([-1.5 * faders[0].vector] * 2), atol=1e-12)


def test_the_page_is_told_what_there_is_to_move() -> None:
    studio = made_studio()
    told = json.loads(json.dumps(studio.described(), allow_nan=False))
    assert [level["name"] for level in told["levels"]] == ["global", "local"]
    assert len(told["sliders"]) == len(studio.instrument.controls.sliders)
    assert all(slider["information_nats"] >= 0.05 for slider in told["sliders"])
    assert told["faders"][0]["words"] == list(WORDS[told["faders"][0]["attribute"]])
    readings = musical_readings()
    ordered = {
        name
        for name, unordered in zip(readings.names, readings.categorical, strict=True)
        if not unordered
    }
    assert ordered == WORDS.keys()


def test_without_its_music_a_model_has_every_dimension_and_no_names() -> None:
    studio = made_studio(with_music=False)
    told = studio.described()
    assert told["lacking"] == "The music is not here."
    assert [slider["name"] for slider in told["sliders"]] == ["global/0", DEAD, "local/0"]
    assert all(slider["tells"] is None for slider in told["sliders"])
    assert told["faders"] == []
    source = studio.piece("prior", {"seed": "0"}, b"")
    codes = tuple(tuple(row.code) for row in source.rows[:1])
    move = Move(first=codes, last=codes, levels=("path", "path"), sliders=(1.0, 0.0, 0.0))
    change = studio.instrument.codes(move)[0] - np.asarray(codes[0])
    assert change[0] == pytest.approx(1.0, abs=0.1)  # of a standard normal prior
    with pytest.raises(ConfigError, match=r"a piece must be one of file, prior, got held-out\."):
        studio.piece("held-out", {"seed": "0"}, b"")


def test_the_same_seed_is_the_same_music() -> None:
    studio = made_studio()
    draws = [studio.piece("prior", {"seed": seed}, b"") for seed in ("3", "3", "4")]
    assert draws[0] == draws[1]
    assert draws[0].rows != draws[2].rows
    music = [
        studio.instrument.music(a_move(studio, temperature=1.0, seed=seed)) for seed in (3, 3, 4)
    ]
    assert music[0] == music[1]
    assert music[0] != music[2]


def test_held_out_pieces_are_those_of_the_test_split() -> None:
    studio, corpus = made_studio(), tiny_corpus(N_WINDOWS)
    pieces = {corpus.piece_names[piece] for piece in corpus.piece[corpus.indices("test")]}
    found = [studio.piece("held-out", {"seed": str(seed)}, b"") for seed in range(len(pieces) + 1)]
    assert {source.name for source in found} == pieces
    assert found[-1] == found[0]
    assert [len(source.rows) for source in found] == [4] * len(found)


def test_a_dropped_file_is_encoded_window_by_window(tmp_path: Path) -> None:
    model = made_studio().instrument.model
    pieces = [random_piece(np.random.default_rng(seed)) for seed in range(3)]
    joined = in_sequence(pieces, bars_each=N_BARS, gap_bars=N_BARS)
    starts = joined.bar_lines()[[0, 4, 8]].tolist()
    assert [change.tick for change in joined.tempos] == starts
    assert [change.tick for change in joined.metres] == starts
    write_midi(joined, tmp_path / "my.mid")
    source = made_studio().piece("file", {"name": "my.mid"}, (tmp_path / "my.mid").read_bytes())
    assert source.name == "my.mid"
    assert source.note == ""
    assert [row.bar for row in source.rows] == [1, 5, 9]  # silent windows are left out
    np.testing.assert_allclose([row.code for row in source.rows], model.encode(pieces), atol=1e-9)


def test_what_cannot_be_said_of_a_file_is_told_and_the_rest_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MOST_ENCODED", 3)
    studio = made_studio()
    model = replace(studio.instrument.model, trained=replace(studio.instrument.model.trained))
    rng = np.random.default_rng(0)
    pieces = [random_piece(rng, 14), *(random_piece(rng, 3) for _ in range(3))]
    write_midi(in_sequence(pieces, bars_each=N_BARS, gap_bars=0), tmp_path / "my.mid")
    object.__setattr__(model.trained, "max_tokens", 25)
    source = dropped(model, (tmp_path / "my.mid").read_bytes(), "my\n.mid")
    assert source.name == "my\\n.mid"
    assert len(source.rows) == 2
    assert source.note.startswith("Left out: bars 1 to 2 must have 25 tokens at most")
    assert source.note.endswith("Of 4 windows with notes, the first 3 are here.")
    object.__setattr__(model.trained, "max_tokens", 5)
    with pytest.raises(DataError, match=r"my\.mid has no window that the model can say: bars 1 "):
        dropped(model, (tmp_path / "my.mid").read_bytes(), "my.mid")


@pytest.mark.parametrize("data", [b"", b"no music", b"MThd\0\0\0\6\0\0\0\1\0\1"])
def test_a_file_that_is_no_music_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^noise\.mid cannot be read: ") as caught:
        made_studio().piece("file", {"name": "noise.mid"}, data)
    assert "\n" not in str(caught.value)
    assert len(data) <= MAX_BYTES


def test_what_is_drawn_and_played_is_the_piece() -> None:
    studio = made_studio()
    piece = studio.instrument.music(a_move(studio))
    told = json.loads(json.dumps(drawable(piece), allow_nan=False))
    assert told["lines"] == (piece.bar_lines() / 24).tolist()
    assert len(told["lines"]) == 1 + 2 * N_BARS
    assert told["quarters"] == told["lines"][-1]
    assert told["seconds"] == told["quarters"] / 2  # at 120 quarters a minute
    rows = np.asarray([[*note[:2], note[4]] for note in told["notes"]])
    expected = [piece.notes["onset"] / 24, piece.notes["duration"] / 24, piece.notes["pitch"]]
    np.testing.assert_allclose(rows, np.stack(expected, axis=1), atol=1e-6)
    np.testing.assert_allclose([note[2] for note in told["notes"]], rows[:, 0] / 2, atol=1e-6)


def test_music_is_written_as_midi_and_as_sound(tmp_path: Path) -> None:
    studio = made_studio()
    move = a_move(studio, at=0.5)
    piece = studio.instrument.music(move)
    (tmp_path / "music.mid").write_bytes(studio.file(move, "mid"))
    found = read_midi(tmp_path / "music.mid")
    assert found.notes[["onset", "pitch"]].tolist() == piece.notes[["onset", "pitch"]].tolist()
    assert studio.file(move, "wav") == wav(rendered(piece))


def test_a_move_comes_back_from_json() -> None:
    move = a_move(made_studio(), at=0.5, temperature=1.0, seed=MOST_SEED)
    assert parsed(json.dumps(asdict(move)).encode()) == move


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"at": 1.5}, "at must be in 0..1, got 1.5."),
        ({"temperature": -1}, "temperature must be in 0..1.5, got -1."),
        ({"seed": -1}, f"seed must be in 0..{MOST_SEED}, got -1."),
        ({"seed": 0.5}, "seed must be a whole number, got 0.5."),
        ({"sliders": [9.0]}, f"sliders must be in -{LARGEST:g}..{LARGEST:g}, got 9."),
        ({"levels": ["all"]}, "levels.0 must be one of path, first, last, mean, got 'all'."),
        ({"last": []}, "last must have as many windows as first, 2, got 0."),
        ({"first": [[0.0]] * 9}, "first must have 1..8 windows, got 9."),
        ({"first": "codes"}, "first must be a list, got 'codes'."),
        ({"tempo": 1}, "tempo is not a setting."),
    ],
)
def test_a_move_that_is_none_is_refused_by_its_key(changes: dict[str, Any], words: str) -> None:
    values = {**asdict(a_move(made_studio())), **changes}
    with pytest.raises(ConfigError) as caught:
        parsed(json.dumps(values).encode())
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"at": NaN}', b"[" * 100_000, b"\xff"])
def test_what_is_no_json_of_a_move_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError, match="a move must be "):
        parsed(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"levels": ("path",)}, "levels must have 2 entries, got 1."),
        ({"sliders": ()}, "sliders must have [0-9]+ entries, got 0."),
        ({"faders": (0.0,) * 99}, "faders must have [0-9]+ entries, got 99."),
        ({"first": ((0.0,), (0.0,))}, "first must hold 4 finite numbers a window, got 1."),
    ],
)
def test_a_move_of_another_model_is_refused(changes: dict[str, Any], words: str) -> None:
    studio = made_studio()
    with pytest.raises(ConfigError, match=words):
        studio.drawn(a_move(studio, **changes))


@pytest.mark.parametrize("seed", ["", "-1", "1.5", "x", "²", str(MOST_SEED + 1)])
def test_a_seed_is_a_whole_number(seed: str) -> None:
    with pytest.raises(ConfigError, match=f"seed must be in 0..{MOST_SEED}, got "):
        made_studio().piece("prior", {"seed": seed}, b"")
