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
from aurl.model.layers import Block, KeyValueCache, MusicalEmbedding, initialise, residual


class LatentGate(nn.Module):
    """What one decoder layer adds to each token: the codes of its slots, gated per level."""

    def __init__(self, layout: LatentLayout, d_model: int) -> None:
        super().__init__()
        self.layout = layout
        self.current = nn.ModuleList(nn.Linear(level.dim, d_model) for level in layout.levels)
        self.following = nn.ModuleList(
            nn.Linear(level.dim, d_model) for level in layout.levels if level.n_slots > 1
        )
        self.gate = nn.Linear(d_model, len(layout.levels))

    def forward(
        self,
        z: Float[Tensor, "batch coordinate"],
        place: Float[Tensor, "batch token embed"],
        slots: list[Tensor],
    ) -> Float[Tensor, "batch token embed"]:
        """Sum over levels of gate * projected code of the current and the following slot.

        Args:
            z: Latent vectors.
            place: Embedded musical position of each token.
            slots: The slot each token stands in, per level.
        """
        gates = self.gate(place).sigmoid()
        following = iter(self.following)
        total = torch.zeros_like(place)
        for index, (codes, slot) in enumerate(zip(self.layout.split(z), slots, strict=True)):
            projected = self.current[index](codes)
            if codes.shape[1] > 1:
                ahead = next(following)(codes)
                projected = projected + F.pad(ahead[:, 1:], (0, 0, 0, 1))
            where = slot[..., None].expand(-1, -1, projected.shape[-1])
            total = total + gates[..., index, None] * projected.gather(1, where)
        return total


class Decoder(nn.Module):
    """Causal Transformer decoder conditioned on the latent vector in every layer."""

    def __init__(
        self, vocabulary_size: int, layout: LatentLayout, config: ModelConfig, n_bars: int
    ) -> None:
        super().__init__()
        self.layout = layout
        self.n_heads = config.n_heads
        self.embedding = nn.Embedding(vocabulary_size, config.d_model)
        self.place = MusicalEmbedding(config.d_model, n_bars)
        self.blocks = nn.ModuleList(
            Block(config.d_model, config.n_heads) for _ in range(config.decoder_layers)
        )
        self.latent = nn.ModuleList(
            LatentGate(layout, config.d_model) for _ in range(config.decoder_layers)
        )
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
        place = residual(self.place(bar, phase))
        slots = [level.slot(bar, phase) for level in self.layout.levels]
        x = residual(self.embedding(tokens)) + place
        for index, (block, latent) in enumerate(zip(self.blocks, self.latent, strict=True)):
            cache = None if caches is None else caches[index]
            x = x + latent(z, place, slots)
            if skipped is not None:
                x = x + self.skip[index](skipped)
            x = block(x, cache=cache)
        return self.logits(self.norm(x))
