"""What stopping trials early saves on the melodies, and what the front is worth for it.

Run it with ``python experiments/early_stopping.py --out FILE.jsonl``, then again to go on where it
was cut off. A repeat has two halves of equal device-seconds, which are processor seconds of one
thread here:

*random*: some random configurations, each trained to its end. Held against what they reported,
the health stopper and successive halving say where they would have stopped each: that is what is
saved, and what of the front would have been lost.

*shipped*: a sweep with TPE, health stopper and successive halving, as the spaces that are shipped
have it, one trial at a time, until it has used the seconds that the random half took.

The front's worth is its hypervolume above 0 in KL health and disentanglement. Reconstruction is
left out: it is the share of melodies that come back whole, and models this small bring back none.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any

import torch

from aurl.config import RunConfig
from aurl.data.corpus import Corpus
from aurl.files import append_lines, read_lines, write_yaml
from aurl.search.plan import space_on_music
from aurl.search.proof import draws
from aurl.search.sampler import Proposals
from aurl.search.scheduling import Referee, scheduler_of
from aurl.search.settings import SchedulerConfig
from aurl.search.slot import scalars
from aurl.search.space import Space
from aurl.search.stopper import HealthStopper
from aurl.training.loop import DivergedError, Run, train
from aurl.training.messages import Row, Task
from aurl.training.workers import Workers

STEPS = 200
SPACE: dict[str, Any] = {
    "question": "Which beta and how weak a decoder give the melodies a living latent space?",
    "base": {
        "model": {"d_model": 16, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
        "latent": {"levels": [{"name": "global", "dim": 8, "span": "sequence"}]},
        "training": {"batch_size": 32, "log_every": 40},
        "evaluation": {
            "every": 40,
            "windows": 64,
            "final_windows": 150,
            "likelihood_windows": 64,
            "reconstructions": 4,
            "importance_windows": 2,
            "importance_samples": 2,
        },
    },
    "scientific": {
        "objective.beta.value": {"log_uniform": [0.01, 5.0]},
        "model.token_dropout": {"choice": [0.0, 0.5, 0.9]},
        "objective.free_bits.threshold": {"choice": [0.0, 0.1, 0.5]},
    },
    "nuisance": {"optimizer.lr": {"log_uniform": [0.001, 0.03]}},
    "budget": {"trials": 1000, "steps_per_trial": STEPS},
    "sampler": {"name": "tpe", "startup_trials": 4},
    "scheduler": {"name": "asha", "grace": 0.5, "reduction_factor": 2},
}
FRONT = ("val/kl_health", "val/disentanglement")


class Trial:
    """One run in this process, report by report, with the processor seconds until each.

    Args:
        config: What is trained.
        corpus: The melodies.
        referee: Told of each report; what it stops ends there.
        name: The trial's id.
    """

    def __init__(self, config: RunConfig, corpus: Corpus, referee: Referee, name: str) -> None:
        self.reports: list[tuple[float, list[dict[str, float]]]] = []
        self.end = "completed"
        task = Task(config=config, checkpoint_folder=Path(name) / "checkpoint")
        trial: Any = SimpleNamespace(trial_id=name, config={"task": task})
        began = process_time()

        def report(rows: Sequence[Row]) -> bool:
            self.reports.append((process_time() - began, [dict(row) for row in rows]))
            stopped = judged(referee, trial, rows)
            self.end = "stopped" if stopped else self.end
            return not stopped

        referee.on_trial_add(None, trial)
        with tempfile.TemporaryDirectory() as folder:
            run = Run(config=config, corpus=corpus, checkpoint_folder=Path(folder) / "c")
            try:
                train(run, workers=Workers(), report=report)
            except DivergedError:
                self.end = "failed"
        self.seconds = process_time() - began

    @property
    def metrics(self) -> dict[str, float]:
        """The last row's finite values."""
        last = self.reports[-1][1][-1] if self.reports else {}
        return {name: value for name, value in last.items() if math.isfinite(value)}


def judged(referee: Referee, trial: Any, rows: Sequence[Row]) -> bool:
    """Whether the referee stops a trial at a report."""
    result = {**scalars(rows[-1], STEPS), "rows": rows}
    return referee.on_trial_result(None, trial, result) == "STOP"


def referee_of(space: Space, corpus: Corpus, *, health: bool, asha: bool) -> Referee:
    """The referee of a sweep with one of the two ways of stopping, both or none."""
    searched = space if asha else replace(space, scheduler=SchedulerConfig(name="none"))
    judge = HealthStopper(space.stopper, STEPS) if health else None
    return Referee(scheduler_of(searched), judge, corpus, Path("nowhere"))


def random_half(
    space: Space, corpus: Corpus, repeat: int, trials: int
) -> Iterator[dict[str, Any]]:
    """Random configurations, each trained to its end."""
    nobody = referee_of(space, corpus, health=False, asha=False)
    for number, params in enumerate(draws(space, trials, seed=repeat)):
        trial = Trial(space.config_of(params), corpus, nobody, f"t{number:04d}")
        yield row_of(trial, repeat, "random", params)


def shipped_half(
    space: Space, corpus: Corpus, repeat: int, budget_s: float
) -> Iterator[dict[str, Any]]:
    """What a sweep proposes and stops, until the seconds are used; the last may be cut off."""
    referee = referee_of(space, corpus, health=True, asha=True)
    seeded = replace(space, sampler=replace(space.sampler, seed=repeat))
    with tempfile.TemporaryDirectory() as folder:
        proposals = Proposals(Path(folder) / "study.journal", seeded, "s")
        spent = 0.0
        while spent < budget_s:
            number, params = proposals.propose()
            trial = Trial(space.config_of(params), corpus, referee, f"t{number:04d}")
            spent += trial.seconds
            metrics = trial.metrics
            proposals.tell(number, trial.end, metrics)  # pyrefly: ignore[bad-argument-type]
            yield row_of(trial, repeat, "shipped", params) | {"in_time": spent <= budget_s}


def row_of(trial: Trial, repeat: int, half: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a trial."""
    kept = [
        (seconds, [{k: v for k, v in row.items() if math.isfinite(v)} for row in rows])
        for seconds, rows in trial.reports
    ]
    about = {"repeat": repeat, "half": half, "end": trial.end, "seconds": trial.seconds}
    return {**about, "params": dict(params), "reports": kept, "in_time": True}


def would_stop(
    space: Space, corpus: Corpus, rows: Sequence[dict[str, Any]], *, health: bool, asha: bool
) -> tuple[float, list[dict[str, Any]]]:
    """Seconds that full runs would have taken with a referee, and those that would have ended."""
    referee = referee_of(space, corpus, health=health, asha=asha)
    spent, ended = 0.0, []
    for number, row in enumerate(rows):
        name = f"t{number:04d}"
        config = space.config_of(row["params"])
        task = Task(config=config, checkpoint_folder=Path(name) / "checkpoint")
        trial = SimpleNamespace(trial_id=name, config={"task": task})
        referee.on_trial_add(None, trial)
        for seconds, reported in row["reports"]:
            if judged(referee, trial, reported):
                spent += seconds
                break
        else:
            spent += row["seconds"]
            ended.append(row)
    return spent, ended


def hypervolume(rows: Sequence[dict[str, Any]]) -> float:
    """The area above 0 that the completed trials dominate."""
    points = [
        tuple(row["reports"][-1][1][-1].get(name, 0.0) for name in FRONT)
        for row in rows
        if row["end"] == "completed" and row["in_time"] and row["reports"]
    ]
    area = height = 0.0
    for x, y in sorted(points, reverse=True):
        area += x * max(0.0, y - height)
        height = max(height, y)
    return area


def table(space: Space, corpus: Corpus, rows: Sequence[dict[str, Any]]) -> str:
    """A line a repeat, in Markdown."""
    lines = [
        "| repeat | random: trials, CPU s, hypervolume | saved by health | by ASHA | by both, "
        "hypervolume left | shipped: ended, stopped, CPU s, hypervolume |",
        "|---" * 6 + "|",
    ]
    saved: dict[str, list[float]] = {"health": [], "asha": [], "both": []}
    for repeat in sorted({row["repeat"] for row in rows}):
        mine = [row for row in rows if row["repeat"] == repeat]
        drawn = [row for row in mine if row["half"] == "random"]
        other = [row for row in mine if row["half"] == "shipped"]
        whole = sum(row["seconds"] for row in drawn)
        left = 0.0
        for name in saved:
            spent, ended = would_stop(
                space, corpus, drawn, health=name != "asha", asha=name != "health"
            )
            saved[name].append(1.0 - spent / whole)
            left = hypervolume(ended)
        shares = {name: f"{values[-1]:.0%}" for name, values in saved.items()}
        counts = [sum(row["end"] == end for row in other) for end in ("completed", "stopped")]
        took = sum(row["seconds"] for row in other)
        lines.append(
            f"| {repeat} | {len(drawn)}, {whole:.0f}, {hypervolume(drawn):.3f} | "
            f"{shares['health']} | {shares['asha']} | {shares['both']}, {left:.3f} | "
            f"{counts[0]}, {counts[1]}, {took:.0f}, {hypervolume(other):.3f} |"
        )
    means = ", ".join(f"{name} {statistics.mean(each):.0%}" for name, each in saved.items())
    return "\n".join([*lines, f"Mean saved: {means}."])


def main() -> None:
    """Train what the file does not hold yet, then print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=8, help="random configurations a repeat")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.yaml"
        write_yaml(path, SPACE)
        space, corpus = space_on_music(path, "melodies", {})
    for repeat in range(args.repeats):
        rows = read_lines(args.out)
        halves = {row["half"] for row in rows if row["repeat"] == repeat}
        if "random" not in halves:
            append_lines(args.out, list(random_half(space, corpus, repeat, args.trials)))
            rows = read_lines(args.out)
        budget = sum(
            row["seconds"] for row in rows if (row["repeat"], row["half"]) == (repeat, "random")
        )
        if "shipped" not in halves:
            append_lines(args.out, list(shipped_half(space, corpus, repeat, budget)))
        print(table(space, corpus, read_lines(args.out)), flush=True)


if __name__ == "__main__":
    main()
