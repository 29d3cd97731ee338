"""The leaderboard of a sweep as rows: for JSON, and as ``leaderboard.csv``.

Who stands where is decided in :mod:`aurl.search.ranking`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aurl.errors import AurlError
from aurl.files import write_text
from aurl.metrics.score import OBJECTIVES
from aurl.reporting.choosing import as_csv
from aurl.search.ranking import (
    SCORE,
    Place,
    TrialStatus,
    counts,
    ranked,
    read_about,
    read_trials,
    silent_s,
)


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


def write_leaderboard(sweep: Path) -> list[Place]:
    """Rank a sweep's trials and write ``leaderboard.csv``, one row a trial.

    The columns are those of :func:`record`; an empty cell is a value that the trial does not have.
    Values that are not text are written as JSON: ``true``, ``0.5``, ``[16, 8]``.

    Raises:
        SweepError: If the folder is not there, or is not a sweep's.
    """
    trials = read_trials(sweep)
    places = ranked(trials)
    rows = [record(place) for place in places]
    write_text(sweep / "leaderboard.csv", as_csv(rows, columns(trials)))
    return places


def columns(trials: Sequence[TrialStatus]) -> list[str]:
    """The columns of :func:`record`, then every searched parameter as it first appears."""
    fixed = record(Place(rank=None, front=None, trial=TrialStatus(trial="", status="unknown")))
    return list(dict.fromkeys([*fixed, *(name for trial in trials for name in trial.params)]))


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


def sweep_record(sweep: Path) -> dict[str, Any]:
    """A sweep as one flat row of plain data: how many trials became what, and the best.

    ``problem`` is why it cannot be read, if so.
    """
    trials, question, problem = list[TrialStatus](), "", ""
    try:
        about = read_about(sweep)
        trials, question = read_trials(sweep, about), str(about.get("question") or "")
    except AurlError as error:
        problem = str(error)
    best = next((place.trial for place in ranked(trials) if place.rank == 1), None)
    return {
        "sweep": sweep.name,
        "trials": len(trials),
        **counts(trials),
        "best": best and best.trial,
        "score": best and best.metrics.get(SCORE),
        "silent_s": round(silent_s(sweep)),
        "question": question,
        "problem": problem,
    }


def _with_params(row: dict[str, Any], trial: TrialStatus) -> dict[str, Any]:
    """A row and what was searched; a parameter does not pass itself off as a column."""
    return row | {key: value for key, value in trial.params.items() if key not in row}
