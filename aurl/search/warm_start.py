"""What a sweep begins with: configurations that somebody, or an earlier sweep, thinks well of.

A configuration of an earlier sweep that would be the very same run here, music and length
included, is not run again: its result is told to Optuna. Of the others, those on the earlier
front are tried first, as is every configuration of a list.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aurl.config import to_plain
from aurl.errors import ConfigError
from aurl.files import read_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.search.distributions import Value, as_value
from aurl.search.provenance import read_config
from aurl.search.ranking import Place, ranked, read_trials
from aurl.search.space import Space


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """A configuration that a sweep begins with."""

    params: Mapping[str, Value]
    """Values of parameters of the space; what is left out is proposed."""

    metrics: Mapping[str, float] | None = None
    """Its result, if the same run was made before; None has it run."""


def read_beginnings(path: Path, space: Space) -> list[Beginning]:
    """What to begin with: of a sweep's folder, or of a YAML file with ``configurations``, a list.

    Args:
        path: Where it is.
        space: The space, on its corpus; what does not lie in it cannot be tried.

    Raises:
        ConfigError: If there is nothing, or a listed configuration does not lie in the space.
        SweepError: If the folder is not a sweep's.
    """
    if not path.exists():
        raise ConfigError(
            f"--warm-start must be a sweep's folder or a YAML file, got {path}, which is not "
            "there. A sweep that has begun is resumed without it."
        )
    if path.is_dir():
        places = ranked(read_trials(path))
        found = [_of_trial(path / "trials" / place.trial.trial, place, space) for place in places]
        return _distinct(each for each in found if each is not None)
    entries = read_yaml(path).get("configurations")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(
            f"--warm-start must be a sweep's folder or a file with a list of configurations, "
            f"got {path} without one. Give each as a mapping of parameters to values."
        )
    listed = [
        _listed(f"{path} configuration {number}", entry, space)
        for number, entry in enumerate(cast("list[Any]", entries), start=1)
    ]
    return _distinct(listed)


def _distinct(found: Iterable[Beginning]) -> list[Beginning]:
    """Each configuration once; results that are known first, so that none is tried again."""
    ordered = sorted(found, key=lambda each: each.metrics is None)
    kept: list[Beginning] = []
    for each in ordered:
        if all(each.params != other.params for other in kept):
            kept.append(each)
    return kept


def _of_trial(folder: Path, place: Place, space: Space) -> Beginning | None:
    """What a trial of an earlier sweep gives; None if nothing."""
    if place.rank is None or not all(name in place.trial.metrics for name in OBJECTIVES):
        return None
    try:
        before, _ = read_config(folder / "config.yaml")
        had = to_plain(before)
        params: dict[str, Any] = {}
        for parameter in space.parameters:
            value = place.trial.params.get(parameter.key)
            if value is None or parameter.variants:  # a name may mean something else here
                value = space.value_in(had, parameter, value)
            if value is not None and parameter.exists(params):
                params[parameter.key] = value
        if space.named(params) is None:
            return None
        whole = all(each.key in params for each in space.parameters if each.exists(params))
        same = whole and space.config_of(params) == before
    except ConfigError:
        return None
    if same:
        return Beginning(params=params, metrics=place.trial.metrics)
    return Beginning(params=params) if place.front == 0 else None


def _listed(at: str, entry: Any, space: Space) -> Beginning:  # noqa: ANN401
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{at} must be a mapping of parameters to values, got {entry!r}.")
    values = {str(k): as_value(v) for k, v in cast("Mapping[Any, Any]", entry).items()}
    if space.named(values) is None:
        raise ConfigError(
            f"{at} must lie in the search space, got {values}. See `aurl space` for what it holds."
        )
    return Beginning(params=values)
