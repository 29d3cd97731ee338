"""Musical metrics of a model: names, finiteness, the same in every process."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from aurl.analysis import subject
from aurl.cli import main
from aurl.config import RunConfig, to_plain
from aurl.data.corpus import Corpus, save
from aurl.data.events import Events
from aurl.data.midi import read_midi
from aurl.data.piece import Piece, sliced
from aurl.data.tokenizer import encode
from aurl.errors import ConfigError
from aurl.files import read_json, read_yaml, write_yaml
from aurl.model import generation
from aurl.model.generation import Sampling
from aurl.model.vae import Vae
from aurl.plain import overridden
from aurl.reporting import export as exports
from aurl.reporting.export import TrainedModel
from aurl.reporting.model_card import model_card
from aurl.reporting.musical import MUSIC, musical_metrics
from aurl.search.provenance import read_config
from aurl.seeding import seeded
from aurl.training.loop import Run, train
from aurl.training.workers import Workers
from tests.tiny import N_BARS, VOCABULARY, random_piece, small_config, tiny_corpus


def untrained(config: RunConfig) -> TrainedModel:
    corpus = tiny_corpus()
    with seeded(0, "untrained"):
        model = Vae(config, corpus.vocabulary, N_BARS)
    return TrainedModel(
        model=model.double(),
        config=config,
        max_tokens=corpus.max_tokens,
        made_by={},
    )


@cache
def measured() -> dict[str, float]:
    return exports.test_metrics(untrained(small_config()), tiny_corpus())


def test_an_untrained_model_has_finite_musical_metrics() -> None:
    found = {name: value for name, value in measured().items() if name.startswith(MUSIC)}
    assert all(math.isfinite(value) for value in found.values())
    assert found["test/music/samples"] == 8.0
    assert found["test/music/windows"] == len(tiny_corpus().indices("test"))
    assert found["test/music/overlap"] < found["test/music/overlap/control"]


def test_a_model_that_says_one_thing_only_has_finite_musical_metrics() -> None:
    trained = untrained(small_config())
    with torch.no_grad():
        for parameter in trained.model.parameters():
            parameter.zero_()
    found = musical_metrics(trained.samples(8), tiny_corpus(), tiny_corpus().indices("test"))
    assert all(math.isfinite(value) for value in found.values())


def test_a_longer_run_of_the_same_model_draws_more_samples() -> None:
    trained = untrained(small_config(evaluation__samples=3))
    assert exports.test_metrics(trained, tiny_corpus())["test/music/samples"] == 3.0


def test_a_note_ends_with_the_window_however_long_the_model_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = untrained(small_config())
    piece = random_piece(np.random.default_rng(0))
    notes = piece.notes.copy()
    notes["duration"][-1] = 5000
    endless = encode(replace(piece, notes=notes, length=0), VOCABULARY, N_BARS)
    drawn = torch.from_numpy(endless.astype(np.int64))[None]
    assert VOCABULARY.decode(endless).end > 192

    def generate(*_: object, **__: object) -> torch.Tensor:
        return drawn

    monkeypatch.setattr(subject, "generate", generate)
    (heard,) = trained.samples(1)
    assert heard.end == 192
    assert heard.length == 192
    assert len(heard.notes) == len(notes)


def test_decoding_in_parts_gives_the_same_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = untrained(small_config(latent__prior__kind="mixture"))
    for module in (exports, generation):
        monkeypatch.setattr(module, "BLOCK", 4)
    whole, drawn = trained.samples(9, sampling=Sampling()), trained.samples(9)
    assert len(drawn) == 9
    assert all(one not in whole[:4] for one in whole[4:8]), "each block has its own draws"
    monkeypatch.setattr(subject, "AT_ONCE", 2)
    assert trained.samples(9, sampling=Sampling()) == whole
    assert trained.samples(3) == drawn[:3], "of three, the first of nine"


def test_data_and_control_are_the_same_for_every_model() -> None:
    corpus = tiny_corpus()
    rng = np.random.default_rng(0)
    first, second = (
        musical_metrics([random_piece(rng) for _ in range(8)], corpus, corpus.indices("test"))
        for _ in range(2)
    )
    shared = [name for name in first if name.endswith(("/data", "/control"))]
    assert len(shared) > 20
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}
    assert first != second


def test_control_and_chord_model_share_no_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tiny_corpus()
    read: list[list[int]] = []
    music = Corpus.music

    def noted(corpus_: Corpus, windows: np.ndarray) -> list[Piece]:
        assert corpus_ is corpus
        read.append(windows.tolist())
        return music(corpus_, windows)

    monkeypatch.setattr(Corpus, "music", noted)
    rng = np.random.default_rng(0)
    musical_metrics([random_piece(rng) for _ in range(8)], corpus, corpus.indices("test"))
    chord_model, data, control = read
    assert len(control) == 8
    assert data == corpus.indices("test").tolist()
    train = set(corpus.indices("train").tolist())
    assert set(chord_model) | set(control) <= train
    assert len(set(chord_model)) == len(chord_model)
    assert len(chord_model) == len(train) // 2
    assert not set(corpus.piece[chord_model].tolist()) & set(corpus.piece[control].tolist())


def test_music_of_one_piece_is_control_and_chord_model(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = replace(tiny_corpus(), piece=np.zeros(96, np.int32), fingerprint="")
    read: list[int] = []
    music = Corpus.music

    def noted(own: Corpus, windows: np.ndarray) -> list[Piece]:
        read.append(len(windows))
        return music(own, windows)

    monkeypatch.setattr(Corpus, "music", noted)
    pieces = [random_piece(np.random.default_rng(0))] * 8
    musical_metrics(pieces, corpus, corpus.indices("test"))
    assert read == [len(corpus.indices("train")), len(corpus.indices("test")), 8]


def test_reconstructions_are_of_windows_that_were_held_out() -> None:
    corpus = tiny_corpus()
    made = exports.reconstructions(untrained(small_config()), corpus, count=1)
    first = VOCABULARY.decode(corpus.window(int(corpus.indices("test")[0])))
    assert np.array_equal(sliced(made, 0, N_BARS).notes, first.notes)


def test_the_files_of_an_export_leave_out_what_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {"test/latent_use_nats/low": -math.inf, "test/latent_use_nats/high": math.inf}
    values = {**measured(), **ends, "test/score": math.nan}
    monkeypatch.setattr(exports, "test_metrics", lambda *_: values)
    exports.export(untrained(small_config()), tiny_corpus(), tmp_path / "out", extra={})
    found = read_json(tmp_path / "out" / "metrics.json")["metrics"]
    assert values.keys() - found.keys() == {*ends, "test/score"}
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `test/latent_use_nats` .*$", card, re.M)
    assert row.endswith("|  |")
    assert "`test/score`" not in card


def test_samples_must_be_some() -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.samples must be >= 1, got 0\."):
        small_config(evaluation__samples=0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    save(tiny_corpus(), folder / "tiny")
    config = small_config(data__corpus=str(folder / "tiny"))
    exports.export(untrained(config), tiny_corpus(), folder / "out", extra={})
    return folder / "out"


def test_a_run_is_measured_and_reconstructs_as_its_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, folder = tiny_corpus(), tmp_path / "run"
    save(corpus, tmp_path / "tiny")
    config = small_config(data__corpus=str(tmp_path / "tiny"))
    run = Run(config=config, corpus=corpus, checkpoint_folder=folder / "checkpoint")
    train(run, workers=Workers(), report=lambda rows: rows[-1]["step"] < 4)
    write_yaml(folder / "config.yaml", to_plain(config))
    monkeypatch.chdir(folder)
    out, moved = Path("../[b] out"), (tmp_path / "tiny").rename(tmp_path / "moved")
    assert main(["export", ".", "--out", str(out), "--data", str(moved)]) == 0
    said = f"\nIt is at step 4 of 8: its training has not ended.\nExported: {out}\n"
    assert capsys.readouterr().out.endswith(said)
    assert read_yaml(out / "config.yaml")["made_by"]["trial"] == "run"
    assert "Trained for 4 of 8 steps of\n8 windows." in (out / "README.md").read_text("utf-8")
    found: list[dict[str, float]] = []
    heard: list[bytes] = []
    for source in (folder, out):
        assert main(["evaluate", str(source), "--json", "--data", str(moved)]) == 0
        found.append(json.loads(capsys.readouterr().out))
        words = ("--out", "heard.mid", "--count", "2", "--data", str(moved))
        assert main(["reconstruct", str(source), *words]) == 0
        heard.append(Path("heard.mid").read_bytes())
        capsys.readouterr()
    assert heard[0] == heard[1]
    assert found[0] == found[1] == pytest.approx(read_json(out / "metrics.json")["metrics"])


def test_evaluate_refuses_other_music_for_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tiny_corpus(48), tmp_path / "other")
    (tmp_path / "run/checkpoint").mkdir(parents=True)
    config = small_config(data__fingerprint=tiny_corpus().fingerprint)
    write_yaml(tmp_path / "run/config.yaml", to_plain(config))
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "other")]) == 2
    assert "--data must be the corpus of the configuration" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_says_the_same_in_a_new_process(exported: Path) -> None:
    code = "import sys; from aurl.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "evaluate", str(exported), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    stored = read_json(exported / "metrics.json")["metrics"]
    assert stored["test/music/samples"] == 8.0
    assert set(found) == set(stored)
    for name, value in stored.items():
        assert found[name] == pytest.approx(value, abs=1e-4), name


def test_model_card_shows_the_music_in_a_table_of_its_own(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    metrics = read_json(exported / "metrics.json")["metrics"]
    value, data = (metrics[f"test/music/note_density{whose}"] for whose in ("", "/data"))
    assert f"| `note_density` | {value:.3f} | {data:.3f} |" in card
    overlap, low, high, control, kl, floor = (
        f"{metrics[f'test/music/{name}']:.3f}"
        for name in (
            *("overlap", "overlap/low", "overlap/high", "overlap/control"),
            *("kl_nats", "kl_nats/control"),
        )
    )
    assert low < high
    assert (
        f"| mean of all |  |  | {overlap} [{low}, {high}] | {control} | {kl} | {floor} |\n" in card
    )
    ours, theirs, others = (
        f"{metrics[f'test/music/harmonic_progression_validity{whose}']:.3f}"
        for whose in ("", "/data", "/control")
    )
    said = f"{ours} of the draws, {theirs} of the data, {others} of the control."
    assert said in card.replace("\n", " ")
    assert "| `test/music/" not in card
    assert "| `test/factors/correlation/" not in card
    assert "| `pitch_class` |  |  | " in card
    assert "8 draws at temperature 1" in card


def test_model_card_shows_every_interval_beside_its_metric(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    metrics = read_json(exported / "metrics.json")["metrics"]
    lows = [
        name for name in metrics if name.endswith("/low") and not name.startswith("test/music/")
    ]
    assert len(lows) > 2
    for name in lows:
        shown = name.removesuffix("/low").replace("test/factors/", "test/")
        high = metrics[name.removesuffix("low") + "high"]
        value = f"{metrics[shown]:.4g}"
        assert f"| `{shown}` | {value} | {metrics[name]:.4g} to {high:.4g} |" in card
    assert "/low" not in card.partition("## Music")[0]
    assert f"| `test/kl_nats` | {metrics['test/kl_nats']:.4g} |  |" in card


@pytest.mark.slow
def test_the_lines_of_the_model_card_run_with_nothing_but_the_export(
    exported: Path, tmp_path: Path
) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    lines = card.partition("```python\n")[2].partition("```")[0]
    assert len(lines.splitlines()) == 5
    alone = tmp_path / "alone/export"
    shutil.copytree(exported, alone)
    config, _ = read_config(alone / "config.yaml")
    write_yaml(alone / "config.yaml", overridden(to_plain(config), {"data.corpus": "nowhere"}))
    (tmp_path / "home").mkdir()
    paths = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    environment = {**os.environ, **paths, "PYTHONPATH": str(Path(exports.__file__).parents[2])}
    command = [sys.executable, "-c", lines]
    ran = subprocess.run(
        command, cwd=alone, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    new = {path.name for path in alone.iterdir()} - {path.name for path in exported.iterdir()}
    assert new == {"decoded.mid", "between.mid"}
    assert read_midi(alone / "between.mid").n_bars <= 7 * N_BARS
    assert not list((tmp_path / "home").rglob("tunes*"))


def test_model_card_says_what_was_chosen_and_not_what_is_the_default() -> None:
    config = small_config(
        evaluation__final_windows=5,
        objective__beta__value=0.3,
        latent__prior__kind="mixture",
        objective__free_bits__granularity="level",
    )
    metrics = exports.test_metrics(untrained(config), tiny_corpus())
    metrics["test/windows"] = 12345.0
    made_by = {"commands": ["a b", "c"], "exported_by": {"aurl": "0.1.0", "git_dirty": False}}
    card = model_card(config, tiny_corpus(), metrics, made_by)
    assert "| `test/windows` | 12345 |" in card, "a count is not rounded"
    assert "\n- commands: `a b`, `c`\n- exported_by: aurl 0.1.0, git_dirty False\n" in card
    chosen = "`latent.prior.kind` mixture, `objective.beta.value` 0.3, "
    assert f"the defaults: {chosen}`objective.free_bits.granularity` level. " in card
    assert "None" not in card
    assert "\nOn 5 windows of the test split" in card
    assert "\nconfiguration. `_nats` are" in card, "all is of all windows"
    few = {**metrics, "test/reconstructions": 3.0, "test/level_windows": 2.0}
    assert (
        "\nconfiguration; of these, reconstruction scores and accuracy of sequences on 3, use and "
        "KL health of single levels on 2. `_nats`"
    ) in model_card(config, tiny_corpus(), few, made_by)
    assert "Transformer VAE of windows of 2 bars, made by aurl." in card
    own = [
        {"name": "global", "dim": 4, "prior": "mixture", "free_nats": 0.0},
        {"name": "half", "dim": 0, "span": 1},
        {"name": "bar", "dim": 2, "span": 1, "free_nats": 0.5, "opens": 0.3},
    ]
    card = model_card(small_config(latent__levels=own), tiny_corpus(), metrics, made_by)
    assert "(4 dimensions, span sequence, prior mixture, 0 nats free), bar (2 dim" in card
    assert "span 1.0, 0.5 nats free, opens at 0.3 of training). Width" in card
    linear = {"objective__beta__schedule": "linear", "objective__beta__warmup": 0.25}
    card = model_card(small_config(**linear), tiny_corpus(), metrics, made_by)
    assert "`objective.beta.warmup` 0.25" in card, "which is unset by default"
    timed = replace(tiny_corpus(), vocabulary=Events())
    card = model_card(config, timed, metrics, made_by)
    assert card.count("windows of 2 bars of two seconds, ") == 2
