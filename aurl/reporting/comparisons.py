"""What a sweep says to its question value by value: how the trials did that had each of them.

The question is about the scientific parameters, and the others were tuned for a fair comparison;
so of each value the best trial counts, beside how many were tried. Where these were trained again
with other seeds, it is said which of them the seeds tell apart.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, median

import numpy as np

from aurl.metrics.score import OBJECTIVES
from aurl.reporting.tables import brief, number, short_name
from aurl.search.distributions import Value, is_same, values_of
from aurl.search.parameter import Parameter
from aurl.search.ranking import SCORE, Place
from aurl.search.space import Space

LEVEL = 0.95
"""At which values are told apart."""

MOST_VALUES = 8
"""Of a parameter that has a table; one with more is seen better in a drawing."""

MOST_SAID = 3
"""Parameters whose values are compared in sentences."""


@dataclass(frozen=True, kw_only=True)
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

    @cached_property
    def again(self) -> Place | None:
        """Of those that are feasible and were trained again, the best by the search's own score.

        Not the best by these runs, nor of those that they spared: their mean would flatter it. So
        None if not all runs of that one have a score, or none was trained again.
        """
        feasible = (place for place in self.places if place.trial.feasible)
        seeded = [place for place in feasible if place.trial.seed_scores]
        best = min(seeded, key=_order, default=None)
        return best if best and best.trial.score_low is not None else None

    @property
    def seed_scores(self) -> list[float]:
        """Scores of these runs, which chose nothing."""
        return self.over_seeds(SCORE)

    def over_seeds(self, name: str) -> list[float]:
        """A score or an objective of each of these runs; nothing unless all have it."""
        runs = self.again.trial.seeds if self.again else ()
        found = [run[name] for run in runs if run is not None and name in run]
        return found if len(found) == len(runs) else []

    @property
    def median(self) -> float | None:
        """The median score of those that completed; more trials do not make it larger."""
        scores = [place.trial.metrics.get(SCORE) for place in self.places if place.rank]
        known = [score for score in scores if score is not None]
        return median(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A parameter that the question is about, value by value."""

    parameter: Parameter
    values: tuple[Tried, ...]
    """In the order of the search space."""

    in_turns: bool = False
    """Whether the space compares it, so that the best of each value are trained again."""

    @property
    def by_seeds(self) -> list[Tried]:
        """The values whose best was trained again, by the mean over its seeds; at least two."""
        seeded = [tried for tried in self.values if tried.again] if self.in_turns else []
        seeded.sort(key=lambda tried: -mean(tried.seed_scores))
        return seeded if len(seeded) > 1 else []

    @cached_property
    def told_from(self) -> float | None:
        """How far apart two means over seeds must be to be told apart; None if there are none."""
        return least_difference([tried.seed_scores for tried in self.by_seeds])

    @property
    def told_apart(self) -> tuple[list[Tried], list[Tried]]:
        """The values that seeds do not tell from the best, itself first, and those that are worse.

        None of either where nothing can be told.
        """
        seeded, apart = self.by_seeds, self.told_from
        if apart is None:
            return [], []
        least = mean(seeded[0].seed_scores) - apart
        near = [tried for tried in seeded if mean(tried.seed_scores) >= least]
        return near, seeded[len(near) :]


def least_difference(groups: Sequence[Sequence[float]]) -> float | None:
    """Tukey's honestly significant difference, at 95 %, of the means of some groups.

    Where seeds alone made the groups differ, one pair or more would be as far apart in 5 % of
    sweeps, if all are as noisy as each other (2 to 7 groups of 3 or 5, 20,000 made sweeps each);
    in up to 13 % if one of them is three times as noisy as the others, in 2.3 % or fewer if half
    of the noise is the seeds' own and common to all groups.

    Args:
        groups: Values of each; as many in each as in the others.

    Returns:
        The difference; None of fewer than two groups, or of other than equal ones.

    Source: Tukey 1953, "The problem of multiple comparisons"; Hsu 1996, "Multiple Comparisons",
    chapter 5.
    """
    sizes = {len(group) for group in groups}
    if len(groups) < 2 or len(sizes) > 1 or sizes == {1}:
        return None
    from scipy.stats import studentized_range  # takes a second to import

    count, size = len(groups), sizes.pop()
    variance = np.var(np.asarray(groups, dtype=np.float64), axis=1, ddof=1).mean()
    factor = studentized_range.ppf(LEVEL, count, count * (size - 1))
    return float(factor * math.sqrt(variance / size))


def comparisons(space: Space, places: Sequence[Place]) -> list[Comparison]:
    """The scientific parameters of few values, with the trials that had each of these.

    First the one that the space compares, if it does.
    """
    found = [
        Comparison(
            parameter=parameter,
            in_turns=parameter == space.compared,
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
        if len(values := values_of(parameter.distribution)) > 1
        if len(values) <= MOST_VALUES or parameter == space.compared
    ]
    return sorted(found, key=lambda each: not each.in_turns)


def said(compared: Sequence[Comparison]) -> list[str]:
    """The first of those that every trial has, as sentences; nothing if no trial has completed."""
    shown = [each for each in compared if not each.parameter.when]
    with_best = [each for each in shown if any(tried.best for tried in each.values)]
    lines: list[str] = []
    for each in with_best[:MOST_SAID]:
        lines += [_sentence(each), *_by_seeds(each)]
    return lines


def spoiled(places: Sequence[Place]) -> list[str]:
    """Of trials that stand behind the first only because not all of their seeds have a score."""
    first = next((place.trial for place in places if place.rank == 1), None)
    if first is None or first.score_low is None:
        return []
    least = first.metrics.get(SCORE, -math.inf)
    lines: list[str] = []
    for trial in (place.trial for place in places if place.trial.feasible):
        runs, score = trial.seed_scores, trial.metrics.get(SCORE, -math.inf)
        if runs and trial.score_low is None and score > least:
            lines.append(
                f"{trial.trial} has {number(score)} in the search, and stands behind: of its "
                f"{len(runs)} runs with other seeds {len(trial.known_seed_scores)} have a score."
            )
    return lines


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


def _by_seeds(compared: Comparison) -> list[str]:
    """Which of the values the runs with other seeds tell from the best of them."""
    near, worse = compared.told_apart
    if not near:
        return []
    told = ", ".join(
        f"{brief(tried.value)} {number(mean(tried.seed_scores))} ({tried.again.trial.trial})"
        for tried in (*near, *worse)
        if tried.again
    )
    best, *others = (brief(tried.value) for tried in near)
    verdicts: list[str] = []
    if worse:
        verdicts.append(f"{best} is better than {', '.join(brief(each.value) for each in worse)}")
    if others:
        verdicts.append(f"{', '.join(others)} cannot be told from {best}")
    none = ", ".join(brief(tried.value) for tried in compared.values if tried.again is None)
    lacking = f"; no mean is known of {none}" if none else ""
    return [
        f"With {len(near[0].seed_scores)} other seeds, of each value the best that was trained "
        f"again has in the mean: {told}{lacking}. Means more than {number(compared.told_from)} "
        f"apart are told apart (Tukey, 95 %): {'; '.join(verdicts)}.",
        *_what_else(compared.parameter.key, [*near, *worse]),
        *_objectives([*near, *worse]),
    ]


def _what_else(key: str, seeded: Sequence[Tried]) -> list[str]:
    """In which other parameters the trials differ that speak for the values."""
    params = [tried.again.trial.params for tried in seeded if tried.again]
    first, *others = params
    differ = [
        name
        for name, value in first.items()
        if name != key and any(name in each and each[name] != value for each in others)
    ]
    if not differ:
        return []
    return [f"These trials also differ in {', '.join(differ)}: a value may owe its place to that."]


def _objectives(seeded: Sequence[Tried]) -> list[str]:
    """What the score of each is made of, in the mean over its seeds, the best first."""
    told: list[str] = []
    for name in OBJECTIVES:
        known = [(tried, found) for tried in seeded if (found := tried.over_seeds(name))]
        known.sort(key=lambda each: -mean(each[1]))
        means = ", ".join(f"{brief(tried.value)} {number(mean(found))}" for tried, found in known)
        apart = least_difference([found for _, found in known])
        if apart is not None:
            told.append(f"{short_name(name)} {means} (told apart by more than {number(apart)})")
    so = f"In the mean over these seeds, {'; '.join(told)}. Each by a test of its own."
    return [so] if told else []


def _order(place: Place) -> tuple[bool, float, int]:
    """Of completed trials, the feasible first, then by score; without one, by rank."""
    score = place.trial.metrics.get(SCORE, -math.inf)
    return not place.trial.feasible, -score, place.rank or 0
