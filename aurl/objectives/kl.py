r"""Kullback-Leibler terms of the ELBO, in nats.

Axes: ``batch`` sequences, ``coordinate`` entries of the latent vector (level, slot, dimension).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MeanOverWorkers: TypeAlias = Callable[[Tensor], Tensor]
"""Average of a detached tensor over the workers that share a batch; the identity for one."""


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


def prior_kl(
    mean: Float[Tensor, "batch coordinate"],
    log_var: Float[Tensor, "batch coordinate"],
    z: Float[Tensor, "batch coordinate"],
    log_prior: Float[Tensor, "batch coordinate"] | None,
    closed_form: Bool[Tensor, " coordinate"],
) -> Float[Tensor, "batch coordinate"]:
    r"""KL from the posterior to the prior, all in the coordinates of the prior's base densities.

    .. math:: \mathrm{KL}(q \| p) \approx \log q(z|x) - \log p(z), \quad z \sim q(z|x)

    where there is no closed form: unbiased, and negative for some samples.

    Args:
        mean: Posterior means.
        log_var: Posterior log-variances.
        z: A sample of the posterior.
        log_prior: Log-density of the base at ``z``; parts of a slot mean nothing one by one, only
            their sum. None if the base is standard normal everywhere.
        closed_form: Where the base is standard normal.

    Returns:
        Nats. Where ``closed_form`` is False, only sums over slots mean something.
    """
    exact = gaussian_kl(mean, log_var)
    if log_prior is None:
        return exact
    squares = (z - mean).square() / log_var.exp()
    log_posterior = -0.5 * (squares + log_var + math.log(2.0 * math.pi))
    return torch.where(closed_form, exact, log_posterior - log_prior)


@dataclass(frozen=True)
class Floors:
    """Free bits: the groups of coordinates that each have a floor under their batch-mean KL."""

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
        kl: Per coordinate, in nats, from :func:`gaussian_kl`.
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
