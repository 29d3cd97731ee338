"""Trials an hour when a trial is over at once: nested Ray Train runs, warm gangs, a bare loop.

Run it with ``python benchmarks/trial_overhead.py``. The same trials three times, one at a time,
each a few optimizer steps of a tiny model on the bundled tunes and its two evaluations, so that
what is timed is what stands around a trial:

*warm gang*: a sweep of aurl with one slot, with all that it writes.
*nested*: the pattern that Ray documents, a Tune function that starts a Ray Train run a trial; but
it reports once, at the end, for Ray's TuneReportCallback can wait for itself where Tune is slow.
It keeps no study, no metrics file and no pictures.
*bare*: the training loop, called again and again in one process.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import ray
import torch
from ray import tune
from ray.train import RunConfig as TrainRunConfig
from ray.train import ScalingConfig
from ray.train import report as train_report
from ray.train.torch import TorchTrainer, get_device

from aurl.config import RunConfig
from aurl.data.corpora import load_named
from aurl.data.corpus import Corpus
from aurl.files import write_yaml
from aurl.search import sweep
from aurl.search.cluster import connected
from aurl.search.gang import shared
from aurl.search.plan import SweepOptions, plan
from aurl.search.provenance import read_config
from aurl.search.shape import Shape
from aurl.training.loop import Run, train
from aurl.training.messages import Row
from aurl.training.workers import Workers

SPACE: dict[str, Any] = {
    "question": "What stands around a trial?",
    "base": {
        "model": {"d_model": 16, "n_heads": 2},
        "latent": {"levels": [{"name": "global", "dim": 4, "span": "sequence"}]},
        "training": {"batch_size": 8},
        "evaluation": {
            "every": 2,
            "windows": 8,
            "final_windows": 30,
            "reconstructions": 1,
            "importance_windows": 1,
            "importance_samples": 1,
        },
    },
    "nuisance": {"optimizer.lr": {"log_uniform": [0.0001, 0.001]}},
    "budget": {"trials": 1, "steps_per_trial": 4},
    "sampler": {"name": "random"},
    "scheduler": {"name": "none"},
    "stopper": {"name": "none"},
}


class Clock:
    """The display of a sweep that notes when each trial ended."""

    def __init__(self) -> None:
        self.times = [perf_counter()]

    def trial_started(self, trial_id: str, params: Mapping[str, Any], step: int) -> None:
        """Not noted: a trial takes until the next has ended."""

    def trial_progress(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """Not noted."""

    def trial_ended(
        self, trial_id: str, status: str, reason: str, metrics: Mapping[str, float]
    ) -> None:
        """Note the time; the benchmark is off if a trial did not come through."""
        if status != "completed":
            raise RuntimeError(f"{trial_id} {status}: {reason}")
        self.times.append(perf_counter())

    def message(self, text: str) -> None:
        """Not noted."""


def warm_gang(folder: Path, trials: int) -> tuple[list[float], list[RunConfig]]:
    """Times of a sweep on one slot, from its start, and the configurations of its trials."""
    write_yaml(folder / "space.yaml", SPACE)
    planned = plan(
        SweepOptions(
            space=folder / "space.yaml",
            out=folder,
            name="s",
            trials=trials,
            shape=Shape(max_concurrent=1),
        )
    )
    clock = Clock()
    sweep.run(planned, clock)
    paths = sorted(planned.trials_folder.glob("*/config.yaml"))
    return clock.times, [read_config(path)[0] for path in paths]


def one_run(settings: Mapping[str, Any]) -> None:
    """The training function of a nested run."""
    torch.set_num_threads(1)
    corpus: Corpus = ray.get(settings["corpus"][0])

    def report(rows: Sequence[Row]) -> bool:
        train_report({"step": rows[-1]["step"]})
        return True

    with tempfile.TemporaryDirectory() as folder:
        run = Run(config=settings["config"], corpus=corpus, checkpoint_folder=Path(folder) / "c")
        train(run, workers=Workers.of_this_process(get_device()), report=report)


def nested(folder: Path, configs: Sequence[RunConfig]) -> list[float]:
    """Times of the same trials, each a Ray Train run inside a Tune trial."""
    times = [perf_counter()]

    class Ends(tune.Callback):
        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            times.append(perf_counter())

    with connected(None):
        corpus = shared(load_named("tunes"))

        def driver(chosen: Mapping[str, Any]) -> None:
            trainer = TorchTrainer(
                one_run,
                train_loop_config={"config": chosen["config"], "corpus": corpus},
                scaling_config=ScalingConfig(num_workers=1),  # pyrefly: ignore[bad-argument-type]
                run_config=TrainRunConfig(  # pyrefly: ignore[bad-argument-type]
                    name=f"train-{tune.get_context().get_trial_id()}",
                    storage_path=str(folder),
                ),
            )
            trainer.fit()
            tune.report({"done_steps": chosen["config"].training.steps})

        results = tune.Tuner(
            tune.with_resources(driver, {"CPU": 0.01}),
            param_space={"config": tune.grid_search(list(configs))},
            tune_config=tune.TuneConfig(max_concurrent_trials=1),
            run_config=tune.RunConfig(
                name="nested", storage_path=str(folder), callbacks=[Ends()], verbose=0
            ),
        ).fit()
    if results.num_errors:
        raise RuntimeError(str(results.errors[0]))
    return times


def bare(configs: Sequence[RunConfig]) -> list[float]:
    """Times of the same trials in this process."""
    corpus = load_named("tunes")
    times = [perf_counter()]
    for config in configs:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(config=config, corpus=corpus, checkpoint_folder=Path(folder) / "c")
            train(run, workers=Workers(), report=lambda rows: bool(rows))
        times.append(perf_counter())
    return times


def main() -> None:
    """Print seconds to the end of the first trial, seconds a trial after it, trials an hour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--nested", type=int, default=4, help="how many of them also run nested")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        warm, configs = warm_gang(Path(folder), args.trials)
        times = {
            "nested": nested(Path(folder) / "nested", configs[: args.nested]),
            "warm gang": warm,
            "bare": bare(configs),
        }
    print("| | trials | s to the end of the first | s a trial after it | trials an hour |")
    print("|---|---|---|---|---|")
    for name, each in times.items():
        later = [after - before for before, after in pairwise(each[1:])]
        median = statistics.median(later)
        first = each[1] - each[0]
        print(f"| {name} | {len(later) + 1} | {first:.1f} | {median:.2f} | {3600 / median:.0f} |")


if __name__ == "__main__":
    main()
