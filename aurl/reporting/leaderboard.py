"""The ranked list of a sweep's trials, read from its folder alone.

A trial that completed is ranked: the Pareto front of the three objectives first, then the front
behind it, and so on; within a front by ``val/score``. A trial that was stopped or failed has no
rank, because its metrics were not measured on a finished run; it is listed, with its reason.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from aurl.errors import ConfigError, SweepError
from aurl.files import read_json, write_text
from aurl.metrics.pareto import non_dominated_fronts
from aurl.metrics.score import OBJECTIVES

SCORE = "val/score"
"""The one number that orders a front, in [0, 1]; it comes with a finished trial's metrics."""

Status: TypeAlias = Literal["completed", "running", "stopped", "failed", "unknown"]
"""``unknown`` is a trial's folder without a readable ``status.json``."""
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialStatus:
    """What ``SWEEP/trials/<id>/status.json`` says of a trial."""

    trial: str
    status: Status
    reason: str = ""
    """Why it was stopped, why it failed, or why its status is unknown."""
    step: int = 0
    """Optimizer steps done."""
    steps: int = 0
    """Optimizer steps planned."""
    seconds: float = 0.0
    attempts: int = 0
    started: str = ""
    """ISO 8601, UTC."""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The searched parameters that it has, by dotted key."""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Its last or final metrics; finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A trial's place on the leaderboard."""

    rank: int | None
    """From 1; None unless the trial completed."""
    front: int | None
    """0 is the Pareto front; None unless the trial completed with all three objectives."""
    trial: TrialStatus


def read_trials(sweep: Path) -> list[TrialStatus]:
    """Read the status of every trial of a sweep, by trial id.

    Raises:
        SweepError: If the folder is not there, or is not a sweep's.
    """
    if not sweep.is_dir():
        raise SweepError(
            f"SWEEP must be a sweep's folder, got {sweep}, which is not there. Check the path."
        )
    trials = sweep / "trials"
    if not trials.is_dir() and not (sweep / "sweep.yaml").exists():
        raise SweepError(
            f"SWEEP must be a sweep's folder, got {sweep}, which has no sweep.yaml and no trials. "
            "Give the folder that `aurl sweep` named."
        )
    folders = sorted(path for path in trials.glob("[!.]*") if path.is_dir())
    return [_read_trial(folder) for folder in folders]


def ranked(trials: Sequence[TrialStatus]) -> list[Place]:
    """Rank the completed trials; list the others after them, by status and id.

    A completed trial without one of the objectives comes after all that have the three. Trials
    that tie in front and score stand in the order of their ids.
    """
    completed = [trial for trial in trials if trial.status == "completed"]
    full = [trial for trial in completed if _missing(trial) == 0]
    values = np.array([[trial.metrics[name] for name in OBJECTIVES] for trial in full])
    fronts = non_dominated_fronts(values.reshape(len(full), len(OBJECTIVES)))
    front = {trial.trial: int(number) for trial, number in zip(full, fronts, strict=True)}

    def order(trial: TrialStatus) -> tuple[int, int, float, str]:
        score = trial.metrics.get(SCORE, -math.inf)
        return _missing(trial), front.get(trial.trial, 0), -score, trial.trial

    places = [
        Place(rank=rank, front=front.get(trial.trial), trial=trial)
        for rank, trial in enumerate(sorted(completed, key=order), start=1)
    ]
    others = [trial for trial in trials if trial.status != "completed"]
    others.sort(key=lambda trial: (STATUSES.index(trial.status), trial.trial))
    return places + [Place(rank=None, front=None, trial=trial) for trial in others]


def counts(trials: Sequence[TrialStatus]) -> dict[Status, int]:
    """How many trials have each status; every status is there."""
    found = Counter(trial.status for trial in trials)
    return {status: found[status] for status in STATUSES}


def searched_params(trials: Sequence[TrialStatus]) -> list[str]:
    """Every searched parameter, the conditional ones too, in the order of first appearance."""
    return list(dict.fromkeys(name for trial in trials for name in trial.params))


def record(place: Place) -> dict[str, Any]:
    """A place as one flat row of plain data: for JSON, and for a line of ``leaderboard.csv``.

    Objectives and score are None for a trial that has no rank, or that lacks them.
    """
    trial = place.trial
    scored = trial.metrics if place.rank is not None else {}
    return {
        "rank": place.rank,
        "trial_id": trial.trial,
        "status": trial.status,
        "score": scored.get(SCORE),
        **{name.removeprefix("val/"): scored.get(name) for name in OBJECTIVES},
        "reason": trial.reason,
        "seconds": trial.seconds,
        "steps": trial.step,
        "front": place.front,
        **trial.params,
    }


def write_leaderboard(sweep: Path) -> list[Place]:
    """Rank a sweep's trials and write ``leaderboard.csv``, one row a trial.

    The columns are those of :func:`record`; an empty cell is a value that the trial does not have.
    Values that are not text are written as JSON: ``true``, ``0.5``, ``[16, 8]``.

    Raises:
        SweepError: If the folder is not there, or is not a sweep's.
    """
    trials = read_trials(sweep)
    places = ranked(trials)
    fixed = record(Place(rank=None, front=None, trial=TrialStatus(trial="", status="unknown")))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*fixed, *searched_params(trials)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in record(place).items()} for place in places)
    write_text(sweep / "leaderboard.csv", text.getvalue())
    return places


def _read_trial(folder: Path) -> TrialStatus:
    if not (folder / "status.json").exists():
        return TrialStatus(trial=folder.name, status="unknown", reason="no status.json")
    try:
        return _trial_status(folder.name, read_json(folder / "status.json"))
    except (ConfigError, AttributeError, KeyError, TypeError, ValueError):
        reason = "status.json cannot be read"
        return TrialStatus(trial=folder.name, status="unknown", reason=reason)


def _trial_status(name: str, values: Mapping[str, Any]) -> TrialStatus:
    status = values["status"]
    return TrialStatus(
        trial=name,
        status=STATUSES[STATUSES.index(status)],
        reason=str(values.get("reason", "")),
        step=int(values.get("step", 0)),
        steps=int(values.get("steps", 0)),
        seconds=float(values.get("seconds", 0.0)),
        attempts=int(values.get("attempts", 0)),
        started=str(values.get("started", "")),
        params=dict(values.get("params", {})),
        metrics={tag: x for tag, x in values.get("metrics", {}).items() if math.isfinite(x)},
    )


def _missing(trial: TrialStatus) -> int:
    return sum(name not in trial.metrics for name in OBJECTIVES)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
