"""Transformer blocks: pre-norm, rotary positions, fused attention, a key-value cache.

Axes: ``batch`` sequences, ``token`` positions, ``embed`` the residual stream, ``head`` its parts.
"""

from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class KeyValueCache:
    """Keys and values of the tokens one attention layer has read, for generation.

    Args:
        batch: Sequences.
        n_heads: Attention heads.
        max_tokens: Most tokens that will be read.
        like: A tensor whose last axis is the residual stream, of the type and device to use.
    """

    def __init__(self, batch: int, n_heads: int, max_tokens: int, like: Tensor) -> None:
        head_dim = like.shape[-1] // n_heads
        self.keys = like.new_zeros(batch, n_heads, max_tokens, head_dim)
        self.values = torch.zeros_like(self.keys)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of new tokens; returns those of every token read so far."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


@cache
def _rotations(
    n_tokens: int, size: int, device: torch.device
) -> Float[Tensor, "cosine_sine token size"]:
    positions = torch.arange(n_tokens, device=device, dtype=torch.float32)
    half = size // 2
    frequencies = 10000.0 ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    angles = positions[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)])


def rotations(
    n_tokens: int, size: int, device: torch.device
) -> Float[Tensor, "cosine_sine token size"]:
    """What rotary positions multiply a vector, and the same with its halves swapped, by.

    Kept, and a constant of what torch compiles (:func:`aurl.training.elbo.compile_for`): computed
    anew in each kernel that reads them, they took a fifth of a training step of a large model on a
    GPU.
    """
    return _rotations(n_tokens, size, device)


def rotated(x: Float[Tensor, "batch token head size"], offset: int) -> Tensor:
    """Rotary position embedding of tokens ``offset, offset + 1, ...``; scores become relative.

    The halves of each vector are swapped as a whole: slices became, backward, a kernel of many
    conditions, 7 of the 54 ms of a large model's step on a GPU.

    Source:
        Su et al. 2021, https://arxiv.org/abs/2104.09864
    """
    size, end = x.shape[-1], offset + x.shape[1]
    longest = max(64, 1 << (end - 1).bit_length())  # few tables, however far a generation gets
    cos, sin = rotations(longest, size, x.device)[:, offset:end, None].to(x.dtype)
    return x * cos + x.roll(size // 2, -1) * sin


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query_key_value = nn.Linear(d_model, 3 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch token embed"],
        *,
        visible: Bool[Tensor, "batch token token"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch token embed"]:
        """Attend where ``visible`` says so; without it each token sees itself and those before.

        Args:
            x: The residual stream, normalised.
            visible: ``[b, i, j]`` is True if token i may look at token j; each row needs a True.
            cache: Keys and values of earlier tokens; ``x`` follows them.
        """
        batch, token, embed = x.shape
        heads = (batch, token, self.n_heads, embed // self.n_heads)
        query, key, value = (part.view(heads) for part in self.query_key_value(x).chunk(3, dim=-1))
        offset = cache.length if cache is not None else 0
        query, key = rotated(query, offset), rotated(key, offset)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        if cache is not None:
            key, value = cache.append(key, value)
        if visible is not None:
            attended = F.scaled_dot_product_attention(query, key, value, visible[:, None])
        elif offset == 0:
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            earlier = torch.ones(token, key.shape[2], dtype=torch.bool, device=x.device)
            attended = F.scaled_dot_product_attention(query, key, value, earlier.tril(offset))
        return self.output(attended.transpose(1, 2).reshape(batch, token, embed))


class Block(nn.Module):
    """One pre-norm Transformer block: attention, then a GELU network four times as wide."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = SelfAttention(d_model, n_heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(d_model),
            nn.Linear(d_model, 4 * d_model),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * d_model, d_model),
        )

    def forward(
        self,
        x: Float[Tensor, "batch token embed"],
        *,
        visible: Bool[Tensor, "batch token token"] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch token embed"]:
        """Apply the block; arguments as in :meth:`SelfAttention.forward`."""
        x = x + self.attention(self.attention_norm(x), visible=visible, cache=cache)
        return x + self.feed_forward(x)


class MusicalEmbedding(nn.Module):
    """Where a token stands in the music: its bar and its phase within the bar."""

    N_HARMONICS = 6

    def __init__(self, d_model: int, n_bars: int) -> None:
        super().__init__()
        self.bar = nn.Embedding(n_bars, d_model)
        self.phase = nn.Linear(2 * self.N_HARMONICS, d_model, bias=False)

    def forward(
        self, bar: Tensor, phase: Float[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token embed"]:
        """Embed bar indices and phases in [0, 1), the latter by octaves of sines."""
        return self.bar(self._known(bar)) + self.phase(self._waves(phase))

    def mapped(
        self,
        bar: Tensor,
        phase: Float[Tensor, "batch token"],
        weight: Float[Tensor, "feature embed"],
    ) -> Float[Tensor, "batch token feature"]:
        """``weight`` times the embedding, which is not made for it: both are linear."""
        by_bar = F.embedding(self._known(bar), self.bar.weight @ weight.T)
        return by_bar + self._waves(phase) @ (weight @ self.phase.weight).T

    def _known(self, bar: Tensor) -> Tensor:
        return bar.clamp(max=self.bar.num_embeddings - 1)

    def _waves(self, phase: Tensor) -> Float[Tensor, "batch token wave"]:
        octaves = 2.0 ** torch.arange(self.N_HARMONICS, device=phase.device)
        angles = 2.0 * torch.pi * phase[..., None].to(self.phase.weight.dtype) * octaves
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def residual(x: Tensor) -> Tensor:
    """``x`` in the type that matrix products are computed in: what the blocks add to."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def full_precision(like: Tensor) -> torch.autocast:
    """Where densities are computed: in the type of their inputs, even under autocast."""
    return torch.autocast(like.device.type, enabled=False)


def initialise(module: nn.Module, n_layers: int) -> None:
    """Normal weights, 1/sqrt(fan-in) wide; what writes to the residual stream is scaled down.

    Source:
        Radford et al. 2019, section 2.3, for the factor 1/sqrt(2 * layers).
    """
    for name, parameter in module.named_parameters():
        if parameter.dim() < 2:
            continue
        std = parameter.shape[-1] ** -0.5
        if name.endswith(("attention.output.weight", "feed_forward.3.weight")):
            std /= (2 * n_layers) ** 0.5
        nn.init.normal_(parameter, std=std)
