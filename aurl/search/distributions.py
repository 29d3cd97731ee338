"""What a searched parameter may be: a range or a list of values, read from a search space."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never, cast

from aurl.errors import ConfigError
from aurl.plain import as_number, suggestion

Value: TypeAlias = str | int | float | bool


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
    """An integer drawn uniformly from low, low + step, ..., high."""

    low: int
    high: int
    step: int = 1
    log: bool = False
    """Whether its logarithm is uniform instead: small values as often as large ones."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a list of values, in no order."""

    options: tuple[Value, ...]


Distribution: TypeAlias = Uniform | LogUniform | IntUniform | Choice
KINDS = ("uniform", "log_uniform", "int_uniform", "choice")
_MODIFIERS = ("step", "log")  # of int_uniform
_ELSEWHERE: Mapping[str, str] = {  # words of W&B, Ray Tune and Optuna
    **dict.fromkeys(("values", "value", "categorical", "grid_search"), "choice: [a, b]"),
    **dict.fromkeys(("min", "max", "float", "low", "high"), "uniform: [low, high]"),
    **dict.fromkeys(("int", "randint", "q_uniform", "quniform"), "int_uniform: [low, high]"),
    **dict.fromkeys(("loguniform", "log_uniform_values"), "log_uniform: [low, high]"),
}


def read_distribution(key: str, entry: Mapping[str, Any]) -> Distribution:
    """The distribution in a parameter's entry, such as ``{int_uniform: [8, 64], step: 8}``.

    Args:
        key: The parameter, for messages.
        entry: What a search space says of it; the word ``when`` is not for here.

    Raises:
        ConfigError: If a word is unknown, or the values make no distribution.
    """
    kind, values = _only_kind(key, entry)
    if kind == "choice":
        return read_choice(f"{key}.choice", values)
    low, high = _bounds(f"{key}.{kind}", values)
    if kind == "int_uniform":
        return _whole(key, low, high, entry)
    if kind == "uniform":
        return Uniform(float(low), float(high))
    if not low > 0.0:
        raise ConfigError(f"{key}.log_uniform must have low > 0, got {low}.")
    return LogUniform(float(low), float(high))


def _only_kind(key: str, entry: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The one distribution that an entry names, and its list."""
    for word in entry:
        if word not in (*KINDS, *_MODIFIERS, "when"):
            meant = _ELSEWHERE.get(word)
            hint = f" Here it is {meant}." if meant else suggestion(word, [*KINDS])
            raise ConfigError(f"{key}.{word} is not a distribution.{hint}")
    given = [kind for kind in KINDS if kind in entry]
    if len(given) != 1:
        raise ConfigError(f"{key} must have one distribution of {', '.join(KINDS)}, got {given}.")
    kind, values = given[0], entry[given[0]]
    if not isinstance(values, list):
        raise ConfigError(f"{key}.{kind} must be a list, got {values!r}.")
    for word in _MODIFIERS:
        if word in entry and kind != "int_uniform":
            raise ConfigError(f"{key}.{word} must go with int_uniform, got it with {kind}.")
    return kind, cast("list[Any]", values)


def _bounds(at: str, values: list[Any]) -> tuple[float | int, float | int]:
    numbers = [as_number(value) for value in values]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise ConfigError(f"{at} must be [low, high], got {values!r}.")
    low, high = numbers[0], numbers[1]
    if not _is_finite(low) or not _is_finite(high) or not _is_finite(high - low):
        raise ConfigError(f"{at} must have finite bounds, got {str(values)[:80]}.")
    if not low < high:
        raise ConfigError(f"{at} must have low < high, got [{low}, {high}].")
    return low, high


def _whole(key: str, low: float | int, high: float | int, entry: Mapping[str, Any]) -> IntUniform:
    if not isinstance(low, int) or not isinstance(high, int):
        raise ConfigError(
            f"{key}.int_uniform must have whole bounds, got [{low}, {high}]."
            f"{_without_point(low, high)}"
        )
    step, log = entry.get("step", 1), entry.get("log", False)
    if type(log) is not bool:
        raise ConfigError(f"{key}.log must be true or false, got {log!r}.")
    if log and "step" in entry:
        raise ConfigError(f"{key}.step must be left out with log, got {step!r}.")
    if log and not low >= 1:
        raise ConfigError(f"{key}.int_uniform must have low >= 1 with log, got {low}.")
    if type(step) is not int or step < 1 or (high - low) % step:
        raise ConfigError(
            f"{key}.step must be a whole number >= 1 that divides {high} - {low}, got {step!r}."
            f"{_without_point(step)}"
        )
    return IntUniform(low, high, step, log)


def _without_point(*numbers: Any) -> str:  # noqa: ANN401
    """What to do about 2.0 where a whole number is meant; nothing where none is so written."""
    is_whole = any(isinstance(each, float) and each.is_integer() for each in numbers)
    return " Write whole numbers without a point." if is_whole else ""


def read_choice(at: str, values: list[Any]) -> Choice:
    """A list of plain values.

    Raises:
        ConfigError: If it is empty, or a value is not a number, a word or true or false.
    """
    if not values or not all(isinstance(value, str | int | float | bool) for value in values):
        raise ConfigError(f"{at} must list plain values, got {values!r}.")
    options = tuple(as_value(value) for value in values)
    if len({(isinstance(option, bool), option) for option in options}) < len(options):
        raise ConfigError(f"{at} must list distinct values, got {values!r}.")
    if not all(isinstance(option, str) or _is_finite(option) for option in options):
        raise ConfigError(f"{at} must list finite values, got {str(values)[:80]}.")
    return Choice(options)


def _is_finite(number: float | int) -> bool:
    """Whether a number is one that arithmetic, and Optuna, can take: a whole one has 64 bits."""
    return abs(number) < 2**63 if isinstance(number, int) else math.isfinite(number)


def as_value(value: Any) -> Any:  # noqa: ANN401
    """``value``, or the number that it is written as: PyYAML reads ``1e-3`` as text."""
    number = as_number(value)
    return value if number is None else number


def ends(distribution: Distribution) -> tuple[Value, ...]:
    """Both ends of a range, or every option."""
    if isinstance(distribution, Choice):
        return distribution.options
    return (distribution.low, distribution.high)


def values_of(distribution: Distribution) -> Sequence[Value]:
    """Every value that a draw can have, in order; of a range of real numbers, none."""
    match distribution:
        case Choice(options):
            return options
        case IntUniform(low, high, step):
            return range(low, high + 1, step)
        case Uniform() | LogUniform():
            return ()
    assert_never(distribution)


def is_log(distribution: Distribution) -> bool:
    """Whether a range is drawn from by ratio, and not by difference."""
    return isinstance(distribution, LogUniform) or (
        isinstance(distribution, IntUniform) and distribution.log
    )


def can_be(distribution: Distribution, value: Value) -> bool:
    """Whether a draw can be this very value; of a real range, none can."""
    match distribution:
        case Choice(options):
            return any(is_same(value, option) for option in options)
        case IntUniform(low, high, step):
            return type(value) is int and low <= value <= high and (value - low) % step == 0
        case Uniform() | LogUniform():
            return False
    assert_never(distribution)


def is_same(value: Value, option: Value) -> bool:
    """Whether two are one value; to Python alone, true is 1."""
    return isinstance(value, bool) == isinstance(option, bool) and value == option


def holds(distribution: Distribution, value: Any) -> bool:  # noqa: ANN401
    """Whether a value, whatever it is, lies in a distribution's range."""
    if isinstance(distribution, Uniform | LogUniform):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return distribution.low <= value <= distribution.high
    return isinstance(value, str | int | float | bool) and can_be(distribution, value)


def as_drawn(distribution: Distribution, value: Value) -> Value:
    """A value that lies in a distribution's range, of the type that a draw has: 1.0 may be 1."""
    if isinstance(distribution, Choice):
        return next(option for option in distribution.options if is_same(value, option))
    return value if isinstance(distribution, IntUniform) else float(value)


def in_words(distribution: Distribution) -> str:
    """How a distribution is shown to a person, such as ``8 to 64 by 8``."""
    match distribution:
        case Choice(options):
            return " | ".join(
                option if isinstance(option, str) else json.dumps(option) for option in options
            )
        case IntUniform(low, high, step, log):
            return f"{low} to {high}" + (" by ratio" if log else f" by {step}" * (step > 1))
        case Uniform(low, high):
            return f"{low:g} .. {high:g}"
        case LogUniform(low, high):
            return f"{low:g} .. {high:g} by ratio"
    assert_never(distribution)
