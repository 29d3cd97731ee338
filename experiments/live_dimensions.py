"""How many of 48 latent dimensions of the default layout are alive on real music, and by what.

A dimension is alive if its mean raw KL is at least 0.05 nats, before any floor is applied. The KL
that a floor or a normalisation holds up counts only if the decoder uses it: the table says what
another piece's code costs.

    python experiments/live_dimensions.py --out FILE.jsonl
"""

import argparse
from pathlib import Path
from typing import Any

from trained import Case, Experiment, evaluated, run, table

BASE = {
    "model": {"d_model": 64, "n_heads": 4, "encoder_layers": 3, "decoder_layers": 2},
    "optimizer": {"lr": 3.0e-3},
    "objective": {"beta": {"value": 0.1}},
    "training": {"batch_size": 32, "steps": 1200, "log_every": 100},
    "evaluation": {"every": 1200},
}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "free bits 0.1": {"objective.free_bits.threshold": 0.1},
    "free bits 0.25": {"objective.free_bits.threshold": 0.25},
    "batch norm 0.5": {"latent.posterior": "batch_norm", "latent.gamma": 0.5},
}
COLUMNS = {
    "live of 48": "val/live_dimensions",
    "KL": "val/kl_nats",
    "KL, global": "val/kl_nats/global",
    "local": "val/kl_nats/local",
    "fine": "val/kl_nats/fine",
    "NLL": "val/reconstruction_nats",
    "NLL, z shuffled": "val/reconstruction_shuffled_z_nats",
    "note F1": "val/reconstruction_score",
    "KL health": "val/kl_health",
}


def main() -> None:
    """Train the models that are missing and print the table."""
    parser = argparse.ArgumentParser(description="What keeps latent dimensions alive?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    cases = [Case(name=name, kind=name, settings=settings) for name, settings in WAYS.items()]
    experiment = Experiment(corpus="tunes", base=BASE, measure=evaluated)
    print(table(run(experiment, cases, args.out, args.processes), COLUMNS))


if __name__ == "__main__":
    main()
