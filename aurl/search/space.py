"""Search spaces: what varies, and how Optuna is asked for it.

A space answers a *question*. Each varied key is ``scientific`` (its effect is the question) or
``nuisance`` (must be tuned for a fair comparison); ``fixed`` keys are held and listed as caveats.
``when:`` makes a parameter exist only for some values of another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never, cast

import optuna

from aurl.config import RunConfig, from_plain, to_plain
from aurl.errors import ConfigError
from aurl.plain import Plain, dotted, overridden, setting
from aurl.search.constraints import Bounds
from aurl.search.distributions import (
    Choice,
    Distribution,
    IntUniform,
    LogUniform,
    Uniform,
    Value,
    as_drawn,
    holds,
    values_of,
)
from aurl.search.parameter import Parameter
from aurl.search.settings import (
    Budget,
    SamplerConfig,
    SchedulerConfig,
    SeedsConfig,
    StopperConfig,
)


@dataclass(frozen=True, kw_only=True)
class Space:
    """A question and everything that is tried to answer it."""

    question: str
    base: Plain
    """The complete configuration, as plain data, before any parameter is set."""

    parameters: tuple[Parameter, ...]
    fixed: Plain
    budget: Budget
    sampler: SamplerConfig
    scheduler: SchedulerConfig
    stopper: StopperConfig
    constraints: Mapping[str, Bounds]
    """What a completed trial must keep to, by metric."""

    compared: Parameter | None
    """The choice that the question is about: each value is tried as often as the others, and its
    trials are stopped early only against each other. None has no such."""

    seeds: SeedsConfig | None
    """How the best are trained again; None leaves it at one run a configuration."""

    @property
    def n_runs(self) -> int:
        """Runs of the whole sweep at most, those with other seeds included."""
        trials = self.budget.trials
        if self.seeds is None:
            return trials
        values = len(values_of(self.compared.distribution)) if self.compared else 1
        return trials + min(self.seeds.finalists * values, trials) * self.seeds.runs

    def config_of(self, values: Mapping[str, Value]) -> RunConfig:
        """The configuration of a trial with these parameter values.

        Raises:
            ConfigError: If they make no valid run.
        """
        changes: Plain = {"training.steps": self.budget.steps_per_trial}
        known = {parameter.key: parameter for parameter in self.parameters}
        for key, value in values.items():
            changes |= known[key].changes(value) if key in known else {key: value}
        # What is held in a section stays, even if a variant puts another in its place.
        for key in [key for key, value in changes.items() if isinstance(value, dict)]:
            inside = [held for held in self.fixed if held.startswith(f"{key}.")]
            changes |= {held: setting(self.base, held) for held in inside}
        return from_plain(overridden(self.base, changes))

    def value_in(self, config: Plain, parameter: Parameter, name: Any) -> Value | None:  # noqa: ANN401
        """What a whole configuration, of any origin, has of a parameter; None if nothing of it.

        Of variants the first with which everything that any of them sets is as it is there; if
        none, the one that has the ``name`` that it had there, if what this one sets is so.
        """
        if not parameter.variants:
            value = setting(config, parameter.key)
            return value if holds(parameter.distribution, value) else None
        every = parameter.settings
        for variant in parameter.variants if every else ():
            if self._has(config, parameter, variant, every):
                return variant
        if not holds(parameter.distribution, name):
            return None
        own = dotted(parameter.changes(name))
        return name if self._has(config, parameter, name, own) else None

    def _has(self, config: Plain, parameter: Parameter, variant: str, keys: Iterable[str]) -> bool:
        """Whether settings of a whole configuration are as a variant makes them."""
        try:
            made = to_plain(self.config_of({parameter.key: variant}))
        except ConfigError:  # it may want another parameter
            made = overridden(self.base, parameter.changes(variant))
        return all(setting(made, key) == setting(config, key) for key in keys)

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Value]:
        """Ask Optuna for a value of each parameter that exists, in the file's order."""
        chosen: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.exists(chosen):
                chosen[parameter.key] = _suggest(trial, parameter)
        return chosen

    def named(self, values: Mapping[str, Any]) -> dict[str, Value] | None:
        """Parameter values by Optuna's names; None if the space does not hold them all.

        Values of a file may be anything. Parameters that exist and have no value are left out.
        """
        chosen: dict[str, Value] = {}
        found: dict[str, Value] = {}
        for parameter in self.parameters:
            value = values.get(parameter.key)
            if value is None or not parameter.exists(chosen):
                continue
            if not holds(parameter.distribution, value):
                return None
            drawn = as_drawn(parameter.distribution, value)
            chosen[parameter.key] = found[parameter.name] = drawn
        return found if len(chosen) == len(values) else None


def _suggest(trial: optuna.trial.BaseTrial, parameter: Parameter) -> Value:
    match parameter.distribution:
        case Uniform(low, high):
            return trial.suggest_float(parameter.name, low, high)
        case LogUniform(low, high):
            return trial.suggest_float(parameter.name, low, high, log=True)
        case IntUniform(low, high, step, log):
            return trial.suggest_int(parameter.name, low, high, step=step, log=log)
        case Choice(options):
            return cast("Value", trial.suggest_categorical(parameter.name, options))
    assert_never(parameter.distribution)


def optuna_distribution(distribution: Distribution) -> optuna.distributions.BaseDistribution:
    """What Optuna keeps of a distribution beside each value drawn from it."""
    match distribution:
        case Uniform(low, high):
            return optuna.distributions.FloatDistribution(low, high)
        case LogUniform(low, high):
            return optuna.distributions.FloatDistribution(low, high, log=True)
        case IntUniform(low, high, step, log):
            return optuna.distributions.IntDistribution(low, high, log=log, step=step)
        case Choice(options):
            return optuna.distributions.CategoricalDistribution(options)
    assert_never(distribution)
