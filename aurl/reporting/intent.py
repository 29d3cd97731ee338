"""What a sweep is to do, by its record: how many trials, and which runs of its finalists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from aurl.errors import ConfigError, SweepError
from aurl.plain import Plain
from aurl.search.ranking import TrialStatus, finalists, rerun_names
from aurl.search.settings import with_settings
from aurl.search.space import Space
from aurl.search.space_file import recorded_space


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What a sweep is to do; what its record does not say, nobody knows."""

    trials: int | None
    steps: int | None
    """Of each."""

    space: Space | None
    """What is searched; None if nobody knows, or nobody asks as the best are trained once."""

    @property
    def runs(self) -> int | None:
        """The trials, and as many runs with other seeds as the finalists may have."""
        return self.trials if self.space is None else self.space.n_runs

    def reruns(self, trials: Sequence[TrialStatus]) -> frozenset[str]:
        """Runs with other seeds that the finalists are to have, as the trials stand now.

        What has been run for those of before, when there were fewer trials, does not count.
        """
        if self.space is None or self.space.seeds is None:
            return frozenset()
        seeds = self.space.seeds
        again = finalists(trials, seeds.finalists, self.space.compared)
        return frozenset(name for trial in again for name in rerun_names(trial, seeds.runs))


def intent_of(about: Plain, space: Space | None = None) -> Intent:
    """What ``sweep.yaml`` says, whoever wrote it; ``space`` is its own, where that is known."""
    return Intent(
        trials=_budget(about, "trials"),
        steps=_budget(about, "steps_per_trial"),
        space=space or _with_seeds(about),
    )


def searched_as(about: Plain) -> Plain:
    """The sections of a recorded space, with what ``--set`` says of how it is searched.

    Whoever wrote it: what is no mapping is left out.
    """
    given, set_there = (about.get(name) for name in ("space", "overrides"))
    sections = cast("Plain", given) if isinstance(given, dict) else {}
    overrides = cast("Plain", set_there) if isinstance(set_there, dict) else {}
    try:
        return with_settings(sections, overrides)[0]
    except (AttributeError, ConfigError):
        return sections


def _budget(about: Plain, name: str) -> int | None:
    try:
        value: Any = searched_as(about)["budget"][name]
    except (KeyError, TypeError):
        return None
    return value if type(value) is int and value >= 1 else None


def _with_seeds(about: Plain) -> Space | None:
    try:
        return recorded_space(about) if about["space"].get("seeds") else None
    except (ConfigError, SweepError, AttributeError, KeyError, TypeError):
        return None
