"""Batch normalisation of the posterior's means, which keeps the KL away from zero."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aurl.model.latents import LatentLayout


class MeanNorm(nn.Module):
    r"""Posterior means with zero mean and standard deviation ``gamma`` in every dimension.

    .. math:: \mu' = \gamma \, \frac{\mu - m_d}{\sqrt{v_d + \epsilon}}

    with the mean :math:`m_d` and variance :math:`v_d` over the batch and all slots of dimension d.
    The batch mean of :math:`\tfrac12 \mu'^2`, a part of the KL from N(0, I), is then
    :math:`\gamma^2 / 2`, so that the KL of a dimension, averaged over its slots, is at least that
    (to the share :math:`\epsilon / v_d`). There is no learned scale or shift to undo it, and
    log-variances are left as they are. What comes out is the mean of the distribution that is
    sampled. A learned prior may move after it: the bound does not hold for the KL from that.

    Running averages stand in for the batch in evaluation mode, and in training where the whole
    batch is one sequence, which says nothing about a spread. Each other step of training moves
    them by the share ``MOMENTUM`` towards the batch's.

    Source:
        Zhu et al. 2020 (BN-VAE), https://arxiv.org/abs/2004.12585
    """

    MOMENTUM = 0.1
    EPSILON = 1e-12
    """Small beside any variance that means in single precision have. A larger one is a way out:
    the KL falls a little as the encoder shrinks its means, and an optimiser that normalises its
    steps follows the slightest slope. With 1e-6 a run on melodies ended at variances of 1e-12."""

    dimension: Tensor
    slots: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, layout: LatentLayout, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self._mean_over_workers: Callable[[Tensor], Tensor] = _alone
        self._n_workers = 1
        self.register_buffer("dimension", layout.dimension, persistent=False)
        slots = [level.n_slots for level in layout.levels for _ in range(level.dim)]
        self.register_buffer("slots", torch.tensor(slots), persistent=False)
        self.register_buffer("running_mean", torch.zeros(layout.n_dimensions))
        self.register_buffer("running_var", torch.ones(layout.n_dimensions))

    def share_batches(self, mean_over_workers: Callable[[Tensor], Tensor], n_workers: int) -> None:
        """Take statistics over the batches of ``n_workers`` workers.

        Args:
            mean_over_workers: Average of a tensor over the workers, with its gradient.
            n_workers: How many share a batch, in equal parts.
        """
        self._mean_over_workers = mean_over_workers
        self._n_workers = n_workers

    def forward(
        self, mean: Float[Tensor, "batch coordinate"]
    ) -> Float[Tensor, "batch coordinate"]:
        """Normalise the means of a batch; in training mode, update the running averages."""
        if not self.training or len(mean) * self._n_workers == 1:
            return self._normalised(mean, self.running_mean, self.running_var)
        center = self._average(mean)
        var = self._average((mean - center[self.dimension]).square())
        with torch.no_grad():
            self.running_mean.lerp_(center, self.MOMENTUM)
            self.running_var.lerp_(var, self.MOMENTUM)
        return self._normalised(mean, center, var)

    def _normalised(self, mean: Tensor, center: Tensor, var: Tensor) -> Tensor:
        scale = self.gamma / (var + self.EPSILON).sqrt()
        return (mean - center[self.dimension]) * scale[self.dimension]

    def _average(self, values: Float[Tensor, "batch coordinate"]) -> Float[Tensor, " dimension"]:
        """Of each dimension, over sequences of all workers and slots."""
        sums = torch.zeros_like(self.running_mean)
        sums = sums.index_add(0, self.dimension, values.mean(dim=0))
        return self._mean_over_workers(sums / self.slots)


def _alone(value: Tensor) -> Tensor:
    return value
