"""A configuration that somebody has a sweep try next: queued in its journal, from elsewhere.

The driver of a sweep looks for what is queued before each proposal, and a resumed one as well. A
queued configuration is no extra trial: it takes the next place of the sweep's budget.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurl.errors import ConfigError, SweepError
from aurl.files import read_yaml
from aurl.plain import suggestion
from aurl.search.distributions import Value, as_drawn, as_value, holds, in_words
from aurl.search.journal import owned
from aurl.search.parameter import Parameter
from aurl.search.proof import draws
from aurl.search.ranking import ABOUT, JOURNAL, LOG, folder_of, read_runs, read_trials
from aurl.search.sampler import enqueue
from aurl.search.space import Space
from aurl.search.space_file import recorded_space
from aurl.search.wishes import is_over

DRAWS = 1000
"""Of what is left out, none of which is valid before values are taken to make no run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """A configuration that was queued, and what it waits for."""

    before: int
    """Others that were queued before it."""

    trials: int
    """Trials of the sweep once it has begun: those that have, those before it, and itself."""

    budget: int
    """Trials that the sweep is to have."""

    is_running: bool
    """Whether a driver has the sweep, and nobody has asked for its end."""


def queue(sweep: Path, values: Mapping[str, Any]) -> Queued:
    """Have the next trial of a sweep be of these values; what is left out is proposed.

    Args:
        sweep: The sweep's folder.
        values: Values of parameters that it searches, by key.

    Raises:
        ConfigError: If they are not of its space, or make no valid run.
        SweepError: If there is no such sweep, or no journal of it yet, or that is damaged.
    """
    trials, journal, log = read_trials(sweep), sweep / JOURNAL, sweep / LOG
    space = recorded_space(read_yaml(sweep / ABOUT))
    asked = {key: as_value(value) for key, value in values.items()}
    _check(asked, space)
    if journal.is_symlink() or not journal.is_file():
        found = "no file" if journal.exists() else "none: the sweep has yet to begin"
        found = "a link" if journal.is_symlink() else found
        raise SweepError(f"{journal} must be the sweep's own journal, got {found}.")
    if log.is_symlink() or (log.exists() and not log.is_file()):  # a pipe would be waited for
        found = "a link" if log.is_symlink() else "no file"
        raise SweepError(f"{log} must be the sweep's own, got {found}. Remove it.")
    with contextlib.ExitStack() as stack:
        is_ours = False
        with contextlib.suppress(SweepError):  # its driver has it
            stack.enter_context(owned(log))
            is_ours = True
        before = enqueue(journal, space.named(asked) or {}, is_ours=is_ours)
    begun = sum(trial.status != "unknown" for trial in trials)
    return Queued(
        before=before,
        trials=begun + before + 1,
        budget=space.budget.trials,
        is_running=not (is_ours or is_over(sweep)),
    )


def params_of(sweep: Path, name: str) -> Mapping[str, Any]:
    """The parameters of a trial, however it ended, or of a finalist's run.

    Raises:
        SweepError: If there is no such sweep or trial, or what it was cannot be read.
    """
    folder_of(sweep, name, "--again")
    trial = next(run for run in read_runs(sweep) if run.trial == name)
    if trial.status == "unknown":
        raise SweepError(f"--again must be a trial that is whole, got {name}: {trial.reason}.")
    params = trial.params
    for each in recorded_space(read_yaml(sweep / ABOUT)).parameters:
        if each.exists(params) and each.key not in params:
            raise SweepError(
                f"--again must be a trial that is whole, got {name}: its status.json does not say "
                f"its {each.key}."
            )
    return params


def _check(values: Mapping[str, Any], space: Space) -> None:
    """Refuse what :meth:`Space.named` does not name, and whole configurations that are none."""
    drawn: dict[str, Value] = {}
    for key, value in values.items():
        ranges = [each for each in space.parameters if each.key == key]
        here = [each for each in ranges if each.exists(values)]
        if not ranges:
            known = list(dict.fromkeys(each.key for each in space.parameters))
            raise ConfigError(f"{key} is not searched by this sweep.{suggestion(key, known)}")
        if not here:
            conditions = " or ".join(map(_condition, ranges))
            raise ConfigError(
                f"{key} must come with {conditions}, got it without. Give both, or neither."
            )
        fitting = [each.distribution for each in here if holds(each.distribution, value)]
        if not fitting:
            allowed = " or ".join(in_words(each.distribution) for each in here)
            raise ConfigError(f"{key} must be {allowed}, got {value!r}.")
        drawn[key] = as_drawn(fitting[0], value)
    if all(each.key in values for each in space.parameters if each.exists(values)):
        space.config_of(drawn)
    else:
        _check_leaves_some(drawn, space)


def _check_leaves_some(values: Mapping[str, Value], space: Space) -> None:
    """Refuse values with which no configuration seems to be valid, whatever is proposed."""
    why = ""
    for others in draws(space, DRAWS, asked=space.named(values) or {}):
        try:
            space.config_of(others)
        except ConfigError as error:
            why = str(error)
        else:
            return
    raise ConfigError(
        f"try must be given values that make a run, got none in {DRAWS} draws of the others. The "
        f"last: {why}"
    )


def _condition(parameter: Parameter) -> str:
    return " and ".join(
        f"{key}={'|'.join(map(str, values))}" for key, values in parameter.when.items()
    )
