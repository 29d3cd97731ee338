"""Whole configurations, drawn at random: laws that no settings may break together."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from aurl.config import RunConfig
from aurl.data.corpus import Corpus
from aurl.errors import ConfigError
from aurl.objectives.objective import CLOSED
from aurl.training.evaluate import Evaluator
from aurl.training.fits import check_music
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import small_config, tiny_corpus

STEPS = 6
WEIGHTS: dict[str, float] = {
    "total_correlation": 1.0,
    "dip_off_diagonal": 2.0,
    "dip_diagonal": 0.5,
    "orthogonality": 3.0,
    "sparsity": 4.0,
    "attribute_order": 5.0,
}
AXES: Mapping[str, list[dict[str, Any]]] = {
    "levels": [
        {},
        {"latent__levels": [{"name": "only", "dim": 1}], "model__encoder_layers": 1},
        {
            "latent__levels": [
                {"name": "global", "dim": 5, "prior": "spline"},
                {"name": "off", "dim": 0, "prior": "mixture", "free_nats": 3.0, "opens": 0.5},
                {"name": "also_global", "dim": 2, "span": 2, "prior": "standard"},
                {"name": "third", "dim": 1, "span": 1 / 3, "opens": 0.4},
            ]
        },
        {
            "latent__levels": [
                {"name": "global", "dim": 1, "opens": 0.5},
                {"name": "bar", "dim": 3, "span": 1, "prior": "planar", "free_nats": 0.5},
            ]
        },
    ],
    "prior": [{"latent__prior__kind": k} for k in ("standard", "mixture", "planar", "spline")],
    "top_down": [{}, {"latent__top_down": True}],
    "posterior": [{}, {"latent__posterior": "batch_norm", "latent__gamma": 0.7}],
    "context": [{}, {"latent__context": ["mode", "key"]}],
    "beta": [
        {},
        {"objective__beta": {"schedule": "sigmoid", "value": 2.0, "warmup": 0.5}},
        {"objective__beta": {"schedule": "cyclical", "cycles": 2, "ramp": 1.0}},
        {"objective__beta": {"schedule": "target_kl", "target": 3.0, "integral": 0.1}},
        {"objective__beta": {"schedule": "target_reconstruction", "target": 9.0, "rate": 0.5}},
    ],
    "free bits": [{}, {}]
    + [
        {"objective__free_bits": {"threshold": 0.3, "granularity": granularity}}
        for granularity in ("dimension", "level", "total")
    ],
    "regularizers": [
        {},
        {"objective__regularizers": {"sparsity": WEIGHTS["sparsity"]}},
        {
            "objective__regularizers": {
                **WEIGHTS,
                "attributes": [
                    {"name": "contour", "dimension": "global/0"},
                ],
            }
        },
        {"objective__regularizers": {k: WEIGHTS[k] for k in ("dip_off_diagonal", "dip_diagonal")}},
    ],
    "decoder": [{}, {"model__encoder_skip": 0.5}, {"model__token_dropout": 0.5}],
    "batch": [{}, {"training__batch_size": 64}, {"training__batch_size": 1}],
    "parts": [{}, {"training__accumulate": 4}],
    "numbers": [{}, {"training__precision": "bfloat16", "optimizer__gradient_clip": 0.1}],
    "augmentation": [{}, {"augmentation__transpose": 12}],
    "learning rate": [
        {"optimizer__warmup": 0.0},
        {"optimizer__lr": 0.03, "optimizer__warmup": 0.9},
    ],
}


@cache
def corpus() -> Corpus:
    """The tiny one with keys, some of them unknown."""
    tiny = tiny_corpus()
    values = tiny.attributes.copy()
    for name, modulus in (("tonic", 12), ("mode", 2)):
        known = np.arange(len(values)) % 7 > 0
        column = tiny.attribute_names.index(name)
        values[known, column] = np.arange(len(values))[known] % modulus
    return replace(tiny, attributes=values)


def drawn(seed: int) -> RunConfig:
    """One value of each axis, those left out that what came before does not go with."""
    random = Random(seed)
    changes: dict[str, Any] = {
        "seed": seed,
        "training__steps": STEPS,
        "training__log_every": 1,
        "model__decoder_layers": 1,
        "evaluation__windows": 2,
        "evaluation__reconstructions": 1,
    }
    for axis in random.sample([*AXES], len(AXES)):
        more = {**changes, **random.choice(AXES[axis])}
        try:
            check_music(small_config(**more), corpus(), 1)
        except ConfigError:
            continue
        changes = more
    return small_config(**changes)


def trainer_in(folder: Path, config: RunConfig) -> Trainer:
    run = Run(config=config, corpus=corpus(), checkpoint_folder=folder)
    return Trainer(run, Workers())


def is_the_sum_of_its_terms(config: RunConfig, row: Mapping[str, float]) -> bool:
    """Whether a row's objective is what its other values and the weights add up to."""
    terms = [row["train/reconstruction_nats"]]
    terms.append(row["objective/beta"] * row["train/kl_charged_nats"])
    for level in config.latent.levels:
        if level.dim and row["step"] - 1 < level.opens * STEPS:
            terms.append(CLOSED * row[f"train/kl_nats/{level.name}"])
    for name, weight in WEIGHTS.items():
        key = f"train/{name}" + ("_nats" if name == "total_correlation" else "")
        assert (key in row) == (getattr(config.objective.regularizers, name) > 0.0)
        terms.append(weight * row.get(key, 0.0))
    rounding = 1e-5 * sum(abs(term) for term in terms)
    return row["train/objective_nats"] == pytest.approx(sum(terms), abs=rounding)


@pytest.mark.parametrize("seed", range(8))
def test_a_run_that_is_evaluated_cut_and_resumed_is_the_run(tmp_path: Path, seed: int) -> None:
    config = drawn(seed)
    whole = trainer_in(tmp_path / "whole", config)
    rows = [whole.row(whole.take_step()) for _ in range(STEPS)]
    whole.save()
    evaluator = Evaluator(corpus(), whole.store, config, split="val")
    again: list[dict[str, float]] = []
    values: dict[str, float] = {}
    for end in (Random(seed).randrange(1, STEPS), STEPS):
        part = trainer_in(tmp_path / "parts", config)
        again += [part.row(part.take_step()) for _ in range(part.step, end)]
        values = evaluator.evaluate(part.model, final=False)
        part.save()
    assert again == rows
    assert values == evaluator.evaluate(whole.model, final=False)
    assert all(is_the_sum_of_its_terms(config, row) for row in rows)
    files = [tmp_path / name / "checkpoint.safetensors" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
