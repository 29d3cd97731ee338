"""What Optuna is told of a trial that was stopped early: that it was pruned, or what it had.

Run it with ``PYTHONPATH=. python experiments/told_or_pruned.py``. No music and no training: the
proposals, the halving and the space ``quick`` are real, and a made-up function of the parameters
stands for what a trial would score. Each objective is a smooth bump in beta, threshold and sizes
whose place differs by objective; it is approached as 1 - exp(-share / pace), where a rising beta
and larger codes are slower, so that early scores mislead somewhat; and each report has noise. All
three ways get the same steps. What is compared is the hypervolume above 0 of the noiseless
objectives of the trials that came to their end.

*pruned*: as aurl does it; TPE counts the trial among the poor ones. *told*: completed, with what
it had when it was stopped, as plain Ray Tune tells it. *failed*: TPE does not hear of it.
"""

import argparse
import math
import random
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aurl.metrics.score import OBJECTIVES, rung_score
from aurl.search.ranking import End
from aurl.search.sampler import Proposals
from aurl.search.scheduling import scheduler_of
from aurl.search.slot import scalars
from aurl.search.space import Space
from aurl.search.space_file import load_space
from experiments.against_plain_tune import hypervolume

WAYS: dict[str, End] = {"pruned": "stopped", "told": "completed", "failed": "failed"}
REPORTS = 4
NOISE = 0.02


def objectives(params: Mapping[str, Any]) -> list[float]:
    """What a trial scores at its end, without noise."""
    beta = math.log10(params["objective.beta.value"])
    threshold = params["objective.free_bits.threshold"]
    sizes = [params[f"latent.levels.{name}.dim"] for name in ("global", "local", "fine")]
    size = math.log2(sum(sizes))
    annealed = params["objective.beta.schedule"] != "constant"
    health = bump(beta, -0.9, 0.5) * bump(threshold, 0.1, 0.12)
    meaning = bump(beta, -0.3, 0.5) * bump(size, 3.5, 1.0) * (1.0 if annealed else 0.8)
    notes = bump(beta, -1.3, 0.6) * bump(size, 5.0, 1.5)
    return [health, meaning, notes]


def bump(x: float, middle: float, width: float) -> float:
    """1 at the middle, less beside it."""
    return math.exp(-(((x - middle) / width) ** 2) / 2)


def pace(params: Mapping[str, Any]) -> float:
    """Share of a trial after which 63 % of its score is there."""
    slow = {"constant": 0.15, "linear": 0.3, "cyclical": 0.4}[params["objective.beta.schedule"]]
    return slow * (1.5 if params["latent.levels.global.dim"] == 32 else 1.0)


def search(space: Space, way: End, seed: int, budget: float) -> tuple[float, int, int]:
    """Hypervolume, trials that ended and trials that were stopped, in so many whole trials."""
    chance = random.Random(seed)
    steps = space.budget.steps_per_trial
    scheduler: Any = scheduler_of(space)
    found: list[list[float]] = []
    spent, stopped = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        proposals = Proposals(Path(folder) / "study.journal", space, "s")
        while spent < budget:
            number, params = proposals.propose()
            trial = SimpleNamespace(trial_id=f"t{number:04d}")
            scheduler.on_trial_add(None, trial)
            last = objectives(params)
            share, goes_on, now = 0.0, True, last
            while goes_on and share < 1.0:
                share += 1.0 / REPORTS
                grown = 1.0 - math.exp(-share / pace(params))
                now = [min(1.0, max(0.0, x * grown + chance.gauss(0.0, NOISE))) for x in last]
                row = {"step": share * steps, "val/rung_score": rung_score(now[0], now[2])}
                result = scalars(row, steps)
                goes_on = scheduler.on_trial_result(None, trial, result) != "STOP"
            scheduler.on_trial_remove(None, trial)
            spent += share
            end: End = "completed" if goes_on else way
            proposals.tell(number, end, dict(zip(OBJECTIVES, now, strict=True)))
            stopped += not goes_on
            if goes_on:
                found.append(last)
    return hypervolume(found), len(found), stopped


def main() -> None:
    """Print a line a way, and the differences seed by seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=float, default=40.0, help="steps, in whole trials")
    args = parser.parse_args()
    space = load_space(Path("search_spaces/quick.yaml"), overrides={})
    results = {
        name: [search(seeded(space, seed), way, seed, args.budget) for seed in range(args.seeds)]
        for name, way in WAYS.items()
    }
    print("| told | hypervolume, mean ± sd | ended | stopped | against pruned, mean ± se |")
    print("|---|---|---|---|---|")
    base = [each[0] for each in results["pruned"]]
    for name, rows in results.items():
        worth, ended, stopped = ([row[k] for row in rows] for k in range(3))
        more = [a - b for a, b in zip(worth, base, strict=True)]
        error = statistics.stdev(more) / math.sqrt(len(more))
        print(
            f"| {name} | {statistics.mean(worth):.3f} ± {statistics.stdev(worth):.3f} "
            f"| {statistics.mean(ended):.1f} | {statistics.mean(stopped):.1f} "
            f"| {statistics.mean(more):+.3f} ± {error:.3f} |"
        )


def seeded(space: Space, seed: int) -> Space:
    """The space with another sampler seed."""
    return replace(space, sampler=replace(space.sampler, seed=seed))


if __name__ == "__main__":
    main()
