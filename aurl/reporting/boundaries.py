"""Where in their ranges the best trials have their values, and which of these are at an end.

A best value at the end of a range says that a better one may lie outside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aurl.search.distributions import Choice, Distribution, Value, is_log
from aurl.search.parameter import Parameter
from aurl.search.ranking import TrialStatus
from aurl.search.space import Space

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
        """The end that the first of the trials that have the parameter is at."""
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
        values = _ordered(parameter.distribution)
        placed = [
            Placed(trial=trial.trial, value=value, place=_place(parameter.distribution, value))
            for trial in trials
            if values and (value := parameter.value_in(trial.params)) is not None
        ]
        if placed:
            found.append(
                Range(parameter=parameter, low=values[0], high=values[-1], placed=tuple(placed))
            )
    return found


def _ordered(distribution: Distribution) -> list[float]:
    """Both ends of a range, or a choice's options in order, if they are three numbers or more."""
    if not isinstance(distribution, Choice):
        return [distribution.low, distribution.high]
    numbers = [each for each in distribution.options if isinstance(each, int | float)]
    is_number = not any(isinstance(each, bool | str) for each in distribution.options)
    return sorted(numbers) if is_number and len(numbers) > 2 else []


def _place(distribution: Distribution, value: Value) -> float:
    at = float(value)
    if isinstance(distribution, Choice):
        options = _ordered(distribution)
        return options.index(at) / (len(options) - 1)
    if is_log(distribution):
        return math.log(at / distribution.low) / math.log(distribution.high / distribution.low)
    return (at - distribution.low) / (distribution.high - distribution.low)
