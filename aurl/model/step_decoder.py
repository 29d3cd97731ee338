"""The decoder in numpy, a token at a time: for a few sequences that someone waits for.

One token of a small model is some hundred tiny operations. In torch each costs microseconds before
it begins, more than all of its work; in numpy a fraction of that. What depends on the latent
vector alone is computed once, by the decoder's own modules. The numbers are those of
:class:`~aurl.model.decoder.Decoder` up to rounding, which a test holds them to.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.model.decoder import Decoder
from aurl.model.latents import EDGE
from aurl.model.layers import Block, rotated

MOST_SEQUENCES = 8
"""From more on, torch is as fast."""

_GELU = math.sqrt(2.0 / math.pi)


class StepDecoder:
    """One generation of a few sequences.

    Args:
        decoder: On the CPU.
        z: Latent vectors.
        max_tokens: Most tokens that will be read.
    """

    @torch.no_grad()
    def __init__(
        self, decoder: Decoder, z: Float[Tensor, "batch coordinate"], max_tokens: int
    ) -> None:
        batch, width = z.shape[0], decoder.embedding.weight.shape[1]
        self._levels = decoder.latent.layout.levels
        self._n_heads = decoder.n_heads
        self._rows = np.arange(batch)
        self._embedding = _array(decoder.embedding.weight)
        self._bar = _array(decoder.place.bar.weight)
        self._phase = _array(decoder.place.phase.weight).T
        self._octaves = (2.0 * math.pi * 2.0 ** np.arange(decoder.place.N_HARMONICS)).astype(
            self._embedding.dtype
        )
        self._gate = _array(decoder.latent.stacked("gate.weight")).T
        self._gate_bias = _array(decoder.latent.stacked("gate.bias"))
        self._told = [each.transpose(1, 2).numpy() for each in decoder.latent.told(z)]
        self._blocks = [_Block(each) for each in decoder.blocks if isinstance(each, Block)]
        self._norm = (_array(decoder.norm.weight), _array(decoder.norm.bias))
        self._logits = (_array(decoder.logits.weight).T, _array(decoder.logits.bias))
        size = width // self._n_heads
        cache = (len(self._blocks), 2, batch, self._n_heads, max_tokens, size)
        self._cache = np.zeros(cache, self._embedding.dtype)
        self._turns = _turns(max_tokens, z, size)
        self._length = 0

    def __call__(
        self,
        tokens: Int[Tensor, "batch token"],
        bar: Int[Tensor, "batch token"],
        phase: Float[Tensor, "batch token"],
    ) -> Float[Tensor, "batch vocab"]:
        """Read the next tokens of each sequence; logits of the token after the last of them.

        Args:
            tokens: One at least.
            bar: Bar of the music after each token.
            phase: Place in that bar after each token, in [0, 1).
        """
        *earlier, last = zip(tokens.T.numpy(), bar.T.numpy(), phase.T.numpy(), strict=True)
        weight, bias = self._logits
        with np.errstate(all="ignore"):  # of a model that has diverged; torch says nothing either
            for column in earlier:
                self._read(*column)
            return torch.from_numpy(_normed(self._read(*last), *self._norm) @ weight + bias)

    def _read(self, tokens: np.ndarray, bar: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """The residual stream of one token of each sequence."""
        angles = phase[:, None].astype(self._embedding.dtype) * self._octaves
        waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        place = self._bar[np.minimum(bar, len(self._bar) - 1)] + waves @ self._phase
        latent = self._latent(place, bar.astype(np.float32) + phase)
        x = self._embedding[tokens] + place
        end = self._length + 1
        for index, block in enumerate(self._blocks):
            x = x + latent[:, index]
            keys, values = self._cache[index]
            x = x + self._attention(block, _normed(x, *block.first_norm), keys, values)
            hidden = _normed(x, *block.second_norm) @ block.widen + block.widen_bias
            hidden = 0.5 * hidden * (1.0 + np.tanh(_GELU * (hidden + 0.044715 * hidden**3)))
            x = x + (hidden @ block.narrow + block.narrow_bias)
        self._length = end
        return x

    def _latent(
        self, place: np.ndarray, bars: np.ndarray
    ) -> Float[np.ndarray, "batch layer embed"]:
        """What every layer adds: the codes of the slots of a place, gated by level."""
        gates = 1.0 / (1.0 + np.exp(-(place @ self._gate + self._gate_bias)))
        gates = gates.reshape(len(place), -1, len(self._levels))
        total: np.ndarray | None = None
        for index, (level, told) in enumerate(zip(self._levels, self._told, strict=True)):
            slot = np.floor((bars + np.float32(EDGE)) / np.float32(level.span)).astype(np.int64)
            part = gates[:, :, index, None] * told[self._rows, np.minimum(slot, level.n_slots - 1)]
            total = part if total is None else total + part
        assert total is not None  # a model without a level is refused by its configuration
        return total

    def _attention(
        self, block: "_Block", x: np.ndarray, keys: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """Attention of one token to itself and those before; its keys and values are kept."""
        end = self._length + 1
        parts = (x @ block.query_key_value).reshape(len(x), 3, self._n_heads, -1)
        cos, sin = self._turns[:, self._length]
        half = cos.shape[-1]
        first, second = parts[:, :2, :, :half], parts[:, :2, :, half:]
        turned = np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
        keys[:, :, self._length] = turned[:, 1]
        values[:, :, self._length] = parts[:, 2]
        scores = np.matmul(keys[:, :, :end], turned[:, 0, :, :, None])[..., 0]
        scores *= 1.0 / math.sqrt(keys.shape[-1])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        seen = np.matmul(scores[:, :, None], values[:, :, :end])
        return seen.reshape(len(x), -1) @ block.output


class _Block:
    """The weights of one block, as they are multiplied with."""

    def __init__(self, block: Block) -> None:
        attention = block.attention
        self.query_key_value = _array(attention.query_key_value.weight).T
        self.output = _array(attention.output.weight).T
        self.first_norm = (_array(block.attention_norm.weight), _array(block.attention_norm.bias))
        norm, widen, _, narrow = block.feed_forward
        self.second_norm = (_array(norm.weight), _array(norm.bias))
        self.widen, self.widen_bias = _array(widen.weight).T, _array(widen.bias)
        self.narrow, self.narrow_bias = _array(narrow.weight).T, _array(narrow.bias)


def _turns(max_tokens: int, like: Tensor, size: int) -> Float[np.ndarray, "2 token half"]:
    """Cosines and sines of the rotary embedding, read off what it makes of (1, 0)."""
    one = like.new_zeros(1, max_tokens, 1, size)
    one[..., : size // 2] = 1.0
    turned = rotated(one, 0)[0, :, 0].numpy()
    return np.stack(np.split(turned, 2, axis=-1))


def _normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Layer normalisation."""
    size = x.shape[-1]
    x = x - np.add.reduce(x, axis=-1, keepdims=True) / size
    variance = np.add.reduce(x * x, axis=-1, keepdims=True) / size
    return x / np.sqrt(variance + 1e-5) * weight + bias


def _array(parameter: object) -> np.ndarray:
    assert isinstance(parameter, Tensor)
    return parameter.detach().numpy()
