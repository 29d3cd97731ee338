"""What a sweep says at its end."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from rich.console import Console

from aurl import cli, commands
from aurl.errors import SweepError
from aurl.files import read_json, read_yaml, write_json
from aurl.model.vae import Vae
from aurl.options import parser
from aurl.search.plan import Sweep
from aurl.search.shape import Shape
from aurl.search.space_file import space_of
from tests.fake_sweep import fake_sweep, write_status
from tests.tiny import small_config, tiny_corpus

UNHEALTHY = {"val/kl_health": {"at_least": 2.0}}


@pytest.mark.parametrize(
    ("demanded", "seeds", "lacks", "missed"),
    [
        (UNHEALTHY, 3, "", 0),
        ({}, 3, "", 0),
        (UNHEALTHY, 0, "", 0),
        ({}, 3, "val/disentanglement", 0),
        (UNHEALTHY, 3, "", 2),  # that is why, and was said
    ],
)
def test_a_sweep_without_a_finalist_says_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    demanded: dict[str, Any],
    seeds: int,
    lacks: str,
    missed: int,
) -> None:
    asked = {"seeds": {"finalists": 1, "runs": seeds}} if seeds else {}
    sweep = fake_sweep(tmp_path, trials=2, changes={**asked, "constraints": demanded})
    for path in (sweep / "trials").glob("*/status.json"):
        status = read_json(path)
        status["metrics"].pop(lacks, None)
        write_json(path, status)
    if not demanded and not lacks:
        run = {"status": "failed", "metrics": {}}
        write_json(sweep / "finalists" / "t0000.1" / "status.json", run)

    conclude_without_a_model(sweep, missed=missed)
    out = capsys.readouterr().out
    unscored = not demanded and not lacks
    assert ("Of t0000's 1 runs with other seeds 0 have a score, so its" in out) == unscored
    said = [line for line in out.splitlines() if "No completed" in line]
    so = ", so none was trained with other seeds" if seeds and not missed else ""
    assert len(said) == bool(demanded or lacks), "in one line"
    why = (
        f"is feasible{so}: t0000 is infeasible: val/" if demanded else f"has every objective{so}."
    )
    assert all(line.startswith(f"No completed trial {why}") for line in said)


def conclude_without_a_model(sweep: Path, *, missed: int = 0) -> None:
    """What is printed of a sweep at its end, but for the export."""

    def unexported(*_: object) -> None:
        raise SweepError("there is no model")

    space = space_of(read_yaml(sweep / "sweep.yaml")["space"], overrides={})
    planned = Sweep(
        folder=sweep,
        space=space,
        corpus=tiny_corpus(),
        shape=Shape(),
        address=None,
        note="",
    )
    with (
        patch.object(commands.exports, "trained_trial", unexported),
        pytest.raises(SweepError, match="there is no model"),
    ):
        commands.conclude(planned, Console(width=200), missed=missed)


@pytest.mark.parametrize(("trials", "unseen"), [(20, 0), (23, 3)])
def test_a_long_ranking_is_cut_at_the_end_of_a_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trials: int, unseen: int
) -> None:
    sweep = fake_sweep(tmp_path, trials=trials)
    write_status(sweep, "t0099", status="failed")  # is counted, and no place of the ranking
    conclude_without_a_model(sweep)
    out = capsys.readouterr().out
    ranks = [
        line.split()[0] for line in out.splitlines() if re.match(r" +\d+[*!]? +t\d{4} ", line)
    ]
    assert [int(rank.strip("*!")) for rank in ranks] == list(range(1, 21))
    cut = f"; {unseen} more not shown" if unseen else ""
    counted = f"{trials + 1} trials: {trials} completed, 1 failed"
    assert re.search(rf"{counted}; best t\d{{4}}{cut}\s*$", out, re.M), out


def test_an_export_of_what_is_not_feasible_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = fake_sweep(tmp_path, trials=1, changes={"constraints": UNHEALTHY})
    config, corpus = small_config(), tiny_corpus()
    trained = commands.exports.TrainedModel(
        model=Vae(config, corpus.vocabulary, corpus.n_bars),
        config=config,
        max_tokens=corpus.max_tokens,
        made_by={"step": config.training.steps},
    )
    made = dict[str, Any]()
    monkeypatch.setattr(commands, "trained_run", lambda *_: (trained, corpus))
    monkeypatch.setattr(commands.exports, "export", lambda *_, extra: made.update(extra))
    monkeypatch.setattr(commands, "latent_use", lambda name, _: f"{name} on the test split")
    words = ["export", str(sweep), "--out", str(tmp_path / "export")]
    write_status(sweep, "t0000.1", "finalists", metrics={"val/kl_health": 0.5})
    for which in ([], ["--rank", "1"], ["--trial", "t0000"], ["--trial", "t0000.1"]):
        assert commands.run_export(parser().parse_args([*words, *which])) == 0
        told = capsys.readouterr().out.splitlines()
        name = "t0000.1" if "t0000.1" in which else "t0000"
        why = f"{name} is infeasible: val/kl_health must be at least 2, got 0."
        assert told[1].startswith(why)
        assert told[1] == f"{name} is {made.pop('feasible').removeprefix('no: ')}."


def test_a_trial_is_exported_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = fake_sweep(tmp_path / "s", trials=3)
    write_json(sweep / "finalists" / "t0002.1" / "status.json", {"status": "completed"})
    asked = list[Path]()

    def trained_run(folder: Path, data: str) -> None:
        asked.append(folder)
        raise SweepError("there is no model")

    monkeypatch.setattr(commands, "trained_run", trained_run)

    def said(*words: str) -> str:
        assert cli.main(["export", *words, "--out", str(tmp_path / "x")]) == 2
        return capsys.readouterr().err

    for name, kind in (("t0002", "trials"), ("t0002.1", "finalists")):
        said(str(sweep), "--trial", name)
        assert asked[-1] == sweep / kind / name
    assert said(str(sweep), "--trial", "../x").startswith("aurl: --trial must be a trial of ")
    assert said(str(sweep), "--trial", "t0009").startswith("aurl: --trial must be a trial of ")
    run = str(sweep / "trials" / "t0001")
    assert said(run, "--trial", "t0001").startswith("aurl: --trial t0001 must be left out for")
    assert said(run, "--rank", "2").startswith("aurl: --rank 2 must be left out for a run: it is")
    assert len(asked) == 2
    assert "there is no model" in said(run)


def test_fewer_workers_may_do_where_machines_come_and_go() -> None:
    words = ["--workers-per-trial", "2:4", "--gpus-per-worker", "1", "--address", "head:1"]
    shape = Shape(workers_per_trial=4, workers_at_least=2, gpus_per_worker=1.0)

    def given(*more: str) -> Shape:
        return commands.shape_of(parser().parse_args([*more, *words]))

    assert given("sweep", "s.yaml", "--grow-to", "8") == replace(shape, grow_to=8)
    limits = ("--max-concurrent", "3", "--hours", "0.5")
    assert given("sweep", "s.yaml", *limits) == replace(shape, max_concurrent=3, hours=0.5)
    assert given("train", "config.yaml", "--out", "run") == shape
