"""Free bits: nats of KL that cost nothing, as floors under the batch-mean KL of groups.

Axes: ``batch`` sequences, ``coordinate`` entries of the latent vector (level, slot, dimension).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.objective_config import FreeBitsConfig

MeanOverWorkers: TypeAlias = Callable[[Tensor], Tensor]
"""Average of a detached tensor over the workers that share a batch; the identity for one."""


@dataclass(frozen=True)
class Floors:
    """The groups of coordinates that each have a floor under their batch-mean KL."""

    threshold: Float[Tensor, " group"]
    """Nats, per slot where a group is a dimension with several slots; minus infinity for no floor,
    not even 0, under a KL that is estimated and may be negative."""

    group: Int[Tensor, " coordinate"]
    """The group of each coordinate, 0 up."""

    slots: Float[Tensor, " group"]
    """Slots that a group's rate is averaged over; 1 for a level or the total."""

    def to(self, device: torch.device) -> "Floors":
        """The same floors with their tensors on ``device``."""
        return Floors(*(each.to(device) for each in (self.threshold, self.group, self.slots)))


def floors_of(
    config: FreeBitsConfig,
    dimension: Int[Tensor, " coordinate"],
    level: Int[Tensor, " coordinate"],
    *,
    is_closed_form: bool = True,
    of_levels: Sequence[float | None] = (),
) -> Floors:
    """The groups that free bits hold up, by granularity.

    Args:
        config: Threshold and granularity.
        dimension: Dimension of each coordinate.
        level: Level of each coordinate.
        is_closed_form: Whether the KL is; an estimate may be negative, and free bits of 0 then
            hold nothing up: a floor of 0 would bias it.
        of_levels: Thresholds of levels that have their own, in nats a sequence, else None; such a
            level is a group by itself.
    """
    one = torch.ones(1)
    match config.granularity:
        case "dimension":
            group, slots = dimension, torch.bincount(dimension).float()
        case "level":
            group, slots = level, one.expand(int(level.max()) + 1)
        case "total":
            group, slots = torch.zeros_like(level), one

    def floor(nats: float) -> float:
        return -torch.inf if nats == 0.0 and not is_closed_form else nats

    thresholds = floor(config.threshold) * torch.ones_like(slots)  # infinite, if too large for it
    for index, own in enumerate(of_levels):
        if own is not None:
            group = torch.where(level == index, len(slots), group)
            slots, thresholds = torch.cat([slots, one]), torch.cat([thresholds, floor(own) * one])
    used, group = group.unique(return_inverse=True)
    return Floors(thresholds[used], group, slots[used])


def charged_kl(
    kl: Float[Tensor, "batch coordinate"], floors: Floors, mean_over_workers: MeanOverWorkers
) -> Float[Tensor, ""]:
    r"""KL per sequence with each group's batch mean held at or above the free-bits threshold.

    .. math:: \sum_g s_g \max\Bigl(\lambda, \frac{1}{s_g} \sum_{j \in g} \mathbb E_x[\mathrm{KL}_j]
        \Bigr)

    The mean over the batch comes first, then the maximum. A group below the floor gets no
    gradient. With several workers the mean is over the whole batch: each worker's share has the
    gradient whose average is that of the whole.

    Args:
        kl: Per coordinate, in nats.
        floors: Groups and threshold.
        mean_over_workers: Averages the groups' rates over workers.

    Returns:
        Nats per sequence.

    Source:
        Kingma et al. 2016, Appendix C.8, https://arxiv.org/abs/1606.04934
    """
    sums = torch.zeros_like(floors.slots).index_add(0, floors.group, kl.mean(dim=0))
    rates = sums / floors.slots
    below = mean_over_workers(rates.detach()) <= floors.threshold  # NaN is not: it must show
    held = torch.where(below, floors.threshold, rates)
    return (floors.slots * held).sum()
