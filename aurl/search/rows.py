"""Trials as flat rows of plain data: for JSON, for CSV, and to filter and sort by."""

from collections.abc import Sequence
from typing import Any

from aurl.metrics.score import OBJECTIVES
from aurl.search.ranking import SCORE, Place, TrialStatus


def record(place: Place) -> dict[str, Any]:
    """A place as one flat row of plain data: for JSON, and for a line of ``leaderboard.csv``.

    Objectives and score are None for a trial that has no rank, or that lacks them. ``seed_scores``
    are those of a finalist's runs with other seeds, and ``score_low`` is what follows from them.
    """
    trial = place.trial
    scored = trial.metrics if place.rank is not None else {}
    row: dict[str, Any] = {
        "rank": place.rank,
        "trial_id": trial.trial,
        "status": trial.status,
        "score": scored.get(SCORE),
        **{name.removeprefix("val/"): scored.get(name) for name in OBJECTIVES},
        "reason": trial.reason,
        "seconds": trial.seconds,
        "step": trial.step,
        "steps": trial.steps,
        "front": place.front,
        "feasible": trial.feasible if trial.status == "completed" else None,
        "score_low": trial.score_low,
        "seed_scores": list(trial.seed_scores) or None,
    }
    return _with_params(row, trial)


def status_record(trial: TrialStatus) -> dict[str, Any]:
    """A trial as one flat row of plain data, however far it is: for filters, and for CSV."""
    row: dict[str, Any] = {
        "trial_id": trial.trial,
        "status": trial.status,
        "step": trial.step,
        "steps": trial.steps,
        "seconds": trial.seconds,
        "attempts": trial.attempts,
        "started": trial.started,
        "reason": trial.reason,
        **{name.removeprefix("val/"): trial.metrics.get(name) for name in (SCORE, *OBJECTIVES)},
    }
    return _with_params(row, trial)


def columns(trials: Sequence[TrialStatus]) -> list[str]:
    """The columns of :func:`record`, then every searched parameter as it first appears."""
    return list(dict.fromkeys([*record(_NOBODY), *(name for t in trials for name in t.params)]))


def _with_params(row: dict[str, Any], trial: TrialStatus) -> dict[str, Any]:
    """A row and what was searched; a parameter does not pass itself off as a column."""
    return row | {key: value for key, value in trial.params.items() if key not in row}


_NOBODY = Place(rank=None, front=None, trial=TrialStatus(trial="", status="unknown"))
COLUMNS = frozenset((*record(_NOBODY), *status_record(_NOBODY.trial)))
"""Of both kinds of rows, beside which the parameters stand by their keys."""
