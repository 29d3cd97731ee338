r"""The prior p(z): a base density for each level, pushed through an affine map of what is known.

.. math:: p(z \mid c) = \prod_{\text{levels}} \prod_{\text{slots}}
    p_0\bigl((z_s - m(c_s)) e^{-a(c_s)}\bigr)\, e^{-\sum a(c_s)}

``c_s`` holds the codes of the coarser slots that cover slot s (``latent.top_down``) and the
music's context (``latent.context``). One mechanism serves hierarchy and conditional sampling. An
affine map changes no divergence: the KL of the posterior from the prior is that of the posterior
*in base coordinates* from the base density, so that a Gaussian base keeps its closed form.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from aurl.errors import ConfigError
from aurl.latent_config import ContextName, LatentConfig, PriorKind
from aurl.model.context import ContextTable
from aurl.model.densities import LOG_2PI, Density, density_of
from aurl.model.latents import LatentLayout, Level, Posterior, gaussian_kl


@dataclass(frozen=True)
class InBase:
    """A posterior and a sample of it, in the coordinates of the prior's base densities."""

    mean: Float[Tensor, "batch coordinate"]
    log_var: Float[Tensor, "batch coordinate"]
    z: Float[Tensor, "batch coordinate"]

    log_prob: Float[Tensor, "batch coordinate"] | None
    """Log-density of the base at ``z``, that of a slot in equal parts on its coordinates: only
    sums over slots mean something. None if each base is standard normal."""

    closed_form: Bool[Tensor, " coordinate"]
    """Where the base is standard normal."""

    def kl(self) -> Float[Tensor, "batch coordinate"]:
        r"""KL from the posterior to the prior.

        .. math:: \mathrm{KL}(q \| p) \approx \log q(z|x) - \log p(z), \quad z \sim q(z|x)

        where there is no closed form: unbiased, and negative for some samples.

        Returns:
            Nats. Where ``closed_form`` is False, only sums over slots mean something.
        """
        exact = gaussian_kl(self.mean, self.log_var)
        if self.log_prob is None:
            return exact
        squares = (self.z - self.mean).square() / self.log_var.exp()
        log_posterior = -0.5 * (squares + self.log_var + LOG_2PI)
        return torch.where(self.closed_form, exact, log_posterior - self.log_prob)


class Conditioner(nn.Module):
    """A small network from what is known of a slot to its shift and log-scale.

    Args:
        n_known: Features of what is known.
        dim: Dimensions of the slot.
    """

    WIDTH = 64
    LARGEST = 2.0
    """Bound of the log-scale: no condition makes a density degenerate."""

    def __init__(self, n_known: int, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_known, self.WIDTH)
        self.output = nn.Linear(self.WIDTH, 2 * dim)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, known: Float[Tensor, "batch slot known"]
    ) -> tuple[Float[Tensor, "batch slot dim"], Float[Tensor, "batch slot dim"]]:
        """Shift and log-scale of each slot."""
        raw = self.output(nn.functional.silu(self.hidden(known)))
        shift, log_scale = raw.chunk(2, dim=-1)
        return shift, self.LARGEST * (log_scale / self.LARGEST).tanh()


class LevelPrior(nn.Module):
    """Base density and conditioning of one level; all its slots share them.

    Args:
        level: The level.
        density: Its base density.
        above: The levels whose codes condition it.
        n_context: Features of the musical context.
    """

    def __init__(
        self, level: Level, density: Density, above: Sequence[Level], n_context: int
    ) -> None:
        super().__init__()
        self.density = density
        self.n_slots = level.n_slots
        self.n_above = len(above)
        for index, coarser in enumerate(above):
            self.register_buffer(f"cover{index}", cover(level, coarser), persistent=False)
        n_known = n_context + sum(coarser.dim for coarser in above)
        self.conditioner = Conditioner(n_known, level.dim) if n_known else None

    def affine(
        self, codes: Sequence[Tensor], context: Float[Tensor, "batch column"] | None
    ) -> tuple[Tensor, Tensor] | None:
        """Shift and log-scale of each slot; None without conditioning.

        Args:
            codes: Of the levels before this one, ``[batch, slot, dim]`` each.
            context: One-hot.
        """
        if self.conditioner is None:
            return None
        known = [getattr(self, f"cover{index}") @ codes[index] for index in range(self.n_above)]
        if context is not None:
            known.append(context[:, None].expand(-1, self.n_slots, -1))
        return self.conditioner(torch.cat(known, dim=-1))


class Prior(nn.Module):
    """The prior over the whole latent vector.

    Args:
        layout: Levels and slots.
        config: Base densities and conditioning.

    Raises:
        ConfigError: If ``top_down`` is asked for and a level stands before a coarser one.
    """

    DRAWS = 256
    """Samples of :meth:`effect_nats`."""

    closed_form: Tensor
    """Where the KL of a diagonal Gaussian has a closed form, per coordinate."""

    def __init__(self, layout: LatentLayout, config: LatentConfig) -> None:
        super().__init__()
        if config.top_down:
            _check_order(layout)
        self.layout = layout
        self.context = ContextTable(config.context) if config.context else None
        n_context = 0 if self.context is None else self.context.width
        kinds: dict[str, PriorKind] = {
            level.name: config.kind_of(level) for level in config.levels
        }
        self.levels = nn.ModuleList()
        for index, level in enumerate(layout.levels):
            density = density_of(kinds[level.name], level.dim, config.prior)
            above = layout.levels[:index] if config.top_down else ()
            self.levels.append(LevelPrior(level, density, above, n_context))
        closed = torch.tensor([level.density.closed_form for level in self._levels()])
        self.register_buffer("closed_form", closed[layout.level], persistent=False)
        self.is_closed_form = all(level.density.closed_form for level in self._levels())
        self.is_standard = self.is_closed_form and all(
            level.conditioner is None for level in self._levels()
        )

    def in_base(
        self,
        posterior: Posterior,
        z: Float[Tensor, "batch coordinate"],
        context: Int[Tensor, "batch context"] | None,
    ) -> InBase:
        """The posterior and its sample ``z`` as the base densities see them.

        Args:
            posterior: q(z|x).
            z: A sample of it: what coarser codes condition finer ones with.
            context: Classes of the windows' context; required if the prior has one.
        """
        if self.is_standard:
            return InBase(posterior.mean, posterior.log_var, z, None, self.closed_form)
        shift, log_scale = self.affine(z, context)
        scale = (-log_scale).exp()
        base = (z - shift) * scale
        log_prob = None if self.is_closed_form else self.base_log_prob(base)
        mean = (posterior.mean - shift) * scale
        return InBase(mean, posterior.log_var - 2.0 * log_scale, base, log_prob, self.closed_form)

    def log_prob(
        self,
        z: Float[Tensor, "batch coordinate"],
        context: Int[Tensor, "batch context"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """Log-density of latent vectors, in nats."""
        shift, log_scale = self.affine(z, context)
        base = self.base_log_prob((z - shift) * (-log_scale).exp())
        return (base - log_scale).sum(dim=1)

    @torch.no_grad()
    def from_noise(
        self,
        noise: Float[Tensor, "count coordinate"],
        *,
        generator: torch.Generator,
        context: Int[Tensor, "count context"] | None = None,
    ) -> Float[Tensor, "count coordinate"]:
        """Turn standard normal ``noise`` into latent vectors, coarse to fine.

        Args:
            noise: Standard normal.
            generator: Where further draws come from; on the CPU.
            context: Classes for each; if left out, drawn as often as the training music has them.
        """
        if self.context is not None and context is None:
            context = self.context.draw(len(noise), {}, generator)
        return self._built(noise, context, lambda base, own: base.from_noise(own, generator))

    @torch.no_grad()
    def to_normal(self, z: Float[Tensor, "batch coordinate"]) -> Float[Tensor, "batch coordinate"]:
        """Latent vectors in coordinates in which the prior is standard normal, one to one.

        Args:
            z: Latent vectors; the prior must not have a musical context.
        """
        shift, log_scale = self.affine(z, None)
        base = self.layout.split((z - shift) * (-log_scale).exp())
        parts = [
            prior.density.to_normal(codes).flatten(1)
            for prior, codes in zip(self._levels(), base, strict=True)
        ]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def from_normal(
        self, normal: Float[Tensor, "batch coordinate"]
    ) -> Float[Tensor, "batch coordinate"]:
        """Undo :meth:`to_normal`."""
        return self._built(normal, None, lambda base, own: base.from_normal(own))

    def _built(
        self,
        noise: Tensor,
        context: Tensor | None,
        from_base: Callable[[Density, Tensor], Tensor],
    ) -> Float[Tensor, "count coordinate"]:
        """Latent vectors from base coordinates, coarse to fine."""
        features = self._features(context)
        codes: list[Tensor] = []
        for prior, own_noise in zip(self._levels(), self.layout.split(noise), strict=True):
            code = from_base(prior.density, own_noise)
            affine = prior.affine(codes, features)
            if affine is not None:
                shift, log_scale = affine
                code = shift + log_scale.exp() * code
            codes.append(code)
        return torch.cat([code.flatten(1) for code in codes], dim=1)

    @torch.no_grad()
    def effect_nats(
        self, given: Mapping[ContextName, int], name: ContextName, generator: torch.Generator
    ) -> float:
        r"""How far asking for one context moves the prior, as a divergence.

        .. math:: \mathrm{KL}\bigl(p(z | \text{given})
            \,\|\, p(z | \text{given without name})\bigr)

        What is not given is mixed as often as it occurs in the training music, so the divergence
        is at most the negative logarithm of how often the value does.

        Args:
            given: All that was asked for.
            name: The context in question.
            generator: Where the samples that estimate it come from.
        """
        assert self.context is not None
        without = dict(given)
        del without[name]
        context = self.context.draw(self.DRAWS, given, generator)
        noise = torch.randn(self.DRAWS, self.layout.size, generator=generator)
        z = self.from_noise(noise.to(self.context.counts), generator=generator, context=context)
        return float((self._mixed_log_prob(z, given) - self._mixed_log_prob(z, without)).mean())

    def _mixed_log_prob(self, z: Tensor, given: Mapping[ContextName, int]) -> Tensor:
        """Log-density given a part of the context."""
        assert self.context is not None
        classes, shares = self.context.combinations(given)
        each = torch.stack([self.log_prob(z, row.expand(len(z), -1)) for row in classes])
        return (each + shares.log().to(each)[:, None]).logsumexp(dim=0)

    def _levels(self) -> list[LevelPrior]:
        return [level for level in self.levels if isinstance(level, LevelPrior)]

    def _features(self, context: Tensor | None) -> Tensor | None:
        if self.context is None:
            return None
        if context is None:
            raise ValueError("context must be given: the prior has latent.context, got None.")
        return self.context.one_hot(context)

    def affine(
        self,
        z: Float[Tensor, "batch coordinate"],
        context: Int[Tensor, "batch context"] | None,
    ) -> tuple[Float[Tensor, "batch coordinate"], Float[Tensor, "batch coordinate"]]:
        """Shift and log-scale of each coordinate, given the latent vector itself and context."""
        features = self._features(context)
        codes = self.layout.split(z)
        shifts: list[Tensor] = []
        log_scales: list[Tensor] = []
        for index, prior in enumerate(self._levels()):
            own = codes[index]
            affine = prior.affine(codes[:index], features)
            shift, log_scale = (torch.zeros_like(own),) * 2 if affine is None else affine
            shifts.append(shift.flatten(1))
            log_scales.append(log_scale.flatten(1))
        return torch.cat(shifts, dim=1), torch.cat(log_scales, dim=1)

    def base_log_prob(
        self, base: Float[Tensor, "batch coordinate"]
    ) -> Float[Tensor, "batch coordinate"]:
        """Base log-density, that of each slot in equal parts on its coordinates."""
        parts: list[Tensor] = []
        for prior, codes in zip(self._levels(), self.layout.split(base), strict=True):
            slots = prior.density.log_prob(codes) / codes.shape[2]
            parts.append(slots[..., None].expand_as(codes).flatten(1))
        return torch.cat(parts, dim=1)


def cover(level: Level, coarser: Level) -> Float[Tensor, "slot coarser_slot"]:
    """The share of each slot of ``level`` that each slot of a coarser level covers; on the CPU."""
    starts = torch.arange(level.n_slots, device="cpu")[:, None] * level.span
    others = torch.arange(coarser.n_slots, device="cpu")[None] * coarser.span
    ends = torch.minimum(starts + level.span, others + coarser.span)
    shares = (ends - torch.maximum(starts, others)).clamp_min(0.0)
    return shares / shares.sum(dim=1, keepdim=True)


def _check_order(layout: LatentLayout) -> None:
    spans = [level.span for level in layout.levels]
    for index in range(1, len(spans)):
        if spans[index] > spans[index - 1]:
            first, second = layout.levels[index - 1], layout.levels[index]
            raise ConfigError(
                "latent.levels must go from coarse to fine with latent.top_down, got "
                f"{first.name} (span {first.span:g}) before {second.name} (span {second.span:g})."
            )
