"""The decoder: latent vector and the tokens so far to the next token's logits, causally.

The latent reaches every layer (generative skips, Dieng et al. 2019): each token is given the codes
of the slots it stands in, and of the slots that come next, weighted per level by a gate of its
musical position. The gate knows bar and beat, never an index in a growing window, so that a token
is treated alike in training and in generation.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from aurl.config import ModelConfig
from aurl.model.latents import LatentLayout
from aurl.model.layers import (
    Block,
    KeyValueCache,
    MusicalEmbedding,
    full_precision,
    initialise,
    residual,
)

ALIGNED = 8
"""Widths of matrix products are filled up to a multiple of this: a GPU has faster kernels then."""


class LatentGate(nn.Module):
    """The weights of one decoder layer: what each level's codes say to it, and when."""

    def __init__(self, layout: LatentLayout, d_model: int) -> None:
        super().__init__()
        self.current = nn.ModuleList(nn.Linear(level.dim, d_model) for level in layout.levels)
        self.following = nn.ModuleList(
            nn.Linear(level.dim, d_model) for level in layout.levels if level.n_slots > 1
        )
        self.gate = nn.Linear(d_model, len(layout.levels))


class LatentGates(nn.ModuleList):
    """What each decoder layer adds to each token: the codes of its slots, gated per level.

    A sum over slots, of which each token stands in one a level: a matrix product with what the
    codes of all slots say.
    """

    def __init__(self, layout: LatentLayout, d_model: int, n_layers: int) -> None:
        super().__init__(LatentGate(layout, d_model) for _ in range(n_layers))
        self.layout = layout

    def told(
        self, z: Float[Tensor, "batch coordinate"]
    ) -> list[Float[Tensor, "batch layer slot embed"]]:
        """What the codes say to each layer, per level: those of a slot and of the one after it."""
        found: list[Tensor] = []
        several = 0
        for index, codes in enumerate(self.layout.split(z)):
            said = self._projected(f"current.{index}", codes)
            if codes.shape[1] > 1:
                ahead = self._projected(f"following.{several}", codes)
                said = said + F.pad(ahead[:, :, 1:], (0, 0, 0, 1))
                several += 1
            found.append(said)
        return found

    def _projected(self, name: str, codes: Tensor) -> Float[Tensor, "batch layer slot embed"]:
        projected = F.linear(codes, self.stacked(f"{name}.weight"), self.stacked(f"{name}.bias"))
        return projected.unflatten(-1, (len(self), -1)).transpose(1, 2)

    def stacked(self, name: str) -> Tensor:
        """A parameter of all layers, one after the other."""
        return torch.cat([layer.get_parameter(name) for layer in self])

    def forward(
        self,
        z: Float[Tensor, "batch coordinate"],
        place: MusicalEmbedding,
        bar: Int[Tensor, "batch token"],
        phase: Float[Tensor, "batch token"],
    ) -> tuple[
        Float[Tensor, "batch layer token column"], Float[Tensor, "batch layer column embed"]
    ]:
        """Two factors of what is added: the gate of each token and slot, and what the slot says.

        Args:
            z: Latent vectors.
            place: The embedding of musical positions, which the gates are linear in.
            bar: Bar of the music after each token.
            phase: Place in that bar after each token, in [0, 1).
        """
        with full_precision(phase):
            gates = place.mapped(bar, phase, self.stacked("gate.weight"))
            gates = (gates + self.stacked("gate.bias")).sigmoid()
        gates = gates.unflatten(-1, (len(self), -1)).transpose(1, 2)
        said = self.told(z)
        columns: list[Tensor] = []
        for index, level in enumerate(self.layout.levels):
            slot = level.slot(bar, phase)[..., None]
            here = slot == torch.arange(level.n_slots, device=slot.device)
            columns.append(gates[..., index, None] * here[:, None])
        spare = -sum(level.n_slots for level in self.layout.levels) % ALIGNED
        return (
            F.pad(residual(torch.cat(columns, dim=-1)), (0, spare)),
            F.pad(torch.cat(said, dim=2), (0, 0, 0, spare)),
        )


class Decoder(nn.Module):
    """Causal Transformer decoder conditioned on the latent vector in every layer."""

    def __init__(
        self, vocabulary_size: int, layout: LatentLayout, config: ModelConfig, n_bars: int
    ) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.embedding = nn.Embedding(vocabulary_size, config.d_model)
        self.place = MusicalEmbedding(config.d_model, n_bars)
        self.blocks = nn.ModuleList(
            Block(config.d_model, config.n_heads) for _ in range(config.decoder_layers)
        )
        self.latent = LatentGates(layout, config.d_model, config.decoder_layers)
        self.skip = nn.ModuleList(
            nn.Linear(config.d_model, config.d_model, bias=False)
            for _ in range(config.decoder_layers if config.encoder_skip else 0)
        )
        self.norm = nn.LayerNorm(config.d_model)
        self.logits = nn.Linear(config.d_model, vocabulary_size)
        initialise(self, config.decoder_layers)

    def caches(self, batch: int, max_tokens: int) -> list[KeyValueCache]:
        """One empty key-value cache a layer."""
        like = self.logits.weight
        return [KeyValueCache(batch, self.n_heads, max_tokens, like) for _ in self.blocks]

    def forward(
        self,
        tokens: Int[Tensor, "batch token"],
        z: Float[Tensor, "batch coordinate"],
        bar: Int[Tensor, "batch token"],
        phase: Float[Tensor, "batch token"],
        *,
        caches: list[KeyValueCache] | None = None,
        skipped: Float[Tensor, "batch token embed"] | None = None,
    ) -> Float[Tensor, "batch token vocab"]:
        """Logits of the token after each of ``tokens``.

        Args:
            tokens: What has been read, START first; with ``caches``, what follows those in them.
            z: Latent vectors.
            bar: Bar of the music after each token.
            phase: Place in that bar after each token, in [0, 1).
            caches: From :meth:`caches`; updated in place.
            skipped: The encoder's states of the same tokens, gated: for training only.
        """
        gates, said = self.latent(z, self.place, bar, phase)
        x = residual(self.embedding(tokens)) + residual(self.place(bar, phase))
        for index, block in enumerate(self.blocks):
            cache = None if caches is None else caches[index]
            x = x + gates[:, index] @ said[:, index]
            if skipped is not None:
                x = x + self.skip[index](skipped)
            x = block(x, cache=cache)
        return self._logits(self.norm(x))

    def _logits(self, x: Tensor) -> Float[Tensor, "batch token vocab"]:
        size = self.logits.out_features
        spare = -size % ALIGNED
        weight = F.pad(self.logits.weight, (0, 0, 0, spare))
        return F.linear(x, weight, F.pad(self.logits.bias, (0, spare)))[..., :size]
