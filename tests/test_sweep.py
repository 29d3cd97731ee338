"""Sweeps: what one leaves, how one is interrupted, resumed and extended, and what a death costs.

A driver that is killed before each of its writes: ``test_killed.py``.
"""

import contextlib
import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import optuna
import pytest
import ray
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.exceptions import RayTaskError
from ray.tune.schedulers import FIFOScheduler

from aurl import cli
from aurl.data.corpus import save
from aurl.errors import ConfigError, StorageError, SweepError
from aurl.files import append_lines, read_json, read_lines
from aurl.interrupts import terminated_as_interrupted
from aurl.metrics.score import OBJECTIVES
from aurl.search import sweep
from aurl.search.gang import ATTEMPTS
from aurl.search.plan import Sweep, SweepOptions, plan
from aurl.search.provenance import read_config
from aurl.search.ranking import FINALISTS
from aurl.search.recorder import Recorder, trial_number
from aurl.search.sampler import Proposals
from aurl.search.settings import SeedsConfig
from aurl.search.shape import Shape
from aurl.search.slot import scalars
from aurl.search.space import Space
from aurl.search.supply import Finals, Supply
from aurl.search.wanted import params_of, queue
from aurl.training import checkpoint
from aurl.training.look import OF_DIMENSIONS, RATES, SHIFTS, Look
from aurl.training.pictures import media_of
from benchmarks import scale
from tests.processes import (
    actors_of_ray,
    alive,
    descendants,
    resident_mib,
    title,
    until,
    workers_of_ray,
)
from tests.tiny import random_piece, tiny_corpus

ROOT = Path(__file__).parents[1]
PATIENCE_S = 240.0  # two gangs start in some 15 s on two idle cores; here others may use them
BASE = """
question: Does a tiny sweep on random notes end?
base:
  model: {d_model: 16, n_heads: 2, encoder_layers: 3, decoder_layers: 2}
  latent:
    levels:
      - {name: global, dim: 4, span: sequence}
      - {name: local, dim: 3, span: 1}
  training: {batch_size: 8, log_every: 5}
  evaluation: {every: 40, windows: 16, final_windows: 24, reconstructions: 4}
"""
DIVERGING = f"""{BASE}
scientific:
  objective.beta.schedule: {{choice: [constant, linear]}}
  objective.beta.value: {{log_uniform: [0.05, 1.0]}}
  objective.beta.warmup: {{uniform: [0.1, 0.5], when: {{objective.beta.schedule: linear}}}}
  optimizer.lr: {{choice: [3e-3, 1e30]}}
budget: {{trials: 6, steps_per_trial: 200}}
sampler: {{name: random, seed: 47}}  # of its six, the second has the rate of 1e30
scheduler: {{name: none}}
stopper: {{name: none}}
"""
STEADY = f"""{BASE}
scientific:
  objective.beta.value: {{log_uniform: [0.01, 1.0]}}
budget: {{trials: 4, steps_per_trial: 200}}
sampler: {{name: random, seed: 0}}
stopper: {{name: none}}
"""
CHATTER = ("(pid=", "WARNING", "Traceback", "raylet", "ray::", "Tune", "optuna")


def measured(text: str) -> None:
    print(f"\n{text}", end="")  # noqa: T201 - for those who run this with -s


class Place:
    """A folder with a space and a corpus, where one sweep is run."""

    def __init__(self, folder: Path, space: str) -> None:
        self.folder = folder
        self.sweep = folder / "out" / "s"
        (folder / "space.yaml").write_text(space)
        save(tiny_corpus(), folder / "tiny")
        self.drivers: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "run_sweep.py"), "space.yaml", "--data", "tiny"]
        driver = subprocess.Popen(
            [*command, "--out", "out", "--name", "s", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C goes to all processes of the session
        )
        self.drivers.append(driver)
        return driver

    def close(self) -> None:
        """End what a test that fails has left running."""
        for driver in self.drivers:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGINT)
                driver.communicate(timeout=60)

    def run(self, *words: str) -> tuple[int, str, str, float]:
        """Exit code, standard output and error, seconds."""
        started = time.monotonic()
        driver = self.start(*words)
        out, err = driver.communicate(timeout=PATIENCE_S)
        return driver.returncode, out, err, time.monotonic() - started

    def statuses(self) -> dict[str, dict[str, Any]]:
        files = sorted((self.sweep / "trials").glob("t*/status.json"))
        return {path.parent.name: read_json(path) for path in files}

    def ended(self) -> set[str]:
        return {name for name, status in self.statuses().items() if status["status"] != "running"}

    def files(self, *names: str) -> dict[str, bytes]:
        """The bytes of whole trials, or of everything."""
        roots = [self.sweep / "trials" / name for name in names] or [self.sweep]
        return {
            str(path.relative_to(self.sweep)): path.read_bytes()
            for root in roots
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def study(self) -> list[str]:
        """The states of Optuna's trials, as anybody else reads them."""
        storage = JournalStorage(JournalFileBackend(str(self.sweep / "study.journal")))
        study = optuna.load_study(study_name="s", storage=storage)
        return [trial.state.name for trial in study.get_trials()]


def assert_quiet(*texts: str) -> None:
    for text in texts:
        assert not [word for word in CHATTER if word in text], text


def assert_whole(place: Place, trials: int) -> None:
    """The folder of DESIGN section 9, of a sweep that has ended."""
    names = {path.name.split(".")[0] for path in place.sweep.iterdir()}
    assert names == {"sweep", "study", "trials", "leaderboard", "best", "events", "pareto_front"}
    statuses = place.statuses()
    assert len(statuses) == trials
    assert place.ended() == set(statuses)
    assert "RUNNING" not in place.study()
    for name, status in statuses.items():
        folder = place.sweep / "trials" / name
        inside = {path.name.split(".")[0] for path in folder.iterdir()}
        assert {"config", "status", "metrics", "events"} <= inside
        rows = read_lines(folder / "metrics.jsonl")
        train = [row["step"] for row in rows if "train/kl_nats" in row]
        assert train == list(range(5, status["step"] + 1, 5)), name
        if status["status"] == "completed":
            assert status["step"] == status["steps"]
            last = {k: v for k, v in rows[-1].items() if not k.startswith(OF_DIMENSIONS)}
            assert status["metrics"] == {k: v for k, v in last.items() if k != "step"}
            pictures = {path.stem for path in (folder / "pictures").iterdir()}
            assert {"latent_kl_by_dimension", "latent_traversal"} <= pictures
    with (place.sweep / "leaderboard.csv").open() as file:
        assert sorted(row["trial_id"] for row in csv.DictReader(file)) == sorted(statuses)
    assert not [path for path in place.sweep.rglob("*") if path.suffix in (".part", ".old")]


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the display's copy
def test_a_sweep_is_interrupted_killed_and_resumed_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(Place(tmp_path, DIVERGING)) as place:
        interrupt(place)
        finished = place.ended()
        assert 1 <= len(finished) < 6
        before = place.files(*finished)
        stopped = stop_one_and_kill(place)
        assert place.files(*finished) == before
        finished = place.ended()
        assert stopped in finished
        assert len(finished) < 6
        before = place.files(*finished)
        finish(place, stopped)
        assert place.files(*finished) == before
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(ROOT / "run_sweep.py"), *COMMAND[1:], "--resume"])
        resume_what_has_ended(place, capfd)


def interrupt(place: Place) -> None:
    """Start a sweep; Ctrl-C once a trial has ended."""
    started = time.monotonic()
    first = place.start()
    until(lambda: bool(place.ended()), PATIENCE_S, "the end of a trial")
    measured(f"a sweep's first trial ended after {time.monotonic() - started:.1f} s")
    measured(f"all its processes hold {resident_mib(first.pid):.0f} MiB (PSS)")
    below = descendants(first.pid)
    os.killpg(first.pid, signal.SIGINT)
    out, err = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130
    assert "ending: what was finished is kept" in out
    assert err.count("\n") == 1
    assert err.startswith("aurl: interrupted. What was finished is kept. Go on with: ")
    assert err.strip().endswith("run_sweep.py space.yaml --data tiny --out out --name s --resume")
    assert_quiet(out, err)
    waited = until(lambda: not alive(below), 30, "the end of Ray's processes")
    measured(f"Ray's processes were gone {waited:.1f} s after Ctrl-C was answered")


def stop_one_and_kill(place: Place) -> str:
    """Go on; ask for one trial to be stopped, SIGKILL the driver in a later one."""
    driver = place.start("--resume")
    asked: list[str] = []
    until(lambda: stop_a_running_one(place, asked), PATIENCE_S, "a trial under way")
    (stopped,) = asked
    started = time.monotonic()
    until(lambda: stopped in place.ended(), PATIENCE_S, "the end of the stopped trial")
    measured(f"a trial had been stopped {time.monotonic() - started:.1f} s after it was asked")
    until(lambda: bool(under_way(place)), PATIENCE_S, "another trial under way")
    assert actors_of_ray(driver.pid) == {"ResourceTrainable", "Mailbox", "RayTrainWorker"}
    # Ray's own two agents stay for a minute; what could still write must not.
    below = {pid for pid in descendants(driver.pid) if not title(pid).endswith("Agent")}
    driver.kill()
    driver.communicate()
    waited = until(lambda: not alive(below), 60, "the end of the killed driver's processes")
    measured(f"a killed driver's processes were gone after {waited:.1f} s")
    return stopped


def under_way(place: Place) -> list[str]:
    """Trials that have a report and are far from their end."""
    statuses = place.statuses().items()
    return [n for n, s in statuses if s["status"] == "running" and 0 < s["step"] < 100]


def stop_a_running_one(place: Place, asked: list[str]) -> bool:
    for name in under_way(place):
        if cli.main(["stop", str(place.sweep), name]) == 0:  # else it has ended in between
            asked.append(name)
            return True
    return False


def finish(place: Place, stopped: str) -> None:
    """Finish the sweep: of its learning rates, 1e30 fails and says why."""
    code, out, err, seconds = place.run("--resume")
    measured(f"the resumed sweep took {seconds:.1f} s")
    assert (code, err) == (0, "")
    assert_quiet(out)
    assert_whole(place, 6)
    status = place.statuses()[stopped]
    assert (status["status"], status["reason"]) == ("stopped", "asked by user")
    assert 0 < status["step"] < status["steps"]
    assert place.study().count("PRUNED") == 1
    failed = [status for status in place.statuses().values() if status["status"] == "failed"]
    assert failed
    assert all(s["reason"].startswith("DivergedError: objective is not fin") for s in failed)
    assert {status["attempts"] for status in failed} == {1}
    assert {path.name for path in (place.sweep / "best").iterdir()} == {
        "README.md",
        "config.yaml",
        "metrics.json",
        "model.safetensors",
        "reconstructions.mid",
        "samples.mid",
        "vocabulary.json",
    }


COMMAND = ["sweep", "space.yaml", "--data", "tiny", "--out", "out", "--name", "s"]


def resume_what_has_ended(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is computed anew, and without ``--resume`` nothing is touched."""
    before = place.files()
    capfd.readouterr()
    assert cli.main([*COMMAND, "--resume"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "starting Ray" not in out
    assert "Best configuration" in out
    after = place.files()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"sweep.log", "study.journal"}
    assert cli.main(COMMAND) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "Add --resume to go on with it" in err
    assert place.files() == after


class StopEveryOther(FIFOScheduler):
    """Stops every other trial at its first report after step 50."""

    def __init__(self, space: Space, folder: Path) -> None:
        super().__init__()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        stops = trial_number(trial.trial_id) % 2 == 1 and result["step"] > 50
        return FIFOScheduler.STOP if stops else FIFOScheduler.CONTINUE


def kill_a_worker(place: Place, killed: list[set[int]]) -> None:
    """Kill one of the two workers of the first trial, once it has a checkpoint."""
    file = place.sweep / "trials" / "t0000" / "checkpoint" / "checkpoint.safetensors"
    until(file.exists, PATIENCE_S, "the checkpoint of t0000")
    workers = workers_of_ray()
    os.kill(max(workers), signal.SIGKILL)
    started = time.monotonic()
    killed.append(workers)
    until(lambda: not alive(workers), PATIENCE_S, "the end of the other worker")
    until(lambda: len(workers_of_ray()) == 2, PATIENCE_S, "a new gang")
    measured(f"a new gang stood {time.monotonic() - started:.1f} s after a worker was killed")


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # Ray Data's own
def test_a_killed_worker_costs_its_trial_an_attempt_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = "trials: 3, steps_per_trial: 160"
    place = Place(tmp_path, STEADY.replace("trials: 4, steps_per_trial: 200", budget))
    monkeypatch.setattr("aurl.search.supply.scheduler_of", StopEveryOther)
    made = planned(place, Shape(workers_per_trial=2))
    killed: list[set[int]] = []
    killer = threading.Thread(target=kill_a_worker, args=(place, killed))
    killer.start()
    with terminated_as_interrupted():
        sweep.run(made, Silent())
        with pytest.raises(KeyboardInterrupt):  # Ray has ended, and what it does to signals, too
            signal.raise_signal(signal.SIGTERM)
    killer.join()
    assert len(killed[0]) == 2
    statuses = place.statuses()
    ends = [status["status"] for status in statuses.values()]
    assert ends == ["completed", "stopped", "completed"]
    assert [status["attempts"] for status in statuses.values()] == [2, 1, 1]
    assert place.study() == ["COMPLETE", "PRUNED", "COMPLETE"]
    for name, status in statuses.items():
        rows = read_lines(place.sweep / "trials" / name / "metrics.jsonl")
        last = 80 if status["status"] == "stopped" else 160
        train = [row["step"] for row in rows if "train/kl_nats" in row]
        assert train == list(range(5, last + 1, 5)), "each step once"
        assert status["step"] == checkpoint.step_of(place.sweep / "trials" / name / "checkpoint")
        if status["status"] == "stopped":
            assert status["reason"].startswith("asha: a rung score of ")


# Without Ray


class Silent:
    """A display that shows nothing."""

    def trial_started(self, trial_id: str, params: Mapping[str, Any], step: int) -> None: ...

    def trial_progress(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None: ...

    def trial_ended(
        self, trial_id: str, status: str, reason: str, metrics: Mapping[str, float]
    ) -> None: ...

    def message(self, text: str) -> None: ...


def planned(place: Place, shape: Shape | None = None) -> Sweep:
    options = SweepOptions(
        space=place.folder / "space.yaml",
        out=place.folder / "out",
        name="s",
        data=str(place.folder / "tiny"),
        shape=shape or Shape(),
    )
    return plan(options)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the display's copy
def test_what_a_cluster_does_not_have_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, STEADY)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr(sweep, "connected", lambda _: contextlib.nullcontext())
    monkeypatch.chdir(tmp_path)
    assert cli.main([*COMMAND, "--workers-per-trial", "4"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("aurl: --workers-per-trial must be at most the cluster's 2 CPUs, got 4.")
    assert err.count("\n") == 1
    assert not place.sweep.exists(), "the name stays free"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the display's copy
def test_a_folder_that_nfs_keeps_until_its_log_is_closed_does_not_hide_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kept(*_: object, **__: object) -> None:
        raise OSError(39, "Directory not empty")

    Place(tmp_path, STEADY)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr(sweep, "connected", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(os, "rmdir", kept)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the name stays free
        assert cli.main([*COMMAND, "--workers-per-trial", "4"]) == 2
        assert capsys.readouterr().err.startswith("aurl: --workers-per-trial must be at most")


def test_who_interrupts_a_sweep_is_told_that_it_ends_before_ray_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()
    display = Silent()
    monkeypatch.setattr(display, "message", told.append)

    @contextlib.contextmanager
    def connected(_: object) -> Generator[None]:
        try:
            yield
        finally:
            assert told == [
                "Ray has GPUs",
                "ending: what was finished is kept, and the workers leave",
            ]

    monkeypatch.setattr(sweep, "connected", connected)
    monkeypatch.setattr(sweep, "slots", lambda *_: 1)
    monkeypatch.setattr(sweep, "left_idle", lambda *_: ["Ray has GPUs"])
    made = planned(Place(tmp_path, STEADY))
    with pytest.raises(KeyboardInterrupt), sweep._ray(made, 1, display):
        raise KeyboardInterrupt
    assert made.folder.is_dir()


def supply_of(made: Sweep) -> Any:
    proposals = Proposals(made.folder / "study.journal", made.space, "s")
    return Supply(made, proposals, Recorder(made.trials_folder, Silent()))


NEVER_TOGETHER = f"""{BASE}
scientific:
  latent.levels.global.dim: {{choice: [4, 0]}}
  latent.levels.local.dim: {{choice: [3, 0]}}
budget: {{trials: 12, steps_per_trial: 8}}
sampler: {{name: random, seed: 0}}
"""


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_values_that_make_no_run_together_are_passed_over(tmp_path: Path) -> None:
    made = planned(Place(tmp_path, NEVER_TOGETHER))
    supply = supply_of(made)
    tasks = [supply.suggest(f"tune-{index}")["task"] for index in range(12)]
    dims = [[level.dim for level in task.config.latent.levels] for task in tasks]
    assert [0, 0] not in dims
    assert len({tuple(pair) for pair in dims}) == 3
    folders = sorted(path.name for path in made.trials_folder.iterdir())
    states = Place(tmp_path, NEVER_TOGETHER).study()
    assert len(folders) == states.count("RUNNING") == 12
    assert states.count("FAIL") == len(states) - 12 > 0
    assert supply.suggest("tune-12") == "FINISHED"


NOTHING_VARIES = f"{BASE}\nbudget: {{trials: 12, steps_per_trial: 8}}"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_benchmark_of_large_sweeps_brings_trials_to_their_end(tmp_path: Path) -> None:
    """What it has in place of Ray and training tells all that a sweep is told."""
    made = planned(Place(tmp_path, NOTHING_VARIES.replace("12", "3")))
    scale.without_ray(made, scale.Meter(made.folder, scale.Costs()), 2)
    found = [read_json(path) for path in made.trials_folder.glob("*/status.json")]
    assert [each["status"] for each in found].count("running") == 0 < len(found) == 3
    assert max(each["step"] for each in found) == 8


@pytest.mark.parametrize(
    ("space", "count"), [(NEVER_TOGETHER, 3), (NOTHING_VARIES, 1)], ids=["choices", "none"]
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_no_two_trials_of_a_sweep_are_the_same_run(tmp_path: Path, space: str, count: int) -> None:
    """Of three configurations, or of one, twelve trials are made, by two drivers in a row."""
    made = planned(Place(tmp_path, space))
    first = supply_of(made)
    configs = [first.suggest(f"tune-{index}")["task"].config for index in range(5)]
    names = [first.name_of(f"tune-{index}") for index in range(5)]
    for name in names:
        complete(made.trials_folder / name, 0.5)
    again = supply_of(made)
    configs += [again.suggest(f"again-{index}")["task"].config for index in range(7)]
    assert len({repr(config) for config in configs}) == 12
    assert configs[0].seed == made.space.base["seed"]
    assert len({repr(replace(config, seed=0)) for config in configs}) == count


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_a_worker_saw_is_drawn_and_so_is_the_front(tmp_path: Path) -> None:
    made = planned(Place(tmp_path, NEVER_TOGETHER))
    supply = supply_of(made)
    supply.suggest("tune-0")
    name = supply.name_of("tune-0")
    record: Any = sweep._Record(supply)
    trial = SimpleNamespace(trial_id="tune-0", last_result={"done": True, "rows": ()})
    record.on_trial_start(0, [], trial)
    piece = random_piece(np.random.default_rng(0))
    look = Look(
        codes=("global/0",),
        factors=("tonic",),
        information=np.ones((1, 1)),
        originals=(piece,),
        reconstructions=(piece,),
        dimensions=("global/0",),
        traversals=((piece,) * len(SHIFTS),),
        samples=(piece,),
    )
    rows = [{"step": 8, f"{RATES}global/0": 0.5, **dict.fromkeys(OBJECTIVES, 0.5)}]
    record.on_trial_result(0, [], trial, {"rows": rows, "media": media_of(look), "waited_s": 0.0})
    record.on_trial_complete(0, [], trial)
    names = {path.name for path in (made.trials_folder / name / "pictures").iterdir()}
    assert names == {
        "latent_kl_by_dimension.png",
        "latent_mutual_information.png",
        "latent_traversal.png",
        "music_reconstructions.png",
    }
    picture = made.folder / "pareto_front.png"
    assert picture.exists()
    picture.unlink()
    supply_of(made).front.draw()  # by a driver that resumes the sweep
    assert picture.exists()


def test_a_space_without_a_run_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = planned(Place(tmp_path, NEVER_TOGETHER))
    monkeypatch.setattr("aurl.search.supply.INVALID_IN_A_ROW", 3)
    supply = supply_of(made)

    def unfit(*_: object) -> None:
        raise ConfigError("it does not fit")

    monkeypatch.setattr("aurl.search.supply.check_fits", unfit)
    with pytest.raises(
        SweepError, match=r"got 3 in a row that are not\. The last: it does not fit"
    ):
        supply.suggest("tune-0")
    assert not made.trials_folder.exists()


def test_a_resumed_supply_has_the_unended_trials_first_and_then_the_rest(tmp_path: Path) -> None:
    made = planned(Place(tmp_path, NEVER_TOGETHER))
    first = supply_of(made)
    for index in range(3):
        first.suggest(f"tune-{index}")
    names = sorted(path.name for path in made.trials_folder.iterdir())
    ended = made.trials_folder / names[1] / "status.json"
    ended.write_text(json.dumps({**read_json(ended), "status": "stopped"}))
    again = supply_of(made)
    assert again.remaining == 11
    for index, name in enumerate((names[0], names[2])):
        again.suggest(f"again-{index}")
        assert again.name_of(f"again-{index}") == name
    again.suggest("again-2")
    assert again.name_of("again-2") not in names


def test_what_is_tried_again_takes_the_next_place_of_the_budget_after_a_resume_too(
    tmp_path: Path,
) -> None:
    made = planned(Place(tmp_path, STEADY))
    first = supply_of(made)
    before = first.suggest("tune-0")["task"].config
    queue(made.folder, params_of(made.folder, first.name_of("tune-0")))
    again = supply_of(made)
    assert again.remaining == made.space.budget.trials
    resumed, repeated, new = (again.suggest(f"again-{n}")["task"].config for n in range(3))
    assert resumed == before
    assert repeated.seed != before.seed
    assert replace(repeated, seed=before.seed) == before
    assert new.objective.beta.value != before.objective.beta.value


@pytest.mark.parametrize(("kept", "verdict"), [(80, "STOP"), (100, "CONTINUE")])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_is_judged_again_where_a_driver_was_killed_over_the_verdict(
    tmp_path: Path, kept: int, verdict: str
) -> None:
    """It was not where the trial's checkpoint is of its rung: then it had gone on."""
    made = planned(Place(tmp_path, STEADY))
    first = supply_of(made)
    folder, rows = made.trials_folder, list[dict[str, Any]]()
    for index, score in enumerate((0.5, 0.6, 0.1)):
        first.suggest(f"tune-{index}")
        folder = made.trials_folder / first.name_of(f"tune-{index}")
        rows = [{"step": step, "val/rung_score": score} for step in range(20, 101, 20)]
        append_lines(folder / "metrics.jsonl", rows)
        if score > 0.1:
            complete(folder, score)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoint.save(folder / "checkpoint", step=kept, model=model, optimizer=optimizer)
    supply = supply_of(made)
    task = supply.suggest("again")["task"]
    trial: Any = SimpleNamespace(trial_id="again", config={"task": task})
    supply.referee.on_trial_add(None, trial)
    record: Any = sweep._Record(supply)
    record.on_trial_start(0, [], trial)
    result = {**scalars(rows[-1], 200), "rows": rows[-1:]}
    assert supply.referee.on_trial_result(None, trial, result) == verdict
    supply.recorder.end(folder.name, "failed", "the test is over")  # its files are open


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_once_the_time_is_up_only_what_has_begun_is_given_to_tune(tmp_path: Path) -> None:
    made = planned(Place(tmp_path, NEVER_TOGETHER))
    supply = supply_of(made)
    first = supply.suggest("tune-0")
    supply.until = time.monotonic()
    assert (supply.left, supply.remaining) == (0, 11)
    assert supply.suggest("tune-1") == "FINISHED"
    assert supply.take_back(supply.name_of("tune-0")), "its slot died before it began"
    assert supply.left == 1
    assert supply.suggest("tune-2") == first
    assert supply.suggest("tune-3") == "FINISHED"
    assert [path.name for path in made.trials_folder.iterdir()] == ["t0000"]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_whose_slot_dies_before_it_begins_is_given_again(tmp_path: Path) -> None:
    """Tune tries a trial again that runs, and not one that it is about to hand to a slot."""
    made = planned(Place(tmp_path, NEVER_TOGETHER))
    supply = supply_of(made)
    record: Any = sweep._Record(supply)

    def dies(tune_id: str, *, tries_left: bool, error: Exception | None = None) -> str:
        says = {"get_error": lambda: None, "get_pickled_error": lambda: error}
        trial = SimpleNamespace(trial_id=tune_id, should_recover=lambda: tries_left, **says)
        record.on_trial_error(0, [], trial)
        name = supply.name_of(tune_id)
        return read_json(made.trials_folder / name / "status.json")["status"]

    first = supply.suggest("tune-0")
    assert supply.left == 11
    for index in range(1, ATTEMPTS):
        assert dies(f"tune-{index - 1}", tries_left=True) == "running"
        assert supply.left == 12
        assert supply.suggest(f"tune-{index}") == first
        assert supply.left == 11
    of_ray = RayTaskError("step", "At:\n  its slot", RuntimeError("it was\nkilled"))
    assert dies(f"tune-{ATTEMPTS - 1}", tries_left=True, error=of_ray) == "failed"
    status = read_json(made.trials_folder / supply.name_of("tune-0") / "status.json")
    assert status["reason"] == "killed"
    supply.suggest("tune-9")
    assert dies("tune-9", tries_left=False) == "failed"
    status = read_json(made.trials_folder / supply.name_of("tune-9") / "status.json")
    assert status["reason"] == "its slot died"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_tries_of_a_trial_are_counted_by_what_tune_says_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = mock.Mock()
    attempts.are_left.return_value = False
    monkeypatch.setattr(sweep, "Attempts", lambda: attempts)
    supply = supply_of(planned(Place(tmp_path, NEVER_TOGETHER)))
    supply.suggest("tune-0")
    record: Any = sweep._Record(supply)
    says = {"get_error": lambda: None, "get_pickled_error": lambda: None}
    trial = SimpleNamespace(trial_id="tune-0", **says)
    record.on_trial_start(0, [], trial)
    for noted in (False, True):
        record.on_trial_result(0, [], trial, {"noted": noted})
    record.on_trial_recover(0, [], trial)
    record.on_trial_error(0, [], trial)
    assert attempts.mock_calls == [
        mock.call.begin(trial),
        mock.call.note_drain(trial),
        mock.call.wait(trial),
        mock.call.are_left(trial),
    ]


def test_what_a_killed_driver_left_half_made_is_removed(tmp_path: Path) -> None:
    made = planned(Place(tmp_path, NEVER_TOGETHER))
    supply_of(made).suggest("tune-0")
    whole = {path for path in made.folder.rglob("*") if path.is_file()}
    trial = next(made.trials_folder.iterdir())
    for path in (
        trial / ".status.json.0a1b2c3d.part",
        trial / "checkpoint" / ".checkpoint.safetensors.0a1b2c3d.part",
        made.folder / ".best.0a1b2c3d.part" / "model.safetensors",
        made.folder / ".best.0a1b2c3d.old" / "model.safetensors",
        made.trials_folder / "t9999" / "config.yaml",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    sweep._tidy(made)
    assert {path for path in made.folder.rglob("*") if path.is_file()} == whole
    assert not (made.trials_folder / "t9999").exists()


def test_a_sweep_that_another_process_runs_is_refused(tmp_path: Path) -> None:
    made = planned(Place(tmp_path, STEADY))
    with (made.folder / "sweep.log").open("ab") as log:
        fcntl.lockf(log, fcntl.LOCK_EX)  # as for a client of NFS, where the folder is served
        with pytest.raises(SweepError, match=r"out/s must be left to one process, and another"):
            sweep.run(made, Silent())
    assert not made.trials_folder.exists()


# Finalists, without Ray


FINALS = f"{STEADY}seeds: {{finalists: 2, runs: 3}}\n"


def complete(folder: Path, score: float, status: str = "completed") -> None:
    """Make a trial one that has ended."""
    path = folder / "status.json"
    metrics = {"val/score": score, **dict.fromkeys(OBJECTIVES, score)}
    path.write_text(json.dumps({**read_json(path), "status": status, "metrics": metrics}))


def finals_of(made: Sweep) -> Any:
    return Finals(made, Recorder(made.folder / FINALISTS, Silent()))


def searched(folder: Path) -> Sweep:
    """A sweep of four trials that have ended, the third as the best, the second as a failure."""
    made = planned(Place(folder, FINALS))
    supply = supply_of(made)
    for index, score in enumerate((0.2, 0.9, 0.5, 0.3)):
        supply.suggest(f"tune-{index}")
        name = supply.name_of(f"tune-{index}")
        complete(made.trials_folder / name, score, "failed" if index == 1 else "completed")
    return made


def test_finalists_are_trained_again_with_other_seeds_and_nothing_else(tmp_path: Path) -> None:
    made = searched(tmp_path)
    finals = finals_of(made)
    assert finals.remaining == 6
    tasks = [finals.suggest(f"tune-{index}")["task"] for index in range(6)]
    assert finals.suggest("tune-6") == "FINISHED"
    names = [task.name for task in tasks]
    assert names == ["t0002.1", "t0002.2", "t0002.3", "t0003.1", "t0003.2", "t0003.3"]
    for name, task in zip(names, tasks, strict=True):
        first, _ = read_config(made.trials_folder / name[:5] / "config.yaml")
        assert task.config == replace(first, seed=task.config.seed)
        assert task.config.seed != first.seed
        assert read_json(made.folder / "finalists" / name / "status.json")["status"] == "running"
    seeds = [task.config.seed for task in tasks]
    assert len(set(seeds[:3])) == 3
    assert seeds[:3] == seeds[3:], "all are compared on the same seeds"


def test_the_best_of_each_value_that_is_compared_is_trained_again(tmp_path: Path) -> None:
    compared = STEADY.replace(
        "scientific:",
        "scientific:\n  objective.free_bits.granularity: {choice: [dimension, level]}",
    )
    seeds = "compare: objective.free_bits.granularity\nseeds: {finalists: 1, runs: 3}\n"
    made = planned(Place(tmp_path, compared + seeds))
    assert made.space.n_runs == 4 + 2 * 3
    supply = supply_of(made)
    for index, score in enumerate((0.2, 0.9, 0.5, 0.3)):  # the values take turns
        supply.suggest(f"tune-{index}")
        complete(made.trials_folder / supply.name_of(f"tune-{index}"), score)
    finals = finals_of(made)
    tasks = [finals.suggest(f"tune-{index}")["task"] for index in range(finals.remaining)]
    again = [task.name for task in tasks]
    assert again == [f"{trial}.{number}" for trial in ("t0001", "t0002") for number in (1, 2, 3)]
    assert {task.config.objective.free_bits.granularity for task in tasks} == {
        "dimension",
        "level",
    }


def test_a_resumed_sweep_goes_on_with_the_seeds_that_have_not_ended(tmp_path: Path) -> None:
    made = searched(tmp_path)
    finals = finals_of(made)
    for index in range(3):
        finals.suggest(f"tune-{index}")
    complete(made.folder / "finalists" / "t0002.1", 0.99)
    complete(made.folder / "finalists" / "t0002.2", 0.0, "failed")
    before = read_json(made.folder / "finalists" / "t0002.3" / "status.json")
    again = finals_of(made)
    assert again.remaining == 4
    task = again.suggest("again-0")["task"]
    assert task.name == "t0002.3"
    assert read_json(made.folder / "finalists" / "t0002.3" / "status.json") == before
    # Whoever the finalists are now, what was begun comes to its end.
    fewer = SeedsConfig(finalists=1)
    complete(made.trials_folder / "t0003", 0.7)
    for seeds in (fewer, None):
        later = finals_of(replace(made, space=replace(made.space, seeds=seeds)))
        assert later.remaining == (4 if seeds else 1)
        task = later.suggest("later-0")["task"]
        assert task.name == "t0002.3"
        assert read_json(made.folder / "finalists" / "t0002.3" / "status.json") == before


def test_a_sweep_that_has_ended_may_be_given_more_trials(tmp_path: Path) -> None:
    made = searched(tmp_path)
    assert supply_of(made).remaining == 0
    more = replace(made.space, budget=replace(made.space.budget, trials=6))
    supply = supply_of(replace(made, space=more))
    assert supply.remaining == 2
    names = []
    for index in range(2):
        supply.suggest(f"more-{index}")
        names.append(supply.name_of(f"more-{index}"))
    assert names == ["t0004", "t0005"]


def test_a_sweep_without_seeds_has_no_finalists(tmp_path: Path) -> None:
    made = searched(tmp_path)
    assert finals_of(replace(made, space=replace(made.space, seeds=None))).remaining == 0
    assert (made.space.n_runs, replace(made.space, seeds=None).n_runs) == (10, 4)


def test_finalists_may_be_asked_for_after_the_search(tmp_path: Path) -> None:
    made = planned(Place(tmp_path, STEADY))
    (tmp_path / "space.yaml").write_text(FINALS)
    options = SweepOptions(
        space=tmp_path / "space.yaml",
        out=tmp_path / "out",
        name="s",
        data=str(tmp_path / "tiny"),
        resume=True,
    )
    assert made.space.seeds is None
    assert plan(options).space.seeds is not None


class FullDisk(Recorder):
    """Takes the start of a trial, and no report of it."""

    def report(self, name: str, rows: Any, waited_s: float = 0.0) -> None:
        raise OSError(28, "No space left on device", f"{name}/metrics.jsonl")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_full_disk_ends_the_sweep_and_no_trial(tmp_path: Path) -> None:
    place = Place(tmp_path, NEVER_TOGETHER)
    made = planned(place)
    supply = supply_of(made)
    supply.recorder = FullDisk(made.trials_folder, Silent())
    supply.suggest("tune-0")
    record: Any = sweep._Record(supply)
    row = {"step": 4.0, "val/kl_nats": 1.0}
    trial = SimpleNamespace(trial_id="tune-0", last_result={"failure": "its workers died"})
    record.on_trial_start(0, [], trial)
    calls = (
        lambda: record.on_trial_result(
            0, [], trial, {"rows": [row], "media": None, "waited_s": 0.0}
        ),
        lambda: record.on_trial_complete(0, [], trial),  # as Tune goes on
        lambda: record.on_step_end(0, []),
        lambda: supply.suggest("tune-1"),
    )
    for call in calls:
        with pytest.raises(OSError, match="No space left"):
            call()
    (folder,) = made.trials_folder.iterdir()
    assert read_json(folder / "status.json")["status"] == "running"
    supply.recorder.end(folder.name, "failed", "the test is over")  # its files are open


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_checkpoint_that_cannot_be_stored_ends_the_sweep_and_no_trial(tmp_path: Path) -> None:
    made = planned(Place(tmp_path, NEVER_TOGETHER))
    supply = supply_of(made)
    supply.suggest("tune-0")
    record: Any = sweep._Record(supply)
    last = {"rows": (), "done": True, "failure": "the disk is full.", "outage": True}
    trial = SimpleNamespace(trial_id="tune-0", last_result=last)
    record.on_trial_start(0, [], trial)
    with pytest.raises(StorageError, match="the disk is full"):
        record.on_trial_complete(0, [], trial)
    (folder,) = made.trials_folder.iterdir()
    assert read_json(folder / "status.json")["status"] == "running"
    supply.recorder.end(folder.name, "failed", "the test is over")  # its files are open
