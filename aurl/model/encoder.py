"""The encoder: tokens to a posterior over every slot of every level.

Layers are masked to the span of the level they feed, finest first, so that nothing outside a
slot's span can reach its code; coarser levels read from the layers above.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aurl.config import ModelConfig
from aurl.errors import ConfigError
from aurl.model.latents import LatentLayout, Level, Posterior
from aurl.model.layers import (
    Block,
    MusicalEmbedding,
    full_precision,
    initialise,
    residual,
)


class SlotPooling(nn.Module):
    """Posterior of one level's slots: a learned query reads the tokens of each slot's span.

    A slot without tokens reads a learned null entry, so its posterior is defined. As there is one
    query, keys and values of single tokens are never made: the query is brought to the states, and
    what it pools of them to the values.
    """

    MIN_LOG_VAR = -12.0
    MAX_LOG_VAR = 6.0

    def __init__(self, level: Level, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.level = level
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(d_model)
        self.query = nn.Parameter(torch.zeros(1, d_model))
        self.null = nn.Parameter(torch.zeros(1, d_model))
        self.key_value = nn.Linear(d_model, 2 * d_model, bias=False)
        self.head = nn.Linear(d_model, 2 * level.dim)

    def forward(
        self,
        x: Float[Tensor, "batch token embed"],
        slot: Int[Tensor, "batch token"],
        valid: Tensor,
    ) -> Posterior:
        """Pool ``x`` into the level's slots.

        Args:
            x: Encoder states in which no token has seen beyond its own span.
            slot: The slot each token belongs to.
            valid: True for real tokens.
        """
        x = self.norm(x)
        with full_precision(self.query):
            key, value = self.key_value.weight.view(2, self.n_heads, -1, x.shape[-1])
            query = self.query.view(self.n_heads, -1) * key.shape[1] ** -0.5
            asked = torch.einsum("hs,hse->he", query, key)  # the query, where the states are
            null = (asked @ self.null[0])[:, None, None]
        slots = torch.arange(self.level.n_slots, device=x.device)
        own = (slot[:, None, :] == slots[None, :, None]) & valid[:, None, :]
        scores = (x @ asked.T).to(null.dtype).transpose(1, 2)[:, :, None]
        scores = scores.masked_fill(~own[:, None], -torch.inf)
        largest = scores.detach().amax(dim=-1, keepdim=True).maximum(null.detach())
        weights, of_null = (scores - largest).exp(), (null - largest).exp()
        total = weights.sum(dim=-1, keepdim=True) + of_null
        pooled = (weights.flatten(1, 2) @ x).unflatten(1, weights.shape[1:3])
        with full_precision(pooled):
            pooled = (pooled.to(null.dtype) + of_null * self.null) / total
            state = torch.einsum("bhne,hse->bnhs", pooled, value)
            mean, log_var = self.head(state.flatten(2)).chunk(2, dim=-1)
        log_var = log_var.clamp(self.MIN_LOG_VAR, self.MAX_LOG_VAR)
        return Posterior(mean.flatten(1), log_var.flatten(1))


class Encoder(nn.Module):
    """Transformer encoder whose lower layers are masked to the finer levels' spans."""

    def __init__(
        self, vocabulary_size: int, layout: LatentLayout, config: ModelConfig, n_bars: int
    ) -> None:
        super().__init__()
        spans = sorted({level.span for level in layout.levels})
        if config.encoder_layers < len(spans):
            raise ConfigError(
                "model.encoder_layers must be at least the number of distinct spans, "
                f"got encoder_layers={config.encoder_layers}, spans={spans}."
            )
        self.layout = layout
        self.embedding = nn.Embedding(vocabulary_size, config.d_model)
        self.place = MusicalEmbedding(config.d_model, n_bars)
        self.blocks = nn.ModuleList(
            Block(config.d_model, config.n_heads) for _ in range(config.encoder_layers)
        )
        self.pooling = nn.ModuleList(
            SlotPooling(level, config.d_model, config.n_heads) for level in layout.levels
        )
        n_layers = config.encoder_layers
        self.layer_spans = [spans[index * len(spans) // n_layers] for index in range(n_layers)]
        initialise(self, n_layers)

    def forward(
        self,
        tokens: Int[Tensor, "batch token"],
        valid: Tensor,
        bar: Int[Tensor, "batch token"],
        phase: Float[Tensor, "batch token"],
    ) -> tuple[Posterior, Float[Tensor, "batch token embed"]]:
        """The posterior over the whole latent vector, and the last states.

        Padding changes neither.

        Args:
            tokens: Token ids.
            valid: True for real tokens.
            bar: Bar of each token.
            phase: Place of each token in its bar, in [0, 1).
        """
        x = residual(self.embedding(tokens) + self.place(bar, phase))
        slots = {level.span: level.slot(bar, phase) for level in self.layout.levels}
        visible: dict[float, Tensor] = {}
        together = valid[:, :, None] == valid[:, None, :]  # padding sees padding
        for span in sorted(slots, reverse=True):
            # Also within the coarser slots: those of 2 and 3 bars are not in one another.
            together = together & (slots[span][:, :, None] == slots[span][:, None, :])
            visible[span] = together
        states: dict[float, Tensor] = {}
        for block, span in zip(self.blocks, self.layer_spans, strict=True):
            x = block(x, visible=visible[span])
            states[span] = x
        parts = [
            pool(states[level.span], slots[level.span], valid)
            for pool, level in zip(self.pooling, self.layout.levels, strict=True)
        ]
        posterior = Posterior(
            torch.cat([part.mean for part in parts], dim=1),
            torch.cat([part.log_var for part in parts], dim=1),
        )
        return posterior, x
