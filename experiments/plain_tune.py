"""The search of ``search_spaces/quick.yaml`` as one writes it with plain Ray Tune and Optuna.

The same space, sampler, halving and seed around the same training loop. It gives a table of
results: no ranking, no export, no pictures, and a driver that is killed starts over.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from aurl.config import RunConfig, from_plain
from aurl.data.corpora import load_named
from aurl.data.corpus import Corpus
from aurl.plain import overridden
from aurl.training.loop import DivergedError, Run, train
from aurl.training.messages import Row
from aurl.training.workers import Workers

METRICS = ["kl_health", "disentanglement", "reconstruction_score"]
BASE = {
    "model": {"d_model": 64, "n_heads": 4, "encoder_layers": 3, "decoder_layers": 2},
    "latent": {
        "levels": [
            {"name": "global", "dim": 16, "span": "sequence"},
            {"name": "local", "dim": 8, "span": 1.0},
            {"name": "fine", "dim": 4, "span": 0.5},
        ]
    },
    "optimizer": {"lr": 3.0e-3},
    "training": {"batch_size": 32},
    "evaluation": {
        "windows": 200,
        "final_windows": 1000,
        "likelihood_windows": 200,
        "reconstructions": 128,
        "importance_windows": 24,
    },
}


def space(trial: optuna.trial.BaseTrial) -> None:
    beta = "objective.beta"
    schedule = trial.suggest_categorical(f"{beta}.schedule", ["constant", "linear", "cyclical"])
    trial.suggest_float(f"{beta}.value", 0.05, 1.0, log=True)
    if schedule == "linear":
        trial.suggest_float(f"{beta}.warmup", 0.1, 0.5)
    if schedule == "cyclical":
        trial.suggest_int(f"{beta}.cycles", 2, 4)
        trial.suggest_float(f"{beta}.ramp", 0.25, 0.75)
    trial.suggest_categorical("objective.free_bits.threshold", [0.0, 0.05, 0.1, 0.25])
    trial.suggest_categorical("latent.levels.global.dim", [8, 16, 32])
    trial.suggest_categorical("latent.levels.local.dim", [0, 4, 8])
    trial.suggest_categorical("latent.levels.fine.dim", [0, 2, 4])


def trainable(params: dict[str, Any], corpus: Corpus, steps: int) -> None:
    torch.set_num_threads(1)
    every = {"training.steps": steps, "evaluation.every": steps // 2}
    config: RunConfig = from_plain(overridden(BASE, {**params, **every}))

    def report(rows: Sequence[Row]) -> bool:
        last = {name: rows[-1].get(f"val/{name}", 0.0) for name in (*METRICS, "rung_score")}
        tune.report({"step": rows[-1]["step"], **last})
        return True

    folder = Path(tune.get_context().get_trial_dir() or ".") / "checkpoint"
    run = Run(config=config, corpus=corpus, checkpoint_folder=folder)
    try:
        train(run, workers=Workers(), report=report)
    except DivergedError:
        tune.report({"step": 0, **dict.fromkeys((*METRICS, "rung_score"), 0.0)})


def search(
    trials: int, steps: int, seed: int, out: Path, seconds: float | None = None
) -> tuple[Any, Any]:
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    optuna_search = OptunaSearch(
        space,  # pyrefly: ignore[bad-argument-type]
        metric=METRICS,
        mode=["max"] * 3,
        sampler=sampler,
    )
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, corpus=load_named("tunes"), steps=steps), {"cpu": 1}
        ),
        tune_config=tune.TuneConfig(
            search_alg=optuna_search,
            scheduler=ASHAScheduler(
                time_attr="step",
                metric="rung_score",
                mode="max",
                grace_period=steps // 2,
                max_t=steps + 1,
                reduction_factor=2,
            ),
            num_samples=trials,
            max_concurrent_trials=2,
            reuse_actors=True,
            time_budget_s=seconds,
        ),
        run_config=tune.RunConfig(storage_path=str(out), verbose=0),
    )
    return tuner.fit(), optuna_search
