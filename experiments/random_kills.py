"""Kill anybody of a sweep at random moments; hold every run against the same one trained alone.

    PYTHONPATH=. python experiments/random_kills.py --out FOLDER --sweeps 4 --kills 8

Unlike :mod:`experiments.faults`, which waits for a phase and compares with an undisturbed sweep,
this searches with TPE or NSGA-II, stops trials by halvings, trains finalists, keeps checkpoints in
the trials' folders or at a storage, and kills whenever it comes to that. Then the configuration of
each run, finalists' too, is trained once more by the training loop alone, in this process: the
rows must be the same, but for clocks; of two workers, within a part in 500. One JSON line a sweep
goes to FOLDER/random_kills.jsonl.
"""

import argparse
import json
import math
import os
import random
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from aurl.data.corpora import load_named
from aurl.files import append_lines, read_json
from aurl.search.provenance import read_config
from aurl.training.loop import Run, train
from aurl.training.workers import Workers
from experiments.disturbed import BASE, CLOCKED, Disturbed, curve, look_at, study_states
from experiments.faults import TITLES
from tests.processes import descendants, title

SPACE = """
question: What is lost when anybody is killed at any time?
{base}
scientific:
  objective.beta.schedule: {{choice: [constant, linear, target_kl]}}
  objective.beta.value: {{log_uniform: [0.01, 0.3]}}
  objective.beta.warmup: {{uniform: [0.1, 0.5], when: {{objective.beta.schedule: linear}}}}
  objective.beta.target: {{uniform: [5, 15], when: {{objective.beta.schedule: target_kl}}}}
  latent.prior.kind: {{choice: [standard, mixture]}}
budget: {{trials: {trials}, steps_per_trial: 160}}
sampler: {sampler}
scheduler: {{name: {scheduler}, grace: 0.25, reduction_factor: 2}}
seeds: {{finalists: 1, runs: 3}}
"""
TRIALS = 6
SAMPLERS = (
    "{name: tpe, seed: 1, startup_trials: 2, groups: true}",
    "{name: nsga2, seed: 2, population: 3}",
)
SERVERS = ("raylet", "gcs")
MOST_S = 900.0
"""For a sweep that nobody kills any more to end."""


def disturbed(place: Path, chance: random.Random, kills: int) -> tuple[Disturbed, dict[str, Any]]:
    """A sweep that came to its end, or hangs, and what was done to it."""
    about = {
        "sampler": chance.choice(SAMPLERS),
        "scheduler": chance.choice(["asha", "hyperband"]),
        "storage": chance.random() < 0.5,
        "workers": chance.choice([1, 1, 2]),
    }
    (place / "store").mkdir(parents=True)
    text = SPACE.format(
        base=BASE, trials=TRIALS, sampler=about["sampler"], scheduler=about["scheduler"]
    )
    (place / "space.yaml").write_text(text)
    options = ["--workers-per-trial", str(about["workers"])]
    options += ["--storage", f"file://{place}/store"] if about["storage"] else []
    sweep = Disturbed(place, "sweep", tuple(options))
    killed: list[str] = []
    ends: list[int | None] = []
    wrong: list[str] = []
    gangs = 0
    while not sweep.finished() and len(ends) < 5 * kills:
        if not sweep.runs():
            wrong += look_at(sweep)
            sweep.start()
            gangs = 0
        assert sweep.driver is not None
        try:
            ends.append(
                sweep.driver.wait(chance.uniform(2, 25) if len(killed) < kills else MOST_S)
            )
        except subprocess.TimeoutExpired:
            if len(killed) == kills:
                os.kill(sweep.pid, signal.SIGKILL)
                break
            # A third would be one too many for a trial that lost its workers to the others.
            killed.append(kill_one(sweep, chance, TITLES if gangs < 2 else SERVERS))
            gangs += killed[-1] not in ("driver", *SERVERS)
    return sweep, {**about, "killed": killed, "ends": ends, "wrong": wrong}


def kill_one(sweep: Disturbed, chance: random.Random, kinds: Collection[str]) -> str:
    """SIGKILL the driver, or one of some kinds below it; says which kind it was."""
    below = {pid: title(pid) for pid in descendants(sweep.pid)}
    found = {
        kind: [pid for pid, name in below.items() if any(each in name for each in TITLES[kind])]
        for kind in kinds
    }
    kind = chance.choice(["driver", "driver", *(kind for kind, pids in found.items() if pids)])
    pid = sweep.pid if kind == "driver" else chance.choice(found[kind])
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return f"{kind}, which had just ended"
    return kind


def what_is_wrong(sweep: Disturbed, workers: int) -> list[str]:
    """What a sweep that has ended lacks, and which of its rows are not those of a run alone."""
    wrong = look_at(sweep)
    folders = [path.parent for path in sorted(sweep.folder.glob("*/t*/status.json"))]
    for folder in folders:
        status = read_json(folder / "status.json")
        if status["status"] not in ("completed", "stopped"):
            wrong.append(f"{folder.name} {status['status']}: {status['reason']}")
        elif not alike(curve(folder), alone(folder, status["step"]), exact=workers == 1):
            wrong.append(f"{folder.name} has another curve than alone")
    states = study_states(sweep)
    ended = states.count("COMPLETE") + states.count("PRUNED")
    if ended != TRIALS or {"RUNNING", "WAITING"} & set(states):
        wrong.append(f"Optuna has {states}")
    parts = [path for path in sweep.folder.rglob(".*") if path.suffix in (".part", ".old")]
    return [*wrong, *(f"{path.name} is left" for path in parts)]


def alone(folder: Path, last: int) -> list[dict[str, float]]:
    """The rows of a run's configuration, trained to a step by nothing but the loop."""
    config, _ = read_config(folder / "config.yaml")
    corpus = load_named(config.data.corpus, config.data.melodies)
    rows: list[dict[str, float]] = []

    def report(told: Any) -> bool:
        rows.extend(dict(row) for row in told)
        return told[-1]["step"] < last

    run = Run(config=config, corpus=corpus, checkpoint_folder=folder.parents[3] / folder.name)
    train(run, workers=Workers(), report=report)
    return [
        {k: v for k, v in row.items() if not k.startswith(CLOCKED) and math.isfinite(v)}
        for row in rows
    ]


def alike(found: list[dict[str, Any]], wanted: list[dict[str, float]], *, exact: bool) -> bool:
    """Whether two curves are the same, or within a part in 500."""
    if exact or len(found) != len(wanted):
        return found == wanted
    return all(
        mine.keys() == own.keys()
        and all(math.isclose(mine[k], own[k], rel_tol=2e-3, abs_tol=2e-3) for k in own)
        for mine, own in zip(found, wanted, strict=True)
    )


def main() -> None:
    """Kill and compare, one sweep after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist")
    parser.add_argument("--sweeps", type=int, default=4)
    parser.add_argument("--kills", type=int, default=8, help="a sweep")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed, and when")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for number in range(args.sweeps):
        chance = random.Random(f"{args.seed} {number}")
        began = time.monotonic()
        sweep, row = disturbed((args.out / str(number)).absolute(), chance, args.kills)
        row["seconds"] = round(time.monotonic() - began)
        row["wrong"] += what_is_wrong(sweep, row["workers"]) if sweep.finished() else ["hangs"]
        print(json.dumps(row), flush=True)
        append_lines(args.out / "random_kills.jsonl", [row])


if __name__ == "__main__":
    main()
