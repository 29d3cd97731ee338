"""What training minimises, in nats per sequence.

It is ``reconstruction + beta * kl_charged + weight * regularizer + ...``, and of levels that are
not open yet :data:`CLOSED` times their KL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.objectives.free_bits import Floors, MeanOverWorkers, charged_kl

CLOSED = 3.0
"""Weight of the KL of a level that is not open yet. A nat of code saves at most one nat of
reconstruction, so that above 1 nothing is worth coding."""


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
    """KL after free bits; of a level that is not open, 0 before them."""

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


def objective(
    reconstruction: Float[Tensor, " batch"],
    kl: Float[Tensor, "batch coordinate"],
    *,
    beta: float | Tensor,
    floors: Floors,
    mean_over_workers: MeanOverWorkers,
    closed: Float[Tensor, " coordinate"] | None = None,
) -> Terms:
    """Combine reconstruction and KL.

    Args:
        reconstruction: Nats per sequence.
        kl: Nats per coordinate.
        beta: Weight of the charged KL.
        floors: Free bits.
        mean_over_workers: Averages over the workers that share the batch.
        closed: 1 for coordinates of levels that are not open yet: their KL weighs
            :data:`CLOSED`, without free bits. None if all are open.
    """
    mean_reconstruction = reconstruction.mean()
    of_open = kl if closed is None else kl * (1.0 - closed)
    kl_charged = charged_kl(of_open, floors, mean_over_workers)
    total = mean_reconstruction + beta * kl_charged
    if closed is not None:
        total = total + CLOSED * (kl * closed).sum(dim=1).mean()
    return Terms(
        objective=total,
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
