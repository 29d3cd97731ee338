"""Kill a small sweep, again and again, in every phase; resume it; count what was lost.

    PYTHONPATH=. python experiments/faults.py --out FOLDER
    PYTHONPATH=. python experiments/faults.py --table FOLDER/faults.jsonl

One sweep is run undisturbed. Then sweeps of the same space and seed are disturbed: each fault
waits for its phase, a random time more, and kills. What was killed is resumed, until the sweep
ends and the next begins. After each fault and each sweep the folder is held against the
undisturbed one. One JSON line a fault goes to FOLDER/faults.jsonl; the table of
docs/reliability.md is made of it. A fault that is in the file already is not brought about again.
"""

import argparse
import csv
import json
import os
import random
import signal
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

from aurl.files import append_lines, read_json, read_lines, read_yaml
from aurl.reporting.export import load_export
from tests.processes import PROC, alive, descendants, title

ROOT = Path(__file__).parents[1]
TRIALS = 4
STEPS = 160
SPACE = f"""
question: What is lost when a sweep is killed?
base:
  data: {{corpus: melodies, melodies: {{train: 1000}}}}
  model: {{d_model: 32, n_heads: 2, encoder_layers: 3, decoder_layers: 2}}
  latent:
    levels:
      - {{name: global, dim: 4, span: sequence}}
      - {{name: local, dim: 2, span: 1}}
  training: {{batch_size: 8, log_every: 2}}
  evaluation:
    every: 8
    windows: 16
    final_windows: 64
    reconstructions: 4
    samples: 16
    importance_windows: 4
    importance_samples: 2
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
import sys, time
from ray._private import services
from aurl.cli import main

get_node, began = services.get_node, time.monotonic()

def patient(*given):
    while True:
        try:
            return get_node(*given)
        except RuntimeError:
            if time.monotonic() - began > 600.0:
                raise

services.get_node = patient
sys.exit(main(["sweep", *sys.argv[1:]]))
"""
"""``aurl sweep``, but on a busy machine it waits for Ray's node for longer than Ray's 30 s."""

MARK = "AURL_FAULTS"
"""Variable in the environment of every process of a sweep, by which those left over are found."""
PATIENCE_S = 900.0
CLOCKED = ("time/", "throughput/", "memory/")
"""Metrics that say how fast a run was, not what it computed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is killed, how, and when."""

    target: str
    signal: signal.Signals
    phase: str


def _faults() -> list[Fault]:
    kill, term, ctrl_c = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
    phases = ("starting", "suggesting", "training", "reporting", "checkpointing", "ending")
    driver = [Fault("driver", kill, phase) for phase in (*phases, "exporting")]
    asked = [
        Fault("driver", number, phase)
        for number in (term, ctrl_c)
        for phase in ("starting", "training", "reporting", "exporting")
    ]
    worker = [Fault("worker", kill, phase) for phase in ("training", "reporting", "checkpointing")]
    ray = [
        Fault(target, kill, phase)
        for target in ("raylet", "gcs")
        for phase in ("suggesting", "training", "checkpointing")
    ]
    slot = [Fault("slot", kill, "training")]
    return driver + asked + worker + ray + slot


PAUSES = {"starting": 30.0, "training": 2.0, "exporting": 4.0}
"""At most so many seconds after the sign of a phase; the others are over in a moment."""

TITLES = {
    "worker": "ray::RayTrainWorker",
    "slot": "ray::TrialSlot",
    "raylet": "/raylet/raylet",
    "gcs": "/gcs/gcs_server",
}


@dataclass
class Disturbed:
    """One sweep that is killed and resumed until it ends."""

    place: Path
    name: str
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
        with self.output.open("a") as out:
            self.driver = subprocess.Popen(
                [*command, "--name", self.name],
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
        return {MARK: str(self.place), "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}

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


def arrives(sweep: Disturbed, phase: str, chance: random.Random) -> bool:
    """Wait for a phase, and a random time more; False if the sweep ended before."""
    seen = _signs(sweep, phase)
    pause = chance.uniform(0.0, PAUSES.get(phase, 0.0))
    began = time.monotonic()
    while sweep.runs() and time.monotonic() - began < PATIENCE_S:
        if phase == "starting" or _signs(sweep, phase) not in (seen, 0):
            time.sleep(pause)
            return sweep.runs()
        time.sleep(0.001)
    return False


def _signs(sweep: Disturbed, phase: str) -> int:
    """A number that changes when a phase begins; 0 where it cannot be."""
    folder = sweep.folder
    if phase == "suggesting":
        journal = folder / "study.journal"
        return journal.read_bytes().count(b'"op_code":4') if journal.exists() else 0
    if phase in ("training", "reporting"):
        return sum(path.stat().st_size for path in folder.glob("trials/t*/metrics.jsonl"))
    if phase == "checkpointing":
        parts = list(folder.glob("trials/t*/checkpoint/.*.part"))
        return hash(tuple(parts)) if parts else 0
    if phase == "ending":
        return len(sweep.ended())
    return sweep.output.read_text().count("Measuring")


def strike(sweep: Disturbed, fault: Fault) -> bool:
    """Kill; False if there is nothing of that kind."""
    if fault.target == "driver":
        if fault.signal == signal.SIGINT:
            os.killpg(sweep.pid, fault.signal)
        else:
            os.kill(sweep.pid, fault.signal)
        return True
    found = [pid for pid in descendants(sweep.pid) if TITLES[fault.target] in title(pid)]
    if not found:
        return False
    os.kill(found[-1], fault.signal)
    return True


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
    storage = JournalStorage(JournalFileBackend(str(sweep.folder / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    states = [trial.state.name for trial in study.get_trials()]
    if states.count("COMPLETE") != TRIALS or {"RUNNING", "WAITING"} & set(states):
        wrong.append(f"Optuna has {states}")
    parts = [path for path in sweep.folder.rglob(".*") if path.suffix in (".part", ".old")]
    wrong += [f"{path.name} is left" for path in parts]
    if not (sweep.folder / "best" / "model.safetensors").exists():
        wrong.append("nothing was exported")
    return wrong


def _params(trial: Path) -> str:
    return json.dumps(read_json(trial / "status.json")["params"], sort_keys=True)


def disturb(sweep: Disturbed, fault: Fault, chance: random.Random) -> dict[str, Any] | None:
    """Bring one fault about; None if its phase did not come."""
    if not sweep.runs():
        sweep.start()
    if not arrives(sweep, fault.phase, chance):
        return None
    step = {name: status["step"] for name, status in sweep.statuses().items()}
    attempts = sum(status["attempts"] for status in sweep.statuses().values())
    if not strike(sweep, fault):
        return None
    row: dict[str, Any] = {
        "target": fault.target,
        "signal": fault.signal.name,
        "phase": fault.phase,
        "at": step,
    }

    def over() -> bool:
        more = sum(status["attempts"] for status in sweep.statuses().values()) > attempts
        return not sweep.runs() or (fault.target in ("worker", "slot") and more)

    seconds = waited(over, 420.0)
    row["seconds"] = None if seconds is None else round(seconds, 1)
    if sweep.runs():
        row["outcome"] = "hangs" if seconds is None else "the trial goes on, the sweep too"
        if seconds is None:
            os.kill(sweep.pid, signal.SIGKILL)
    if not sweep.runs() or seconds is None:
        assert sweep.driver is not None
        row["exit"] = sweep.driver.wait()
        row["said"] = sweep.last_line()
        row["alive"] = sorted(title(pid).split(" ")[0][-40:] for pid in marked(sweep.place))
        gone = waited(lambda: not marked(sweep.place), 120.0)
        row["gone_s"] = None if gone is None else round(gone, 1)
        row["wrong"] = look_at(sweep)
        row["scratch"] = len(list((sweep.place / "tmp").iterdir()))
    return row


def main() -> None:
    """Run every fault; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("faults"), help="a folder to work in")
    parser.add_argument("--table", type=Path, nargs="+", help="show what such files say, and end")
    parser.add_argument("--seed", type=int, default=0, help="of the order and the times")
    parser.add_argument("--part", default="0/1", help="1/3 is the second third of the faults")
    args = parser.parse_args()
    if args.table:
        print(table([row for path in args.table for row in read_lines(path)]))
        return
    place = args.out.absolute()
    place.mkdir(parents=True, exist_ok=True)
    (place / "space.yaml").write_text(SPACE)
    optuna.logging.disable_default_handler()
    calm = Disturbed(place, "calm")
    while not (calm.folder / "best").exists():
        calm.start()
        calm.wait()
    chance = random.Random(args.seed)
    part, parts = map(int, args.part.split("/"))
    faults = _faults()
    chance.shuffle(faults)
    before = read_lines(place / "faults.jsonl")
    done = {_order(row) for row in before if "target" in row}
    left = [each for each in faults[part::parts] if _key(each) not in done]
    run(place, left, chance, sum("target" not in row for row in before))


def table(rows: list[dict[str, Any]]) -> str:
    """What became of each fault, as Markdown."""
    lines = [
        "| killed | by | while | exit code, after | last line | processes gone after | wrong |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted((row for row in rows if "target" in row), key=lambda row: _order(row)):
        lives = "outcome" in row
        cells = (
            row["target"],
            row["signal"],
            row["phase"],
            row["outcome"] if lives else f"{row['exit']}, {row['seconds']:.0f} s",
            "" if lives else _said(row["said"]),
            ""
            if lives
            else f"{row['gone_s']:.0f} s"
            if row["gone_s"] is not None
            else "not in 120 s",
            "; ".join(row.get("wrong", [])) or "nothing",
        )
        lines.append(f"| {' | '.join(cells)} |")
    ends = [
        row for row in rows if "wrong" in row and row["sweep"] != "calm" and "target" not in row
    ]
    wrong = [each for row in ends for each in row["wrong"]]
    lines.append(
        f"\n{len(ends)} sweeps came to their end; wrong: {'; '.join(wrong) or 'nothing'}."
    )
    return "\n".join(lines)


def _order(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["target"], row["signal"], row["phase"]


def _said(line: str) -> str:
    """A last line without the paths of this machine; none if it is only the progress of before."""
    if not line.startswith("aurl: "):
        return "none"
    return line.partition(" Go on with: ")[0] + (" Go on with: …" if "Go on with" in line else "")


def _key(fault: Fault) -> tuple[str, str, str]:
    return fault.target, fault.signal.name, fault.phase


def run(place: Path, faults: list[Fault], chance: random.Random, number: int) -> None:
    """Bring the faults about, in as many sweeps as it takes, from the one of a number on."""
    while faults:
        sweep = Disturbed(place, f"s{number}")
        while not sweep.finished():
            if faults:
                fault = choice(sweep, faults)
                row = disturb(sweep, fault, chance)
                if row is not None:
                    faults.remove(fault)
                    note(place, {"sweep": sweep.name, **row})
            elif not sweep.runs():
                sweep.start()
            else:
                sweep.wait()
        note(place, {"sweep": sweep.name, "wrong": hold_against(sweep, place / "sweeps/calm")})
        number += 1


def choice(sweep: Disturbed, faults: list[Fault]) -> Fault:
    """The next fault whose phase can come: a sweep that has its trials is only exported."""
    exports = len(sweep.ended()) == TRIALS
    return next((each for each in faults if (each.phase == "exporting") == exports), faults[0])


def note(place: Path, row: dict[str, Any]) -> None:
    """Keep a row, and show it."""
    append_lines(place / "faults.jsonl", [row])
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
