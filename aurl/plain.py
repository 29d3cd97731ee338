"""Strict building of dataclasses from plain data, with messages that name the key to change.

Integers are accepted where floats are declared, and ``1e-3`` (text to PyYAML) is read as the
number it looks like; nothing else is coerced. And text as a terminal may be given it.
"""

import contextlib
import copy
import difflib
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from aurl.errors import ConfigError

ConfigT = TypeVar("ConfigT")
Plain = dict[str, Any]
"""Nested plain data: what YAML and JSON hold."""

_KINDS = ("kind", "schedule")
"""The settings that decide which others their section has."""

_RULES: Mapping[str, Callable[[float], bool]] = {
    "> 0": lambda value: 0.0 < value < math.inf,
    ">= 0": lambda value: 0.0 <= value < math.inf,
    ">= 1": lambda value: value >= 1,
    ">= 2": lambda value: value >= 2,
    "in [0, 1)": lambda value: 0.0 <= value < 1.0,
    "in (0, 1]": lambda value: 0.0 < value <= 1.0,
}
"""What a number must be, in the words of a message; NaN is none of it."""

_DEEPEST = 32
"""Sections that a dotted key goes through at most: far more than any setting is in."""


def build(cls: type[ConfigT], values: Mapping[str, Any], *, at: str = "") -> ConfigT:
    """Build the dataclass ``cls`` from nested plain data, refusing anything it does not know.

    Args:
        cls: The dataclass to build.
        values: Nested plain values, as YAML gives them.
        at: Dotted path of ``values`` in the whole tree, for messages.

    Raises:
        ConfigError: On an unknown key, a wrong type, or a value its dataclass rejects.
    """
    hints = get_type_hints(cls)
    known = [f.name for f in fields(cast("Any", cls))]
    arguments: Plain = {}
    for key, value in values.items():
        path = f"{at}.{key}" if at else str(key)
        if key not in known:
            raise ConfigError(
                f"{path or repr(key)} is not a setting.{suggestion(str(key), known)}"
            )
        arguments[key] = _coerce(hints[key], value, path)
    for entry in fields(cast("Any", cls)):
        required = entry.default is MISSING and entry.default_factory is MISSING
        if required and entry.name not in arguments:
            path = f"{at}.{entry.name}" if at else entry.name
            raise ConfigError(f"{path} must be given, got nothing.")
    return cls(**arguments)


def check_numbers(section: object, at: str, rule: str, *names: str) -> None:
    """Refuse settings of a section that break a rule of :data:`_RULES`; None breaks none.

    Raises:
        ConfigError: Of the first, by its dotted key.
    """
    for name in names:
        value = getattr(section, name)
        if value is not None and not _RULES[rule](value):
            raise ConfigError(f"{at}.{name} must be {rule}, got {value}.")


def overridden(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Plain:
    """``values`` with the settings of dotted keys changed; sections as by :func:`merged`.

    An entry of a list of named mappings is addressed by its name. A section comes before its
    settings, whatever the order of ``changes``.

    Raises:
        ConfigError: If a key passes through something that holds no settings, or through more
            sections than any.
    """
    result = copy.deepcopy(dict(values))
    for key in sorted(changes, key=lambda key: key.count(".")):
        if key.count(".") > _DEEPEST:
            raise ConfigError(f"{key[:40]}... is not a setting: none is in so many sections.")
        _override(result, key, changes[key])
    return result


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Plain:
    """``values`` with the nested mapping ``changes`` laid over it; lists are replaced whole.

    So is a section that names another of its kinds: the settings of one are not another's.
    """
    result = copy.deepcopy(dict(values))
    for key, value in changes.items():
        result[key] = _laid_over(result.get(key), value)
    return result


def _laid_over(below: Any, value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, Mapping) or not isinstance(below, Mapping):
        return copy.deepcopy(value)
    before, after = cast("Plain", below), cast("Plain", value)
    if any(after.get(kind, before.get(kind)) != before.get(kind) for kind in _KINDS):
        return copy.deepcopy(after)
    return merged(before, after)


def dotted(values: Mapping[str, Any], *, at: str = "") -> Plain:
    """Each setting of nested plain data by its dotted key.

    Raises:
        ConfigError: If a setting stands there twice, dotted and in its section.
    """
    found: Plain = {}
    for key, value in values.items():
        path = f"{at}{key}"
        inside = isinstance(value, Mapping)
        within = dotted(cast("Plain", value), at=f"{path}.") if inside else {path: value}
        for each in within:
            if each in found:
                raise ConfigError(f"{each} must stand once, got it by its key and in a section.")
        found |= within
    return found


def whole_kinds(values: Mapping[str, Any], *, at: str = "") -> Plain:
    """As :func:`dotted`, but a section that names one of its kinds stays whole.

    Raises:
        ConfigError: As :func:`dotted`.
    """
    dotted(values)
    found: Plain = {}
    for key, value in values.items():
        inside = isinstance(value, Mapping) and not any(kind in value for kind in _KINDS)
        path = f"{at}{key}"
        found |= whole_kinds(cast("Plain", value), at=f"{path}.") if inside else {path: value}
    return found


def setting(values: Plain, key: str) -> Any:  # noqa: ANN401
    """What stands at a dotted key, as :func:`overridden` finds it; None if nothing."""
    node: Any = values
    for part in key.split("."):
        if isinstance(node, list):
            node = _by_name(cast("list[Any]", node))
        node = cast("Plain", node).get(part) if isinstance(node, dict) else None
    return node


def _override(values: Plain, key: str, value: Any) -> None:  # noqa: ANN401
    node: Any = values
    *path, last = key.split(".")
    for part in path:
        node = _child(node, part, key)
    if isinstance(node, list):
        raise ConfigError(f"{key} must name a setting of {last!r}, got the whole entry.")
    if not isinstance(node, dict):
        raise ConfigError(f"{key} is not a setting: {'.'.join(path)} holds none.")
    node[last] = _laid_over(node.get(last), value)


def _child(node: Any, part: str, key: str) -> Any:  # noqa: ANN401
    if isinstance(node, list):
        entries = _by_name(cast("list[Any]", node))
        if part in entries:
            return entries[part]
        raise ConfigError(f"{key} is not a setting: {part!r} is none of {[*entries]}.")
    if isinstance(node, dict):
        return cast("Plain", node).setdefault(part, {})
    raise ConfigError(f"{key} is not a setting.")


def differences(old: Any, new: Any, *, at: str = "") -> str:  # noqa: ANN401
    """What differs between two pieces of plain data, in words: dotted keys if both hold some.

    The keys begin with ``at``, which ends in a dot if it is not empty.
    """

    def said(value: object, before: object) -> str:
        return f"{value!r:.80}, was {before!r:.80}"

    if isinstance(old, Mapping) and isinstance(new, Mapping):
        was, given = dotted(cast("Plain", old)), dotted(cast("Plain", new))
        keys = [key for key in {**was, **given} if was.get(key) != given.get(key)]
        told = [f"{at}{key} {said(given.get(key), was.get(key))}" for key in keys[:3]]
        more = [f"and {len(keys) - 3} more"] * (len(keys) > 3)
        if told:
            return "; ".join([*told, *more])
        # The same settings, but other sections: an empty one, or a key that has become dotted.
        key = next((each for each in old if each in new and old[each] != new[each]), None)
        if key is not None and old.keys() == new.keys():
            return differences(old[key], new[key], at=f"{at}{key}.")
    return f"{at[:-1]} {said(new, old)}".strip()


def suggestion(key: str, known: list[str]) -> str:
    """What the writer of an unknown key may have meant."""
    close = difflib.get_close_matches(key, known, n=1)
    if not known:
        return ""
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."


def _coerce(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _coerce_union(kind, value, path)
    if origin is Literal:
        if value not in get_args(kind):
            options = ", ".join(map(str, get_args(kind)))
            raise ConfigError(f"{path} must be one of {options}, got {value!r}.")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{path} must be a list, got {value!r}.")
        entries = cast("list[Any]", value)
        return tuple(
            _coerce(get_args(kind)[0], entry, f"{path}.{_entry_name(entry, index)}")
            for index, entry in enumerate(entries)
        )
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} must be a mapping of settings, got {value!r}.")
        return build(kind, cast("Mapping[str, Any]", value), at=path)
    return _coerce_scalar(kind, value, path)


def _coerce_union(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401
    options = get_args(kind)
    if value is None and type(None) in options:
        return None
    literals = [word for option in options for word in get_args(option)]
    if value in literals:
        return value
    scalar = next((option for option in options if option in (int, float, str)), None)
    if scalar is None:
        raise ConfigError(f"{path} must be one of {', '.join(literals)}, got {value!r}.")
    try:
        return _coerce_scalar(scalar, value, path)
    except ConfigError as error:
        if not literals:
            raise
        raise ConfigError(f"{path} must be a number or {literals[0]!r}, got {value!r}.") from error


def _coerce_scalar(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401
    if kind is float:
        number = as_number(value)
        with contextlib.suppress(OverflowError):  # of a whole number of 400 digits
            if number is not None:
                return float(number)
    if type(value) is not kind:
        names = {
            "int": "a whole number",
            "float": "a number",
            "str": "text",
            "bool": "true or false",
        }
        raise ConfigError(f"{path} must be {names[kind.__name__]}, got {value!r}.")
    return value


def as_number(value: Any) -> float | int | None:  # noqa: ANN401
    """``value`` if it is a number, also one that PyYAML reads as text (``1e-3``); else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return None
    return None


def _by_name(entries: list[Any]) -> Plain:
    return {_entry_name(entry, index): entry for index, entry in enumerate(entries)}


def _entry_name(entry: Any, index: int) -> str:  # noqa: ANN401
    if isinstance(entry, Mapping):
        return str(cast("Mapping[str, Any]", entry).get("name", index))
    return str(index)


def many(count: float, what: str) -> str:
    """So many of something, in words: ``1 trial``, ``0 trials``, ``0.5 GPU``."""
    return f"{count:.9g} {what}{'s' if count > 1 or not count else ''}"


def printable(text: str) -> str:
    """The text with everything that could move a cursor or break a line escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
