"""A small sweep that is killed and gone on with, and what is wrong with its folder then.

What :mod:`experiments.faults`, :mod:`experiments.random_kills`, :mod:`experiments.storages` and
:mod:`experiments.full_disk` have in common.
"""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from aurl.files import read_json, read_lines, read_yaml
from aurl.reporting.export import load_export
from tests.processes import PROC, alive

ROOT = Path(__file__).parents[1]
TRIALS = 4
STEPS = 80
BASE = """
base:
  data: {corpus: melodies, melodies: {train: 1000}}
  model: {d_model: 32, n_heads: 2, encoder_layers: 3, decoder_layers: 2}
  latent:
    levels:
      - {name: global, dim: 4, span: sequence}
      - {name: local, dim: 2, span: 1}
  training: {batch_size: 8, log_every: 2}
  evaluation:
    every: 8
    windows: 16
    final_windows: 64
    reconstructions: 4
    samples: 16
    importance_windows: 4
    importance_samples: 2
"""
"""Small models of melodies."""

SPACE = f"""
question: What is lost when a sweep is killed?
{BASE}
scientific:
  objective.beta.schedule: {{choice: [constant, linear]}}
  objective.beta.value: {{log_uniform: [0.01, 0.3]}}
  objective.beta.warmup: {{uniform: [0.1, 0.5], when: {{objective.beta.schedule: linear}}}}
budget: {{trials: {TRIALS}, steps_per_trial: {STEPS}}}
sampler: {{name: random, seed: 0}}
scheduler: {{name: none}}
stopper: {{name: none}}
"""
DRIVER = """
import os, sys, time
from aurl import cli

search = cli.sweep

def patient_search(args):
    from ray._private import services
    from aurl.search import sweep

    get_node, began = services.get_node, time.monotonic()
    fitting, most = sweep.slots, int(os.environ["AURL_FAULTS_SLOTS"])

    def patient(*given):
        while True:
            try:
                return get_node(*given)
            except RuntimeError:
                if time.monotonic() - began > 90.0:
                    raise

    services.get_node = patient
    sweep.slots = lambda shape, trials: min(most, fitting(shape, trials))
    return search(args)

cli.sweep = patient_search
sys.argv = ["aurl", "sweep", *sys.argv[1:]]
sys.exit(cli.main())
"""
"""``aurl sweep``, but on a busy machine it waits for Ray's node for longer than Ray's 30 s.

And no more trials run at a time than it is told.
"""

MARK = "AURL_FAULTS"
"""Variable in the environment of every process of a sweep, by which those left over are found."""
PATIENCE_S = 900.0
CLOCKED = ("time/", "throughput/", "memory/")
"""Metrics that say how fast a run was, not what it computed."""


@dataclass
class Disturbed:
    """One sweep that is killed and resumed until it ends."""

    place: Path
    name: str
    options: tuple[str, ...] = ()
    """Words of the command beside its name and ``--resume``."""

    slots: int = 2
    """Trials at a time."""

    driver: "subprocess.Popen[str] | None" = None
    kept: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    """The bytes of each trial's folder, from when it had ended."""
    output: Path = Path()

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return self.place / "sweeps" / self.name

    def start(self) -> None:
        """Start it, or go on with it, in a session of its own as a terminal gives one."""
        command = [sys.executable, "-c", DRIVER, "space.yaml", "--resume"]
        self.output = self.place / f"{self.name}.out"
        with self.output.open("w") as out:  # what it said before it was killed is not what it says
            self.driver = subprocess.Popen(
                [*command, "--name", self.name, *self.options],
                cwd=self.place,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                env={**os.environ, **self.variables},
            )

    @property
    def variables(self) -> dict[str, str]:
        """What its processes find in their environment."""
        scratch = self.place / "tmp"
        scratch.mkdir(exist_ok=True)
        slots = {f"{MARK}_SLOTS": str(self.slots)}
        return {MARK: str(self.place), "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), **slots}

    @property
    def pid(self) -> int:
        """The driver's process."""
        assert self.driver is not None
        return self.driver.pid

    def runs(self) -> bool:
        """Whether the driver is there."""
        return self.driver is not None and self.driver.poll() is None

    def wait(self) -> None:
        """Wait for the driver's end."""
        assert self.driver is not None
        self.driver.wait(PATIENCE_S)

    def finished(self) -> bool:
        """Whether the driver ended as it should."""
        return self.driver is not None and self.driver.poll() == 0

    def statuses(self) -> dict[str, dict[str, Any]]:
        """What each trial's ``status.json`` says."""
        files = sorted((self.folder / "trials").glob("t*/status.json"))
        return {path.parent.name: read_json(path) for path in files}

    def ended(self) -> list[str]:
        """Trials that have ended."""
        return [name for name, each in self.statuses().items() if each["status"] != "running"]

    def last_line(self) -> str:
        """What the driver said last."""
        lines = self.output.read_text().splitlines() if self.output.exists() else []
        return lines[-1] if lines else ""


def undisturbed(place: Path, slots: int) -> Disturbed:
    """The sweep of :data:`SPACE` that nobody kills, run to its end unless it has been before."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "space.yaml").write_text(SPACE)
    optuna.logging.disable_default_handler()
    calm = Disturbed(place, "calm", slots=slots)
    while not (calm.folder / "best").exists():
        calm.start()
        calm.wait()
    return calm


def mount(place: Path, *options: str) -> None:
    """Mount a tmpfs, or change the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], check=True)


def marked(place: Path) -> set[int]:
    """Every process of this machine that a sweep of ``place`` has started."""
    words = f"{MARK}={place}".encode()
    found: set[int] = set()
    for folder in PROC.glob("[0-9]*"):
        try:
            if words in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue
    return alive(found - {os.getpid()})


def waited(condition: Callable[[], bool], seconds: float) -> float | None:
    """Seconds until a condition holds; None if it does not within ``seconds``."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.1)
    return time.monotonic() - began


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def look_at(sweep: Disturbed) -> list[str]:
    """What is wrong with a sweep's folder while nobody runs it."""
    wrong: list[str] = []
    for name, status in sweep.statuses().items():
        now = contents(sweep.folder / "trials" / name)
        if name in sweep.kept and sweep.kept[name] != now:
            changed = {k for k in now | sweep.kept[name] if now.get(k) != sweep.kept[name].get(k)}
            wrong.append(f"{name} had ended, and changed: {sorted(changed)}")
        if status["status"] != "running":
            sweep.kept[name] = now
        if status["status"] == "failed":
            wrong.append(f"{name} failed: {status['reason']}")
    for path in sorted(sweep.folder.rglob("*")):
        try:
            _read(path)
        except Exception as error:  # noqa: BLE001 - this is what is counted
            wrong.append(f"{path.relative_to(sweep.folder)} cannot be read: {error}")
    return wrong


def _read(path: Path) -> None:
    if path.name.startswith("."):
        return  # half-made by name, too: removed at the next start
    if path.suffix == ".json":
        read_json(path)
    elif path.suffix == ".yaml":
        read_yaml(path)
    elif path.name == "best":
        load_export(path)
    elif path.suffix == ".csv":
        with path.open() as file:
            list(csv.DictReader(file))


def curve(folder: Path) -> list[dict[str, Any]]:
    """A trial's rows, without what a clock or the machine decides."""
    return [
        {key: value for key, value in row.items() if not key.startswith(CLOCKED)}
        for row in read_lines(folder / "metrics.jsonl")
    ]


def hold_against(sweep: Disturbed, calm: Path) -> list[str]:
    """How a sweep that has ended differs from the undisturbed one."""
    wrong = look_at(sweep)
    wanted = {_params(path): path for path in sorted((calm / "trials").glob("t*"))}
    found = [(_params(path), path) for path in sorted((sweep.folder / "trials").glob("t*"))]
    if len(found) != TRIALS or len(dict(found)) != TRIALS:
        wrong.append(f"{len(found)} trials, {len(dict(found))} of them different")
    for params, path in found:
        if params not in wanted:
            wrong.append(f"{path.name} is none of the undisturbed sweep's")
        elif curve(path) != curve(wanted[params]):
            wrong.append(f"{path.name} has another curve than undisturbed")
        elif len(list((path / "pictures").iterdir())) != len(
            list((wanted[params] / "pictures").iterdir())
        ):
            wrong.append(f"{path.name} lacks pictures")
    states = study_states(sweep)
    if states.count("COMPLETE") != TRIALS or {"RUNNING", "WAITING"} & set(states):
        wrong.append(f"Optuna has {states}")
    parts = [path for path in sweep.folder.rglob(".*") if path.suffix in (".part", ".old")]
    wrong += [f"{path.name} is left" for path in parts]
    if not (sweep.folder / "best" / "model.safetensors").exists():
        wrong.append("nothing was exported")
    return wrong


def study_states(sweep: Disturbed) -> list[str]:
    """What Optuna has of each trial."""
    storage = JournalStorage(JournalFileBackend(str(sweep.folder / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    return [trial.state.name for trial in study.get_trials()]


def _params(trial: Path) -> str:
    return json.dumps(read_json(trial / "status.json")["params"], sort_keys=True)
