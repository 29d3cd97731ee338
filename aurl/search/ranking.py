"""Which trial of a sweep is better: read from its folder alone.

A trial that completed is ranked. Feasible trials come first; of those, finalists that were trained
again with other seeds, by the mean of these less its standard error; then the Pareto front of the
three objectives, the front behind it, and so on, within a front by ``val/score``. A trial that was
stopped or failed has no rank, because its metrics were not measured on a finished run; it is
counted and listed, with its reason. docs/decisions/0010 argues for this order.
"""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from aurl.errors import ConfigError, SweepError
from aurl.files import read_json, read_yaml
from aurl.metrics.pareto import non_dominated_fronts
from aurl.metrics.score import OBJECTIVES
from aurl.plain import Plain
from aurl.search.constraints import Bounds, read_constraints, violation
from aurl.search.distributions import as_drawn
from aurl.search.parameter import Parameter

SCORE = "val/score"
"""The one number that orders a front, in [0, 1]; it comes with a finished trial's metrics."""

ABOUT = "sweep.yaml"
"""File of a sweep: what it asks, and with what it was begun."""

JOURNAL = "study.journal"
"""File of a sweep: Optuna's study."""

LOG = "sweep.log"
"""File of a sweep: what Ray, Optuna and PyTorch had to say."""

FINALISTS = "finalists"
"""Folder of a sweep with the runs of finalists with other seeds: ``finalists/t0003.1``."""

TRIAL_ID = re.compile(r"t(?:[0-9]{4}|[1-9][0-9]{4,})")
"""Name of a trial, of which a number has one: ``t00001`` is none."""
FINAL_ID = re.compile(rf"{TRIAL_ID.pattern}\.[1-9][0-9]*")
"""Name of a finalist's run with another seed."""
RUN_ID = re.compile(rf"{TRIAL_ID.pattern}(?:\.[1-9][0-9]*)?")
"""Name of either."""

Status: TypeAlias = Literal["completed", "running", "paused", "stopped", "failed", "unknown"]
"""``unknown`` is a folder without a trial's name, or without a readable ``status.json``."""
STATUSES: tuple[Status, ...] = get_args(Status)
UNENDED: tuple[Status, ...] = ("running", "paused")
End: TypeAlias = Literal["completed", "stopped", "failed"]
ENDS: tuple[End, ...] = get_args(End)

MOST_SECONDS = 1e12
"""Of a trial; a record that says more is damaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialStatus:
    """What ``SWEEP/trials/<id>/status.json`` says of a trial, and what follows from it."""

    trial: str
    status: Status
    reason: str = ""
    """Why it was stopped, why it failed, why its status is unknown, or what it violates."""
    step: int = 0
    """Optimizer steps done."""
    steps: int = 0
    """Optimizer steps planned."""
    seconds: float = 0.0
    device_seconds: Mapping[str, float] | None = None
    """What its workers held, ``gpu`` or ``cpu``; None of an older aurl, which did not say."""
    attempts: int = 0
    started: str = ""
    """ISO 8601, UTC."""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The searched parameters that it has, by dotted key."""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Its last or final metrics; finite."""
    feasible: bool = True
    """False of a completed trial that collapsed or violates a constraint of the space."""
    seeds: tuple[Mapping[str, float] | None, ...] = ()
    """Score and objectives of a finalist's runs with other seeds; None of one that is not done,
    was not completed or is infeasible."""

    @property
    def is_rerun(self) -> bool:
        """Whether it is a finalist's run with another seed, such as ``t0003.1``, and no trial."""
        return "." in self.trial

    @property
    def seed_scores(self) -> tuple[float | None, ...]:
        """The score of each of its runs with other seeds; None where there is none."""
        return tuple(None if found is None else found.get(SCORE) for found in self.seeds)

    @property
    def known_seed_scores(self) -> list[float]:
        """The scores of those of its runs with other seeds that have one."""
        return [score for score in self.seed_scores if score is not None]

    @property
    def score_low(self) -> float | None:
        """:func:`lower_bound` of its runs with other seeds; None unless all have a score."""
        scores = self.known_seed_scores
        whole = len(scores) == len(self.seed_scores) >= 2
        return lower_bound(scores) if whole else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A trial's place on the leaderboard."""

    rank: int | None
    """From 1; None unless the trial completed."""
    front: int | None
    """0 is the Pareto front; None unless the trial is feasible and has all three objectives."""
    trial: TrialStatus


def lower_bound(scores: Sequence[float]) -> float:
    """Mean less its standard error, to order by: no bound that the truth is sure to be above.

    Of normal scores it is above the truth in 21 of 100 cases with three runs, in 19 with five; the
    one of the first of three finalists that are alike, with three runs each, in 51.
    """
    values = np.asarray(scores, dtype=np.float64)
    return float(values.mean() - values.std(ddof=1) / math.sqrt(len(values)))


def folder_of(sweep: Path, trial: str, option: str) -> Path:
    """The folder of a trial; a finalist's run with another seed is called t0003.1.

    Args:
        sweep: The sweep's folder.
        trial: The trial's name.
        option: What it was given as, for the message.

    Raises:
        SweepError: If there is no such sweep or trial.
    """
    folder = sweep / (FINALISTS if "." in trial else "trials") / trial
    is_one = RUN_ID.fullmatch(trial) and not folder.is_symlink()
    if not is_one or not (folder / "status.json").is_file():
        read_trials(sweep)  # says so if it is no sweep
        raise SweepError(
            f"{option} must be a trial of {sweep}, got {trial!r}. See `aurl status {sweep}`."
        )
    return folder


def sweeps_in(folder: Path) -> list[Path]:
    """The sweeps in a folder, by name; none if it is a sweep's own."""
    found = sorted(path.parent for path in folder.glob(f"[!.]*/{ABOUT}"))
    own = folder / "trials"  # or a sweep of that name
    return [] if (folder / ABOUT).exists() or (own.is_dir() and own not in found) else found


def read_trials(sweep: Path, about: Plain | None = None) -> list[TrialStatus]:
    """Read the status of every trial of a sweep, by trial id.

    Args:
        sweep: The sweep's folder.
        about: Its record, where that has been read.

    Raises:
        SweepError: If the folder is not there, or is not a sweep's.
    """
    if not sweep.is_dir():
        raise SweepError(
            f"SWEEP must be a sweep's folder, got {sweep}, which is "
            f"{'no folder' if sweep.exists() else 'not there'}. Check the path."
        )
    trials = sweep / "trials"
    if not trials.is_dir() and not (sweep / ABOUT).exists():
        raise SweepError(
            f"SWEEP must be a sweep's folder, got {sweep}, which has no {ABOUT} and no trials. "
            "Give the folder that `aurl sweep` named."
        )
    folders = sorted(path for path in trials.glob("[!.]*") if path.is_dir())
    constraints = _constraints(sweep, about)
    return [_read_trial(folder, constraints, _reruns(sweep, folder.name)) for folder in folders]


def read_reruns(sweep: Path, about: Plain | None = None) -> list[TrialStatus]:
    """Read the status of every run of a finalist with another seed, as :func:`read_trials`."""
    constraints = _constraints(sweep, about)
    return [_read_trial(folder, constraints) for folder in _reruns(sweep)]


def read_runs(sweep: Path, about: Plain | None = None) -> list[TrialStatus]:
    """As :func:`read_trials` every trial, then the finalists' runs with other seeds."""
    about = read_about(sweep) if about is None else about
    return [*read_trials(sweep, about), *read_reruns(sweep, about)]


def silent_s(sweep: Path) -> float:
    """Seconds since a trial's status was last written; 0 if none was."""
    found = (sweep.glob(f"{kind}/*/status.json") for kind in ("trials", FINALISTS))
    times = [path.stat().st_mtime for path in chain(*found)]
    return max(0.0, time.time() - max(times)) if times else 0.0


def ranked(trials: Sequence[TrialStatus]) -> list[Place]:
    """Rank the completed trials; list the others after them, by status and id.

    Of the feasible ones, those without one of the objectives come last; then come the infeasible.
    Trials that tie in all that orders them stand in the order of their ids.
    """
    completed = [trial for trial in trials if trial.status == "completed"]
    full = [trial for trial in completed if trial.feasible and _missing(trial) == 0]
    values = np.array([[trial.metrics[name] for name in OBJECTIVES] for trial in full])
    fronts = non_dominated_fronts(values.reshape(len(full), len(OBJECTIVES)))
    front = {trial.trial: int(number) for trial, number in zip(full, fronts, strict=True)}

    def order(trial: TrialStatus) -> tuple[bool, int, float, int, float, str]:
        low = trial.score_low
        score = trial.metrics.get(SCORE, -math.inf)
        return (
            not trial.feasible,
            _missing(trial),
            math.inf if low is None else -low,
            front.get(trial.trial, 0),
            -score,
            trial.trial,
        )

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


def finalists(
    trials: Sequence[TrialStatus], count: int, compared: Parameter | None = None
) -> list[TrialStatus]:
    """The best feasible completed trials, by the run that the search made of each.

    That run alone chooses, so that a sweep that is resumed trains the same ones again. Of a
    configuration that was run several times, the best run is chosen; a seed that is searched makes
    no other configuration, for other seeds are what a finalist gets.

    Args:
        trials: All of the sweep.
        count: How many; with ``compared``, of each of its values.
        compared: The parameter that the space compares. Its values are held against each other by
            their scores, so these alone choose: what is best of a value may be on no front. A
            trial of which nobody knows which of them it had is none.

    Returns:
        The best first.
    """
    searched = [replace(trial, seeds=()) for trial in trials if not trial.is_rerun]
    chosen: list[TrialStatus] = []
    seen: set[str] = set()
    had: Counter[str] = Counter()
    best = [place.trial for place in ranked(searched) if place.front is not None]
    best = [trial for trial in best if SCORE in trial.metrics]
    if compared is not None:
        best.sort(key=lambda trial: -trial.metrics[SCORE])
    for trial in best:
        of = "all" if compared is None else _value_of(trial, compared)
        configuration = _as_text({k: x for k, x in trial.params.items() if k != "seed"})
        if not of or configuration in seen:
            continue
        seen.add(configuration)
        had[of] += 1
        if had[of] <= count:
            chosen.append(trial)
    return chosen


def rerun_names(finalist: TrialStatus, runs: int) -> list[str]:
    """What a finalist's runs with other seeds are called, by the number of the seed, from 1."""
    return [f"{finalist.trial}.{number}" for number in range(1, runs + 1)]


def _value_of(trial: TrialStatus, compared: Parameter) -> str:
    """What a trial had of a parameter, as text; empty if none of its values."""
    value = compared.value_in(trial.params)
    return "" if value is None else _as_text(as_drawn(compared.distribution, value))


def _as_text(value: object) -> str:
    """A parameter's value, or several, to tell from others; to Python, true is 1."""
    return json.dumps(value, sort_keys=True)


def read_about(sweep: Path) -> Plain:
    """What ``sweep.yaml`` says; empty where it is not there.

    Raises:
        ConfigError: If it is no YAML mapping.
    """
    return read_yaml(sweep / ABOUT) if (sweep / ABOUT).exists() else {}


def _constraints(sweep: Path, about: Plain | None) -> Mapping[str, Bounds]:
    """What the space that the sweep was started with demands."""
    space = (read_about(sweep) if about is None else about).get("space", {})
    demands = cast("Plain", space).get("constraints") if isinstance(space, dict) else None
    return read_constraints(demands or {})


def _reruns(sweep: Path, trial: str = "") -> list[Path]:
    """The folders of all finalists' runs, or of one trial's."""
    begin = f"{trial}." if trial else ""
    found = (path for path in (sweep / FINALISTS).glob("t*") if FINAL_ID.fullmatch(path.name))
    return sorted(path for path in found if path.name.startswith(begin) and path.is_dir())


def _read_trial(
    folder: Path, constraints: Mapping[str, Bounds], reruns: Sequence[Path] = ()
) -> TrialStatus:
    if not RUN_ID.fullmatch(folder.name):
        return TrialStatus(trial=folder.name, status="unknown", reason="no name of a trial")
    if folder.is_symlink():
        reason = "a link, which is not followed"
        return TrialStatus(trial=folder.name, status="unknown", reason=reason)
    if not (folder / "status.json").is_file():
        return TrialStatus(trial=folder.name, status="unknown", reason="no status.json")
    try:
        trial = _trial_status(folder.name, read_json(folder / "status.json"))
    except (ConfigError, AttributeError, KeyError, TypeError, ValueError, OverflowError):
        reason = "status.json cannot be read"
        return TrialStatus(trial=folder.name, status="unknown", reason=reason)
    if trial.status == "completed":
        _, words = violation(trial.metrics, constraints)
        trial = replace(trial, feasible=not words, reason=words or trial.reason)
    runs = [_read_trial(each, constraints) for each in reruns]
    return replace(trial, seeds=tuple(map(_measured, runs)))


def _measured(run: TrialStatus) -> Mapping[str, float] | None:
    if run.status != "completed" or not run.feasible:
        return None
    return {name: run.metrics[name] for name in (SCORE, *OBJECTIVES) if name in run.metrics}


def _trial_status(name: str, values: Mapping[str, Any]) -> TrialStatus:
    status, seconds = values["status"], float(values.get("seconds", 0.0))
    held = values.get("device_seconds")
    held = None if held is None else {str(kind): float(part) for kind, part in held.items()}
    if not all(0.0 <= each <= MOST_SECONDS for each in (seconds, *(held or {}).values())):
        raise ValueError(f"seconds must be in 0..{MOST_SECONDS:g}, got {seconds}")
    return TrialStatus(
        trial=name,
        status=STATUSES[STATUSES.index(status)],
        reason=str(values.get("reason", "")),
        step=int(values.get("step", 0)),
        steps=int(values.get("steps", 0)),
        seconds=seconds,
        device_seconds=held,
        attempts=int(values.get("attempts", 0)),
        started=str(values.get("started", "")),
        params={key: x for key, x in values.get("params", {}).items() if _is_setting(x)},
        metrics={tag: x for tag, x in values.get("metrics", {}).items() if math.isfinite(x)},
    )


def _is_setting(value: Any) -> bool:  # noqa: ANN401
    """Whether a parameter can have this value: one that JSON can hold, and a table can show."""
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _missing(trial: TrialStatus) -> int:
    return sum(name not in trial.metrics for name in OBJECTIVES)
