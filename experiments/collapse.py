"""Posterior collapse, and what holds it off: beta by rescue, on melodies with known factors.

A strong causal decoder needs no latent code at beta 1: the collapsed model is the better ELBO.
Each cell is one model; the table says what its code carries and what comes back through it.

    python experiments/collapse.py --out FILE.jsonl                  the cells for two CPU cores
    python experiments/collapse.py --out FILE.jsonl --cells all --steps 6000       every one
    python experiments/collapse.py --out FILE.jsonl --cells all --device cuda

All the cells are of width 32 on a CPU, where width 64 would take hours. On a GPU the models are
larger and so are their batches. Small models leave most of a GPU idle: train several at once
(``--processes``), with NVIDIA's MPS if it may be started.
"""

import argparse
from pathlib import Path
from typing import Any

from trained import Case, Experiment, evaluated, run, table

from aurl.data.melodies import ENTROPY_NATS
from aurl.plain import merged

BASE = {
    "data": {"corpus": "melodies", "melodies": {"train": 948_326}},
    "model": {"d_model": 64, "n_heads": 4, "encoder_layers": 2, "decoder_layers": 2},
    "latent": {"levels": [{"name": "global", "dim": 32, "span": "sequence"}]},
    "optimizer": {"lr": 1.0e-3},
    "training": {"batch_size": 128, "log_every": 100},
    "evaluation": {"windows": 1000, "final_windows": 4000, "reconstructions": 1000},
}
ALL_ON_CPU = {
    "model": {"d_model": 32, "n_heads": 2},
    "optimizer": {"lr": 4.0e-3},
    "training": {"batch_size": 64},
}
ON_GPU = {
    "model": {"d_model": 128, "n_heads": 4, "encoder_layers": 3, "decoder_layers": 3},
    "training": {"batch_size": 512, "precision": "bfloat16", "compile": True, "log_every": 500},
}
BETAS = (0.1, 0.3, 1.0, 4.0)
HIERARCHY = [
    {"name": "global", "dim": 16, "span": "sequence"},
    {"name": "local", "dim": 8, "span": 1},
]
RESCUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "free bits": {"objective.free_bits.threshold": ENTROPY_NATS / 32},
    "batch norm": {
        "latent.posterior": "batch_norm",
        "latent.gamma": (2.0 * ENTROPY_NATS / 32) ** 0.5,
    },
    "cyclical": {
        "objective.beta.schedule": "cyclical",
        "objective.beta.cycles": 4,
        "objective.beta.ramp": 0.5,
    },
    "target KL": {"objective.beta.schedule": "target_kl", "objective.beta.target": ENTROPY_NATS},
    "token dropout": {"model.token_dropout": 0.5},
    "hierarchical": {"latent.levels": HIERARCHY},
}
CPU_CELLS = (
    (1.0, "plain"),
    (0.3, "plain"),
    (1.0, "target KL"),
    (1.0, "free bits"),
    (1.0, "batch norm"),
    (1.0, "token dropout"),
    (0.3, "hierarchical"),
    (1.0, "cyclical"),
)


def cells(names: str, steps: int) -> list[Case]:
    """The cells of the table, beta by beta."""
    chosen = CPU_CELLS
    if names == "all":
        chosen = tuple((beta, rescue) for rescue in RESCUES for beta in BETAS)
    return [
        Case(
            name=f"{rescue} {beta:g}",
            kind=rescue,
            settings={
                **RESCUES[rescue],
                "objective.beta.value": beta,
                "training.steps": steps,
                "evaluation.every": steps,
            },
        )
        for beta, rescue in chosen
    ]


COLUMNS = {
    "KL": "val/kl_nats",
    "live": "val/live_dimensions",
    "NLL": "val/reconstruction_nats",
    "NLL, z shuffled": "val/reconstruction_shuffled_z_nats",
    "whole melodies": "val/sequence_accuracy",
    "with z sampled": "val/sequence_accuracy/sampled_z",
    "token accuracy": "val/token_accuracy",
    "MIG": "val/mig_rank32",
    "negative ELBO": "val/negative_elbo_nats",
    "KL health": "val/kl_health",
}


def main() -> None:
    """Run the cells that are missing and print the table."""
    parser = argparse.ArgumentParser(description="What holds posterior collapse off?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", choices=["cpu", "all"], default="cpu")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    base = BASE
    if args.device == "cuda":
        base = merged(BASE, ON_GPU)
    elif args.cells == "all":
        base = merged(BASE, ALL_ON_CPU)
    experiment = Experiment(corpus="melodies", base=base, measure=evaluated, device=args.device)
    rows = run(experiment, cells(args.cells, args.steps), args.out, args.processes)
    print(table(rows, COLUMNS))


if __name__ == "__main__":
    main()
