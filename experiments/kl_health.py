"""Does KL health tell good latent spaces from bad ones, and does it say what a user will feel?

Trains models that are good or bad by construction, and compares ``kl_health`` with three things
that a user feels, none of which it is computed from:

- ``validity``: draws from the prior are music of the kind. On melodies, the share that is one of
  them; elsewhere the mean over attributes of 1 minus the total variation between their classes
  in 512 draws and in 1,000 windows;
- ``reconstruction``: what is ranked in a sweep, ``val/reconstruction_score``;
- ``control``: the codes mean off the data what they mean on it. A forest learns each attribute
  from the codes of windows and foretells it for draws from the prior; then it is read from what
  the decoder makes of them. Rank correlation of the two, negative ones as 0, mean over attributes.

``usefulness`` is their geometric mean, each floored at 0.001.

    python experiments/kl_health.py tunes --out FILE.jsonl           the cases it was made with
    python experiments/kl_health.py melodies --out FILE.jsonl        on the other corpus
    python experiments/kl_health.py tunes --out FILE.jsonl --fresh   other betas, sizes and seeds
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor
from trained import Case, Experiment, evaluated, run

from aurl.config import RunConfig
from aurl.data.attributes import ATTRIBUTES, attributes, discretized
from aurl.data.batches import TokenStore
from aurl.data.corpus import Corpus
from aurl.data.melodies import grid_of, midi_grid, read_factors
from aurl.metrics.kl_health import TERMS
from aurl.model.generation import Sampling, generate
from aurl.model.vae import Vae
from aurl.plain import overridden
from aurl.seeding import numpy_generator, torch_generator

DRAWS, WINDOWS, LEARNED = 512, 1000, 3000
READABLE = [name for name in ATTRIBUTES if name not in ("tonic", "mode", "metre")]
"""Attributes that tokens tell and that have an order."""

SCALES = {"leaky": 1e-3, "narrow": 0.4}
"""How small models that are operated on make their codes; the decoder undoes it."""

SHARED = {
    "latent": {
        "levels": [
            {"name": "global", "dim": 16, "span": "sequence"},
            {"name": "local", "dim": 4, "span": 1},
            {"name": "fine", "dim": 0, "span": 0.5},
        ]
    },
    "evaluation": {"every": 100_000, "final_windows": WINDOWS, "reconstructions": 256},
}
BASES = {
    "tunes": {
        **SHARED,
        "model": {"d_model": 64, "n_heads": 4, "encoder_layers": 3, "decoder_layers": 2},
        "optimizer": {"lr": 3.0e-3},
        "training": {"batch_size": 32, "steps": 1000},
    },
    "melodies": {
        **SHARED,
        "data": {"corpus": "melodies"},
        "model": {"d_model": 64, "n_heads": 4, "encoder_layers": 3, "decoder_layers": 2},
        "optimizer": {"lr": 2.0e-3},
        "training": {"batch_size": 128, "steps": 1500, "log_every": 100},
    },
}
LEVELS = "latent.levels.{}.dim".format
PARTS = ("weight", "bias")


def beta(value: float, **more: Any) -> dict[str, Any]:
    return {"objective.beta.value": value, **{k.replace("__", "."): v for k, v in more.items()}}


def cyclical(value: float) -> dict[str, Any]:
    words = {"schedule": "cyclical", "cycles": 3, "ramp": 0.6}
    return {**beta(value), **{f"objective.beta.{key}": word for key, word in words.items()}}


def floor(value: float, threshold: float) -> dict[str, Any]:
    return {**beta(value), "objective.free_bits.threshold": threshold}


def levels(first: int, second: int, third: int) -> dict[str, Any]:
    names = ("global", "local", "fine")
    return {LEVELS(name): dim for name, dim in zip(names, (first, second, third), strict=True)}


def cases(seed: int, shift: float) -> list[Case]:
    """Models that are known by construction; ``shift`` moves every beta by that factor."""
    b = shift
    flat = {**beta(0.1 * b), **levels(24, 0, 0)}
    settings: list[tuple[str, str, dict[str, Any], str]] = [
        ("good 0.1", "good", beta(0.1 * b), ""),
        ("under 0", "under-regularised", beta(0.0), ""),
        ("collapsed 6", "collapsed", beta(6.0 * b), ""),
        ("leaky", "leaky", beta(0.1 * b), "leaky"),
        ("narrow", "off its prior", beta(0.1 * b), "narrow"),
        ("deaf", "unused", beta(0.1 * b), "deaf"),
        ("half dead", "partly dead", beta(0.1 * b), "half dead"),
        ("over 0.6", "over-regularised", beta(0.6 * b), ""),
        ("good flat", "good", flat, ""),
        ("hollow", "hollow", floor(6.0 * b, 0.5), ""),
        ("leaky flat", "leaky", flat, "leaky"),
        ("narrow flat", "off its prior", flat, "narrow"),
        ("deaf flat", "unused", flat, "deaf"),
        ("most dead flat", "partly dead", flat, "most dead"),
        ("good 0.2", "good", beta(0.2 * b), ""),
        ("under 0.01", "under-regularised", beta(0.01 * b), ""),
        ("dead wide", "partly dead", {**beta(0.5 * b), **levels(64, 16, 8)}, ""),
        ("good 0.05", "good", beta(0.05 * b), ""),
        ("under 0.002", "under-regularised", beta(0.002 * b), ""),
        ("good cyclical", "good", cyclical(0.15 * b), ""),
        ("over 1", "over-regularised", beta(1.0 * b), ""),
        ("good fine", "good", {**beta(0.1 * b), **levels(8, 4, 2)}, ""),
        ("over flat", "over-regularised", {**beta(1.0 * b), **levels(16, 0, 0)}, ""),
        ("collapsed flat", "collapsed", {**beta(6.0 * b), **levels(16, 0, 0)}, ""),
    ]
    return [
        Case(name=name, kind=kind, settings={**words, "seed": seed}, surgery=surgery)
        for name, kind, words, surgery in settings
    ]


@torch.no_grad()
def operate(model: Vae, surgery: str) -> None:
    """Make a good model a bad one by its weights alone.

    A *leaky* code carries everything in means of size 0.001 under a variance of 1: the KL is
    nearly 0, and what decodes the means sees it all. A *narrow* one has means and deviations 0.4
    times as large, and a decoder that undoes it: it says as much and is off its prior. A dead
    dimension has mean 0 and variance 1. A *deaf* decoder does not look at its code.
    """
    weights = model.state_dict()
    scale = SCALES.get(surgery, 1.0)
    for index, level in enumerate(model.layout.levels):
        mean, log_var = slice(0, level.dim), slice(level.dim, 2 * level.dim)
        dead = torch.arange(2 * level.dim) % level.dim % 4 >= {"half dead": 2}.get(surgery, 1)
        head = {part: weights[f"encoder.pooling.{index}.head.{part}"] for part in PARTS}
        for values in head.values():
            values[mean] *= scale
            if surgery == "leaky":
                values[log_var] = 0.0
            elif surgery.endswith("dead"):
                values[dead] = 0.0
        if surgery == "narrow":
            head["bias"][log_var] += 2.0 * math.log(scale)
    for name, value in weights.items():
        if (
            name.startswith("decoder.latent.")
            and name.endswith(".weight")
            and ".gate." not in name
        ):
            value *= 0.0 if surgery == "deaf" else 1.0 / scale


@torch.no_grad()
def measure(model: Vae, corpus: Corpus, config: RunConfig) -> dict[str, Any]:
    """What a user feels, and what KL health says, of a model as it is now."""
    store = TokenStore(corpus)
    values = evaluated(model, corpus, config)
    train = numpy_generator(0, "control").permutation(corpus.indices("train"))[:LEARNED]
    val = numpy_generator(0, "validity").permutation(corpus.indices("val"))[:WINDOWS]
    reference = read([corpus.window(int(index)) for index in train], corpus)
    z = model.sample_prior(DRAWS, generator=torch_generator(0, "prior"))
    made = generate(
        model,
        z,
        max_tokens=corpus.max_tokens,
        sampling=Sampling(temperature=1.0),
        generator=torch_generator(0, "draws"),
    ).numpy()
    drawn = read(list(made), corpus)
    names = list(corpus.attribute_names) if corpus.is_constructed else READABLE
    codes = torch.cat(
        [model.encode(store.padded(part)).mean for part in torch.from_numpy(train).split(64)]
    ).numpy()
    control = {}
    for column, name in enumerate(names):
        known = np.flatnonzero(np.isfinite(reference[:, column]))
        shown = np.flatnonzero(np.isfinite(drawn[:, column]))
        forest = ExtraTreesRegressor(100, min_samples_leaf=5, random_state=0)
        forest.fit(codes[known], reference[known, column])
        if not len(shown):
            control[name] = 0.0
            continue
        foretold = forest.predict(z.numpy()[shown])
        control[name] = max(0.0, spearman(foretold, drawn[shown, column]))
    if corpus.is_constructed:
        values["validity"] = valid_melodies(made)
    else:
        real = read([corpus.window(int(index)) for index in val], corpus)
        values["validity"] = overlap(drawn, real, reference)
    values["control"] = float(np.mean(list(control.values())))
    values["reconstruction"] = values["val/reconstruction_score"]
    felt = [values[name] for name in ("validity", "control", "reconstruction")]
    values["usefulness"] = float(np.exp(np.log(np.maximum(felt, 1e-3)).mean()))
    return {**values, "control_of": control}


def read(rows: Sequence[np.ndarray], corpus: Corpus) -> np.ndarray:
    """What token sequences show: their factors, or attributes as everybody hears them."""
    if corpus.is_constructed:
        factors = read_factors(grid_of(np.stack(rows))).astype(np.float64)
        return np.where(factors < 0, np.nan, factors)
    columns = [ATTRIBUTES.index(name) for name in READABLE]
    return np.stack([attributes(corpus.vocabulary.decode(row))[columns] for row in rows])


def valid_melodies(tokens: np.ndarray) -> float:
    """Share of token sequences that are one of the melodies."""
    grid = grid_of(tokens)
    factors = read_factors(grid)
    whole = (factors >= 0).all(axis=1)
    return float((midi_grid(np.maximum(factors, 0)) == grid).all(axis=1)[whole].sum() / len(grid))


def overlap(drawn: np.ndarray, real: np.ndarray, reference: np.ndarray) -> float:
    """1 minus the total variation between the classes of each attribute, mean over attributes."""
    first, _ = discretized(drawn, reference, READABLE)
    second, _ = discretized(real, reference, READABLE)
    shares = []
    for a, b in zip(first.T, second.T, strict=True):
        n = int(max(a.max(), b.max())) + 1
        shares.append(np.minimum(*(np.bincount(x, minlength=n) / len(x) for x in (a, b))).sum())
    return float(np.mean(shares))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, ties shared."""
    return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation; 0 where one of the two is constant or there are too few."""
    if len(x) < 3:
        return 0.0
    a, b = ranks(x), ranks(y)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0


def table(rows: list[dict[str, Any]]) -> str:
    """The models and their terms, and how each goes with what a user feels."""
    felt = ("validity", "control", "reconstruction", "usefulness")
    heads = ["model", "KL", "live", "band", "rate", "aggregate", "use", "**KL health**", *felt]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    keys = ["val/kl_nats", *(f"val/kl_health/{term}" for term in TERMS), "val/kl_health", *felt]
    good = [row for row in rows if "failure" not in row]
    for row in sorted(good, key=lambda row: -row["val/kl_health"]):
        cells = [f"{row[key]:.{1 if key.endswith('nats') else 2}f}" for key in keys]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{row['name']}: {row['failure']}" for row in rows if "failure" in row]
    columns = {key: np.array([row[key] for row in good]) for key in keys}
    for key in ["val/kl_health", *(f"val/kl_health/{term}" for term in TERMS)]:
        said = ", ".join(f"{name} {spearman(columns[key], columns[name]):.2f}" for name in felt)
        lines.append(f"rank correlation of {key.removeprefix('val/')} with {said}")
    terms = np.stack([columns[f"val/kl_health/{term}"] for term in TERMS])
    for index, term in enumerate(TERMS):
        rest = np.delete(terms, index, axis=0)
        without = np.exp(np.log(np.maximum(rest, 1e-3)).mean(axis=0))
        without = np.where(columns["val/kl_health"] == 0.0, 0.0, without)
        lines.append(
            f"without {term}: rank correlation with usefulness "
            f"{spearman(without, columns['usefulness']):.2f}"
        )
    return "\n".join(lines)


COLOURS = (
    "#117733",
    "#888888",
    "#999933",
    "#cc6677",
    "#aa4499",
    "#ddcc77",
    "#332288",
    "#88ccee",
    "#000000",
)


def plot(rows: list[dict[str, Any]], corpus: str) -> str:
    """KL health against usefulness as an SVG, a colour for each kind of model."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    most = max(row["usefulness"] for row in rows)
    colours = dict(zip(kinds, COLOURS, strict=False))
    marks = "".join(
        f'<circle cx="{50 + 300 * row["val/kl_health"]:.1f}" '
        f'cy="{350 - 300 * row["usefulness"] / most:.1f}" r="5" fill="{colours[row["kind"]]}">'
        f"<title>{row['name']}</title></circle>"
        for row in rows
    )
    keys = "".join(
        f'<circle cx="390" cy="{60 + 20 * index}" r="5" fill="{colours[kind]}"/>'
        f'<text x="402" y="{64 + 20 * index}">{kind}</text>'
        for index, kind in enumerate(kinds)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 540 400" font-family="sans-serif" '
        'font-size="12"><rect width="540" height="400" fill="#ffffff"/>'
        '<path d="M50 45V350H355" fill="none" stroke="#000000"/>'
        f'<text x="50" y="30">{corpus}: usefulness (0 to {most:.2f}) by KL health</text>'
        '<text x="46" y="366">0</text><text x="346" y="366">1</text>'
        f'<text x="170" y="385">KL health</text>{marks}{keys}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Is KL health a verdict that a person would give?"
    )
    parser.add_argument("corpus", choices=list(BASES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    base = BASES[args.corpus]
    chosen = cases(seed=1, shift=1.0)
    if args.fresh:
        base = overridden(base, levels(12, 6, 0))
        chosen = cases(seed=7, shift=1.3)
    experiment = Experiment(corpus=args.corpus, base=base, measure=measure, operate=operate)
    rows = run(experiment, chosen, args.out, args.processes)
    print(table(rows))
    shown = [row for row in rows if "failure" not in row]
    args.out.with_suffix(".svg").write_text(plot(shown, args.corpus))


if __name__ == "__main__":
    main()
