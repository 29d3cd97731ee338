"""What a step is told: beta, gate and learning rate, and which levels are open."""

from pathlib import Path
from typing import Any

import pytest
import torch

from aurl.objectives.controllers import schedule_of
from aurl.objectives.objective import level_rates
from aurl.training.dials import Dials
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import small_config, tiny_corpus

OPENING: dict[str, Any] = {
    "latent__levels__fine__opens": 0.5,
    "latent__levels__local__opens": 0.25,
}


def trainer_of(**changes: Any) -> Trainer:
    run = Run(config=small_config(**changes), corpus=tiny_corpus(), checkpoint_folder=Path("/"))
    return Trainer(run, Workers())


def test_each_level_opens_after_its_share_of_the_steps_in_all_its_slots() -> None:
    trainer = trainer_of(**OPENING)
    layout = trainer.model.layout
    seen: list[list[float]] = []
    for step in range(8):
        trainer.dials.turn(step)
        closed = trainer.dials.weights.closed
        assert closed is not None
        by_level = level_rates(closed, layout.level, ["global", "local", "fine"])
        seen.append([float(value) for value in by_level.values()])
    assert seen == [[0, 6, 8]] * 2 + [[0, 0, 8]] * 2 + [[0, 0, 0]] * 4
    assert [trainer.dials.settled(step) for step in range(8)] == [False] * 4 + [True] * 4


def test_levels_that_are_open_from_the_start_cost_a_step_nothing() -> None:
    assert trainer_of().dials.weights.closed is None


def test_beta_must_have_settled_too() -> None:
    trainer = trainer_of(
        **OPENING, objective__beta__schedule="linear", objective__beta__warmup=0.75
    )
    assert [trainer.dials.settled(step) for step in range(8)] == [False] * 6 + [True] * 2


def test_a_learning_rate_is_turned_where_the_optimizer_reads_it() -> None:
    trainer = trainer_of(optimizer__warmup=0.5, optimizer__lr=0.4)
    for step, rate in enumerate([0.1, 0.2, 0.3, 0.4]):
        trainer.dials.turn(step)
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_a_compiled_step_reads_tensors_that_stay_where_they_are() -> None:
    config = small_config(training__compile=True, model__encoder_skip=0.5, **OPENING)
    model = trainer_of().model
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = schedule_of(config.objective.beta, config.training.steps)
    dials = Dials(config, model.layout, schedule, optimizer, torch.device("cpu"))
    beta, gate, closed = dials.weights
    assert isinstance(beta, torch.Tensor)
    assert isinstance(gate, torch.Tensor)
    assert closed is not None
    assert (beta.item(), gate.item(), closed.sum().item()) == (1.0, 1.0, 14.0)
    dials.turn(4)
    assert (beta.item(), gate.item(), closed.sum().item()) == (1.0, 0.0, 0.0)
    assert optimizer.param_groups[0]["lr"].data_ptr() != beta.data_ptr()


def test_a_level_that_is_not_open_stays_empty_where_another_would_not() -> None:
    def rates(opens: float) -> dict[str, float]:
        trainer = trainer_of(
            training__steps=100,
            training__batch_size=16,
            optimizer__lr=0.02,
            objective__beta__value=0.01,
            latent__levels__fine__opens=opens,
        )
        names = [level.name for level in trainer.model.layout.levels]
        seen = [trainer.take_step().rates for _ in range(60)]
        return {k: float(v) for k, v in level_rates(seen[-1], trainer.level, names).items()}

    closed, always_open = rates(0.9), rates(0.0)
    assert closed["fine"] < 0.1 < 1.0 < always_open["fine"]
    assert closed["global"] > 1.0
