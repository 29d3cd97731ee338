"""Search spaces: what a YAML file may vary, and how Optuna is asked for it.

A space answers a *question*. Each varied key is ``scientific`` (its effect is the question) or
``nuisance`` (must be tuned for a fair comparison); ``fixed`` keys are held and listed as caveats.
``when:`` makes a parameter exist only for some values of another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never, cast

import optuna

from aurl.config import RunConfig, from_plain, to_plain
from aurl.errors import AurlError, ConfigError, SweepError
from aurl.files import read_yaml
from aurl.plain import Plain, build, dotted, merged, overridden, setting, suggestion
from aurl.search.constraints import Bounds, check_metrics, read_constraints
from aurl.search.distributions import (
    Choice,
    Distribution,
    IntUniform,
    LogUniform,
    Uniform,
    Value,
    as_drawn,
    as_value,
    can_be,
    ends,
    holds,
    read_choice,
    read_distribution,
    values_of,
)
from aurl.search.grid import n_cells
from aurl.search.parameter import Parameter, Role, compared
from aurl.search.ranking import ABOUT
from aurl.search.settings import (
    Budget,
    SamplerConfig,
    SchedulerConfig,
    SeedsConfig,
    StopperConfig,
    with_settings,
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
        """Runs of the whole sweep, those with other seeds included."""
        trials = self.budget.trials
        values = len(values_of(self.compared.distribution)) if self.compared else 1
        return trials + (self.seeds.most_runs(trials, values) if self.seeds else 0)

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


def load_space(path: Path, *, overrides: Mapping[str, Any] | None = None) -> Space:
    """Read a search space and check every key it names.

    Args:
        path: The YAML file.
        overrides: ``--set`` values; they win over the file, and hold a searched key fixed.

    Raises:
        ConfigError: If the file, a key, a distribution or a range is wrong.
    """
    return space_of(read_yaml(path), overrides=overrides or {})


def recorded_space(about: Plain) -> Space:
    """The space of a sweep, by its record.

    Raises:
        SweepError: If the record has none that can be read.
    """
    try:
        return space_of(about["space"], overrides=about.get("overrides") or {})
    except (AurlError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SweepError(f"{ABOUT} has no search space that can be read: {error}") from error


def space_of(values: Plain, *, overrides: Mapping[str, Any]) -> Space:
    """Build a space from plain data; arguments and errors as in :func:`load_space`."""
    values, overrides = with_settings(values, overrides)
    known = ["question", "base", "scientific", "nuisance", "fixed", "budget"]
    known += ["compare", "sampler", "scheduler", "stopper", "constraints", "seeds"]
    for key in _text_keys(values, "a search space"):
        if key not in known:
            raise ConfigError(f"{key} is not a section of a search space.{suggestion(key, known)}")
    question = values.get("question")
    if not isinstance(question, str) or not question.strip():
        raise ConfigError(f"question must be a sentence, got {question!r}.")
    base, fixed = _mapping(values, "base"), _mapping(values, "fixed")
    given = dotted(overrides)
    held = {**dotted(fixed), **given}
    if "training.steps" in {**dotted(base), **held}:
        raise ConfigError(
            "training.steps must be left out of a search space, and of --set: "
            "budget.steps_per_trial sets it, as in --set budget.steps_per_trial=50."
        )
    base = overridden(overridden(merged(to_plain(RunConfig()), base), fixed), overrides)
    roles: tuple[Role, ...] = ("scientific", "nuisance")
    parameters = tuple(
        parameter
        for role in roles
        for key, entry in _mapping(values, role).items()
        if key not in given
        for parameter in _alternatives(key, entry, role)
    )
    parameters = _with_held_conditions(parameters, given)
    sampler = build(SamplerConfig, _mapping(values, "sampler"), at="sampler")
    all_of_them = {"trials": n_cells(parameters)} if sampler.name == "grid" else {}
    space = Space(
        question=question.strip(),
        base=base,
        parameters=parameters,
        fixed=_in_effect(held, base),
        budget=build(Budget, {**all_of_them, **_mapping(values, "budget")}, at="budget"),
        sampler=sampler,
        scheduler=build(SchedulerConfig, _mapping(values, "scheduler"), at="scheduler"),
        stopper=build(StopperConfig, _mapping(values, "stopper"), at="stopper"),
        constraints=read_constraints(_mapping(values, "constraints")),
        compared=compared(values.get("compare"), parameters, given),
        seeds=(
            build(SeedsConfig, _mapping(values, "seeds"), at="seeds")
            if values.get("seeds") is not None
            else None
        ),
    )
    _check(space)
    return space


def _in_effect(held: Plain, base: Plain) -> Plain:
    """What is held, as it is in the end: not by a section that another one took the place of."""
    found = {key: setting(base, key) for key in held}
    return {key: value for key, value in found.items() if value is not None or held[key] is None}


def _check(space: Space) -> None:
    """Keys and conditions, then one configuration for each end of each parameter's range."""
    above: dict[str, list[Parameter]] = {}
    for parameter in space.parameters:
        key = parameter.key
        if key in space.fixed or (key in above and not parameter.alternative):
            where = "searched and fixed" if key in space.fixed else "searched twice"
            raise ConfigError(f"{key} must stand once in a search space, got it {where}.")
        if key == "training.steps" or key.startswith(("data.", "evaluation.")):
            raise ConfigError(f"{key} must be the same for all trials: it cannot be searched.")
        _check_not_held(key, space.fixed)
        _check_conditions(parameter, above)
        if not all(_implied(parameter, space).values()):
            raise ConfigError(
                f"{key}.when must be possible, got conditions that exclude each other: "
                f"{dict(parameter.when)}, and what these parameters stand on."
            )
        for other in above.setdefault(key, []):
            _check_exclusive(parameter, other, space)
        above[key].append(parameter)
    if space.seeds is not None and space.compared is not None and space.compared.key == "seed":
        raise ConfigError(
            "compare must be a parameter that other seeds leave as it is, got seed. Leave out "
            "compare, or seeds."
        )
    configs = [space.config_of(example) for example in examples(space)]
    check_metrics(space.constraints, [level.name for level in configs[0].latent.levels])


def _check_not_held(key: str, fixed: Plain) -> None:
    """Refuse a searched key of a list that is held as a whole."""
    for held in fixed:
        if key.startswith(f"{held}."):
            raise ConfigError(
                f"{held} must not be held while {key} is searched. Hold single settings, such as "
                f"{key}, or take it out of the search."
            )


def _check_conditions(parameter: Parameter, above: Mapping[str, list[Parameter]]) -> None:
    at = f"{parameter.key}.when"
    for other, values in parameter.when.items():
        if other not in above or other == parameter.key:
            raise ConfigError(f"{at} must name a parameter above it, got {other!r}.")
        for value in values:
            if not any(can_be(each.distribution, value) for each in above[other]):
                raise ConfigError(f"{at} must list values that {other} can have, got {value!r}.")


def _check_exclusive(parameter: Parameter, other: Parameter, space: Space) -> None:
    """Refuse two ranges of one key that could exist together."""
    first, second = (_implied(each, space) for each in (other, parameter))
    if not any(set(first[key]).isdisjoint(second[key]) for key in first.keys() & second.keys()):
        raise ConfigError(
            f"{parameter.key} must have ranges whose conditions exclude each other, got "
            f"{dict(other.when)} and {dict(parameter.when)}."
        )


def _implied(parameter: Parameter, space: Space) -> dict[str, tuple[Value, ...]]:
    """What must hold for a parameter to exist: its conditions, and what these stand on in turn."""
    found: dict[str, tuple[Value, ...]] = dict(parameter.when)
    for other in reversed(space.parameters):
        if other.key in found and not _has_alternatives(other, space):
            for key, values in other.when.items():
                found[key] = tuple(v for v in values if v in found.get(key, values))
    return found


def _has_alternatives(parameter: Parameter, space: Space) -> bool:
    return any(each.key == parameter.key and each.alternative for each in space.parameters)


def examples(space: Space) -> list[dict[str, Value]]:
    """Parameter values that take each parameter to each end of its range, or each option."""
    found = [
        _example(space, parameter, value)
        for parameter in space.parameters
        for value in ends(parameter.distribution)
    ]
    return found or [{}]


def _example(space: Space, parameter: Parameter, value: Value) -> dict[str, Value]:
    """Values of all parameters that exist when ``parameter`` has ``value``."""
    allowed: dict[str, tuple[Value, ...]] = {parameter.key: (value,)}
    met: set[str] = set()
    for other in reversed(space.parameters):  # a condition names parameters above its own
        wanted = allowed.get(other.key, ())
        is_it = other is parameter or other.key != parameter.key
        if is_it and other.key not in met and any(holds(other.distribution, v) for v in wanted):
            met.add(other.key)
            for key, values in other.when.items():
                allowed[key] = tuple(v for v in values if v in allowed.get(key, values))
    chosen: dict[str, Value] = {}
    for other in space.parameters:
        if other.exists(chosen):
            wanted = allowed.get(other.key, ())
            fitting = [v for v in wanted if holds(other.distribution, v)]
            chosen[other.key] = (*fitting, *ends(other.distribution))[0]
    return chosen


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


def _alternatives(key: str, entry: Any, role: Role) -> list[Parameter]:  # noqa: ANN401
    """The parameter in an entry, or each of a list of them."""
    if not isinstance(entry, list) or not entry:
        return [_parameter(key, entry, role)]
    entries = cast("list[Any]", entry)
    return [
        replace(_parameter(key, each, role), alternative=index)
        for index, each in enumerate(entries)
    ]


def _parameter(key: str, entry: Any, role: Role) -> Parameter:  # noqa: ANN401
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{key} must be a mapping such as {{choice: [...]}}, got {entry!r}.")
    entry = _text_keys(cast("Mapping[Any, Any]", entry), key)
    distribution = read_distribution(key, entry)
    when = entry.get("when", {})
    if not isinstance(when, Mapping):
        raise ConfigError(f"{key}.when must be a mapping such as {{other.key: 1}}, got {when!r}.")
    conditions = {
        other: read_choice(
            f"{key}.when.{other}", allowed if isinstance(allowed, list) else [allowed]
        )
        for other, allowed in _text_keys(cast("Mapping[str, Any]", when), f"{key}.when").items()
    }
    return Parameter(
        key,
        distribution,
        role,
        {other: choice.options for other, choice in conditions.items()},
    )


def _with_held_conditions(
    parameters: tuple[Parameter, ...], held: Mapping[str, Any]
) -> tuple[Parameter, ...]:
    """Resolve conditions on parameters that ``--set`` holds fixed, and on what goes with them."""
    kept: list[Parameter] = []
    gone = set[str]()

    def left(key: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Of the values that a condition lists, those that the parameter may still have."""
        if key in held:
            return tuple(value for value in values if value == as_value(held[key]))
        ranges = [each.distribution for each in kept if each.key == key]
        return tuple(v for v in values if key not in gone or any(can_be(r, v) for r in ranges))

    for parameter in parameters:
        when = {key: left(key, values) for key, values in parameter.when.items()}
        if all(when.values()):
            when = {key: values for key, values in when.items() if key not in held}
            kept.append(replace(parameter, when=when))
        else:
            gone.add(parameter.key)
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
