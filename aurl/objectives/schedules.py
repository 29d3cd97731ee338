"""Schedules of beta that are pure functions of the step, with no state to save.

Each says when it has *settled*: before that, a small KL is the schedule's doing and no verdict on
the run. The schedules that follow the run are in :mod:`aurl.objectives.controllers`.
"""

import math

from aurl.objective_config import BetaConfig


def beta_at(config: BetaConfig, step: int, steps: int) -> float:
    r"""Beta at an optimizer step, for a schedule without a target.

    With u the share of the warm-up that has passed: ``linear`` is u; ``exponential`` is
    (1 - e^{-5u}) / (1 - e^{-5}); ``sigmoid`` is the logistic function of 12 (u - 1/2), rescaled
    to run from 0 to 1; ``cyclical`` rises linearly over ``ramp`` of each cycle and holds for
    the rest.

    Args:
        config: Schedule and its parameters.
        step: Optimizer steps taken so far, from 0.
        steps: Optimizer steps of the whole run.

    Returns:
        A weight in [0, ``config.value``]; exactly ``config.value`` at and after the end.

    Source:
        Bowman et al. 2016 (sigmoid); Fu et al. 2019, https://arxiv.org/abs/1903.10145 (cyclical).
    """
    if step >= steps:
        return config.value
    match config.schedule:
        case "constant":
            share = 1.0
        case "cyclical":
            position = math.fmod(step * given(config.cycles) / steps, 1.0)
            share = min(1.0, position / given(config.ramp))
        case "linear" | "exponential" | "sigmoid":
            share = _warmup(config.schedule, min(1.0, step / (given(config.warmup) * steps)))
        case "target_kl" | "target_reconstruction":
            raise AssertionError(f"{config.schedule} is no function of the step")
    return config.value * share


def settled_step(config: BetaConfig, steps: int) -> int:
    """First step from which beta stays at its final value.

    Args:
        config: Schedule and its parameters.
        steps: Optimizer steps of the whole run.
    """
    match config.schedule:
        case "constant":
            return 0
        case "cyclical":
            cycles = int(given(config.cycles))
            return math.ceil(steps * (cycles - 1 + given(config.ramp)) / cycles)
        case "linear" | "exponential" | "sigmoid":
            return math.ceil(steps * given(config.warmup))
        case "target_kl" | "target_reconstruction":
            raise AssertionError(f"{config.schedule} is no function of the step")


def _warmup(schedule: str, u: float) -> float:
    if schedule == "linear":
        return u
    if schedule == "exponential":
        return math.expm1(-5.0 * u) / math.expm1(-5.0)
    low, high = _logistic(-6.0), _logistic(6.0)
    return (_logistic(12.0 * (u - 0.5)) - low) / (high - low)


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def given(value: float | None) -> float:
    """A setting that its configuration has checked to be there."""
    assert value is not None  # BetaConfig requires it for the schedules that use it
    return value
