"""Do the levels of the latent hierarchy separate time scales?

Two models a corpus, trained alike: one with a level for the whole window and a level with a slot
for each bar, and its flat twin, in which both levels have as many coordinates and both see the
whole window. Between pairs of held-out windows of different pieces one level is swapped, and what
is heard is held against both pieces (:mod:`aurl.analysis.swaps`).

Each level may take its first nats for free, or else the finer one, which learns first, takes all:
on melodies as many as tonic, octave and scale have, what both bars share.

    python experiments/level_swaps.py melodies --out FILE.jsonl
    python experiments/level_swaps.py tunes --out FILE.jsonl
"""

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from trained import Case, Experiment, run

from aurl.analysis.subject import Subject
from aurl.analysis.swaps import (
    Swaps,
    bar_distances,
    compared,
    level_of,
    locality,
    part_of,
    separation,
    shares,
    swapped,
)
from aurl.config import RunConfig
from aurl.data.batches import TokenStore
from aurl.data.corpus import Corpus
from aurl.data.melodies import FACTORS
from aurl.model.vae import Vae
from aurl.seeding import numpy_generator
from aurl.training.evaluate import Evaluator, partners

PAIRS = 1000
SHARED_NATS = math.log(math.prod(FACTORS[name] for name in ("tonic", "octave", "scale")))
EVALUATION = {"every": 100_000, "final_windows": 1000, "reconstructions": 256}
BASES = {
    "melodies": {
        "data": {"corpus": "melodies"},
        "model": {"d_model": 64, "n_heads": 4, "encoder_layers": 2, "decoder_layers": 2},
        "objective": {
            "beta": {"value": 0.3},
            "free_bits": {"granularity": "level", "threshold": SHARED_NATS},
        },
        "optimizer": {"lr": 2.0e-3},
        "training": {"batch_size": 128, "steps": 3000, "log_every": 100},
        "evaluation": EVALUATION,
    },
    "tunes": {
        "model": {"d_model": 64, "n_heads": 4, "encoder_layers": 3, "decoder_layers": 2},
        "objective": {
            "beta": {"value": 0.1},
            "free_bits": {"granularity": "level", "threshold": 5.0},
        },
        "optimizer": {"lr": 3.0e-3},
        "training": {"batch_size": 32, "steps": 900, "log_every": 100},
        "evaluation": EVALUATION,
    },
}
DIMS = {"melodies": (8, 4), "tunes": (16, 8)}
"""Of the global level and of one slot of the local one."""

N_SLOTS = 2
"""Windows have two bars, and a local slot one."""


def cases(corpus: str, seed: int) -> list[Case]:
    """The hierarchical model and its flat twin."""
    whole, slot = DIMS[corpus]
    first = {"name": "global", "dim": whole, "span": "sequence"}
    hierarchical = {"name": "local", "dim": slot, "span": 1}
    flat = {"name": "local", "dim": N_SLOTS * slot, "span": "sequence"}
    return [
        Case(name=kind, kind=kind, settings={"latent.levels": [first, second], "seed": seed})
        for kind, second in (("hierarchical", hierarchical), ("flat", flat))
    ]


def measure(model: Vae, corpus: Corpus, config: RunConfig) -> dict[str, Any]:
    """What swaps of each level, and of each half of the local one, change."""
    evaluator = Evaluator(corpus, TokenStore(corpus), config, split="val")
    values: dict[str, Any] = dict(evaluator.evaluate(model, final=False))
    subject = Subject(model, corpus)
    names = subject.readings.names
    windows = numpy_generator(0, "swaps").permutation(corpus.indices("val"))[:PAIRS]
    pieces = np.asarray(corpus.piece)[windows]
    other = partners(pieces)
    codes, _ = subject.posterior(windows)
    own = subject.pieces(codes)
    heard = subject.readings.read(own)
    found: dict[str, Swaps] = {}
    for level in ("global", "local"):
        result = subject.hear(swapped(codes, codes[other], part_of(model.layout, level)))
        found[level] = compared(heard, heard[other], result, subject.readings.categorical)
        swap = shares(found[level], names, pieces)
        values[f"swap/{level}"] = {name: asdict(share) for name, share in swap.items()}
    apart = separation(found["global"], found["local"], pieces)
    values["separation"] = asdict(apart) if apart else None
    local = level_of(model.layout, "local")
    for index in range(N_SLOTS):
        part = np.zeros(model.layout.size, np.bool_)
        start = local.start + index * local.size // N_SLOTS
        part[start : start + local.size // N_SLOTS] = True
        changed_pieces = subject.pieces(swapped(codes, codes[other], part))
        change = bar_distances(own, changed_pieces, model.n_bars)
        bar = np.arange(model.n_bars) == index
        values[f"half/{index}"] = asdict(locality(change, bar, pieces))
        same = (change == 0.0).astype(np.float64)
        values[f"half/{index}/same"] = asdict(locality(same, bar, pieces))
        result = subject.readings.read(changed_pieces)
        half = compared(heard, heard[other], result, subject.readings.categorical)
        swap = shares(half, names, pieces)
        values[f"swap/half/{index}"] = {name: asdict(share) for name, share in swap.items()}
    return values


PARTS = {
    "global": "swap/global",
    "local": "swap/local",
    "first half of local": "swap/half/0",
    "second half": "swap/half/1",
}


def said(interval: dict[str, float]) -> str:
    return f"{interval['mean']:.2f} [{interval['low']:.2f}, {interval['high']:.2f}]"


def table(rows: list[dict[str, Any]]) -> str:
    """Of each model the shares that follow the donor, attribute by attribute."""
    lines: list[str] = []
    for row in rows:
        if "failure" in row:
            lines.append(f"{row['name']}: {row['failure']}")
            continue
        kl = ", ".join(f"{n} {row[f'val/kl_nats/{n}']:.1f}" for n in ("global", "local"))
        lines += [
            f"{row['name']}: KL {kl} nats, score of reconstruction "
            f"{row['val/reconstruction_score']:.3f}, separation {said(row['separation'])}",
            "",
            "| attribute | cases | " + " | ".join(PARTS) + " |",
            "|---" * (len(PARTS) + 2) + "|",
        ]
        for name, share in row["swap/global"].items():
            cells = [
                f"{said(row[key][name]['followed'])}, stays {row[key][name]['stayed']['mean']:.2f}"
                for key in PARTS.values()
            ]
            lines.append(f"| {name} | {share['cases']} | " + " | ".join(cells) + " |")
        lines.append("")
        for index in range(N_SLOTS):
            half, same = row[f"half/{index}"], row[f"half/{index}/same"]
            lines.append(
                f"half {index + 1} of local changes {said(half['inside'])} of the notes of bar "
                f"{index + 1} and {said(half['outside'])} of the other's, which stays as it is in "
                f"{said(same['outside'])}"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Train the two models if need be and print what swaps do."""
    parser = argparse.ArgumentParser(description="Do the levels separate time scales?")
    parser.add_argument("corpus", choices=list(BASES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    experiment = Experiment(corpus=args.corpus, base=BASES[args.corpus], measure=measure)
    print(table(run(experiment, cases(args.corpus, args.seed), args.out, args.processes)))


if __name__ == "__main__":
    main()
