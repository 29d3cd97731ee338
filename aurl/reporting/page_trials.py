"""Trials on a report's page: tables of them, and what its script knows of each."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from aurl.metrics.score import OBJECTIVES
from aurl.reporting.comparisons import Comparison, Tried
from aurl.reporting.figures import TARGETS, short
from aurl.reporting.findings import Findings
from aurl.reporting.html import Html, element, joined, table
from aurl.reporting.tables import brief, digits, duration, mark_of, number, settings
from aurl.search.ranking import SCORE, Place

SHOWN_ROWS = 10
"""Ranked trials that the table shows before it is asked for more."""

HEADINGS = ("value", "completed", "others", "best", "rank", "score")
"""Of the table of a parameter's values: what comes first."""

SEEDED = (
    *("trained again", "mean over other seeds"),
    *(f"{short(name)} over seeds" for name in OBJECTIVES),
)
"""... then, of those whose best were trained again, what is to be seen without scrolling."""

MORE = (*(short(name) for name in OBJECTIVES), "median score")
"""... and last."""


def ranking(places: Sequence[Place]) -> Html:
    """Completed trials, the best first; more than a few are shown when they are asked for."""
    with_low = any(place.trial.score_low is not None for place in places)
    low = ["low"] if with_low else []
    headings = ["rank", "trial", *low, "score", *(short(name) for name in OBJECTIVES)]
    rows = [
        element(
            "tr",
            *_ranking_cells(place, with_low=with_low),
            data_trial=place.trial.trial,
            class_="more" if index >= SHOWN_ROWS else False,
        )
        for index, place in enumerate(places)
    ]
    head = element(
        "tr",
        *(element("th", element("button", each, type="button"), scope="col") for each in headings),
        element("th", "parameters", scope="col"),
    )
    inner = element("table", element("thead", head), element("tbody", *rows), class_="ranking")
    more = len(places) - SHOWN_ROWS
    button = [element("button", f"Show {more} more", type="button", id="more")] * (more > 0)
    legend = (
        "* is on the Pareto front, ! is infeasible. Click a trial to see all of it. "
        + ("low is the mean over other seeds less its standard error. " if with_low else "")
        + "Headings sort."
    )
    box = element("div", inner, class_="scroll", tabindex="0")
    return joined([element("p", legend, class_="pale"), box, *button])


def values(compared: Comparison) -> Html:
    """A parameter's values, each with the trials that had it."""
    seeded = bool(compared.by_seeds)
    rows = (_tried_cells(tried, seeded=seeded) for tried in compared.values)
    return table((*HEADINGS, *(SEEDED if seeded else ()), *MORE), rows)


def _tried_cells(tried: Tried, *, seeded: bool) -> list[str]:
    counts, best = tried.counts, tried.best
    others = ", ".join(f"{n} {status}" for status, n in counts.items() if status != "completed")
    scores = best.trial.metrics if best else {}
    return [
        brief(tried.value),
        str(counts["completed"]),
        others or "-",
        _pick(best.trial.trial) if best else "-",
        f"{best.rank}{mark_of(best)}" if best else "-",
        number(scores.get(SCORE)),
        *(_seeded_cells(tried) if seeded else ()),
        *(number(scores.get(name)) for name in OBJECTIVES),
        number(tried.median),
    ]


def _seeded_cells(tried: Tried) -> list[str]:
    trial = tried.again and tried.again.trial
    if not trial or trial.score_low is None:
        return ["-"] * len(SEEDED)
    middle = mean(tried.seed_scores)
    objectives = (tried.over_seeds(name) for name in OBJECTIVES)
    return [
        _pick(trial.trial),
        f"{number(middle)} ± {number(middle - trial.score_low)}",
        *(number(mean(found)) if found else "-" for found in objectives),
    ]


def _pick(trial: str) -> Html:
    return element("button", trial, type="button", class_="pick", data_trial=trial)


def _ranking_cells(place: Place, *, with_low: bool) -> list[Html]:
    trial = place.trial
    low = [trial.score_low] if with_low else []
    values = [*low, *(trial.metrics.get(name) for name in (SCORE, *OBJECTIVES))]
    return [
        element("td", f"{place.rank}{mark_of(place)}", data_value=str(place.rank)),
        element("td", _pick(trial.trial), data_value=trial.trial),
        *(
            element("td", number(value), data_value="" if value is None else str(value))
            for value in values
        ),
        element("td", settings(trial.params), class_="params"),
    ]


def page_data(found: Findings) -> dict[str, Any]:
    """What the page's script shows of a trial that is chosen, by its id."""
    return {
        place.trial.trial: {
            "rank": place.rank,
            "front": place.front == 0,
            "status": place.trial.status,
            "reason": place.trial.reason,
            "steps": f"{place.trial.step} of {place.trial.steps}",
            "time": duration(place.trial.seconds),
            "score": number(place.trial.metrics.get(SCORE)),
            "brief": settings(place.trial.params),
            "params": {key: str(value) for key, value in place.trial.params.items()},
            "metrics": _main_metrics(place.trial.metrics),
        }
        for place in found.ranked
    }


def _main_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics that are no part of another, what trials are ranked by first."""
    names = [name for name in metrics if name.count("/") == 1]
    first = [name for name in TARGETS if name in metrics]
    return {name: float(digits(metrics[name])) for name in dict.fromkeys([*first, *names])}
