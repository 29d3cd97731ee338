"""The figures of a report, each as a drawing with the name of its file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from aurl.drawing.charts import (
    Axis,
    Legend,
    Mark,
    Track,
    axis_around,
    axis_of_options,
    bars,
    scatter,
    tracks,
)
from aurl.drawing.svg import Drawing, Role
from aurl.metrics.score import OBJECTIVES
from aurl.reporting.findings import Findings
from aurl.reporting.tables import brief, number
from aurl.search.distributions import Choice, IntUniform, Value, is_log
from aurl.search.importance import Importance
from aurl.search.parameter import Parameter
from aurl.search.ranking import SCORE, Place

TARGETS = (SCORE, *OBJECTIVES)
"""What slices are of."""


MOST_BARS = 9
"""Parameters of an importance that are drawn; ``report.json`` has all."""


MOST_SLICED = 250
"""Trials that a slice shows: more hide one another, and there is a slice for every parameter and
score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A drawing that is part of the page and a file as well."""

    name: str
    """Of the file, without its ending."""

    drawing: Drawing
    title: str = ""
    """What it is of, if there are several of a kind."""


def short(metric: str) -> str:
    """``kl_health`` for ``val/kl_health``."""
    return metric.removeprefix("val/")


def front_figures(found: Findings) -> list[Figure]:
    """Every pair of the objectives against each other; nothing if no trial has all of them."""
    places = [each for each in found.ranked if all(o in each.trial.metrics for o in OBJECTIVES)]
    if not places:
        return []
    axes = {
        name: axis_around(short(name), [each.trial.metrics[name] for each in places])
        for name in OBJECTIVES
    }
    figures: list[Figure] = []
    for across, up in combinations(OBJECTIVES, 2):
        marks = [
            _mark(place, place.trial.metrics[across], place.trial.metrics[up]) for place in places
        ]
        name = f"front_{short(across)}_{short(up)}"
        figures.append(Figure(name=name, drawing=scatter(marks, axes[across], axes[up])))
    return figures


def slice_figures(found: Findings, target: str) -> list[Figure]:
    """A metric against each searched parameter, of the completed trials that have both."""
    places = sliced([each for each in found.ranked if target in each.trial.metrics])
    if found.space is None or not places:
        return []
    up = axis_around(short(target), [each.trial.metrics[target] for each in places])
    figures: list[Figure] = []
    for parameter in found.space.parameters:
        marks = [
            _mark(each, _position(parameter, value), each.trial.metrics[target])
            for each in places
            if (value := parameter.value_in(each.trial.params)) is not None
        ]
        if marks:
            name = f"slice_{short(target)}_{_file_name(parameter.name)}"
            across = _axis(parameter)
            is_sideways = across.is_crowded
            drawing = _sideways(marks, across, up) if is_sideways else scatter(marks, across, up)
            figures.append(Figure(name=name, drawing=drawing, title=parameter.name))
    return figures


def _sideways(marks: Sequence[Mark], across: Axis, up: Axis) -> Drawing:
    """A slice of options whose names are long: a line for each, scores from left to right."""
    rows = [
        Track(
            name=option,
            low=number(up.low),
            high=number(up.high),
            marks=[replace(mark, x=up.place(mark.y)) for mark in marks if mark.x == index],
        )
        for index, option in enumerate(across.options)
    ]
    return tracks(f"{across.name}, → {up.name}", rows)


def sliced(places: Sequence[Place]) -> list[Place]:
    """The places that a slice shows: the front, and of the others evenly by rank."""
    if len(places) <= MOST_SLICED:
        return list(places)
    front = [each for each in places if each.front == 0][:MOST_SLICED]
    others = [each for each in places if each.front != 0]
    room = MOST_SLICED - len(front)
    kept = [others[index * len(others) // room] for index in range(room)]
    return [*front, *kept]


def seed_figure(found: Findings) -> Figure | None:
    """Scores of the best of each value that is compared, trained again with other seeds.

    A line for each value, so that its name has room.
    """
    compared = next((each for each in found.comparisons if each.told_from is not None), None)
    if compared is None:
        return None
    near, worse = compared.told_apart
    all_scores = [score for tried in compared.values for score in tried.seed_scores]
    scores = axis_around(short(SCORE), all_scores)
    rows = [
        Track(
            name=brief(tried.value),
            low=number(scores.low),
            high=number(scores.high),
            marks=[
                Mark(
                    x=scores.place(score),
                    y=0.0,
                    key=tried.again.trial.trial,
                    tip=f"{tried.again.trial.trial} with another seed, score {number(score)}",
                    role="other" if tried in worse else "best" if tried is near[0] else "front",
                )
                for score in tried.seed_scores
            ],
        )
        for tried in compared.values
        if tried.again
    ]
    legend: Legend = (
        ("best", "best in the mean"),
        ("front", "not told from it"),
        ("other", "worse"),
    )
    drawing = tracks("score with other seeds", rows, legend=legend)
    return Figure(name="seeds", drawing=drawing, title=compared.parameter.name)


def importance_figures(found: Findings) -> list[Figure]:
    """A chart of bars for everything that importances are known of."""
    return [
        Figure(
            name=f"importance_{_file_name(short(each.target))}",
            drawing=_importance_bars(each),
        )
        for each in found.importances
    ]


def _importance_bars(found: Importance) -> Drawing:
    """The largest shares, and the sum of the others."""
    shares = dict(found.shares)
    if len(shares) > MOST_BARS:
        rest = [shares.pop(name) for name in list(shares)[MOST_BARS - 1 :]]
        shares[f"{len(rest)} others together"] = sum(rest)
    title = f"{short(found.target)} ({found.evaluator})"
    return bars(title, list(shares), np.array(list(shares.values())))


def range_figure(found: Findings) -> Figure | None:
    """Where in their ranges the best trials are; None if there is nothing to show."""
    if not found.ranges:
        return None
    first, flagged = found.best[0].trial, found.at_ends
    rows = [
        Track(
            name=each.parameter.name,
            low=brief(each.low),
            high=brief(each.high),
            marks=[
                Mark(
                    x=one.place,
                    y=0.0,
                    key=one.trial,
                    tip=f"{one.trial}: {brief(one.value)}",
                    role="best" if one.trial == first else "other",
                )
                for one in reversed(each.placed)
            ],
            flagged=each in flagged,
        )
        for each in found.ranges
    ]
    title = "searched ranges, and the best trials in them"
    return Figure(name="ranges", drawing=tracks(title, rows))


def _mark(place: Place, x: float, y: float) -> Mark:
    behind: Role = "first" if place.rank == 1 else "other"
    ahead: Role = "best" if place.rank == 1 else "front"
    role = ahead if place.front == 0 else behind
    score = number(place.trial.metrics.get(SCORE))
    tip = f"{place.trial.trial}, rank {place.rank}, score {score}"
    return Mark(x=x, y=y, key=place.trial.trial, tip=tip, role=role)


def _axis(parameter: Parameter) -> Axis:
    distribution = parameter.distribution
    if isinstance(distribution, Choice):
        return axis_of_options(parameter.name, [brief(each) for each in distribution.options])
    return Axis(
        name=parameter.name,
        low=float(distribution.low),
        high=float(distribution.high),
        is_log=is_log(distribution),
        is_whole=isinstance(distribution, IntUniform),
    )


def _position(parameter: Parameter, value: Value) -> float:
    distribution = parameter.distribution
    if isinstance(distribution, Choice):
        return float(distribution.options.index(value))
    return float(value)


def _file_name(text: str) -> str:
    """Letters, digits and dots of a text; the rest becomes ``_``."""
    kept = "".join(each if each.isalnum() or each == "." else "_" for each in text)
    return kept.strip("_")
