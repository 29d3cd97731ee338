"""A driver killed before any of its writes: what the next one makes of what is there.

The sweep is real but for Ray and the training: a loop plays Tune and the workers. An audit hook
of the interpreter, which hears of every file that Python opens, renames or removes, kills the
process of the driver at the n-th such call.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.schedulers import TrialScheduler
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from torch import nn

from aurl.data.corpus import save
from aurl.errors import AurlError
from aurl.files import read_json, read_lines
from aurl.metrics.score import OBJECTIVES
from aurl.reporting.leaderboard import write_leaderboard
from aurl.search import sweep as sweeps
from aurl.search.plan import Sweep, SweepOptions, plan
from aurl.search.provenance import read_config
from aurl.search.recorder import Recorder
from aurl.search.sampler import Proposals
from aurl.search.slot import scalars
from aurl.search.supply import Supply
from aurl.search.wishes import PAUSE, PAUSED, STOP, ask, ask_all
from aurl.training import checkpoint
from aurl.training.look import RATES
from tests.test_sweep import Silent
from tests.tiny import tiny_corpus

TRIALS = 3
EVALUATIONS = 2
SPACE = f"""
question: Does a driver that dies lose anything?
base:
  model: {{d_model: 16, n_heads: 2, encoder_layers: 3, decoder_layers: 2}}
  latent:
    levels:
      - {{name: global, dim: 4, span: sequence}}
  training: {{batch_size: 8, log_every: 2}}
  evaluation: {{every: 2}}
scientific:
  objective.beta.schedule: {{choice: [constant, linear]}}
  objective.beta.value: {{log_uniform: [0.01, 1.0]}}
  objective.beta.warmup: {{uniform: [0.1, 0.5], when: {{objective.beta.schedule: linear}}}}
budget: {{trials: {TRIALS}, steps_per_trial: {2 * EVALUATIONS}}}
sampler: {{name: random, seed: 3}}
scheduler: {{name: none}}
stopper: {{name: none}}
"""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink"}
EVERY = 20
"""Of the writes before which it may be killed, every how many; which ones differs by the run."""


class Fate:
    """Counts the changes below a folder, and kills its process before one of them."""

    def __init__(self) -> None:
        self.folder = ""
        self.after: int | None = None
        self.seen = 0
        self.told = -1

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if self.folder and self._changes(event, given):
            if self.seen == self.after:
                os.write(self.told, f"{event} {given[0]}".encode())
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen += 1

    def _changes(self, event: str, given: tuple[Any, ...]) -> bool:
        changes = bool(given[2] & WRITING) if event == "open" else event in CHANGES
        return changes and str(given[event == "os.symlink"]).startswith(self.folder)


FATE = Fate()
sys.addaudithook(FATE)


@contextmanager
def counted(folder: Path) -> Generator[None]:
    """A block in which every change below a folder is counted."""
    FATE.folder, FATE.after, FATE.seen = str(folder), None, 0
    try:
        yield
    finally:
        FATE.folder = ""


def killed(root: Path, name: str, after: int) -> str:
    """Drive a sweep in a process of its own, SIGKILL it after so many changes; says at which."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        FATE.folder, FATE.after, FATE.seen, FATE.told = str(root / name), after, 0, writes
        try:
            drive(root, name)
        finally:
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as said:
        at = said.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    return at


def planned(out: Path, name: str, root: Path) -> Sweep:
    options = SweepOptions(space=None, out=out, name=name, resume=True)
    if (root / "space.yaml").exists():  # else it goes on by its folder alone
        options = replace(options, space=root / "space.yaml", data=str(root / "tiny"))
    return plan(options)


def row(params: dict[str, Any], step: int) -> dict[str, float]:
    score = params["objective.beta.value"] * step / (2 * EVALUATIONS)
    rates = {f"{RATES}global/0": 0.1 * step}
    return {"step": step, **dict.fromkeys(OBJECTIVES, score), "val/score": score, **rates}


def drive(
    out: Path, name: str, root: Path | None = None, asks: Callable[[Path, str], None] | None = None
) -> None:
    """What ``sweep.run``, Tune and the workers do, one trial at a time.

    Space and corpus are in ``root``, by default where the sweep is. Somebody may ask for something
    as each trial begins.
    """
    made = planned(out, name, root or out)
    sweeps._tidy(made)
    proposals = Proposals(made.folder / "study.journal", made.space, name)
    proposals.begin_with(made.beginnings)
    queue = Supply(made, proposals, Recorder(made.trials_folder, Silent()))
    record: Any = sweeps._Record(queue)
    index = 0
    while queue.left:
        task = queue.suggest(f"tune-{index}")["task"]
        trial = SimpleNamespace(trial_id=f"tune-{index}", last_result={}, config={"task": task})
        if asks is not None:
            asks(made.folder, task.name)
        train(queue, record, task, trial)
        index += 1
    queue.front.draw(even_if_drawn=False)
    write_leaderboard(made.folder)


def train(queue: Any, record: Any, task: Any, trial: Any) -> None:
    record.on_trial_start(0, [], trial)
    name = queue.name_of(trial.trial_id)
    params = read_json(queue.folder / name / "status.json")["params"]
    model = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(checkpoint.step_of(task.checkpoint_folder) + 2, 2 * EVALUATIONS + 1, 2):
        rows = ({"step": step, "train/kl_nats": 1.0}, row(params, step))
        result = {
            **scalars(rows[-1], 2 * EVALUATIONS),
            "rows": rows,
            "media": None,
            "waited_s": 0.0,
        }
        record.on_trial_result(0, [], trial, result)
        is_stopped = queue.referee.on_trial_result(None, trial, result) == TrialScheduler.STOP
        if is_stopped:
            trial.last_result = result
            record.on_trial_complete(0, [], trial)
        # As a worker: what a checkpoint holds has been judged.
        checkpoint.save(task.checkpoint_folder, step=step, model=model, optimizer=optimizer)
        if is_stopped:
            return
    trial.last_result = {"done": True, "rows": ()}
    record.on_trial_complete(0, [], trial)


def trials(place: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((place / "trials").glob("t*/status.json")):
        yield path.parent, read_json(path)


def outcome(place: Path) -> list[dict[str, Any]]:
    """All that a sweep has found, in the order of its trials; not their names, nor any time."""
    return [
        {
            "params": status["params"],
            "status": status["status"],
            "metrics": status["metrics"],
            "config": read_config(folder / "config.yaml")[0],
            "rows": read_lines(folder / "metrics.jsonl"),
            "checkpoint": checkpoint.step_of(folder / "checkpoint"),
            "pictures": sorted(path.name for path in (folder / "pictures").glob("*.png")),
            "events": sorted(set(events(folder))),
        }
        for folder, status in trials(place)
    ]


def events(folder: Path) -> list[tuple[int, str]]:
    """Step and tag of everything that TensorBoard is shown of a trial."""
    return [
        (event.step, value.tag)
        for path in sorted(folder.glob("events.*"))
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


def study_states(place: Path) -> list[str]:
    storage = JournalStorage(JournalFileBackend(str(place / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    return [trial.state.name for trial in study.get_trials()]


def what_is_wrong(place: Path, wanted: list[dict[str, Any]], ended: set[str]) -> list[str]:
    """How a sweep that was gone on with differs from one that nothing happened to."""
    wrong = [
        f"{key}: {found[key]} is not {calm[key]}"
        for found, calm in zip(outcome(place), wanted, strict=True)
        for key in calm
        if found[key] != calm[key]
    ]
    states = study_states(place)
    if states.count("COMPLETE") != TRIALS or {"RUNNING", "WAITING"} & set(states):
        wrong.append(f"Optuna has {states}")
    if not ended <= {path.name for path, _ in trials(place)}:
        wrong.append("what had ended is gone")
    left = [path.name for path in place.rglob(".*") if path.suffix in (".part", ".old")]
    return [*wrong, *left]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # the child only writes
def test_a_driver_that_is_killed_before_any_of_its_writes_loses_nothing(tmp_path: Path) -> None:
    writes, wanted = undisturbed(tmp_path)
    assert len(wanted) == TRIALS
    assert writes > 150
    tried = [wrong_after(tmp_path, n, wanted) for n in range(os.getpid() % EVERY, writes, EVERY)]
    assert len(tried) > 8
    wrong = [each for each in tried if each[1]]
    assert not wrong, wrong


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_that_is_paused_gives_up_its_slot_and_goes_on_with_the_sweep(
    tmp_path: Path,
) -> None:
    def asks(sweep: Path, trial: str) -> None:
        if trial == "t0001":
            ask(sweep, trial, PAUSE)

    _, wanted = undisturbed(tmp_path)
    drive(tmp_path, "mine", asks=asks)
    found = {path.name: status for path, status in trials(tmp_path / "mine")}
    assert {name: status["status"] for name, status in found.items()} == {
        "t0000": "completed",
        "t0001": "paused",
        "t0002": "completed",
    }
    assert (found["t0001"]["step"], found["t0001"]["reason"]) == (2, PAUSED)
    assert study_states(tmp_path / "mine").count("RUNNING") == 1
    drive(tmp_path, "mine")
    assert what_is_wrong(tmp_path / "mine", wanted, set(found)) == []
    assert [status["reason"] for _, status in trials(tmp_path / "mine")] == ["", "", ""]


@pytest.mark.parametrize(("wish", "became"), [(STOP, "completed"), (PAUSE, "paused")])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sweep_that_is_asked_to_end_begins_nothing_and_goes_on_when_it_is_resumed(
    tmp_path: Path, wish: str, became: str
) -> None:
    def asks(sweep: Path, trial: str) -> None:
        if trial == "t0001":
            assert ask_all(sweep, wish) == 1

    _, wanted = undisturbed(tmp_path)
    drive(tmp_path, "mine", asks=asks)
    found = {path.name: status["status"] for path, status in trials(tmp_path / "mine")}
    assert found == {"t0000": "completed", "t0001": became}
    (tmp_path / "space.yaml").unlink()
    drive(tmp_path, "mine")
    assert what_is_wrong(tmp_path / "mine", wanted, set(found)) == []
    assert not {STOP, PAUSE} & {path.name for path in (tmp_path / "mine").rglob("*")}


def undisturbed(root: Path) -> tuple[int, list[dict[str, Any]]]:
    """How many changes a sweep makes that nothing happens to, and what comes of it."""
    save(tiny_corpus(), root / "tiny")
    (root / "space.yaml").write_text(SPACE)
    with counted(root / "calm"):
        drive(root, "calm")
    return FATE.seen, outcome(root / "calm")


def wrong_after(root: Path, after: int, wanted: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Where a sweep was killed, and what is wrong with it once it was gone on with."""
    place = root / f"after {after}"
    at = killed(root, place.name, after)
    ended = {path.name for path, status in trials(place) if status["status"] != "running"}
    try:
        drive(root, place.name)
        found = what_is_wrong(place, wanted, ended)
    except (AurlError, ValueError) as error:
        found = [str(error)]
    shutil.rmtree(place)
    return f"after {after} writes, at {at}", found
