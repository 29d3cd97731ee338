"""Which settings give whole melodies back at the rate that their factors have, on one GPU.

A melody's nine factors are worth 14.12 nats. Each candidate is trained for as many steps as fit
into ``--seconds``, at the speed measured with all candidates running at once; its code is held
near 15.6 nats by ``target_kl`` (or by the beta that is said).

    python experiments/whole_melodies.py --out FILE.jsonl --seconds 240
    python experiments/whole_melodies.py --out FILE.jsonl --seconds 500 --only "bars, tight"
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from collapse import BASE, ON_GPU
from trained import evaluated

from aurl.config import RunConfig, from_plain, to_plain
from aurl.data.corpus import load_named
from aurl.plain import merged, overridden
from aurl.training.loop import Run, Trainer, train
from aurl.training.messages import Row
from aurl.training.workers import Workers

COMMON: dict[str, Any] = {
    "training.batch_size": 1024,
    "optimizer.lr": 1.5e-3,
    "objective.beta.value": 0.5,
    "objective.beta.schedule": "target_kl",
    "objective.beta.target": 15.6,
    "objective.beta.integral": 1.0e-5,
}
RISING = {
    **{f"objective.beta.{name}": None for name in ("target", "integral")},
    "objective.beta.schedule": "linear",
    "objective.beta.value": 0.3,
    "objective.beta.warmup": 0.8,
}


def levels(whole: int, bar: int) -> dict[str, Any]:
    """A level for the sequence and one with a slot a bar."""
    return {
        "latent.levels": [
            {"name": "global", "dim": whole, "span": "sequence"},
            {"name": "local", "dim": bar, "span": 1},
        ]
    }


CANDIDATES: dict[str, dict[str, Any]] = {
    "flat": {},
    "flat, rising beta": RISING,
    "flat, spline prior": {"latent.prior.kind": "spline"},
    "bars": {
        **levels(8, 6),
        "latent.top_down": True,
        "objective.free_bits.threshold": 4.7,
        "objective.free_bits.granularity": "level",
    },
    "bars, tight": levels(3, 3),
    "bars, tight, spline prior": {**levels(4, 4), "latent.prior.kind": "spline"},
}
PROBE = 200
"""Steps that the speed is measured on."""


def config_of(name: str, steps: int) -> RunConfig:
    """The settings of a candidate."""
    changes = {
        **COMMON,
        **CANDIDATES[name],
        "training.steps": steps,
        "evaluation.every": max(1, -(-steps // 4)),
    }
    base = merged(merged(to_plain(RunConfig()), BASE), ON_GPU)
    return from_plain(overridden(base, {k: v for k, v in changes.items() if v is not None}))


def measured(name: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Train one candidate and say what came of it."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    corpus = load_named("melodies", config_of(name, 1).data.melodies)
    started = perf_counter()
    probe = Trainer(
        Run(config=config_of(name, 10 * PROBE), corpus=corpus, checkpoint_folder=folder / "none"),
        Workers(device=device),
    )
    step_s = 0.0
    for _ in range(2):  # the first time compiles
        began = perf_counter()
        for _ in range(PROBE):
            probe.take_step()
        probe.check()
        step_s = (perf_counter() - began) / PROBE
    left = seconds - (perf_counter() - started)
    steps = max(10, int(left / step_s))
    run = Run(config=config_of(name, steps), corpus=corpus, checkpoint_folder=folder / name)
    history: list[Row] = []

    def report(rows: Sequence[Row]) -> bool:
        history.append({key: rows[-1][key] for key in ("step", "val/kl_nats", "time/step_s")})
        print(name, {**history[-1], **_short(rows[-1])}, flush=True)
        return True

    del probe
    began = perf_counter()
    train(run, workers=Workers(device=device), report=report)
    taken = perf_counter() - began
    trainer = Trainer(run, Workers(device=device))
    row = evaluated(trainer.model, corpus, run.config)
    return {
        "name": name,
        "settings": CANDIDATES[name],
        "steps": steps,
        "training_s": taken,
        "all_s": perf_counter() - started,
        **row,
    }


def _short(row: Row) -> dict[str, float]:
    names = ("sequence_accuracy", "mig_rank32", "reconstruction_nats", "live_dimensions")
    return {name: round(row[f"val/{name}"], 3) for name in names if f"val/{name}" in row}


def _one(name: str, seconds: float, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        row = measured(name, seconds, Path(folder))
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")


def main() -> None:
    """Train the candidates side by side, one process each."""
    parser = argparse.ArgumentParser(description="Whole melodies at the rate of their factors.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    args = parser.parse_args()
    context = get_context("spawn")
    going = [context.Process(target=_one, args=(n, args.seconds, args.out)) for n in args.only]
    for each in going:
        each.start()
    for each in going:
        each.join()


if __name__ == "__main__":
    main()
