"""A search by aurl and by plain Ray Tune with Optuna: trials an hour, front, lines written.

    PYTHONPATH=. python experiments/against_plain_tune.py --out FILE.jsonl

``aurl`` and :mod:`experiments.plain_tune` in turn: the same space, sampler, halving, steps, music,
evaluations and seeds, two trials at a time. Plain Tune runs twice for each seed: once as many
trials, and once for as many seconds as ``aurl`` took, with trials without end. Seconds are from
the call until Ray has ended; the front is its hypervolume above 0 in the three objectives, of
trials that came to their last step; lines are those that are neither blank nor a comment.

What is not the same: ``aurl`` also stops a trial whose latent space is dead, draws pictures and
sounds, and writes all that a sweep can be gone on with from; Optuna is told of halved trials as
pruned, by plain Tune as completed with what they had.
"""

import argparse
import itertools
import json
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import optuna
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from aurl.data.corpora import load_named
from aurl.files import append_lines, read_json, read_yaml, write_yaml
from aurl.search import sweep
from aurl.search.plan import SweepOptions, plan
from experiments.plain_tune import METRICS, search
from tests.test_sweep import Silent

SPACE = Path("search_spaces/quick.yaml")
PLAIN = Path("experiments/plain_tune.py")
OBJECTIVES = [f"val/{name}" for name in METRICS]


def plain(
    trials: int, steps: int, seed: int, folder: Path, budget_s: float | None = None
) -> dict[str, Any]:
    """What plain Tune makes of the search; a budget of seconds includes Ray's start."""
    begun = perf_counter()
    ray.init(address="local", include_dashboard=False, log_to_driver=False, _temp_dir=str(folder))
    try:
        left = budget_s and budget_s - (perf_counter() - begun)
        results, searcher = search(trials, steps, seed, folder, left)
    finally:
        ray.shutdown()
    seconds = perf_counter() - begun
    last = [result.metrics or {} for result in results]
    ended = [[row[name] for name in METRICS] for row in last if row.get("step") == steps]
    states = [trial.state.name for trial in searcher._ot_study.get_trials()]
    name = "plain Tune" if budget_s is None else "plain Tune, as many seconds"
    begun_trials = sum("step" in row for row in last)
    return told(name, seconds, begun_trials, ended, states)


def ours(trials: int, steps: int, seed: int, folder: Path) -> dict[str, Any]:
    """What aurl makes of it."""
    space_file = folder / "space.yaml"
    values = read_yaml(SPACE)
    values["budget"] |= {"trials": trials, "steps_per_trial": steps}
    values["sampler"]["seed"] = seed
    write_yaml(space_file, values)
    begun = perf_counter()
    options = SweepOptions(space=space_file, out=folder, name="s", overrides=every(steps))
    planned = plan(options)
    sweep.run(planned, Silent())
    seconds = perf_counter() - begun
    found = [read_json(path) for path in planned.trials_folder.glob("*/status.json")]
    whole = [each["metrics"] for each in found if each["status"] == "completed"]
    storage = JournalStorage(JournalFileBackend(str(planned.folder / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    states = [trial.state.name for trial in study.get_trials()]
    points = [[row[name] for name in OBJECTIVES] for row in whole]
    return told("aurl", seconds, len(found), points, states)


def every(steps: int) -> dict[str, Any]:
    """One evaluation on the way."""
    return {"evaluation.every": steps // 2}


def told(
    name: str, seconds: float, trials: int, points: list[list[float]], states: list[str]
) -> dict[str, Any]:
    """One row of what is kept; trials are those that reported at least once."""
    counts = {state: states.count(state) for state in sorted(set(states))}
    best = max(((a * b * c) ** (1 / 3) for a, b, c in points), default=0.0)
    row = {"name": name, "seconds": round(seconds, 1), "trials": trials, "ended": len(points)}
    row |= {"an hour": round(3600 * trials / seconds), "hypervolume": hypervolume(points)}
    return {**row, "best": best, "optuna": counts}


def hypervolume(points: list[list[float]]) -> float:
    """The volume above 0 that some points in three objectives dominate."""
    volume = 0.0
    edges = [sorted({0.0, *axis}) for axis in zip(*points, strict=True)]
    for corner in itertools.product(*(list(itertools.pairwise(axis)) for axis in edges)):
        high = [upper for _, upper in corner]
        if any(all(p >= h for p, h in zip(point, high, strict=True)) for point in points):
            sides = [upper - lower for lower, upper in corner]
            volume += sides[0] * sides[1] * sides[2]
    return volume


def written(text: str) -> int:
    """Lines that are neither blank nor a comment."""
    lines = [line.strip() for line in text.splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def main() -> None:
    """Run each, one after the other, for each seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--steps", type=int, default=180)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    code = PLAIN.read_text().split('"""', 2)[2]
    print(f"lines: {written(code)} plain Tune, {written(SPACE.read_text())} aurl, and a command")
    load_named("tunes")  # made once, before the clock runs
    for seed in args.seeds:
        row = kept(args, seed, ours, args.trials)
        kept(args, seed, plain, args.trials)
        kept(args, seed, partial(plain, budget_s=row["seconds"]), 1000)


def kept(
    args: argparse.Namespace, seed: int, way: Callable[..., dict[str, Any]], trials: int
) -> dict[str, Any]:
    """Run one search, in a process and a folder of its own; returns its row and keeps it."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, spawn) as process:
        found = process.submit(way, trials, args.steps, seed, Path(folder)).result()
    row = {"seed": seed, **found}
    append_lines(args.out, [row])
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
