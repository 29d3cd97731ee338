"""Which completed trials are feasible: within a space's ``constraints``, and not collapsed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from aurl.errors import ConfigError
from aurl.metrics.kl_health import TERMS
from aurl.plain import Plain, build, suggestion

KL_HEALTH = "val/kl_health"
MEASURED = (
    *("active_units", "bits_per_token", "collapsed_fraction", "dci_et_completeness"),
    *("dci_et_disentanglement", "dci_et_informativeness", "dcimig", "disentanglement"),
    *("importance_samples", "importance_windows", "iwae_nats", "iwae_nats_per_note"),
    *("kl_health", "kl_nats", "latent_use_nats", "level_windows", "live_dimensions"),
    *("mig_dlib20", "mig_rank32", "nats_per_note", "negative_elbo_nats", "reconstruction_nats"),
    *("reconstruction_score", "reconstruction_shuffled_z_nats", "reconstructions"),
    *("rung_score", "score", "sequence_accuracy", "token_accuracy", "token_probability"),
    "windows",
)
"""Names of the metrics that a trial may end with, as docs/metrics.md lists them, without what
follows a further ``/``, such as a level or a term."""

TIMES = ("step_s", "evaluation_s")
PARTS: Mapping[str, Sequence[str]] = {
    "disentanglement": ("windows",),
    "iwae_nats": ("negative_elbo",),
    "kl_health": (*TERMS, "<level>/kl_health", *(f"<level>/{term}" for term in TERMS)),
    "kl_nats": ("<level>",),
    "latent_use_nats": ("<level>", "low", "high"),
    "reconstruction_score": ("zero_z", "gain", "gain/low", "gain/high"),
    "sequence_accuracy": ("sampled_z",),
}
"""What may follow a further ``/``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What a completed trial's metric must keep to, or the trial is infeasible."""

    at_least: float | None = None
    at_most: float | None = None

    def excess(self, value: float) -> float:
        """How far ``value`` is outside; 0 or less if it is not."""
        low = -math.inf if self.at_least is None else self.at_least - value
        high = -math.inf if self.at_most is None else value - self.at_most
        return max(low, high)

    def __str__(self) -> str:
        low = [] if self.at_least is None else [f"at least {self.at_least:g}"]
        high = [] if self.at_most is None else [f"at most {self.at_most:g}"]
        return " and ".join(low + high)


def read_constraints(values: object) -> dict[str, Bounds]:
    """The section ``constraints`` of a search space, by metric.

    Raises:
        ConfigError: If a metric is none that trials are measured by, or its bounds make no sense.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"constraints must be a mapping, got {values!r}.")
    found: dict[str, Bounds] = {}
    for metric, entry in cast("Mapping[str, Any]", values).items():
        at = f"constraints.{metric}"
        if not str(metric).startswith(("val/", "time/")):
            raise ConfigError(f"{at} must be a metric such as val/kl_nats, got {metric!r}.")
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{at} must be a mapping such as {{at_least: 0.2}}, got {entry!r}.")
        bounds = build(Bounds, cast("Plain", entry), at=at)
        given = [each for each in (bounds.at_least, bounds.at_most) if each is not None]
        if not given or not all(math.isfinite(each) for each in given):
            raise ConfigError(f"{at} must have a finite at_least or at_most, got {entry!r}.")
        if len(given) == 2 and not given[0] <= given[1]:
            raise ConfigError(f"{at} must have at_least <= at_most, got {entry!r}.")
        found[metric] = bounds
    return found


def metric_names(levels: Sequence[str]) -> list[str]:
    """Every metric that a trial of a model with these levels may end with, by its full name."""
    parts = [f"{name}/{part}" for name, several in PARTS.items() for part in several]
    of_levels = [part.replace("<level>", level) for part in parts for level in levels]
    measured = dict.fromkeys([*MEASURED, *of_levels])
    return [f"val/{name}" for name in measured] + [f"time/{name}" for name in TIMES]


def check_metrics(constraints: Mapping[str, Bounds], levels: Sequence[str]) -> None:
    """Refuse a constraint on what no trial is measured by.

    Raises:
        ConfigError: If one is not known: every trial would be infeasible for it in the end.
    """
    known = metric_names(levels)
    for metric in constraints:
        if metric not in known:
            raise ConfigError(
                f"constraints.{metric} must be a metric of docs/metrics.md."
                f"{suggestion(metric, known)}"
            )


def violation(
    metrics: Mapping[str, float], constraints: Mapping[str, Bounds]
) -> tuple[float, str]:
    """By how much a completed trial violates what it must keep to, and the first way it does.

    A collapsed latent space, which has a KL health of 0, always does; so does a metric that was
    not measured.

    Returns:
        A sum of excesses and words; 0.0 and nothing for a feasible trial.
    """
    total, words = 0.0, ""
    if metrics.get(KL_HEALTH, 1.0) <= 0.0:
        total, words = 1.0, f"collapsed: {KL_HEALTH} is 0"
    for metric, bounds in constraints.items():
        value = metrics.get(metric)
        excess = 1.0 if value is None else bounds.excess(value)
        if excess > 0.0:
            got = "nothing" if value is None else f"{value:.4g}"
            words = words or f"infeasible: {metric} must be {bounds}, got {got}"
            total += excess
    return total, words
