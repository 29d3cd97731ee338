"""What a sweep says to its question value by value: how the trials did that had each of them.

The question is about the scientific parameters, and the others were tuned for a fair comparison;
so of each value the best trial counts, beside how many were tried.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from aurl.reporting.tables import brief, number
from aurl.search.distributions import Value, is_same, values_of
from aurl.search.parameter import Parameter
from aurl.search.ranking import SCORE, Place
from aurl.search.space import Space

MOST_VALUES = 8
"""Of a parameter whose values are compared; one with more is seen better in a drawing."""

MOST_SAID = 3
"""Parameters whose values are compared in sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """The trials that had one value."""

    value: Value
    places: tuple[Place, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many of them there are of each status."""
        return Counter(place.trial.status for place in self.places)

    @property
    def best(self) -> Place | None:
        """The one of the best score; None if none has completed.

        Not the first on the leaderboard, which may be on the front for another reason.
        """
        ranked = [place for place in self.places if place.rank is not None]
        return min(ranked, key=_order, default=None)

    @property
    def median(self) -> float | None:
        """The median score of those that completed; more trials do not make it larger."""
        scores = [place.trial.metrics.get(SCORE) for place in self.places if place.rank]
        known = [score for score in scores if score is not None]
        return median(known) if known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A parameter that the question is about, value by value."""

    parameter: Parameter
    values: tuple[Tried, ...]
    """In the order of the search space."""


def comparisons(space: Space, places: Sequence[Place]) -> list[Comparison]:
    """The scientific parameters of few values, with the trials that had each of these.

    First the one that the space compares, if it does.
    """
    found = [
        Comparison(
            parameter=parameter,
            values=tuple(
                Tried(
                    value=value,
                    places=tuple(
                        place
                        for place in places
                        if (had := parameter.value_in(place.trial.params)) is not None
                        and is_same(had, value)
                    ),
                )
                for value in values
            ),
        )
        for parameter in space.parameters
        if parameter.role == "scientific"
        if 1 < len(values := values_of(parameter.distribution)) <= MOST_VALUES
    ]
    return sorted(found, key=lambda each: each.parameter != space.compared)


def said(compared: Sequence[Comparison]) -> list[str]:
    """The first of those that every trial has, as sentences; nothing if no trial has completed."""
    shown = [each for each in compared if not each.parameter.when]
    with_best = [each for each in shown if any(tried.best for tried in each.values)]
    return [_sentence(each) for each in with_best[:MOST_SAID]]


def _sentence(compared: Comparison) -> str:
    known = [(tried, best) for tried in compared.values if (best := tried.best)]
    known.sort(key=lambda each: _order(each[1]))
    told = [
        f"{brief(tried.value)} {number(best.trial.metrics.get(SCORE))} "
        f"({best.trial.trial}, of {tried.counts['completed']}"
        f"{'' if best.trial.feasible else ', infeasible'})"
        for tried, best in known
    ]
    none = [
        f"{brief(tried.value)} (of {len(tried.places)})" if tried.places else brief(tried.value)
        for tried in compared.values
        if tried.best is None
    ]
    lacking = f"; none completed with {', '.join(none)}" if none else ""
    best_of_each = f"By {compared.parameter.name}, the best score of those completed"
    return f"{best_of_each}: {', '.join(told)}{lacking}."


def _order(place: Place) -> tuple[bool, float, int]:
    """Of completed trials, the feasible first, then by score; without one, by rank."""
    score = place.trial.metrics.get(SCORE, -math.inf)
    return not place.trial.feasible, -score, place.rank or 0
