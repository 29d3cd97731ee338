"""Beta schedules that follow the run: reference values, sign, anti-windup, resume, settling."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aurl.errors import DataError
from aurl.objective_config import BetaConfig
from aurl.objectives.controllers import BetaSchedule, TargetKl, TargetReconstruction, schedule_of
from aurl.training import checkpoint
from tests.golden import GOLDEN

PI = GOLDEN["kl_formula_examples"]["schedules"]["controlvae_pi_target20"]


def target_kl(target: float = 20.0, steps: int = 1000, **keys: Any) -> TargetKl:
    made = schedule_of(BetaConfig(schedule="target_kl", target=target, **keys), steps)
    assert isinstance(made, TargetKl)
    return made


def target_reconstruction(target: float = 20.0, steps: int = 1000, **keys: Any) -> BetaSchedule:
    config = BetaConfig(schedule="target_reconstruction", target=target, **keys)
    made = schedule_of(config, steps)
    assert isinstance(made, TargetReconstruction)
    return made


def betas(schedule: BetaSchedule, kls: list[float]) -> list[float]:
    """Beta after each observation; KL and reconstruction are shown the same number."""
    found: list[float] = []
    for step, kl in enumerate(kls):
        schedule.observe(kl=kl, reconstruction=kl)
        found.append(schedule.at(step + 1))
    return found


@pytest.mark.parametrize(
    ("name", "kls"),
    [
        ("kl=30 x5", [30.0] * 5),
        ("kl=10 x5", [10.0] * 5),
        ("kl=30,25,20,18,20", [30.0, 25.0, 20.0, 18.0, 20.0]),
    ],
)
def test_target_kl_matches_the_reference_controller(name: str, kls: list[float]) -> None:
    assert betas(target_kl(), kls) == pytest.approx(PI[name], abs=1e-9)


def test_kl_above_its_target_raises_beta_and_below_lowers_it() -> None:
    above = betas(target_kl(), [30.0] * 5)
    assert above == sorted(above)
    assert above[0] > 0.0
    below = betas(target_kl(), [30.0] * 50 + [15.0] * 5)[-6:]
    assert below == sorted(below, reverse=True)
    assert below[-1] < below[0]


def test_reconstruction_above_its_target_lowers_beta_and_below_raises_it() -> None:
    falling = betas(target_reconstruction(), [30.0] * 20)
    assert falling == sorted(falling, reverse=True)
    rising = betas(target_reconstruction(), [30.0] * 50 + [5.0] * 40)[-20:]
    assert rising == sorted(rising)
    assert rising[-1] > rising[0]


@pytest.mark.parametrize(("outside", "back"), [(0.0, 30.0), (400.0, 19.0)])
def test_beta_leaves_its_limit_in_the_first_step_that_calls_for_it(
    outside: float, back: float
) -> None:
    schedule = target_kl()
    at_limit = betas(schedule, [outside] * 2000)[-1]
    assert at_limit in (0.0, 1.0)
    (after,) = betas(schedule, [back])
    assert abs(after - at_limit) > 1e-5
    fresh_sum = abs(schedule.state["sum"])
    assert fresh_sum <= (1.0 / 1e-4) + 400.0  # what holds beta at 1, and one step more


def test_beta_stays_between_zero_and_its_largest() -> None:
    kls = [0.0, 1e6, 1e6, 20.0, 0.0, 1e6, 3.0] * 40
    for schedule in (target_kl(value=0.5), target_reconstruction(value=0.5)):
        assert all(0.0 <= beta <= 0.5 for beta in betas(schedule, kls))


def test_the_largest_rates_take_beta_from_one_limit_to_the_other() -> None:
    shown = [400.0] * 5 + [0.0] * 10
    for rate in (1e4, 1e308):
        found = betas(target_reconstruction(value=0.5, rate=rate), shown)
        assert found[4] == pytest.approx(0.5e-4)
        assert found[-1] == 0.5


def test_target_reconstruction_follows_its_formula_down_to_its_smallest() -> None:
    """ln beta falls by the rate times the smoothed error, of which a step has 100 % at most."""
    shown = [2000.0, 30.0, 22.0, 0.0, 21.0, *[400.0] * 60, *[15.0] * 5]
    found = betas(target_reconstruction(value=3.0, rate=0.3), shown)
    log_beta, smooth = math.log(3.0), 1.0
    expected: list[float] = []
    for each in shown:
        smooth = 0.9 * smooth + 0.1 * min(1.0, (each - 20.0) / 20.0)
        log_beta = min(math.log(3.0), max(math.log(3e-4), log_beta - 0.3 * smooth))
        expected.append(math.exp(log_beta))
    assert found == pytest.approx(expected)
    assert min(found) == pytest.approx(3e-4)


def test_target_kl_holds_a_plant_at_its_target() -> None:
    schedule = target_kl(target=14.0, steps=2000)
    kl = 0.0
    for step in range(2000):
        wanted = 4.0 / (schedule.at(step) + 0.05)  # less KL for more beta
        kl += 0.05 * (wanted - kl)
        schedule.observe(kl=kl, reconstruction=0.0)
    assert kl == pytest.approx(14.0, rel=0.02)
    assert schedule.settled(2000)


def test_target_reconstruction_holds_a_plant_at_its_target() -> None:
    schedule = target_reconstruction(target=30.0, steps=2000)
    reconstruction = 90.0
    for step in range(2000):
        wanted = 90.0 * schedule.at(step) / (schedule.at(step) + 0.3)
        reconstruction += 0.05 * (wanted - reconstruction)
        schedule.observe(kl=0.0, reconstruction=reconstruction)
    assert reconstruction == pytest.approx(30.0, rel=0.02)
    assert schedule.at(2000) == pytest.approx(0.15, rel=0.05)


def test_it_has_settled_once_the_error_was_small_for_a_while() -> None:
    schedule = target_kl(steps=1000)  # a while: 50 steps
    betas(schedule, [21.0] * 60)
    assert not schedule.settled(60)
    betas(schedule, [21.0] * 40)
    assert schedule.settled(100)
    betas(schedule, [5.0] * 5)
    assert not schedule.settled(105)
    short = target_kl(steps=20)  # a while is 10 steps at least
    betas(short, [21.0] * 32)
    assert not short.settled(32)
    betas(short, [21.0] * 10)
    assert short.settled(42)


def test_collapse_is_never_settled() -> None:
    schedule = target_kl(target=14.0)
    betas(schedule, [0.01] * 1000)
    assert not schedule.settled(1000)


def test_a_schedule_of_the_step_alone_has_no_state_and_settles_by_the_step() -> None:
    schedule = schedule_of(BetaConfig(schedule="linear", warmup=0.5), 100)
    before = [schedule.at(step) for step in range(100)]
    betas(schedule, [1.0, 100.0, 0.0])
    assert [schedule.at(step) for step in range(100)] == before
    assert schedule.state == {}
    assert not schedule.settled(49)
    assert schedule.settled(50)


def small_model() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 2)
    return model, torch.optim.AdamW(model.parameters())


@pytest.mark.parametrize("make", [target_kl, target_reconstruction])
def test_a_controller_goes_on_from_its_checkpoint_bitwise(tmp_path: Path, make: Any) -> None:
    model, optimizer = small_model()
    kls = (20.0 + 10.0 * torch.rand(20, generator=torch.Generator().manual_seed(0))).tolist()
    whole, first, second = make(), make(), make()
    betas(whole, kls)
    betas(first, kls[:7])
    checkpoint.save(tmp_path, step=7, model=model, optimizer=optimizer, schedule=first)
    step = checkpoint.restore(tmp_path, model=model, optimizer=optimizer, schedule=second)
    assert step == 7
    assert second.at(7) == first.at(7)
    betas(second, kls[7:])
    assert second.state == whole.state


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path: Path) -> None:
    model, optimizer = small_model()
    checkpoint.save(tmp_path, step=1, model=model, optimizer=optimizer)
    with pytest.raises(DataError, match=r"but objective\.beta\.schedule differs"):
        checkpoint.restore(tmp_path, model=model, optimizer=optimizer, schedule=target_kl())
