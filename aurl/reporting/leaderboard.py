"""The leaderboard of a sweep as ``leaderboard.csv``, and sweeps as rows.

Who stands where is decided in :mod:`aurl.search.ranking`.
"""

from pathlib import Path
from typing import Any

from aurl.errors import AurlError
from aurl.files import write_text
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
from aurl.search.rows import columns, record


def write_leaderboard(sweep: Path) -> list[Place]:
    """Rank a sweep's trials and write ``leaderboard.csv``, one row a trial.

    The columns are those of :func:`aurl.search.rows.record`; an empty cell is a value that the
    trial does not have. Values that are not text are written as JSON: ``true``, ``0.5``,
    ``[16, 8]``.

    Raises:
        SweepError: If the folder is not there, or is not a sweep's.
    """
    trials = read_trials(sweep)
    places = ranked(trials)
    rows = [record(place) for place in places]
    write_text(sweep / "leaderboard.csv", as_csv(rows, columns(trials)))
    return places


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
