"""What training minimises, in nats per sequence.

It is ``reconstruction + beta * kl_charged + weight * regularizer + ...``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.objective_config import FreeBitsConfig
from aurl.objectives.kl import Floors, MeanOverWorkers, charged_kl


@dataclass(frozen=True)
class Regularizer:
    """A term beside the ELBO."""

    name: str
    """Name of its metric, with its unit if it has one."""

    weight: float
    value: Float[Tensor, ""]


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

    rates: Float[Tensor, " coordinate"]
    """Raw KL of each coordinate."""

    regularizers: Mapping[str, Tensor]
    """Those with a weight, without it, by the name of their metric."""

    @property
    def negative_elbo(self) -> Float[Tensor, ""]:
        """Reconstruction plus raw KL at beta 1: comparable across settings."""
        return self.reconstruction + self.kl

    def seen(self) -> Float[Tensor, " 3"]:
        """Objective, raw KL and reconstruction: what going on and the next beta depend on."""
        return torch.stack([self.objective, self.kl, self.reconstruction])


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
    beta: float | Tensor,
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
        rates=kl.mean(dim=0),
        regularizers={},
    )


def regularized(terms: Terms, regularizers: Sequence[Regularizer]) -> Terms:
    """``terms`` with each regularizer added, by its weight."""
    total = terms.objective
    for term in regularizers:
        total = total + term.weight * term.value
    named = {term.name: term.value for term in regularizers}
    return replace(terms, objective=total, regularizers=named)


def averaged(parts: Sequence[Terms]) -> Terms:
    """The terms of a batch from those of its equal parts, detached."""

    def mean(values: Sequence[Tensor]) -> Tensor:
        return torch.stack([value.detach() for value in values]).mean(dim=0)

    return Terms(
        objective=mean([part.objective for part in parts]),
        reconstruction=mean([part.reconstruction for part in parts]),
        kl=mean([part.kl for part in parts]),
        kl_charged=mean([part.kl_charged for part in parts]),
        rates=mean([part.rates for part in parts]),
        regularizers={
            name: mean([part.regularizers[name] for part in parts])
            for name in parts[0].regularizers
        },
    )


def level_rates(
    rates: Float[Tensor, " coordinate"],
    level: Int[Tensor, " coordinate"],
    names: Sequence[str],
) -> dict[str, Tensor]:
    """Mean raw KL of each level, in nats per sequence, by name.

    Args:
        rates: Mean raw KL of each coordinate.
        level: Level of each coordinate.
        names: Names of the levels, in order.
    """
    sums = torch.zeros(len(names), device=rates.device).index_add(0, level, rates)
    return dict(zip(names, sums, strict=True))
