"""Which settings give whole melodies back at the rate that their factors have.

A melody's nine factors are worth 14.12 nats. Beta rises from 0: the code is learned first and then
made cheaper. ``halves`` has the levels that the factors have: three dimensions for the melody, one
for the rhythm of each bar, one for the direction of each chord. ``in turn`` has levels that open
one after the other, each with as many free nats as is meant for it, and a beta above 1. What is
``told`` is supervised: by the order of two factors, or first by that of six, so that the bars
have nothing but their rhythm left; ``told, flat`` has as many dimensions in one level.

    python experiments/whole_melodies.py --out FILE.jsonl
    python experiments/whole_melodies.py --out FILE.jsonl --only halves --steps 20000
    python experiments/whole_melodies.py --out FILE.jsonl --only "in turn" --device cpu

A GPU trains all of them at once; without one, models of width 32 are trained one by one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collapse import ALL_ON_CPU, BASE, COLUMNS, ON_GPU
from trained import Case, Experiment, evaluated, run, table

from aurl.plain import merged

COMMON: dict[str, Any] = {
    "training": {"batch_size": 1024},
    "optimizer": {"lr": 1.5e-3},
}
ON_CPU: dict[str, Any] = merged(ALL_ON_CPU, {"model": {"encoder_layers": 3}})
SPLINE: dict[str, Any] = {"latent.prior.kind": "spline"}
RISING: dict[str, Any] = {
    "objective.beta.schedule": "linear",
    "objective.beta.value": 0.4,
    "objective.beta.warmup": 0.7,
}
STEADY: dict[str, Any] = {"objective.beta.schedule": "constant", "objective.beta.value": 0.3}


def levels(**dims: int) -> dict[str, Any]:
    """Levels of so many dimensions a slot."""
    spans = {"melody": "sequence", "bar": 1, "half": 0.5}
    return {
        "latent.levels": [{"name": each, "dim": dims[each], "span": spans[each]} for each in dims]
    }


IN_TURN: dict[str, Any] = {
    "model.encoder_layers": 2,  # one for each span: with more, bars coded pitch in one run
    "latent.levels": [
        {"name": "pitch", "dim": 1, "span": "sequence", "free_nats": 4.2},
        {"name": "bar", "dim": 1, "span": 1, "free_nats": 7.6, "opens": 0.08},
        {"name": "rest", "dim": 6, "span": "sequence", "free_nats": 7.0, "opens": 0.45},
    ],
    "objective.beta.schedule": "constant",
    "objective.beta.value": 2.0,
}
IN_TURN_HALVES: dict[str, Any] = {
    "latent.levels": [
        {"name": "pitch", "dim": 1, "span": "sequence", "free_nats": 4.2},
        {"name": "bar", "dim": 1, "span": 1, "free_nats": 8.4, "opens": 0.05},
        {"name": "half", "dim": 1, "span": 0.5, "free_nats": 4.4, "opens": 0.55},
        {"name": "mode", "dim": 1, "span": "sequence", "free_nats": 1.5, "opens": 0.8},
    ],
    "objective.beta.schedule": "constant",
    "objective.beta.value": 2.0,
}
TOLD: dict[str, Any] = {
    **IN_TURN,
    "objective.regularizers.attribute_order": 20.0,
    "objective.regularizers.attributes": [
        {"name": "scale", "dimension": "rest/0", "sharpness": 3.0},
        {"name": "arp_chord1", "dimension": "rest/1", "sharpness": 3.0},
    ],
}
SIX = ("octave", "scale", "arp_chord1", "arp_chord2", "arp_chord3", "arp_chord4")


def told(dimensions: Sequence[str], levels: list[dict[str, Any]]) -> dict[str, Any]:
    """Six of the nine factors told to these dimensions."""
    pairs = zip(SIX, dimensions, strict=True)
    return {
        "model.encoder_layers": 2,
        "latent.levels": levels,
        "objective.beta.schedule": "constant",
        "objective.beta.value": 2.0,
        "objective.regularizers.attribute_order": 10.0,
        "objective.regularizers.attributes": [
            {"name": name, "dimension": dimension, "sharpness": 3.0} for name, dimension in pairs
        ],
    }


def thosefirst(nats: tuple[float, float, float], opens: tuple[float, float]) -> dict[str, Any]:
    """Pitch, then five dimensions that are told as it is, then the bars."""
    pitch, those, bar = nats
    return told(
        ["pitch/0", *(f"told/{index}" for index in range(5))],
        [
            {"name": "pitch", "span": "sequence", "dim": 1, "free_nats": pitch},
            {"name": "told", "span": "sequence", "dim": 5, "free_nats": those, "opens": opens[0]},
            {"name": "bar", "span": 1, "dim": 1, "free_nats": bar, "opens": opens[1]},
        ],
    )


TOLD_FIRST = thosefirst((4.2, 6.0, 7.6), (0.1, 0.3))
TIGHT = thosefirst((4.0, 5.2, 6.9), (0.05, 0.15))
MIXTURE = {"latent.prior.kind": "mixture", "latent.prior.components": 48}
LOOSER = {**thosefirst((3.95, 4.75, 7.4), (0.04, 0.12)), **MIXTURE}
TOLD_FLAT = told(
    [f"code/{index}" for index in range(6)],
    [{"name": "code", "dim": 8, "span": "sequence", "free_nats": 17.8}],
)

CANDIDATES: dict[str, dict[str, Any]] = {
    "flat": RISING,
    "flat, spline prior": {**SPLINE, **RISING},
    "bars": {**levels(melody=3, bar=3), **RISING},
    "halves": {**levels(melody=3, bar=1, half=1), **RISING},
    "in turn": IN_TURN,
    "in turn, seed 1": {**IN_TURN, "seed": 1},
    "in turn, halves": IN_TURN_HALVES,
    "in turn, told": TOLD,
    "in turn, told, seed 1": {**TOLD, "seed": 1},
    "told first": TOLD_FIRST,
    "told first, seed 1": {**TOLD_FIRST, "seed": 1},
    "told first, seed 2": {**TOLD_FIRST, "seed": 2},
    "told first, 16.1 nats": TIGHT,
    "told first, 16.1 nats, seed 1": {**TIGHT, "seed": 1},
    "told first, mixture": {**thosefirst((3.9, 4.6, 7.2), (0.075, 0.2)), **MIXTURE},
    "told first, mixture, 16.1 nats": LOOSER,
    "told first, mixture, 16.1 nats, width 48": {
        **LOOSER,
        "model.d_model": 48,
        "model.n_heads": 3,
    },
    "told, flat": TOLD_FLAT,
    "bars, steady beta": {**levels(melody=3, bar=3), **STEADY},
    "bars, steady beta, total correlation": {
        **levels(melody=3, bar=3),
        **STEADY,
        "objective.regularizers.total_correlation": 1.0,
    },
}


def main() -> None:
    """Train the candidates side by side, one process each, and print the table."""
    parser = argparse.ArgumentParser(description="Whole melodies at the rate of their factors.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    args = parser.parse_args()
    on_cpu = args.device == "cpu"
    experiment = Experiment(
        corpus="melodies",
        base=merged(BASE, ON_CPU) if on_cpu else merged(merged(BASE, ON_GPU), COMMON),
        measure=evaluated,
        device=args.device,
    )
    length = {"training.steps": args.steps, "evaluation.every": args.steps}
    cases = [
        Case(name=name, kind="whole", settings={**CANDIDATES[name], **length})
        for name in args.only
    ]
    rows = run(experiment, cases, args.out, 1 if on_cpu else len(cases))
    print(table(rows, {**COLUMNS, "training, s": "training_s"}))


if __name__ == "__main__":
    main()
