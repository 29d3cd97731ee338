"""Generation: tokens from latent vectors, batched, cached, and only what the grammar allows."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.model.vae import Vae


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 0.0
    """0 takes the likeliest token; 1 samples the model's distribution."""

    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""

    top_p: float = 1.0
    """Keep the fewest likeliest tokens whose probability reaches p."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be >= 0, got {self.temperature}.")
        if not self.top_k >= 0:
            raise ValueError(f"top_k must be >= 0, got {self.top_k}.")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}.")


@torch.no_grad()
def generate(
    model: Vae,
    z: Float[Tensor, "batch coordinate"],
    *,
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "batch token"]:
    """Decode latent vectors freely, each token read back as input to the next.

    No token that the grammar forbids is ever drawn, and every sequence ends: as ``max_tokens``
    comes near, only tokens are allowed after which there is room to end it.

    Args:
        model: The VAE; call ``eval()`` first if it has modes.
        z: Latent vectors.
        max_tokens: Most tokens of a sequence, START included.
        sampling: Temperature and truncation.
        generator: Where the draws come from; required unless the temperature is 0.

    Returns:
        Sequences from START on, padded after END.

    Raises:
        ValueError: If draws are asked for without a generator, or ``max_tokens`` is too small for
            any sequence.
    """
    if sampling.temperature > 0.0 and generator is None:
        raise ValueError("generator must be given when temperature > 0, got None.")
    vocabulary = model.vocabulary
    batch = z.shape[0]
    tokens = torch.full((batch, max_tokens), vocabulary.pad, device=z.device)
    tokens[:, 0] = vocabulary.start
    grammar = vocabulary.grammar(batch, model.n_bars, z.device)
    grammar.advance(tokens[:, 0])
    caches = model.decoder.caches(batch, max_tokens)
    for index in range(1, max_tokens):
        bar, phase = vocabulary.positions(tokens[:, :index])
        logits = model.decoder(
            tokens[:, index - 1 : index], z, bar[:, -1:], phase[:, -1:], caches=caches
        )[:, 0]
        logits = logits.masked_fill(~grammar.allowed(max_tokens - index), -torch.inf)
        chosen = drawn(logits, sampling, generator)
        tokens[:, index] = chosen
        grammar.advance(chosen)
        if bool((chosen == vocabulary.pad).all()):
            return tokens[:, :index]
    return tokens


def drawn(
    logits: Float[Tensor, "batch vocab"], sampling: Sampling, generator: torch.Generator | None
) -> Int[Tensor, " batch"]:
    """One token per row of logits."""
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1)
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1.0:
        ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        logits = logits.masked_fill(beyond.scatter(1, order, beyond), -torch.inf)
    probabilities = logits.softmax(dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]
