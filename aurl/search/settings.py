"""The sections of a search space that say how it is searched, from the budget to other seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aurl.errors import ConfigError
from aurl.plain import Plain, check_numbers, dotted

SECTIONS = ("budget", "sampler", "scheduler", "stopper")
"""Of a search space's file, whose settings ``--set`` reaches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a sweep may spend."""

    trials: int
    """A file may leave them out with sampler ``grid``: then it is every configuration once."""

    steps_per_trial: int
    tokens_per_step: int | None = None
    """Most tokens that a step's windows have on average. Of music that is too dense for it a batch
    holds fewer windows than ``training.batch_size``, so that a trial costs what it should."""

    def __post_init__(self) -> None:
        check_numbers(self, "budget", ">= 1", "trials", "steps_per_trial", "tokens_per_step")


def with_trials(values: Plain, trials: int | None) -> Plain:
    """A search space's file with so many trials in its budget, or as many as it says."""
    budget = values.get("budget") or {}
    if trials is None or not isinstance(budget, dict):
        return values
    return {**values, "budget": {**budget, "trials": trials}}


def with_settings(values: Plain, overrides: Mapping[str, Any]) -> tuple[Plain, Plain]:
    """A search space's file with what ``--set`` says of how it is searched, and the rest of that.

    Raises:
        ConfigError: If it says how many trials there are, which ``--trials`` does.
    """
    here = {key: value for key, value in overrides.items() if key.partition(".")[0] in SECTIONS}
    for key, value in dotted(here).items():
        if key == "budget.trials":
            raise ConfigError("budget.trials must be left out of --set: --trials sets it.")
        section, _, name = key.partition(".")
        found = values.get(section) or {}
        is_inside = bool(name) and isinstance(found, dict)
        values = {**values, section: {**found, name: value} if is_inside else value}
    return values, {key: value for key, value in overrides.items() if key not in here}


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How Optuna proposes configurations."""

    name: Literal["tpe", "random", "nsga2", "grid"] = "tpe"
    """``grid`` is every configuration of the space, as :mod:`aurl.search.grid` has them."""

    seed: int = 0
    startup_trials: int = 10
    """Random configurations before TPE starts to model."""

    groups: bool = False
    """Whether TPE models the parameters that exist together jointly, instead of one by one."""

    population: int = 20
    """Configurations of a generation of NSGA-II."""

    def __post_init__(self) -> None:
        check_numbers(self, "sampler", ">= 0", "startup_trials")
        check_numbers(self, "sampler", ">= 2", "population")


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """How trials are stopped early, on the scalar ``val/rung_score``."""

    name: Literal["asha", "hyperband", "none"] = "asha"
    """``hyperband`` is several ``asha`` side by side, each more patient than the one before."""

    grace: float = 0.5
    """Share of a trial's steps before it can be stopped."""

    reduction_factor: int = 2
    """One in this many goes on at each rung."""

    def __post_init__(self) -> None:
        if not 1e-6 <= self.grace <= 1.0:
            raise ConfigError(f"scheduler.grace must be in [1e-6, 1], got {self.grace}.")
        if not 2 <= self.reduction_factor <= 1000:
            raise ConfigError(
                f"scheduler.reduction_factor must be in 2..1000, got {self.reduction_factor}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class StopperConfig:
    """When a trial is stopped for the health of its latent space; docs/decisions/0010 argues."""

    name: Literal["health", "none"] = "health"
    """``none`` stops nobody for it."""

    grace: float = 0.25
    """Share of a trial's steps before a verdict on its KL."""

    patience: int = 2
    """Evaluations in a row that must agree."""

    rate_factor: float = 16.0
    """How many times below or above the target a KL is hopeless, if it is not on its way back."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.grace <= 1.0:
            raise ConfigError(f"stopper.grace must be in [0, 1], got {self.grace}.")
        check_numbers(self, "stopper", ">= 1", "patience")
        if not 1.0 < self.rate_factor < float("inf"):
            raise ConfigError(f"stopper.rate_factor must be > 1, got {self.rate_factor}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedsConfig:
    """How the best trials are trained again with other seeds, after the search."""

    finalists: int = 3
    """How many of the best completed trials; of each value, where values are compared."""

    runs: int = 3
    """Runs of each, beside the one that the search ranked."""

    def __post_init__(self) -> None:
        check_numbers(self, "seeds", ">= 1", "finalists")
        if not self.runs >= 3:
            raise ConfigError(
                f"seeds.runs must be >= 3, got {self.runs}. Fewer say nothing about the noise."
            )
