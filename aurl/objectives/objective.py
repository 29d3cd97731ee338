"""What training minimises: ``reconstruction + beta * kl_charged``, in nats per sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.objective_config import FreeBitsConfig
from aurl.objectives.kl import Floors, MeanOverWorkers, charged_kl


@dataclass(frozen=True)
class Terms:
    """The terms of one step, each a mean over the batch in nats per sequence."""

    objective: Float[Tensor, ""]
    """What is minimised."""

    reconstruction: Float[Tensor, ""]
    """Negative log-likelihood of the tokens given a sample of z."""

    kl: Float[Tensor, ""]
    """Raw KL, before any floor."""

    kl_charged: Float[Tensor, ""]
    """KL after free bits."""

    @property
    def negative_elbo(self) -> Float[Tensor, ""]:
        """Reconstruction plus raw KL at beta 1: comparable across settings."""
        return self.reconstruction + self.kl

    def seen(self) -> Float[Tensor, " 3"]:
        """Objective, raw KL and reconstruction, detached: what a step and its beta depend on."""
        return torch.stack([self.objective, self.kl, self.reconstruction]).detach()


def floors_of(
    config: FreeBitsConfig,
    dimension: Int[Tensor, " coordinate"],
    level: Int[Tensor, " coordinate"],
    *,
    is_closed_form: bool = True,
) -> Floors:
    """The groups that free bits hold up, by granularity.

    Args:
        config: Threshold and granularity.
        dimension: Dimension of each coordinate.
        level: Level of each coordinate.
        is_closed_form: Whether the KL is; an estimate may be negative, and free bits of 0 then
            hold nothing up: a floor of 0 would bias it.
    """
    if not is_closed_form and config.threshold == 0.0:
        return Floors(-torch.inf, torch.zeros_like(level), torch.ones(1))
    match config.granularity:
        case "dimension":
            return Floors(config.threshold, dimension, torch.bincount(dimension).float())
        case "level":
            return Floors(config.threshold, level, torch.ones(int(level.max()) + 1))
        case "total":
            return Floors(config.threshold, torch.zeros_like(level), torch.ones(1))


def objective(
    reconstruction: Float[Tensor, " batch"],
    kl: Float[Tensor, "batch coordinate"],
    *,
    beta: float,
    floors: Floors,
    mean_over_workers: MeanOverWorkers,
) -> Terms:
    """Combine reconstruction and KL.

    Args:
        reconstruction: Nats per sequence.
        kl: Nats per coordinate.
        beta: Weight of the charged KL.
        floors: Free bits.
        mean_over_workers: Averages over the workers that share the batch.
    """
    mean_reconstruction = reconstruction.mean()
    kl_charged = charged_kl(kl, floors, mean_over_workers)
    return Terms(
        objective=mean_reconstruction + beta * kl_charged,
        reconstruction=mean_reconstruction,
        kl=kl.sum(dim=1).mean(),
        kl_charged=kl_charged,
    )


def level_rates(
    kl: Float[Tensor, "batch coordinate"],
    level: Int[Tensor, " coordinate"],
    names: Sequence[str],
) -> dict[str, Tensor]:
    """Mean raw KL of each level, in nats per sequence, by name."""
    sums = torch.zeros(len(names), device=kl.device).index_add(0, level, kl.mean(dim=0))
    return dict(zip(names, sums, strict=True))
