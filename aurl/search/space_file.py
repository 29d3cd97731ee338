"""Search spaces as they are written: a YAML file, read and checked, with what ``--set`` says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from aurl.config import RunConfig, to_plain
from aurl.errors import AurlError, ConfigError, SweepError
from aurl.files import parse_value, read_yaml
from aurl.plain import Plain, build, dotted, merged, overridden, setting, suggestion, whole_kinds
from aurl.search.constraints import read_constraints
from aurl.search.distributions import (
    Choice,
    Value,
    as_value,
    can_be,
    holds,
    in_words,
    read_choice,
    read_distribution,
)
from aurl.search.grid import n_cells
from aurl.search.parameter import Parameter, Role, compared
from aurl.search.ranking import ABOUT
from aurl.search.rows import COLUMNS
from aurl.search.settings import (
    SECTIONS,
    Budget,
    SamplerConfig,
    SchedulerConfig,
    SeedsConfig,
    StopperConfig,
    with_settings,
)
from aurl.search.space import Space
from aurl.search.space_checks import check

VARIANTS = "variants"
"""Word of a parameter whose values are names of several settings each."""

_OWN_NAME = re.compile(r"[^\W\d_]\w*")


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
    roles: tuple[Role, ...] = ("scientific", "nuisance")
    parameters = tuple(
        parameter
        for role in roles
        for key, entry in _mapping(values, role).items()
        if key not in given or _has_variants(entry)
        for parameter in _alternatives(key, entry, role)
    )
    overrides = _spelled_out(overrides, parameters)
    held = {**dotted(fixed), **dotted(overrides)}
    if "training.steps" in {**dotted(base), **held}:
        raise ConfigError(
            "training.steps must be left out of a search space, and of --set: "
            "budget.steps_per_trial sets it, as in --set budget.steps_per_trial=50."
        )
    base = overridden(overridden(merged(to_plain(RunConfig()), base), fixed), overrides)
    parameters = tuple(parameter for parameter in parameters if parameter.key not in given)
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
    check(space)
    return space


def _in_effect(held: Plain, base: Plain) -> Plain:
    """What is held, as it is in the end: not by a section that another one took the place of."""
    found = {key: setting(base, key) for key in held}
    return {key: value for key, value in found.items() if value is not None or held[key] is None}


def _spelled_out(overrides: Mapping[str, Any], parameters: Sequence[Parameter]) -> Plain:
    """What ``--set`` holds, with the settings of a variant in the place of its name."""
    spelled = dict(overrides)
    for parameter in parameters:
        if parameter.variants and parameter.key in spelled:
            name = spelled.pop(parameter.key)
            if not holds(parameter.distribution, name):
                names = in_words(parameter.distribution)
                raise ConfigError(f"{parameter.key} must be {names}, got {name!r}.")
            settings = parameter.changes(name)
            if twice := sorted(dotted(settings).keys() & dotted(spelled).keys()):
                raise ConfigError(f"{twice[0]} must be held once, got it in {parameter.key} too.")
            spelled = merged(settings, spelled)
    return spelled


def _has_variants(entry: Any) -> bool:  # noqa: ANN401
    return isinstance(entry, Mapping) and VARIANTS in entry


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
    variants = _variants(key, entry) if _has_variants(entry) else {}
    distribution = Choice((*variants,)) if variants else read_distribution(key, entry)
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
        variants=variants,
    )


def _variants(key: str, entry: Plain) -> dict[str, Plain]:
    """The settings that each variant in an entry stands for, by dotted key."""
    if beside := [word for word in entry if word not in (VARIANTS, "when")]:
        raise ConfigError(f"{key}.{VARIANTS} must stand alone, got {beside[0]} beside it.")
    _check_word(key)
    found = entry[VARIANTS]
    if isinstance(found, list):  # names that set nothing; what exists with each says `when`
        found = dict.fromkeys(read_choice(f"{key}.{VARIANTS}", found).options)
    if not isinstance(found, Mapping) or not found:
        raise ConfigError(f"{key}.{VARIANTS} must map names to settings, got {found!r}.")
    variants: dict[str, Plain] = {}
    for name, settings in _text_keys(cast("Plain", found), f"{key}.{VARIANTS}").items():
        if not _is_word(name):
            raise ConfigError(
                f"{key}.{VARIANTS} must have names that YAML reads as they stand, got {name!r}. "
                "Choose words, such as no_flow."
            )
        if settings is not None and not isinstance(settings, Mapping):
            raise ConfigError(f"{key}.{VARIANTS}.{name} must hold settings, got {settings!r}.")
        variants[name] = whole_kinds(_text_keys(settings or {}, f"{key}.{VARIANTS}.{name}"))
    return variants


def _check_word(key: str) -> None:
    """Refuse a word that variants cannot stand under."""
    kinds = {
        "that is no setting": key.partition(".")[0] not in (*to_plain(RunConfig()), *SECTIONS),
        "that is no column of a leaderboard": key not in COLUMNS,
        "of letters, digits and _, a letter first": _OWN_NAME.fullmatch(key),
    }
    for kind, is_one in kinds.items():
        if not is_one:
            raise ConfigError(
                f"{VARIANTS} must stand under a word {kind}, got {key}. Name what they are, as in "
                "arm: {variants: {...}}."
            )


def _is_word(name: str) -> bool:
    """Whether a name is the same wherever it is given: ``--set arm=1e3`` is of a number."""
    try:
        return name.isprintable() and as_value(parse_value(name)) == name
    except ConfigError:
        return False


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
