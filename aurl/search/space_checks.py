"""What a search space must keep to: keys that stand once, conditions that can be, valid runs."""

from collections.abc import Mapping, Sequence

from aurl.config import RunConfig
from aurl.errors import ConfigError
from aurl.plain import Plain, dotted
from aurl.search.constraints import check_metrics
from aurl.search.distributions import Value, can_be, ends, holds
from aurl.search.parameter import Parameter
from aurl.search.space import Space


def check(space: Space) -> None:
    """Keys and conditions, then one configuration for each end of each parameter's range.

    Raises:
        ConfigError: Of the first that is wrong.
    """
    above: dict[str, list[Parameter]] = {}
    for parameter in space.parameters:
        key = parameter.key
        if key in space.fixed or (key in above and not parameter.alternative):
            where = "searched and fixed" if key in space.fixed else "searched twice"
            raise ConfigError(f"{key} must stand once in a search space, got it {where}.")
        for each in sorted(parameter.settings):
            if each == "training.steps" or each.startswith(("data.", "evaluation.")):
                raise ConfigError(
                    f"{each} must be the same for all trials: it cannot be searched."
                )
        _check_not_held(key, space.fixed)
        _check_variants(parameter, space)
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
    _check_constraints(space, configs)


def _check_constraints(space: Space, configs: Sequence[RunConfig]) -> None:
    """Refuse a constraint on a metric that not every trial has: variants may differ in levels."""
    levels = (tuple(level.name for level in config.latent.levels) for config in configs)
    for names in dict.fromkeys(levels):
        check_metrics(space.constraints, names)


def _check_not_held(key: str, fixed: Plain) -> None:
    """Refuse a searched key of a list that is held as a whole."""
    for held in fixed:
        if key.startswith(f"{held}."):
            raise ConfigError(
                f"{held} must not be held while {key} is searched. Hold single settings, such as "
                f"{key}, or take it out of the search."
            )


def _check_variants(parameter: Parameter, space: Space) -> None:
    """Refuse variants of a setting that something else decides."""
    if not parameter.variants:
        return
    if _has_alternatives(parameter, space):
        raise ConfigError(f"{parameter.key} must have its variants once, got a list of them.")
    implied = _implied(parameter, space)
    others = [
        (setting, other.key, _implied(other, space))
        for other in space.parameters
        if other is not parameter
        for setting in other.settings
    ]
    for name, settings in parameter.variants.items():
        at = f"{parameter.key} {name}"
        here = {**implied, parameter.key: (name,)}
        if "seed" in settings:
            raise ConfigError(f"seed must be left out of variants, got it in {at}.")
        for key in dotted(settings):
            if held := [each for each in space.fixed if _overlap(each, key)]:
                raise ConfigError(
                    f"{held[0]} must not be held while {at} sets {key}. Hold {parameter.key}, or "
                    "leave it out of the variants."
                )
            also = [
                whose
                for setting, whose, when in others
                if _overlap(key, setting) and not _exclude(here, when)
            ]
            if also:
                raise ConfigError(
                    f"{key} must stand once in a search space, got it in {at} and in {also[0]}."
                )


def _overlap(one: str, other: str) -> bool:
    """Whether two settings are one, or one of them is in the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


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
    if not _exclude(_implied(other, space), _implied(parameter, space)):
        raise ConfigError(
            f"{parameter.key} must have ranges whose conditions exclude each other, got "
            f"{dict(other.when)} and {dict(parameter.when)}."
        )


def _exclude(one: Mapping[str, tuple[Value, ...]], other: Mapping[str, tuple[Value, ...]]) -> bool:
    """Whether no trial can meet the conditions of both."""
    return any(set(one[key]).isdisjoint(other[key]) for key in one.keys() & other.keys())


def _implied(parameter: Parameter, space: Space) -> dict[str, tuple[Value, ...]]:
    """What must hold for a parameter to exist: its conditions, and what these stand on in turn."""
    found: dict[str, tuple[Value, ...]] = dict(parameter.when)
    for other in reversed(space.parameters):
        if other.key in found and not _has_alternatives(other, space):
            _narrow(found, other)
    return found


def _narrow(allowed: dict[str, tuple[Value, ...]], parameter: Parameter) -> None:
    """Leave of each parameter the values with which this one exists."""
    for key, values in parameter.when.items():
        allowed[key] = tuple(v for v in values if v in allowed.get(key, values))


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
            _narrow(allowed, other)
    chosen: dict[str, Value] = {}
    for other in space.parameters:
        if other.exists(chosen):
            wanted = allowed.get(other.key, ())
            fitting = [v for v in wanted if holds(other.distribution, v)]
            chosen[other.key] = (*fitting, *ends(other.distribution))[0]
    return chosen
