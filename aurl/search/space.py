"""Search spaces: what a YAML file may vary, and how Optuna is asked for it.

A space answers a *question*. Each varied key is ``scientific`` (its effect is the question) or
``nuisance`` (must be tuned for a fair comparison); ``fixed`` keys are held and listed as caveats.
``when:`` makes a parameter exist only for some values of another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, assert_never, cast

import optuna

from aurl.config import RunConfig, from_plain, to_plain
from aurl.errors import ConfigError
from aurl.files import read_yaml
from aurl.plain import Plain, as_number, build, merged, overridden, suggestion

Value: TypeAlias = str | int | float | bool
Check: TypeAlias = Callable[[RunConfig], None]
"""Raises ConfigError if a configuration does not fit the corpus or the workers."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """A float drawn uniformly from [low, high]."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A float whose logarithm is uniform on [log low, log high]."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class IntUniform:
    """An integer drawn uniformly from low, low + 1, ..., high."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a list of values, in no order."""

    options: tuple[Value, ...]


Distribution: TypeAlias = Uniform | LogUniform | IntUniform | Choice


@dataclass(frozen=True, slots=True)
class Parameter:
    """One varied key of the configuration."""

    key: str
    distribution: Distribution
    role: Literal["scientific", "nuisance"]
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict[str, tuple[Value, ...]])
    """Other parameters and the values of theirs for which this one exists."""

    def exists(self, chosen: Mapping[str, Value]) -> bool:
        """Whether the values chosen so far call for this parameter."""
        return all(chosen.get(key) in values for key, values in self.when.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a sweep may spend."""

    trials: int
    steps_per_trial: int
    tokens_per_step: int | None = None
    """Most tokens that a step's windows have on average. Of music that is too dense for it a batch
    holds fewer windows than ``training.batch_size``, so that a trial costs what it should."""

    def __post_init__(self) -> None:
        for name in ("trials", "steps_per_trial", "tokens_per_step"):
            value = getattr(self, name)
            if value is not None and not value >= 1:
                raise ConfigError(f"budget.{name} must be >= 1, got {value}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """How Optuna proposes configurations."""

    name: Literal["tpe", "random", "nsga2"] = "tpe"
    seed: int = 0
    startup_trials: int = 10
    """Random configurations before TPE starts to model."""

    def __post_init__(self) -> None:
        if not self.startup_trials >= 0:
            raise ConfigError(f"sampler.startup_trials must be >= 0, got {self.startup_trials}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """How Tune stops trials early, on the scalar ``val/rung_score``."""

    name: Literal["asha", "none"] = "asha"
    grace: float = 0.5
    """Share of a trial's steps before it can be stopped."""

    reduction_factor: int = 2
    """One in this many goes on at each rung."""

    def __post_init__(self) -> None:
        if not 0.0 < self.grace <= 1.0:
            raise ConfigError(f"scheduler.grace must be in (0, 1], got {self.grace}.")
        if not self.reduction_factor >= 2:
            raise ConfigError(
                f"scheduler.reduction_factor must be >= 2, got {self.reduction_factor}."
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

    def config_of(self, values: Mapping[str, Value]) -> RunConfig:
        """The configuration of a trial with these parameter values.

        Raises:
            ConfigError: If they make no valid run.
        """
        changes = {**values, "training.steps": self.budget.steps_per_trial}
        return from_plain(overridden(self.base, changes))

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Value]:
        """Ask Optuna for a value of each parameter that exists, in the file's order."""
        chosen: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.exists(chosen):
                chosen[parameter.key] = _suggest(trial, parameter)
        return chosen


def load_space(path: Path, *, overrides: Mapping[str, Any] | None = None) -> Space:
    """Read a search space and check every key it names.

    Args:
        path: The YAML file.
        overrides: ``--set`` values; they win over the file, and hold a searched key fixed.

    Raises:
        ConfigError: If the file, a key, a distribution or a range is wrong.
    """
    return space_of(read_yaml(path), overrides=overrides or {})


def space_of(values: Plain, *, overrides: Mapping[str, Any]) -> Space:
    """Build a space from plain data; arguments and errors as in :func:`load_space`."""
    known = ["question", "base", "scientific", "nuisance", "fixed", "budget"]
    known += ["sampler", "scheduler"]
    for key in _text_keys(values, "a search space"):
        if key not in known:
            raise ConfigError(f"{key} is not a section of a search space.{suggestion(key, known)}")
    question = values.get("question")
    if not isinstance(question, str) or not question.strip():
        raise ConfigError(f"question must be a sentence, got {question!r}.")
    base = _mapping(values, "base")
    fixed = {**_mapping(values, "fixed"), **overrides}
    _refuse_steps(base, fixed)
    base = overridden(merged(to_plain(RunConfig()), base), fixed)
    roles: tuple[Literal["scientific", "nuisance"], ...] = ("scientific", "nuisance")
    parameters = tuple(
        _parameter(key, entry, role)
        for role in roles
        for key, entry in _mapping(values, role).items()
        if key not in overrides
    )
    space = Space(
        question=question.strip(),
        base=base,
        parameters=_with_held_conditions(parameters, overrides),
        fixed=fixed,
        budget=build(Budget, _mapping(values, "budget"), at="budget"),
        sampler=build(SamplerConfig, _mapping(values, "sampler"), at="sampler"),
        scheduler=build(SchedulerConfig, _mapping(values, "scheduler"), at="scheduler"),
    )
    _check(space)
    return space


def _refuse_steps(base: Plain, fixed: Plain) -> None:
    training = base.get("training")
    if "training.steps" in fixed or (isinstance(training, dict) and "steps" in training):
        raise ConfigError(
            "training.steps must be left out of a search space: budget.steps_per_trial sets it."
        )


def _check(space: Space) -> None:
    """Keys and conditions, then one configuration for each end of each parameter's range."""
    above: dict[str, Distribution] = {}
    for parameter in space.parameters:
        key = parameter.key
        if key in above or key in space.fixed:
            where = "searched and fixed" if key in space.fixed else "searched twice"
            raise ConfigError(f"{key} must stand once in a search space, got it {where}.")
        if key == "training.steps" or key.startswith("data."):
            raise ConfigError(f"{key} must be the same for all trials: it cannot be searched.")
        _check_conditions(parameter, above)
        above[key] = parameter.distribution
    for example in examples(space):
        space.config_of(example)


def _check_conditions(parameter: Parameter, above: Mapping[str, Distribution]) -> None:
    at = f"{parameter.key}.when"
    for other, values in parameter.when.items():
        if other not in above:
            raise ConfigError(f"{at} must name a parameter above it, got {other!r}.")
        for value in values:
            if not _can_be(above[other], value):
                raise ConfigError(f"{at} must list values that {other} can have, got {value!r}.")


def _can_be(distribution: Distribution, value: Value) -> bool:
    """Whether a condition on this value is ever true; on a real number it never is."""
    match distribution:
        case Choice(options):
            return value in options
        case IntUniform(low, high):
            return isinstance(value, int) and low <= value <= high
        case Uniform() | LogUniform():
            return False
    assert_never(distribution)


def examples(space: Space) -> list[dict[str, Value]]:
    """Parameter values that take each parameter to each end of its range, or each option."""
    found = [
        _example(space, parameter, value)
        for parameter in space.parameters
        for value in _ends(parameter.distribution)
    ]
    return found or [{}]


def _example(space: Space, parameter: Parameter, value: Value) -> dict[str, Value]:
    """Values of all parameters that exist when ``parameter`` has ``value``."""
    wanted = {parameter.key: value}
    for other in reversed(space.parameters):  # a condition names parameters above its own
        if other.key in wanted:
            wanted = {key: values[0] for key, values in other.when.items()} | wanted
    chosen: dict[str, Value] = {}
    for other in space.parameters:
        if other.exists(chosen):
            chosen[other.key] = wanted.get(other.key, _ends(other.distribution)[0])
    return chosen


def _ends(distribution: Distribution) -> tuple[Value, ...]:
    if isinstance(distribution, Choice):
        return distribution.options
    return (distribution.low, distribution.high)


def _suggest(trial: optuna.trial.BaseTrial, parameter: Parameter) -> Value:
    match parameter.distribution:
        case Uniform(low, high):
            return trial.suggest_float(parameter.key, low, high)
        case LogUniform(low, high):
            return trial.suggest_float(parameter.key, low, high, log=True)
        case IntUniform(low, high):
            return trial.suggest_int(parameter.key, low, high)
        case Choice(options):
            return cast("Value", trial.suggest_categorical(parameter.key, options))
    assert_never(parameter.distribution)


def _parameter(key: str, entry: Any, role: Literal["scientific", "nuisance"]) -> Parameter:  # noqa: ANN401
    kinds = ["uniform", "log_uniform", "int_uniform", "choice"]
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{key} must be a mapping such as {{choice: [...]}}, got {entry!r}.")
    entry = cast("Mapping[str, Any]", entry)
    for word in _text_keys(entry, key):
        if word not in (*kinds, "when"):
            raise ConfigError(f"{key}.{word} is not a distribution.{suggestion(word, kinds)}")
    given = [kind for kind in kinds if kind in entry]
    if len(given) != 1:
        raise ConfigError(f"{key} must have one distribution of {', '.join(kinds)}, got {given}.")
    values = entry[given[0]]
    if not isinstance(values, list):
        raise ConfigError(f"{key}.{given[0]} must be a list, got {values!r}.")
    when = entry.get("when", {})
    if not isinstance(when, Mapping):
        raise ConfigError(f"{key}.when must be a mapping such as {{other.key: 1}}, got {when!r}.")
    conditions = {
        other: _choice(f"{key}.when.{other}", allowed if isinstance(allowed, list) else [allowed])
        for other, allowed in _text_keys(cast("Mapping[str, Any]", when), f"{key}.when").items()
    }
    return Parameter(
        key,
        _distribution(key, given[0], cast("list[Any]", values)),
        role,
        {other: choice.options for other, choice in conditions.items()},
    )


def _distribution(key: str, kind: str, values: list[Any]) -> Distribution:
    if kind == "choice":
        return _choice(f"{key}.choice", values)
    numbers = [as_number(value) for value in values]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise ConfigError(f"{key}.{kind} must be [low, high], got {values!r}.")
    low, high = numbers[0], numbers[1]
    if not low < high:
        raise ConfigError(f"{key}.{kind} must have low < high, got [{low}, {high}].")
    if kind == "int_uniform":
        if not isinstance(low, int) or not isinstance(high, int):
            raise ConfigError(f"{key}.int_uniform must have whole bounds, got [{low}, {high}].")
        return IntUniform(low, high)
    if kind == "uniform":
        return Uniform(float(low), float(high))
    if not low > 0.0:
        raise ConfigError(f"{key}.log_uniform must have low > 0, got {low}.")
    return LogUniform(float(low), float(high))


def _choice(at: str, values: list[Any]) -> Choice:
    if not values or not all(isinstance(value, str | int | float | bool) for value in values):
        raise ConfigError(f"{at} must list plain values, got {values!r}.")
    return Choice(tuple(_as_value(value) for value in values))


def _as_value(value: Any) -> Any:  # noqa: ANN401
    number = as_number(value)
    return value if number is None else number


def _with_held_conditions(
    parameters: tuple[Parameter, ...], held: Mapping[str, Any]
) -> tuple[Parameter, ...]:
    """Resolve conditions on parameters that ``--set`` holds fixed."""
    kept: list[Parameter] = []
    for parameter in parameters:
        conditions = parameter.when.items()
        if any(key in held and _as_value(held[key]) not in values for key, values in conditions):
            continue
        when = {key: values for key, values in parameter.when.items() if key not in held}
        kept.append(Parameter(parameter.key, parameter.distribution, parameter.role, when))
    return tuple(kept)


def _text_keys(section: Mapping[Any, Any], at: str) -> Plain:
    for key in section:
        if not isinstance(key, str):
            raise ConfigError(f"{at} must have text for its keys, got {key!r}.")
    return dict(section)


def _mapping(values: Plain, key: str) -> Plain:
    section = values.get(key, {})
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise ConfigError(f"{key} must be a mapping, got {section!r}.")
    return _text_keys(cast("Plain", section), key)
