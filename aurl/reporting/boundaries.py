"""Where in their ranges the best trials have their values, and which of these are at an end.

A best value at the end of a range says that a better one may lie outside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aurl.search.distributions import (
    Choice,
    Distribution,
    IntUniform,
    LogUniform,
    Uniform,
    Value,
    ends,
)
from aurl.search.ranking import TrialStatus
from aurl.search.space import Parameter, Space

EDGE = 0.05
"""Share of a range that counts as its end; of a logarithmic range, of its logarithm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A searched value of a trial, and where it is among what it could be."""

    trial: str
    value: Value
    place: float
    """From 0, the low end, to 1."""

    @property
    def end(self) -> str:
        """``low`` or ``high`` at an end, nothing elsewhere."""
        return "low" if self.place <= EDGE else "high" if self.place >= 1.0 - EDGE else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A searched range, and the values that trials have in it."""

    parameter: Parameter
    low: Value
    high: Value
    placed: tuple[Placed, ...]
    """In the order of the trials."""

    @property
    def end(self) -> str:
        """The end that the first of the trials is at, if that trial has the parameter."""
        return self.placed[0].end

    @property
    def sharing(self) -> int:
        """How many of the trials are at that same end."""
        return sum(each.end == self.end for each in self.placed) if self.end else 0


def ranges_of(space: Space, trials: Sequence[TrialStatus]) -> list[Range]:
    """The ranges that have two ends, with where each trial is in them.

    Left out are choices that have no order, or two options, of which each is an end; and what none
    of the trials has.
    """
    found: list[Range] = []
    for parameter in space.parameters:
        pair = _two_ends(parameter.distribution)
        placed = [each for trial in trials if (each := _placed(parameter, trial)) is not None]
        if pair is not None and placed:
            found.append(
                Range(parameter=parameter, low=pair[0], high=pair[1], placed=tuple(placed))
            )
    return found


def _two_ends(distribution: Distribution) -> tuple[Value, Value] | None:
    if not isinstance(distribution, Choice):
        low, high = ends(distribution)
        return low, high
    options = _ordered(distribution)
    return (options[0], options[-1]) if options else None


def _ordered(choice: Choice) -> list[float]:
    """The options in order, if they are three numbers or more."""
    numbers = [each for each in choice.options if isinstance(each, int | float)]
    is_number = not any(isinstance(each, bool | str) for each in choice.options)
    return sorted(numbers) if is_number and len(numbers) > 2 else []


def _placed(parameter: Parameter, trial: TrialStatus) -> Placed | None:
    value = parameter.value_in(trial.params)
    if value is None:
        return None
    place = _place(parameter.distribution, value)
    return None if place is None else Placed(trial=trial.trial, value=value, place=place)


def _place(distribution: Distribution, value: Value) -> float | None:
    match distribution:
        case Choice():
            options = _ordered(distribution)
            return options.index(float(value)) / (len(options) - 1) if options else None
        case LogUniform(low, high):
            return math.log(float(value) / low) / math.log(high / low)
        case Uniform(low, high):
            return (float(value) - low) / (high - low)
        case IntUniform(low, high, _, log):
            if log:
                return math.log(float(value) / low) / math.log(high / low)
            return (float(value) - low) / (high - low)
