"""The default configuration with every schedule, posterior and free-bits granularity trains."""

from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from aurl.config import RunConfig, from_plain, to_plain
from aurl.objective_config import Schedule
from aurl.plain import overridden
from aurl.training.fits import check_fits
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import tiny_corpus

SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "linear": {"warmup": 0.2},
    "exponential": {"warmup": 0.2},
    "sigmoid": {"warmup": 0.2},
    "cyclical": {"cycles": 4, "ramp": 0.5},
    "target_kl": {"target": 14.0},
    "target_reconstruction": {"target": 30.0},
}
POSTERIORS: dict[str, dict[str, Any]] = {
    "standard": {},
    "batch_norm": {"latent.posterior": "batch_norm", "latent.gamma": 0.7},
}
GRANULARITIES = ("dimension", "level", "total")


def test_every_schedule_is_in_the_table() -> None:
    assert set(SCHEDULES) == set(get_args(Schedule))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_combination_takes_a_step_with_a_batch_of_one(posterior: str) -> None:
    corpus = tiny_corpus()
    for schedule, granularity in product(SCHEDULES, GRANULARITIES):
        beta = {f"objective.beta.{key}": value for key, value in SCHEDULES[schedule].items()}
        changes = {
            "objective.beta.schedule": schedule,
            **beta,
            **POSTERIORS[posterior],
            "objective.free_bits.threshold": 0.1,
            "objective.free_bits.granularity": granularity,
            "training.batch_size": 1,
            "optimizer.warmup": 0.0,
        }
        config = from_plain(overridden(to_plain(RunConfig()), changes))
        check_fits(config, corpus, 1)
        run = Run(config=config, corpus=corpus, checkpoint_folder=Path("/nowhere"))
        trainer = Trainer(run, Workers())
        before = trainer.model.decoder.logits.weight.clone()
        row = trainer.row(trainer.take_step())
        assert all(torch.isfinite(torch.tensor(value)) for value in row.values()), changes
        assert not torch.equal(trainer.model.decoder.logits.weight, before), changes
