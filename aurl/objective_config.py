"""The settings of the objective: what training minimises, term by term."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aurl.errors import ConfigError
from aurl.plain import check_numbers

Schedule = Literal[
    "constant",
    "linear",
    "exponential",
    "sigmoid",
    "cyclical",
    "target_kl",
    "target_reconstruction",
]
ADAPTIVE = ("target_kl", "target_reconstruction")
"""Schedules that follow what the run measures; ``value`` is the largest beta they give."""

_SCHEDULE_KEYS: Mapping[str, tuple[str, ...]] = {
    "constant": (),
    "linear": ("warmup",),
    "exponential": ("warmup",),
    "sigmoid": ("warmup",),
    "cyclical": ("cycles", "ramp"),
    "target_kl": ("target", "proportional", "integral"),
    "target_reconstruction": ("target", "rate"),
}
_DEFAULTS: Mapping[str, float] = {"proportional": 0.01, "integral": 1e-4, "rate": 0.02}
"""Gains that a controller takes where none is given; other keys of a schedule must be given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BetaConfig:
    """Weight of the KL over training; 1 is the ELBO (both terms are nats per sequence)."""

    schedule: Schedule = "constant"
    """How beta gets to ``value``; see :mod:`aurl.objectives.schedules`."""

    value: float = 1.0
    """Where beta ends, or the largest beta of a schedule with a ``target``."""

    warmup: float | None = None
    """Share of training that linear, exponential and sigmoid take to reach ``value``."""

    cycles: int | None = None
    """Cycles of the cyclical schedule; fewer than steps."""

    ramp: float | None = None
    """Share of each cycle that rises; the rest holds ``value``."""

    target: float | None = None
    """Nats per sequence that ``target_kl`` holds the raw KL at, or ``target_reconstruction`` the
    reconstruction."""

    proportional: float | None = None
    """Gain of ``target_kl`` on the error of the step; 0.01 if left out (Shao et al. 2020)."""

    integral: float | None = None
    """Gain of ``target_kl`` on the sum of errors, per nat; 1e-4 if left out."""

    rate: float | None = None
    """Change of ln beta in one step of ``target_reconstruction`` at an error of 100 % or more;
    0.02 if left out."""

    def __post_init__(self) -> None:
        check_numbers(self, "objective.beta", ">= 0", "value")
        if self.schedule in ADAPTIVE and self.value == 0.0:
            raise ConfigError(
                f"objective.beta.value must be > 0 for the schedule {self.schedule!r}, got 0.0: "
                "it is the largest beta."
            )
        self._check_keys()
        check_numbers(self, "objective.beta", "in (0, 1]", "warmup", "ramp")
        check_numbers(self, "objective.beta", ">= 1", "cycles")
        gains = ("proportional", "integral", "rate")
        check_numbers(self, "objective.beta", "> 0", "target", *gains)

    def _check_keys(self) -> None:
        """Each schedule has its own keys: those it needs are there, others are not."""
        needed = _SCHEDULE_KEYS[self.schedule]
        for name in ("warmup", "cycles", "ramp", "target", "proportional", "integral", "rate"):
            value = getattr(self, name)
            if name in needed and value is None:
                if name not in _DEFAULTS:
                    raise ConfigError(
                        f"objective.beta.{name} must be set for the schedule {self.schedule!r}, "
                        "got nothing."
                    )
                object.__setattr__(self, name, _DEFAULTS[name])
            if name not in needed and value is not None:
                raise ConfigError(
                    f"objective.beta.{name} must be left out for the schedule {self.schedule!r}, "
                    f"got {value}: it would have no effect."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class FreeBitsConfig:
    """Floor under the KL: what costs nothing to use (Kingma et al. 2016)."""

    threshold: float = 0.0
    """Nats that are free, by ``granularity``: of each dimension in each of its slots, of each
    level or in total a sequence."""

    granularity: Literal["dimension", "level", "total"] = "dimension"
    """Whose batch-mean KL is held at the threshold: of a dimension, the mean over its slots."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold < float("inf"):
            raise ConfigError(
                f"objective.free_bits.threshold must be >= 0 nats, got {self.threshold}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributeConfig:
    """A musical attribute that one latent dimension shall order the sequences by."""

    name: str
    """An attribute of the corpus that has an order, such as ``rhythm_density``."""

    dimension: str
    """Level and number of the dimension, such as ``global/0``; of its slots, the mean."""

    sharpness: float = 1.0
    """How soon a difference between two codes counts as an order, per unit of code."""

    def __post_init__(self) -> None:
        at = f"objective.regularizers.attributes.{self.name}"
        check_numbers(self, at, "> 0", "sharpness")


@dataclass(frozen=True, kw_only=True, slots=True)
class RegularizersConfig:
    """Weights of the terms of :mod:`aurl.objectives.regularizers`, in nats per unit of each.

    A term of weight 0 is not computed.
    """

    total_correlation: float = 0.0
    """Of the nats by which the coordinates of z depend on each other (beta-TCVAE)."""

    dip_off_diagonal: float = 0.0
    """Of the sum of squared distances of the covariances between coordinates from the prior's
    (DIP-VAE)."""

    dip_diagonal: float = 0.0
    """Of the sum of squared distances of the coordinates' variances from the prior's, which are 1
    unless it is learned (DIP-VAE-II)."""

    orthogonality: float = 0.0
    """Of the sum of squared covariances between coordinates of different levels."""

    sparsity: float = 0.0
    """Of how evenly a code is spread over its coordinates, in [0, 1]; scale-free."""

    attribute_order: float = 0.0
    """Of the mean distance from each of ``attributes``' order, in [0, 2] (AR-VAE)."""

    attributes: tuple[AttributeConfig, ...] = ()
    """Which dimension follows which attribute; by name: ``attributes.contour.dimension``."""

    def __post_init__(self) -> None:
        check_numbers(self, "objective.regularizers", ">= 0", *WEIGHTS)
        for what in ("name", "dimension"):
            given = [getattr(entry, what) for entry in self.attributes]
            if len(set(given)) != len(given):
                raise ConfigError(
                    f"objective.regularizers.attributes must have distinct {what}s, got {given}."
                )
        if self.attribute_order and not self.attributes:
            raise ConfigError(
                "objective.regularizers.attributes must name an attribute for attribute_order "
                f"{self.attribute_order}, got none."
            )

    def of_whole_batch(self) -> list[str]:
        """The terms with a weight that look at all sequences of a batch together."""
        return [name for name in WEIGHTS if name != "sparsity" and getattr(self, name)]


WEIGHTS = (
    "total_correlation",
    "dip_off_diagonal",
    "dip_diagonal",
    "orthogonality",
    "sparsity",
    "attribute_order",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveConfig:
    """What training minimises: ``reconstruction + beta * kl_charged + regularizers``."""

    beta: BetaConfig = field(default_factory=BetaConfig)
    free_bits: FreeBitsConfig = field(default_factory=FreeBitsConfig)
    regularizers: RegularizersConfig = field(default_factory=RegularizersConfig)
