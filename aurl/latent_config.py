"""The settings of the latent space: its levels, and the prior over them."""

from dataclasses import dataclass, field
from typing import Literal

from aurl.errors import ConfigError
from aurl.plain import check_numbers

PriorKind = Literal["standard", "mixture", "planar", "spline"]
ContextName = Literal["key", "mode", "metre", "tempo"]

MOST = 65_536
"""Of dimensions, layers and the like: no machine holds a model with more."""

FLOWS = ("planar", "spline")


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelConfig:
    """One level of the latent hierarchy."""

    name: str
    """What the level is called in metrics and messages."""

    dim: int
    """Latent dimensions of one slot; 0 removes the level."""

    span: float | Literal["sequence"] = "sequence"
    """Bars that one slot covers (a fraction is allowed), or the whole ``sequence``."""

    prior: PriorKind | None = None
    """Base density of this level's prior; that of ``latent.prior.kind`` if left out."""

    free_nats: float | None = None
    """Nats a sequence that the level may code at no cost, all its slots together, in place of
    ``objective.free_bits``: with a beta above 1 about all that it will code."""

    opens: float = 0.0
    """Share of training before which the level is kept empty. Levels that open one after the other
    each learn what is left over (progressive learning, Li et al. 2020)."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"latent.levels name must be one plain word, got {self.name!r}.")
        if self.name in ("low", "high"):
            raise ConfigError(
                f"latent.levels name must not be low or high, got {self.name!r}: metrics call the "
                "ends of an interval so. Take another, such as coarse or fine."
            )
        if not 0 <= self.dim <= MOST:
            raise ConfigError(
                f"latent.levels.{self.name}.dim must be in 0..{MOST}, got {self.dim}."
            )
        if self.span != "sequence" and not 0.0 < self.span < float("inf"):
            raise ConfigError(
                f"latent.levels.{self.name}.span must be bars > 0 or 'sequence', got {self.span}."
            )
        if self.free_nats is not None and not 0.0 <= self.free_nats < float("inf"):
            raise ConfigError(
                f"latent.levels.{self.name}.free_nats must be >= 0 nats, got {self.free_nats}."
            )
        check_numbers(self, f"latent.levels.{self.name}", "in [0, 1)", "opens")


def _default_levels() -> tuple[LevelConfig, ...]:
    return (
        LevelConfig(name="global", dim=16, span="sequence"),
        LevelConfig(name="local", dim=16, span=2.0),
        LevelConfig(name="fine", dim=16, span=1.0),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorConfig:
    """The base densities of the prior; see :mod:`aurl.model.densities`."""

    kind: PriorKind = "standard"
    """Base density of each level that does not name its own. One that is learned is trained by the
    KL as the objective has it: neither while β is 0, nor below a floor of free bits."""

    components: int | None = None
    """Gaussians of a ``mixture``; 8 if left out."""

    layers: int | None = None
    """Transforms of a flow; if left out, 8 for ``planar`` and 2 for ``spline``."""

    def __post_init__(self) -> None:
        for name, least in (("components", 2), ("layers", 1)):
            value = getattr(self, name)
            if value is not None and not least <= value <= MOST:
                raise ConfigError(f"latent.prior.{name} must be in {least}..{MOST}, got {value}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentConfig:
    """The latent hierarchy, coarse to fine, and the prior over it."""

    levels: tuple[LevelConfig, ...] = field(default_factory=_default_levels)
    """Each level has one slot per span; addressed by name: ``latent.levels.fine.dim``."""

    posterior: Literal["standard", "batch_norm"] = "standard"
    """``batch_norm`` normalises the means over the batch, which keeps the KL off zero."""

    gamma: float | None = None
    """Standard deviation that ``batch_norm`` gives the means of each dimension: its KL from a
    standard normal prior is then at least gamma^2 / 2 nats a slot."""

    prior: PriorConfig = field(default_factory=PriorConfig)

    top_down: bool = False
    """Whether the prior of a slot is shifted and scaled by the codes of the levels above it: those
    of the coarser slots that cover it. With one level, nothing is above."""

    context: tuple[ContextName, ...] = ()
    """What the prior knows of a window's music, to be asked for by ``aurl sample --context``: its
    ``key``, ``mode``, ``metre`` and ``tempo``, each in force at the window's start."""

    def __post_init__(self) -> None:
        names = [level.name for level in self.levels]
        if len(set(names)) != len(names):
            raise ConfigError(f"latent.levels must have distinct names, got {names}.")
        if sum(level.dim for level in self.levels) == 0:
            raise ConfigError("latent.levels must have a dimension in all, got dim 0 everywhere.")
        if len(set(self.context)) != len(self.context):
            raise ConfigError(f"latent.context must have distinct names, got {[*self.context]}.")
        self._check_opening()
        self._check_posterior()
        self._check_prior()

    def _check_opening(self) -> None:
        opens = {level.name: level.opens for level in self.levels if level.dim}
        if min(opens.values()) > 0.0:
            raise ConfigError(f"latent.levels must have a level that opens at 0, got {opens}.")
        for name, share in opens.items():
            if share and self.posterior == "batch_norm":
                raise ConfigError(
                    f"latent.levels.{name}.opens must be 0 for the posterior 'batch_norm', "
                    f"got {share}: it keeps no level empty."
                )

    def _check_posterior(self) -> None:
        if self.posterior == "batch_norm" and self.gamma is None:
            raise ConfigError(
                "latent.gamma must be set for the posterior 'batch_norm', got nothing."
            )
        if self.posterior == "standard" and self.gamma is not None:
            raise ConfigError(
                f"latent.gamma must be left out for the posterior 'standard', got {self.gamma}: "
                "it would have no effect."
            )
        check_numbers(self, "latent", "> 0", "gamma")

    def _check_prior(self) -> None:
        kinds = {self.kind_of(level) for level in self.levels}
        if self.prior.components is not None and "mixture" not in kinds:
            raise ConfigError(
                "latent.prior.components must be left out without a mixture prior, "
                f"got {self.prior.components}: it would have no effect."
            )
        if self.prior.layers is not None and not kinds.intersection(FLOWS):
            raise ConfigError(
                "latent.prior.layers must be left out without a planar or spline prior, "
                f"got {self.prior.layers}: it would have no effect."
            )

    def kind_of(self, level: LevelConfig) -> PriorKind:
        """The base density of a level's prior."""
        return self.prior.kind if level.prior is None else level.prior

    @property
    def is_standard(self) -> bool:
        """Whether each level that has dimensions has a standard normal base density."""
        return all(self.kind_of(level) == "standard" for level in self.levels if level.dim)
