"""A trained model from Python: what goes in, what comes out, and what is refused."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import aurl
from aurl.config import to_plain
from aurl.data.corpus import save
from aurl.data.events import Events
from aurl.data.grid import Grid
from aurl.data.midi import read_midi, write_midi
from aurl.data.piece import Metre, Piece, sorted_notes
from aurl.errors import ConfigError, DataError
from aurl.files import read_json, write_json, write_yaml
from aurl.model.vae import Vae
from aurl.reporting import loading
from aurl.reporting.export import TrainedModel
from aurl.reporting.loading import Model
from aurl.training import checkpoint
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.test_musical import untrained
from tests.tiny import N_BARS, VOCABULARY, random_piece, small_config, tiny_corpus


@cache
def model() -> Model:
    return Model(trained=untrained(small_config()))


def export_of(folder: Path) -> Path:
    trained = model().trained
    write_yaml(folder / "config.yaml", to_plain(trained.config))
    checkpoint.save_weights(folder / "model.safetensors", trained.model)
    about = {
        "vocabulary": VOCABULARY.to_dict(),
        "n_bars": N_BARS,
        "max_tokens": trained.max_tokens,
    }
    write_json(folder / "vocabulary.json", about)
    return folder


def test_a_loaded_export_is_the_model_that_was_exported(tmp_path: Path) -> None:
    piece = random_piece(np.random.default_rng(1))
    loaded = aurl.load(str(export_of(tmp_path)))
    np.testing.assert_array_equal(loaded.encode(piece), model().encode(piece))
    assert loaded.sample(2, seed=3) == model().sample(2, seed=3)


def test_a_run_is_loaded_with_its_corpus(tmp_path: Path) -> None:
    save(tiny_corpus(), tmp_path / "tiny")
    folder = tmp_path / "run"
    config = small_config(data__corpus=str(tmp_path / "tiny"), seed=5)
    write_yaml(folder / "config.yaml", to_plain(config))
    run = Run(config=config, corpus=tiny_corpus(), checkpoint_folder=folder / "checkpoint")
    trainer = Trainer(run, Workers())
    trainer.save()
    loaded = aurl.load(folder)
    assert loaded.config == config
    piece = random_piece(np.random.default_rng(1))
    tokens = torch.from_numpy(VOCABULARY.encode(piece, N_BARS).astype(np.int64))[None]
    expected = trainer.model.double().encode(tokens).mean.detach().numpy()
    np.testing.assert_allclose(loaded.encode(piece), expected, atol=1e-9)


def test_a_window_has_a_row_whatever_it_comes_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    pieces = [random_piece(rng) for _ in range(3)]
    model().write(pieces, tmp_path / "three.mid")
    write_midi(pieces[1], tmp_path / "one.mid")
    together = model().encode(pieces)
    assert together.shape == (3, model().trained.model.layout.size)
    np.testing.assert_allclose(model().encode(tmp_path / "three.mid"), together, atol=1e-9)
    np.testing.assert_allclose(
        model().encode([str(tmp_path / "one.mid"), pieces[0]]), together[[1, 0]], atol=1e-9
    )
    monkeypatch.setattr(loading, "ENCODED_AT_ONCE", 2)
    np.testing.assert_allclose(model().encode(pieces), together, atol=1e-9)


def test_a_model_of_one_instrument_reads_every_piece_as_played_by_it() -> None:
    piece = random_piece(np.random.default_rng(1))
    assert model().only_program == 0
    notes = piece.notes.copy()
    notes["program"] = 40
    drums = notes[:3].copy()
    drums["program"], drums["is_drum"] = 0, True
    other = replace(piece, notes=sorted_notes(np.concatenate([notes, drums])))
    np.testing.assert_array_equal(model().encode(other), model().encode(piece))
    doubled = replace(piece, notes=sorted_notes(np.concatenate([notes, piece.notes])))
    np.testing.assert_array_equal(model().encode(doubled), model().encode(piece))


def test_a_silent_window_keeps_its_row() -> None:
    first, last = (random_piece(np.random.default_rng(seed)) for seed in (3, 4))
    silent = model().encode(model().decode(np.zeros((1, model().trained.model.layout.size))))
    assert silent.shape[0] == 1
    moved = last.notes.copy()
    moved["onset"] += 2 * 192
    notes = np.concatenate([first.notes, moved])
    whole = type(first)(ticks_per_quarter=24, notes=notes, length=3 * 192)
    rows = model().encode(whole)
    assert len(rows) == 3
    assert model().interpolate(whole, whole, steps=2) == model().decode(rows[[0, 0]])
    nothing = type(first)(ticks_per_quarter=24, notes=notes[:0])
    np.testing.assert_allclose(model().encode(nothing), rows[[1]], atol=1e-9)
    np.testing.assert_allclose(rows[[0, 2]], model().encode([first, last]), atol=1e-9)


def test_samples_begin_with_the_first_bars_of_a_prompt_and_go_on_from_there() -> None:
    prompt = random_piece(np.random.default_rng(3), 12)
    kept, more = (prompt.notes["onset"] < 96), prompt.notes["onset"] >= 96
    assert kept.any()
    assert more.any()
    found = model().sample(4, seed=1, prompt=prompt)
    for piece in found:
        assert np.array_equal(piece.notes[piece.notes["onset"] < 96], prompt.notes[kept])
        assert piece.n_bars == N_BARS
    ends = {piece.notes[piece.notes["onset"] >= 96].tobytes() for piece in found}
    assert len(ends) == 4
    assert prompt.notes[more].tobytes() not in ends
    assert found[:2] == model().sample(2, seed=1, prompt=prompt)
    half = replace(prompt, metres=(prompt.metres[0], replace(prompt.metres[0], tick=48)))
    (piece,) = model().sample(1, seed=1, prompt=half)
    assert piece.bar_lines()[1] == 48, "an incomplete bar stays one"


@pytest.mark.parametrize("vocabulary", [Grid(), Events()], ids=["grid", "events"])
def test_a_prompt_ends_where_its_bars_do(vocabulary: Grid | Events) -> None:
    config = small_config(data__corpus="melodies")
    vae = Vae(config, vocabulary, N_BARS).double()
    timed = Model(trained=TrainedModel(model=vae, config=config, max_tokens=64, made_by={}))
    notes = random_piece(np.random.default_rng(3), 12).notes[[0, 4, 8, 11]]
    notes["onset"], notes["pitch"] = [0, 48, 96, 144], [60, 62, 64, 65]  # a bar is two seconds
    four, three = (Metre(tick=t, numerator=n, denominator=4) for t, n in ((0, 4), (96, 3)))
    prompt = Piece(ticks_per_quarter=24, notes=notes, length=192, metres=(four, three))
    for bars in (0, 2):
        with pytest.raises(ConfigError, match=rf"prompt_bars must be >= 1 and .*, 2, got {bars}"):
            timed.opening(prompt, bars)
    opening = timed.opening(prompt, 1)
    assert vocabulary.positions(opening[None])[0].max() == 0, "of its first bar alone"
    assert vocabulary.note_count(opening[None]).tolist() == [2]
    brief = Piece(ticks_per_quarter=24, notes=notes[:1], length=24)
    for piece in timed.sample(3, prompt=brief, temperature=0.0):
        assert piece.notes["pitch"][0] == 60


def test_decoding_is_of_the_codes_and_deterministic_at_temperature_zero() -> None:
    codes = model().encode([random_piece(np.random.default_rng(seed)) for seed in range(4)])
    assert model().decode(codes) == model().decode(codes, seed=9)
    assert [piece.n_bars for piece in model().decode(codes)] == [N_BARS] * 4
    drawn = model().decode(codes, temperature=1.0, seed=1)
    assert drawn == model().decode(codes, temperature=1.0, seed=1)
    assert drawn != model().decode(codes, temperature=1.0, seed=2)


def test_interpolation_begins_and_ends_with_the_reconstructions_of_its_ends() -> None:
    ends = [random_piece(np.random.default_rng(seed)) for seed in (5, 6)]
    codes = model().encode(ends)
    found = model().interpolate(ends[0], ends[1], steps=5)
    assert len(found) == 5
    assert [found[0], found[-1]] == model().decode(codes)
    assert found[2] == model().decode(codes.mean(axis=0, keepdims=True))[0]
    assert found == model().interpolate(codes[0], codes[1], steps=5)


def test_written_pieces_follow_one_another(tmp_path: Path) -> None:
    pieces = [random_piece(np.random.default_rng(seed)) for seed in (7, 8)]
    model().write(pieces, tmp_path / "deep/two.mid")
    model().write(pieces, tmp_path / "two.WAV")
    assert (tmp_path / "two.WAV").read_bytes()[:4] == b"RIFF"
    found = read_midi(tmp_path / "deep/two.mid").notes["onset"]
    assert found.tolist() == [*pieces[0].notes["onset"], *(pieces[1].notes["onset"] + 192)]


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    size = model().trained.model.layout.size
    (tmp_path / "bad.mid").write_bytes(b"no music")
    refused = [
        (lambda: aurl.load(tmp_path), DataError, "EXPORT must be a folder made by `aurl export`"),
        (lambda: model().encode(tmp_path / "bad.mid"), DataError, "bad.mid cannot be read: unr"),
        (lambda: model().encode([]), ConfigError, "music must be a piece at least, got none."),
        (
            lambda: model().decode(np.zeros((1, size + 1))),
            ConfigError,
            r"codes must have the shape \[wind",
        ),
        (lambda: model().decode(np.full((1, size), np.nan)), ConfigError, "codes must be finite"),
        (
            lambda: model().decode(np.full((1, size), -1e300), temperature=1.0),
            ConfigError,
            r"codes must be within ±1e\+06, got 1e\+300\.",
        ),
        (
            lambda: model().decode(np.zeros((1, size)), temperature=-1.0),
            ConfigError,
            "temperature",
        ),
        (lambda: model().interpolate("a", "b", steps=1), ConfigError, "steps must be >= 2, got 1"),
        (lambda: model().sample(0), ConfigError, "count must be >= 1, got 0"),
        (
            lambda: model().write([random_piece(np.random.default_rng(1))], tmp_path / "x.ogg"),
            ConfigError,
            r"path must end in \.mid, \.midi or \.wav, got ",
        ),
        (lambda: model().write([], tmp_path / "x.mid"), ConfigError, "pieces must hold a piece"),
    ]
    for call, error, words in refused:
        with pytest.raises(error, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_window_that_is_too_long_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Model(trained=untrained(small_config()))
    piece = random_piece(np.random.default_rng(9))
    size = len(VOCABULARY.encode(piece, N_BARS))
    object.__setattr__(short.trained, "max_tokens", size)
    assert len(short.encode(piece)) == 1
    object.__setattr__(short.trained, "max_tokens", size - 1)
    words = f"bars 1 to 2 of the piece must have {size - 1} tokens at most, .* got {size}"
    with pytest.raises(DataError, match=words):
        short.encode(piece)


def test_a_damaged_vocabulary_is_said_to_be_damaged(tmp_path: Path) -> None:
    write_json(export_of(tmp_path) / "vocabulary.json", {"vocabulary": VOCABULARY.to_dict()})
    with pytest.raises(DataError, match=r"vocabulary\.json must hold n_bars"):
        aurl.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (3, "vocabulary, n_bars, max_tokens"),
        ({"n_bars": "two"}, "n_bars"),
        ({"n_bars": 10**12}, "n_bars"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 4}, "max_tokens for 2 bars, got 4"),
        ({"vocabulary": "metrical"}, "vocabulary"),
    ],
)
def test_a_vocabulary_of_a_stranger_is_read_with_suspicion(
    tmp_path: Path, change: Any, said: str
) -> None:
    path = export_of(tmp_path) / "vocabulary.json"
    write_json(path, read_json(path) | change if isinstance(change, dict) else change)
    with pytest.raises(DataError, match=rf"vocabulary\.json must hold {said}\. It is damaged"):
        aurl.load(tmp_path)


def test_weights_that_are_no_numbers_and_an_origin_that_is_none_are_refused(
    tmp_path: Path,
) -> None:
    trained = untrained(small_config())
    with torch.no_grad():
        next(trained.model.parameters()).fill_(float("nan"))
    checkpoint.save_weights(export_of(tmp_path) / "model.safetensors", trained.model)
    with pytest.raises(DataError, match=r"model\.safetensors cannot be used: .* holds NaN or inf"):
        aurl.load(tmp_path)
    write_yaml(tmp_path / "config.yaml", {**to_plain(small_config()), "made_by": [1]})
    with pytest.raises(ConfigError, match=r"config\.yaml: made_by must be a mapping, got \[1\]\."):
        aurl.load(tmp_path)


def test_importing_the_package_brings_nothing_heavy() -> None:
    code = "import aurl, sys; sys.exit(bool({'torch', 'numpy', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = aurl.lod


def test_a_prior_that_draws_no_numbers_is_refused_in_one_line() -> None:
    model = Model(trained=untrained(small_config(latent__prior__kind="mixture")))
    state = model.trained.model.state_dict()
    for name in [name for name in state if name.endswith("log_variances")]:
        state[name].fill_(1e4)  # finite, and its exponential is not
    with pytest.raises(
        DataError, match=r"^the model cannot be sampled: its prior draws NaN or .*\.$"
    ):
        model.sample(2)
