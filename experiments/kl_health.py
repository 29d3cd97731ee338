"""Does KL health tell good latent spaces from bad ones, and does it say what a user will feel?

Trains models that are good or bad by construction, on melodies and on tunes, and compares
``kl_health`` with ``usefulness``, five things that a user feels (``felt.py``), none of which it is
computed from.

    python experiments/kl_health.py develop --out FILE.jsonl    what the definition was made with
    python experiments/kl_health.py confirm --out FILE.jsonl    other seeds, sizes and betas
    python experiments/kl_health.py confirm --out FILE.jsonl --report    tables and pictures only
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from felt import felt
from health_report import report, rescored
from trained import Case, Experiment, read_rows, run_all

from aurl.config import RunConfig
from aurl.data.batches import TokenStore
from aurl.data.corpus import Corpus
from aurl.model.vae import Vae
from aurl.plain import merged
from aurl.training.evaluate import Evaluator

WINDOWS = 1000
SCALES = {"leaky": 1e-3, "narrow": 0.4}
"""How small models that are operated on make their codes; the decoder undoes it."""

SHIFT = 1.0
"""How far a *shifted* model's codes are from where its prior has them; the decoder undoes it."""

SHARED = {"evaluation": {"every": 100_000, "windows": WINDOWS, "final_windows": WINDOWS}}
MODELS = {
    "develop": {"d_model": 32, "n_heads": 4, "encoder_layers": 2, "decoder_layers": 1},
    "confirm": {"d_model": 40, "n_heads": 4, "encoder_layers": 2, "decoder_layers": 1},
}
TRAINING = {
    "tunes": {
        "develop": {"optimizer": {"lr": 4.0e-3}, "training": {"batch_size": 16, "steps": 600}},
        "confirm": {"optimizer": {"lr": 4.0e-3}, "training": {"batch_size": 16, "steps": 600}},
    },
    "melodies": {
        "develop": {"optimizer": {"lr": 5.0e-3}, "training": {"batch_size": 64, "steps": 1000}},
        "confirm": {"optimizer": {"lr": 4.0e-3}, "training": {"batch_size": 96, "steps": 1000}},
    },
}
TARGETS = {"tunes": 13.4, "melodies": 14.1}
"""R*, for the models whose beta follows their KL."""

PARTS = ("weight", "bias")


def base(corpus: str, part: str) -> dict[str, Any]:
    """What all models of a corpus have in common."""
    data = {"data": {"corpus": corpus}} if corpus != "tunes" else {}
    return {**SHARED, **data, "model": MODELS[part], **TRAINING[corpus][part]}


def beta(value: float) -> dict[str, Any]:
    return {"objective.beta.value": value}


def target(nats: float) -> dict[str, Any]:
    """A beta that holds the KL at so many nats."""
    words = {"schedule": "target_kl", "target": nats, "proportional": 0.02, "integral": 3e-4}
    return {f"objective.beta.{key}": word for key, word in words.items()}


def floor(value: float, threshold: float) -> dict[str, Any]:
    """A beta that would collapse the model, and a KL that free bits hold up in each dimension."""
    return {**beta(value), "objective.free_bits.threshold": threshold}


def flat(dim: int) -> dict[str, Any]:
    return {"latent.levels": [{"name": "global", "dim": dim, "span": "sequence"}]}


def two_levels(first: int, second: int) -> dict[str, Any]:
    names = (("global", first, "sequence"), ("local", second, 1))
    return {"latent.levels": [{"name": n, "dim": d, "span": s} for n, d, s in names]}


def cases(corpus: str, seed: int, shift: float, sizes: tuple[int, int, int]) -> list[Case]:
    """Models that are known by construction, the most telling first.

    Args:
        corpus: What they are trained on.
        seed: Of their weights and batches.
        shift: Moves every beta by that factor.
        sizes: Dimensions of the sequence and of each bar, and of a flat latent.
    """
    b, levels, wide = shift, two_levels(sizes[0], sizes[1]), flat(sizes[2])
    rate = TARGETS[corpus]
    settings: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
        (
            "good",
            "good",
            {**beta(0.1 * b), **levels},
            ("narrow", "shifted", "deaf", "muffled", "half dead"),
        ),
        ("under", "under-regularised", {**beta(0.0), **levels}, ()),
        ("good flat", "good", {**target(rate), **wide}, ("narrow", "leaky", "most dead")),
        ("over", "over-regularised", {**target(0.2 * rate), **wide}, ()),
        ("hollow", "hollow", {**floor(6.0 * b, 0.5), **levels}, ()),
        ("cramped", "cramped", {**target(rate), **flat(3)}, ()),
        ("trickle", "trickle", {**floor(6.0 * b, 0.07), **flat(192)}, ()),
        ("list", "a list of samples", {**target(rate), **flat(1)}, ()),
        ("few", "few of many", {**target(rate), **flat(96)}, ()),
        ("collapsed", "collapsed", {**beta(6.0 * b), **levels}, ()),
    ]
    made = []
    for name, kind, words, operations in settings:
        for surgery in ("", *operations):
            made.append(
                Case(
                    name=f"{corpus} {seed}: {name}{surgery and ', ' + surgery}",
                    kind=KINDS.get(surgery, kind),
                    settings={**words, "seed": seed},
                    surgery=surgery,
                )
            )
    return made


KINDS = {
    "narrow": "off its prior",
    "shifted": "off its prior",
    "leaky": "leaky",
    "deaf": "unused",
    "muffled": "half used",
    "half dead": "partly dead",
    "most dead": "partly dead",
}


@torch.no_grad()
def operate(model: Vae, surgery: str) -> None:
    """Make a good model a bad one by its weights alone.

    A *leaky* code carries everything in means of size 0.001 under a variance of 1: the KL is
    nearly 0, and what decodes the means sees it all. A *narrow* one has means and deviations 0.4
    times as large, a *shifted* one means that are greater by 1, and a decoder that undoes it: they
    say as much and are off their prior. A dead dimension has mean 0 and variance 1. A *deaf*
    decoder does not look at its code, a *muffled* one at a third of it.
    """
    weights = model.state_dict()
    for index, level in enumerate(model.layout.levels):
        head = {part: weights[f"encoder.pooling.{index}.head.{part}"] for part in PARTS}
        _operate_on_head(head, level.dim, surgery)
    louder = {"deaf": 0.0, "muffled": 1.0 / 3.0}.get(surgery, 1.0 / SCALES.get(surgery, 1.0))
    for name, value in weights.items():
        heard = name.startswith("decoder.latent.") and ".gate." not in name
        if not heard or not name.endswith(".weight"):
            continue
        if surgery == "shifted":
            weights[name.removesuffix("weight") + "bias"] -= SHIFT * value.sum(dim=1)
        value *= louder


def _operate_on_head(head: dict[str, torch.Tensor], dim: int, surgery: str) -> None:
    """What the encoder of one level says: its means, then its log-variances."""
    mean, log_var = slice(0, dim), slice(dim, 2 * dim)
    dead = torch.arange(2 * dim) % dim % 4 >= {"half dead": 2}.get(surgery, 1)
    for values in head.values():
        values[mean] *= SCALES.get(surgery, 1.0)
        if surgery == "leaky":
            values[log_var] = 0.0
        elif surgery.endswith("dead"):
            values[dead] = 0.0
    if surgery == "narrow":
        head["bias"][log_var] += 2.0 * math.log(SCALES[surgery])
    if surgery == "shifted":
        head["bias"][mean] += SHIFT


@torch.no_grad()
def measure(model: Vae, corpus: Corpus, config: RunConfig) -> dict[str, Any]:
    """What KL health says of a model as it is now, what it is made from, and what a user feels."""
    evaluator = Evaluator(corpus, TokenStore(corpus), config, split="val")
    values = evaluator.evaluate(model, final=False)
    seen = evaluator.seen
    if seen is None:
        raise RuntimeError("the evaluation saw nothing")
    evidence = {
        "rates": seen.health.kl_per_dimension,
        "dimension": model.layout.dimension.numpy(),
        "mean": seen.mean.mean(axis=0),
        "variance_of_mean": seen.mean.var(axis=0),
        "posterior_variance": np.exp(seen.log_var).mean(axis=0),
        "mean_log_variance": seen.log_var.mean(axis=0),
    }
    plain = {key: [float(f"{x:.6g}") for x in value] for key, value in evidence.items()}
    held = {"target_rate_nats": corpus.target_rate_nats, "n_target": len(evaluator.factor_names)}
    return {**values, "status": seen.health.status, **held, **plain, **felt(model, corpus)}


PARTS_OF = {
    "develop": ((1, 1.0, (16, 4, 24)),),
    "confirm": ((21, 1.2, (14, 5, 22)), (22, 0.8, (18, 4, 28))),
}
"""Seed, factor of every beta, and sizes of the models."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Is KL health a verdict that a person would give?"
    )
    parser.add_argument("part", choices=list(PARTS_OF))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", choices=list(TRAINING), default=None, help="one of the two")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=None, help="of each training: a rehearsal")
    parser.add_argument("--report", action="store_true", help="of what is there; train nothing")
    args = parser.parse_args()
    if not args.report:
        run_all(planned(args.part, args.corpus, args.steps), args.out, args.processes)
    print(report([rescored(row) for row in read_rows(args.out)], args.out))


def planned(part: str, only: str | None, steps: int | None) -> list[tuple[Experiment, Case]]:
    """Every model of a part, seed after seed, the corpora in turn, the most telling first."""
    fewer = {"training": {"steps": steps}} if steps else {}
    in_turn = []
    for words in PARTS_OF[part]:
        lists = [
            [(experiment(corpus, part, fewer), case) for case in cases(corpus, *words)]
            for corpus in TRAINING
            if only in (None, corpus)
        ]
        in_turn += [pair for row in zip(*lists, strict=True) for pair in row]
    return in_turn


def experiment(corpus: str, part: str, fewer: dict[str, Any]) -> Experiment:
    """What the models of a part have in common."""
    return Experiment(
        corpus=corpus,
        base=merged(base(corpus, part), fewer),
        measure=measure,
        operate=operate,
    )


if __name__ == "__main__":
    main()
