"""A dry run says what a sweep would do, invents no cost, and leaves nothing."""

import itertools
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from aurl import cli, dry_run
from aurl.data.corpus import save
from aurl.dry_run import Cost
from aurl.errors import SweepError
from aurl.metrics.score import OBJECTIVES
from aurl.search.plan import Sweep, SweepOptions, plan
from aurl.search.provenance import write_config
from aurl.search.ranking import FINALISTS, SCORE
from aurl.search.recorder import trial_id
from aurl.search.shape import Shape
from tests.fake_sweep import write_status
from tests.test_cli import SPACE
from tests.tiny import small_config, tiny_corpus

SEEDS = "seeds: {finalists: 2, runs: 3}\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a space and a corpus, and no Ray to wait for."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE + SEEDS)
    save(tiny_corpus(), Path("corpus"))
    monkeypatch.setattr(dry_run, "connected", lambda *_, **__: nullcontext())
    monkeypatch.setattr(dry_run, "slots", lambda _, runs: min(2, runs))
    monkeypatch.setattr(dry_run, "check_gpus", lambda _: None)
    idle = "Trained on CPUs: Ray has 2 GPUs."
    monkeypatch.setattr(dry_run, "left_idle", lambda *_: [idle])
    hour = Cost(step_s=100.0, evaluation_s=400.0, final_s=2400.0)
    monkeypatch.setattr(dry_run, "measure", lambda *_: hour)
    return tmp_path


def said(planned: Sweep) -> dict[str, str]:
    return {line[:10].strip(): line[11:] for line in dry_run.lines(planned)}


def planned(shape: Shape | None = None) -> Sweep:
    options = SweepOptions(space=Path("space.yaml"), out=Path("out"), data="corpus")
    return plan(replace(options, shape=shape or Shape()), write=False)


def test_a_dry_run_says_what_would_run_and_leaves_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(place.rglob("*"))
    words = ("sweep", "space.yaml", "--out", "out", "--data", "corpus", "--dry-run")
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert set(place.rglob("*")) == before
    for line in (
        "question   Does it say what is wrong?",
        "folder     out/space, not there yet and not made: this is a dry run",
        "trials     2 of 2",
        "finalists  6 runs with other seeds",
        "steps      8 a run",
        "resources  1 worker of 1 CPU for a trial, on this machine",
        "slots      2 trials at a time",
        "idle       Trained on CPUs: Ray has 2 GPUs.",
    ):
        assert line in out.splitlines()
    assert "device-hours" in out


@pytest.mark.usefixtures("place")
def test_a_folder_that_could_not_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != Path.cwd())
    with pytest.raises(
        SweepError, match="a folder that can be written, got out/space: Permission"
    ):
        planned()


@pytest.mark.usefixtures("place")
def test_no_more_finalists_are_foretold_than_there_are_trials() -> None:
    Path("space.yaml").write_text(SPACE + "seeds: {finalists: 50, runs: 3}\n")
    assert said(planned())["finalists"] == "6 runs with other seeds"
    Path("space.yaml").write_text(SPACE.replace("trials: 2", "trials: 1"))
    alone = said(planned())
    assert "finalists" not in alone
    assert alone["slots"] == "1 trial at a time"


@pytest.mark.usefixtures("place")
def test_a_cost_is_measured_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(planned())["cost"].startswith("about 8 device-hours, 4:00:00 on 2 CPUs")
    pairs = said(planned(Shape(workers_per_trial=2)))["cost"]
    assert pairs.startswith("about 8 device-hours, 2:00:00 on 4 CPUs")
    seeds = "seeds: {finalists: 1, runs: 3}\n"
    Path("space.yaml").write_text(SPACE.replace("trials: 2", "trials: 3") + seeds)
    uneven = "about 6 device-hours, 4:00:00 on 2 CPUs"
    assert said(planned())["cost"].startswith(uneven), "two trials, one, and then the seeds"
    monkeypatch.setattr(dry_run, "slots", lambda _, runs: runs)
    roomy = said(planned())
    assert roomy["slots"] == "3 trials at a time"
    assert roomy["cost"].startswith("about 6 device-hours, 2:00:00 on 3 CPUs")

    def timed(*_: object) -> Cost:
        raise AssertionError("steps must not be timed here")

    monkeypatch.setattr(dry_run, "measure", timed)
    for unlike in (planned(Shape(gpus_per_worker=0.5)), replace(planned(), address="auto")):
        shared = " with 0.5 GPU each" if unlike.address is None else ""
        assert f"1 worker of 1 CPU{shared} for a trial" in said(unlike)["resources"]
        assert said(unlike)["cost"].startswith("unknown: ")
        assert said(unlike)["cost"].endswith("48 steps at most")


def test_what_has_ended_is_not_foretold_again(place: Path) -> None:
    options = SweepOptions(space=Path("space.yaml"), out=Path("out"), data="corpus")
    made = plan(options)
    metrics = {**dict.fromkeys(OBJECTIVES, 0.5), SCORE: 0.5}
    for number in range(2):
        params = {"optimizer.lr": 0.001 * (number + 1)}
        (made.trials_folder / trial_id(number)).mkdir(parents=True)
        write_config(
            made.trials_folder / trial_id(number) / "config.yaml", made.space.config_of(params), {}
        )
        write_status(made.folder, trial_id(number), params=params, metrics=metrics)
    again = made.space.config_of({"optimizer.lr": 0.002})
    write_config(made.folder / FINALISTS / "t0001.2" / "config.yaml", again, {})
    foretold = []
    for done in ("completed", "failed", "running"):
        write_status(made.folder, "t0001.2", FINALISTS, status=done, metrics=metrics)
        now = said(plan(replace(options, resume=True), write=False))
        assert now["folder"] == "out/space, left as it is: this is a dry run"
        assert now["trials"] == "0 of 2: 2 ended before"
        foretold.append(now["finalists"])
    assert foretold == [f"{left} runs with other seeds" for left in (5, 5, 6)]
    write_status(made.folder, "t0001.2", FINALISTS, metrics=metrics)
    (place / "space.yaml").write_text(SPACE)
    nothing = said(plan(replace(options, resume=True), write=False))
    assert "finalists" not in nothing
    assert nothing["cost"].startswith("about 0 device-hours, 0:00:00 on 1 CPU:")
    (place / "space.yaml").write_text(SPACE + SEEDS)
    more = said(plan(replace(options, resume=True, trials=3), write=False))
    assert more["trials"] == "1 of 3: 2 ended before"
    assert more["finalists"] == "6 runs with other seeds"  # the third may become one


def test_a_trial_costs_its_steps_and_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(training__steps=8, evaluation__every=2)
    assert Cost(step_s=1.0, evaluation_s=100.0, final_s=1000.0).trial_s(config) == 1308.0
    monkeypatch.setattr(dry_run, "perf_counter", itertools.count(step=3).__next__)
    found = dry_run.measure(config, tiny_corpus())
    assert (found.step_s, found.evaluation_s, found.final_s) == (3 / dry_run.TIMED_STEPS, 3, 3)
