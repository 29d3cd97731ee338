"""The latent space: levels, slots and dimensions, and the Gaussian posterior over them.

A *level* has one *slot* for each span of music; a *dimension* is one coordinate of one level, and
has a value in each of the level's slots. The latent vector of a sequence concatenates levels,
then slots, then dimensions: its entries are called *coordinates*.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.errors import ConfigError
from aurl.latent_config import MOST, LevelConfig

EDGE = 1e-3
"""Of a bar: less than its shortest tick, and more than what single precision makes of a place in
it, so that the first tick of a slot belongs to it although 1/3 is not exact."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level as it lies in the latent vector of a window."""

    name: str
    dim: int
    span: float
    """Bars one slot covers; at most the window."""

    n_slots: int
    start: int
    """First coordinate."""

    @property
    def size(self) -> int:
        """Coordinates: dimensions times slots."""
        return self.dim * self.n_slots

    def slot(
        self, bar: Int[Tensor, "batch token"], phase: Float[Tensor, "batch token"]
    ) -> Int[Tensor, "batch token"]:
        """The slot that covers each musical position."""
        index = ((bar + phase + EDGE) / self.span).floor().long()
        return index.clamp(0, self.n_slots - 1)


@dataclass(frozen=True)
class LatentLayout:
    """Where each level, slot and dimension stands in the latent vector."""

    levels: tuple[Level, ...]

    @staticmethod
    def of(levels: Sequence[LevelConfig], n_bars: int) -> "LatentLayout":
        """Lay the levels out for windows of ``n_bars`` bars; levels of dim 0 are left out.

        Raises:
            ConfigError: If a span does not divide the window into whole slots, or into too many.
        """
        placed: list[Level] = []
        start = 0
        for config in levels:
            if config.dim == 0:
                continue
            span = float(n_bars) if config.span == "sequence" else min(config.span, float(n_bars))
            if config.dim * n_bars / span > MOST:
                raise ConfigError(
                    f"latent.levels.{config.name}.span must leave at most {MOST} coordinates, "
                    f"dimensions times slots, got {config.dim} times {n_bars / span:g}."
                )
            n_slots = round(n_bars / span)
            if not math.isclose(n_slots * span, n_bars, rel_tol=1e-6):
                raise ConfigError(
                    f"latent.levels.{config.name}.span must divide the window of {n_bars} bars, "
                    f"got {config.span}."
                )
            level = Level(
                name=config.name,
                dim=config.dim,
                span=n_bars / n_slots,
                n_slots=n_slots,
                start=start,
            )
            placed.append(level)
            start += level.size
        return LatentLayout(tuple(placed))

    @property
    def size(self) -> int:
        """Coordinates of the latent vector."""
        return sum(level.size for level in self.levels)

    @property
    def n_dimensions(self) -> int:
        """Dimensions, each counted once however many slots it has."""
        return sum(level.dim for level in self.levels)

    @cached_property
    def dimension(self) -> Int[Tensor, " coordinate"]:
        """The dimension that each coordinate is a slot of."""
        found: list[int] = []
        first = 0
        for level in self.levels:
            found += [*range(first, first + level.dim)] * level.n_slots
            first += level.dim
        return torch.tensor(found)

    @cached_property
    def level(self) -> Int[Tensor, " coordinate"]:
        """The index of each coordinate's level."""
        return torch.tensor([i for i, level in enumerate(self.levels) for _ in range(level.size)])

    @cached_property
    def slot(self) -> Int[Tensor, " coordinate"]:
        """The index of each coordinate's slot, those of all levels counted on."""
        dims = torch.tensor([level.dim for level in self.levels for _ in range(level.n_slots)])
        return torch.arange(len(dims)).repeat_interleave(dims)

    @cached_property
    def dimension_names(self) -> list[str]:
        """``global/0``, ``global/1``, ... in the order of :attr:`dimension`."""
        return [f"{level.name}/{index}" for level in self.levels for index in range(level.dim)]

    @cached_property
    def coordinate_names(self) -> list[str]:
        """``global/0``, or ``local/0 slot 1`` of several slots, for each coordinate."""
        return [
            f"{level.name}/{index}" + (f" slot {slot}" if level.n_slots > 1 else "")
            for level in self.levels
            for slot in range(level.n_slots)
            for index in range(level.dim)
        ]

    def split(self, z: Float[Tensor, "batch coordinate"]) -> list[Tensor]:
        """The latent vector as one ``[batch, slot, dim]`` tensor per level."""
        return [
            z[:, level.start : level.start + level.size].unflatten(1, (level.n_slots, level.dim))
            for level in self.levels
        ]


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian q(z|x) over the latent vector of each sequence."""

    mean: Float[Tensor, "batch coordinate"]
    log_var: Float[Tensor, "batch coordinate"]

    def sample(
        self, noise: Float[Tensor, "batch coordinate"]
    ) -> Float[Tensor, "batch coordinate"]:
        """Reparametrised sample: mean + standard deviation * standard normal ``noise``.

        Source:
            Kingma & Welling 2014, section 2.4, https://arxiv.org/abs/1312.6114
        """
        return self.mean + (0.5 * self.log_var).exp() * noise


def gaussian_kl(
    mean: Float[Tensor, "batch coordinate"], log_var: Float[Tensor, "batch coordinate"]
) -> Float[Tensor, "batch coordinate"]:
    r"""KL from a diagonal Gaussian posterior to the standard normal prior, per coordinate.

    .. math:: \mathrm{KL}(q \| p)_j = \tfrac12 (\mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1)

    Left unreduced on purpose: sum over coordinates for the ELBO, average over the batch for free
    bits and active units.

    Args:
        mean: Posterior means.
        log_var: Posterior log-variances.

    Returns:
        Nats, never negative up to rounding.

    Source:
        Kingma & Welling 2014, Appendix B, https://arxiv.org/abs/1312.6114
    """
    return 0.5 * (mean.square() + log_var.exp() - log_var - 1.0)
