"""What grows with the trials that have ended: the next proposal, and the Pareto fronts.

Run it with ``python benchmarks/growth.py``. A study of the space ``quick`` is given so many
completed trials at once, with values drawn at random; then some proposals are timed, one at a
time, each told before the next. Fronts are of as many points in three objectives; memory is the
peak of what numpy and Python allocate meanwhile. Processor seconds of one thread.
"""

import argparse
import statistics
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import optuna

from aurl.metrics.pareto import non_dominated_fronts
from aurl.metrics.score import OBJECTIVES
from aurl.search.proof import draws
from aurl.search.sampler import Proposals
from aurl.search.settings import SamplerConfig
from aurl.search.space import Space, optuna_distribution
from aurl.search.space_file import load_space

SAMPLERS = {
    "tpe": SamplerConfig(name="tpe"),
    "tpe, groups": SamplerConfig(name="tpe", groups=True),
    "nsga2": SamplerConfig(name="nsga2", population=50),
    "random": SamplerConfig(name="random"),
}


def decision_ms(space: Space, n_trials: int, n_timed: int) -> float:
    """Median processor milliseconds of a proposal when so many trials have completed."""
    ranges = {p.name: optuna_distribution(p.distribution) for p in space.parameters}
    generator = np.random.default_rng(0)
    known: list[optuna.trial.FrozenTrial] = []
    for drawn in draws(space, n_trials, seed=0):
        params = space.named(drawn) or {}
        trial = optuna.trial.create_trial(
            values=list(generator.random(len(OBJECTIVES))),
            params=params,
            distributions={name: ranges[name] for name in params},
            constraints={"infeasible": 0.0},
        )
        known.append(trial)
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        proposals = Proposals(Path(folder) / "study.journal", space, "s")
        proposals._study.add_trials(known)  # pyrefly: ignore[protected-access]
        for _ in range(n_timed):
            number, _ = timed(proposals.propose, times)
            values = {name: float(generator.random()) for name in OBJECTIVES}
            proposals.tell(number, "completed", values)
    return 1e3 * statistics.median(times)


def timed(call: Callable[[], tuple[int, object]], times: list[float]) -> tuple[int, object]:
    """Make a call, and note the processor seconds that it took."""
    before = process_time()
    result = call()
    times.append(process_time() - before)
    return result


def fronts(n_trials: int) -> tuple[float, float]:
    """Processor seconds, and peak MiB, of the fronts of so many points."""
    points = np.random.default_rng(0).random((n_trials, len(OBJECTIVES)))
    before = process_time()
    non_dominated_fronts(points)
    seconds = process_time() - before
    tracemalloc.start()
    non_dominated_fronts(points)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds, peak / 2**20


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--points", type=int, nargs="+", default=[1000, 4000, 10000])
    parser.add_argument("--timed", type=int, default=10, help="proposals")
    args = parser.parse_args()
    base = load_space(Path("search_spaces/quick.yaml"), overrides={})
    print(f"| CPU ms a decision | {' | '.join(f'{n:,} trials' for n in args.trials)} |")
    print("|---" * (len(args.trials) + 1) + "|")
    for name, sampler in SAMPLERS.items():
        space = replace(base, sampler=sampler)
        cells = [f"{decision_ms(space, n, args.timed):.0f}" for n in args.trials]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\n| points | CPU s of their fronts | peak MiB |\n|---|---|---|")
    for n in args.points:
        seconds, peak = fronts(n)
        print(f"| {n:,} | {seconds:.2f} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()
