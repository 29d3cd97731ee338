"""A sweep's folder at one moment, while it runs or afterwards: what a report is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from aurl.errors import AurlError
from aurl.files import read_yaml
from aurl.plain import Plain
from aurl.reporting.boundaries import Range, ranges_of
from aurl.reporting.comparisons import Comparison, comparisons
from aurl.reporting.intent import intent_of
from aurl.search.importance import LEAST_TRIALS, Importance, importances
from aurl.search.ranking import (
    ABOUT,
    JOURNAL,
    UNENDED,
    Place,
    TrialStatus,
    counts,
    ranked,
    read_about,
    read_reruns,
    read_trials,
    silent_s,
)
from aurl.search.space import Space
from aurl.search.space_file import recorded_space

BEST = 3
"""Trials that are looked at and listened to."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A sweep's folder at one moment."""

    name: str
    at: str
    """When it was read, ISO 8601, UTC."""

    about: Plain
    """``sweep.yaml``; empty if it is not there."""

    space: Space | None
    """What was searched; None if ``sweep.yaml`` does not say."""

    planned: int | None
    """Trials in all; None if ``sweep.yaml`` does not say."""

    silent_s: float
    """Seconds since the last news of a trial."""

    trials: tuple[TrialStatus, ...]
    places: tuple[Place, ...]
    reruns: tuple[TrialStatus, ...]
    """Runs of finalists with other seeds."""

    planned_reruns: frozenset[str]
    """Those that there are to be, as the trials stand."""

    importances: tuple[Importance, ...]
    notes: tuple[str, ...]
    """What could not be read."""

    @property
    def question(self) -> str:
        """What the sweep was to answer."""
        return str(self.about.get("question", "")).strip() or "No question is on record."

    @property
    def ranked(self) -> tuple[Place, ...]:
        """The completed trials, the best first."""
        return tuple(place for place in self.places if place.rank is not None)

    @property
    def best(self) -> tuple[TrialStatus, ...]:
        """The first :data:`BEST` of them."""
        return tuple(place.trial for place in self.ranked[:BEST])

    @cached_property
    def ranges(self) -> list[Range]:
        """Where in their ranges these have their values."""
        return ranges_of(self.space, self.best) if self.space is not None else []

    @property
    def at_ends(self) -> list[Range]:
        """Those at an end of which the very best has its value."""
        found = [each for each in self.ranges if each.end]
        return [each for each in found if each.placed[0].trial == self.best[0].trial]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The parameters that the question is about, value by value."""
        return comparisons(self.space, self.places) if self.space is not None else []

    @property
    def is_running(self) -> bool:
        """Whether a run has not ended, or the sweep is to have more of them."""
        return (
            any(run.status in UNENDED for run in (*self.trials, *self.reruns))
            or len(self.trials) < (self.planned or 0)
            or not self.planned_reruns <= {run.trial for run in self.reruns}
        )


def read_findings(sweep: Path) -> Findings:
    """Read a sweep's folder; what of it is damaged is noted, and the rest is read.

    Raises:
        ConfigError: If ``sweep.yaml`` is no YAML mapping: what is feasible stands in it.
        SweepError: If the folder is not there, or is not a sweep's.
    """
    about = read_about(sweep)
    trials = read_trials(sweep, about)
    places = ranked(trials)
    notes: list[str] = []
    space = _space(sweep, about, notes)
    shares: Sequence[Importance] = ()
    try:
        if counts(trials)["completed"] >= LEAST_TRIALS:
            shares = importances(sweep / JOURNAL)
    except AurlError as error:
        notes.append(str(error))
    intent = intent_of(about, space)
    return Findings(
        name=sweep.resolve().name,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        about=about,
        space=space,
        planned=intent.trials,
        silent_s=silent_s(sweep),
        trials=tuple(trials),
        places=tuple(places),
        reruns=tuple(read_reruns(sweep, about)),
        planned_reruns=intent.reruns(trials),
        importances=tuple(shares),
        notes=tuple(notes),
    )


def _space(sweep: Path, about: Plain, notes: list[str]) -> Space | None:
    try:
        return recorded_space(about or read_yaml(sweep / ABOUT))  # which says if it is not there
    except AurlError as error:
        notes.append(str(error))
        return None
