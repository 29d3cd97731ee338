"""Base densities of the prior: what the codes of one slot look like before any conditioning.

Each knows its log-density exactly and can be sampled; ``exp(log_prob)`` integrates to 1. Flows are
written from the code to the normal base, so that the density costs one pass and is differentiable;
the inverse is found only where samples are drawn.
"""

import copy
import math
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from aurl.latent_config import PriorConfig, PriorKind

LOG_2PI = math.log(2.0 * math.pi)
BISECTIONS = 80


def density_of(kind: PriorKind, dim: int, config: PriorConfig) -> "Density":
    """The base density of a level.

    Args:
        kind: Which.
        dim: Dimensions of one slot.
        config: How many components or layers.
    """
    match kind:
        case "standard":
            return Standard()
        case "mixture":
            return Mixture(dim, config.components or 8)
        case "planar":
            return Planar(dim, config.layers or 8)
        case "spline":
            return Spline(dim, config.layers or 2)


class Density(nn.Module):
    """A density over the codes of one slot, the same for all slots of a level."""

    closed_form = False
    """Whether the KL from a diagonal Gaussian is known for each dimension."""

    def log_prob(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, " *slot"]:
        """Log-density in nats."""
        raise NotImplementedError

    def from_noise(
        self, noise: Float[Tensor, "*slot dim"], generator: torch.Generator | None
    ) -> Float[Tensor, "*slot dim"]:
        """Turn standard normal ``noise`` into samples.

        Args:
            noise: Standard normal.
            generator: Where further draws come from; torch's own if None.
        """
        raise NotImplementedError

    def to_normal(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """Codes in coordinates in which the density is standard normal, one to one."""
        raise NotImplementedError

    def from_normal(self, normal: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """Undo :meth:`to_normal`."""
        raise NotImplementedError


class Standard(Density):
    """The standard normal density."""

    closed_form = True

    def log_prob(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, " *slot"]:
        """As :meth:`Density.log_prob`."""
        return -0.5 * (x.square() + LOG_2PI).sum(dim=-1)

    def from_noise(
        self, noise: Float[Tensor, "*slot dim"], generator: torch.Generator | None
    ) -> Float[Tensor, "*slot dim"]:
        """The noise itself."""
        del generator
        return noise

    def to_normal(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """The codes themselves."""
        return x

    def from_normal(self, normal: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """The codes themselves."""
        return normal


class Mixture(Density):
    r"""A mixture of learnable diagonal Gaussians.

    A floor under each variance keeps a component from closing in on single codes, which would
    make the density unbounded.

    Args:
        dim: Dimensions.
        n_components: Gaussians.
    """

    VARIANCE_FLOOR = 0.01
    LEAST_LOG = -700.0
    """Logarithm of the smallest probability that is told from 0: 37 standard deviations out."""

    def __init__(self, dim: int, n_components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(nn.init.normal_(torch.empty(n_components, dim), std=0.5))
        # Together about unit variance: 0.25 of the means, the rest within.
        self.log_variances = nn.Parameter(torch.full((n_components, dim), math.log(0.74)))

    def variances(self) -> Float[Tensor, "component dim"]:
        """Of each component, never below the floor."""
        return self.VARIANCE_FLOOR + self.log_variances.exp()

    def log_prob(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, " *slot"]:
        """As :meth:`Density.log_prob`."""
        variances = self.variances()
        squares = (x[..., None, :] - self.means).square() / variances
        each = -0.5 * (squares + variances.log() + LOG_2PI).sum(dim=-1)
        return (self.logits.log_softmax(dim=0) + each).logsumexp(dim=-1)

    def from_noise(
        self, noise: Float[Tensor, "*slot dim"], generator: torch.Generator | None
    ) -> Float[Tensor, "*slot dim"]:
        """Scale and shift the noise by a component drawn for each slot."""
        weights = self.logits.detach().cpu().softmax(dim=0)
        slots = noise.shape[:-1]
        drawn = torch.multinomial(weights, slots.numel(), replacement=True, generator=generator)
        drawn = drawn.view(slots).to(noise.device)
        return self.means[drawn] + self.variances().sqrt()[drawn] * noise

    def to_normal(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        r"""One dimension after another, :math:`\Phi^{-1}(F(x_d \mid x_1, \dots, x_{d-1}))`.

        Given the dimensions before it each one is a mixture too, of the same components with
        other weights, so its distribution function F is known.

        Source:
            Rosenblatt 1952, "Remarks on a multivariate transformation".
        """
        columns: list[Tensor] = []
        log_weights, means, scales = self._components(x)
        for index in range(x.shape[-1]):
            score = (x[..., index, None].double() - means[:, index]) / scales[:, index]
            below, above = (
                (log_weights + torch.special.log_ndtr(side)).logsumexp(dim=-1)
                for side in (score, -score)
            )
            tail = torch.special.ndtri(torch.minimum(below, above).clamp_min(self.LEAST_LOG).exp())
            columns.append(torch.where(below < above, tail, -tail))
            log_weights = self._after(log_weights, score, scales[:, index])
        return torch.stack(columns, dim=-1).to(x.dtype)

    @torch.no_grad()
    def from_normal(self, normal: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """Undo :meth:`to_normal` by bisection: a quantile lies between those of components."""
        columns: list[Tensor] = []
        log_weights, means, scales = self._components(normal)
        for index in range(normal.shape[-1]):
            target = normal[..., index, None].double()
            each = means[:, index] + scales[:, index] * target
            low, high = each.amin(dim=-1), each.amax(dim=-1)
            side = torch.where(target > 0.0, -1.0, 1.0)  # of the smaller tail, which is exact
            share = torch.special.log_ndtr(side * target)[..., 0]
            for _ in range(BISECTIONS):
                middle = 0.5 * (low + high)
                score = (middle[..., None] - means[:, index]) / scales[:, index]
                found = (log_weights + torch.special.log_ndtr(side * score)).logsumexp(dim=-1)
                above = (found > share) == (side[..., 0] > 0.0)
                low, high = torch.where(above, low, middle), torch.where(above, middle, high)
            columns.append(0.5 * (low + high))
            score = (columns[-1][..., None] - means[:, index]) / scales[:, index]
            log_weights = self._after(log_weights, score, scales[:, index])
        return torch.stack(columns, dim=-1).to(normal.dtype)

    def _components(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights for each slot of ``x``, means and scales, in double precision."""
        log_weights = self.logits.double().log_softmax(dim=0).expand(*x.shape[:-1], -1)
        return log_weights, self.means.double(), self.variances().double().sqrt()

    @staticmethod
    def _after(log_weights: Tensor, score: Tensor, scale: Tensor) -> Tensor:
        """Log-weights of the components once one more dimension is known."""
        return (log_weights - 0.5 * score.square() - scale.log()).log_softmax(dim=-1)


class Planar(Density):
    r"""A normal density pulled back through planar maps, code to base.

    .. math:: f(x) = x + \hat u \tanh(w^\top x + b), \qquad
        \log |\det f'| = \log (1 + w^\top \hat u (1 - \tanh^2(w^\top x + b)))

    where :math:`\hat u` is :math:`u` moved along :math:`w` until :math:`w^\top \hat u =
    -1 + \mathrm{softplus}(w^\top u) > -1`, so that each map is one to one. The inverse is a
    monotone equation in :math:`w^\top x` alone, solved by bisection.

    Args:
        dim: Dimensions.
        n_layers: Maps.

    Source:
        Rezende & Mohamed 2015, Appendix A.1, https://arxiv.org/abs/1505.05770
    """

    def __init__(self, dim: int, n_layers: int) -> None:
        super().__init__()
        self.w = nn.Parameter(nn.init.normal_(torch.empty(n_layers, dim), std=dim**-0.5))
        self.u = nn.Parameter(nn.init.normal_(torch.empty(n_layers, dim), std=dim**-0.5))
        self.b = nn.Parameter(torch.randn(n_layers))

    def directions(self) -> tuple[Float[Tensor, "layer dim"], Float[Tensor, " layer"]]:
        """The constrained u of each layer, and one plus its product with w, which is above 0."""
        product = (self.w * self.u).sum(dim=1)
        slack = F.softplus(product)
        squares = self.w.square().sum(dim=1).clamp_min(torch.finfo(self.w.dtype).tiny)
        return self.u + ((slack - 1.0 - product) / squares)[:, None] * self.w, slack

    def log_prob(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, " *slot"]:
        """As :meth:`Density.log_prob`."""
        normal, log_det = self._mapped(x)
        return log_det - 0.5 * (normal.square() + LOG_2PI).sum(dim=-1)

    def to_normal(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """The maps."""
        return self._mapped(x)[0]

    def from_normal(self, normal: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """The maps undone, as in sampling."""
        return self.from_noise(normal, None)

    def _mapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes through the maps, and the logarithm of the determinant."""
        u, slack = self.directions()
        log_det = torch.zeros_like(x[..., 0])
        for index in range(len(u)):
            waves = (x @ self.w[index] + self.b[index]).tanh()
            share = waves.square()  # nothing cancels below: both terms are positive
            log_det = log_det + (slack[index] * (1.0 - share) + share).log()
            x = x + waves[..., None] * u[index]
        return x, log_det

    @torch.no_grad()
    def from_noise(
        self, noise: Float[Tensor, "*slot dim"], generator: torch.Generator | None
    ) -> Float[Tensor, "*slot dim"]:
        """Undo the maps, last first, in double precision."""
        del generator
        u, slack = (each.double() for each in self.directions())
        x = noise.double()
        for index in reversed(range(len(u))):
            w, b = self.w[index].double(), self.b[index].double()
            waves = _solved(x @ w, slack[index] - 1.0, b)
            x = x - waves[..., None] * u[index]
        return x.to(noise.dtype)


class Spline(Density):
    """A normal density pulled back through autoregressive rational-quadratic splines (zuko).

    Each has 8 bins over [-5, 5], is the identity beyond them, and has a slope of 1e-3 at least.
    Exports depend on these numbers, so none is left to zuko, which has changed one before.

    Args:
        dim: Dimensions.
        n_layers: Transforms; the order of dimensions is reversed from one to the next.

    Source:
        Durkan et al. 2019, https://arxiv.org/abs/1906.04032
    """

    def __init__(self, dim: int, n_layers: int) -> None:
        super().__init__()
        import zuko  # most runs need no flow

        with torch.device("cpu"):  # it computes its masks, which the meta device cannot
            flow = zuko.flows.MAF(
                dim,
                transforms=n_layers,
                hidden_features=(64, 64),
                univariate=partial(zuko.transforms.MonotonicRQSTransform, bound=5.0, slope=1e-3),
                shapes=[(8,), (8,), (7,)],  # widths, heights, slopes between bins
            )
        self.transform = cast("nn.Module", flow.transform)

    def log_prob(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, " *slot"]:
        """As :meth:`Density.log_prob`."""
        base, log_det = self.transform().call_and_ladj(x)
        return log_det - 0.5 * (base.square() + LOG_2PI).sum(dim=-1)

    @torch.no_grad()
    def from_noise(
        self, noise: Float[Tensor, "*slot dim"], generator: torch.Generator | None
    ) -> Float[Tensor, "*slot dim"]:
        """Undo the splines, one dimension after another, in double precision.

        A steep spline makes much of a rounding error, and the next dimension more of it.
        """
        del generator
        exact = copy.deepcopy(self.transform).double()
        return exact().inv(noise.double()).to(noise.dtype)

    def to_normal(self, x: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """The splines."""
        return self.transform()(x)

    def from_normal(self, normal: Float[Tensor, "*slot dim"]) -> Float[Tensor, "*slot dim"]:
        """The splines undone, as in sampling."""
        return self.from_noise(normal, None)


def _solved(
    target: Float[Tensor, " *slot"], product: Float[Tensor, ""], b: Float[Tensor, ""]
) -> Float[Tensor, " *slot"]:
    """``tanh(a + b)`` where ``a + product * tanh(a + b) = target``; ``product`` is above -1."""
    low, high = target - product.abs(), target + product.abs()
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        above = middle + product * (middle + b).tanh() > target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (0.5 * (low + high) + b).tanh()
