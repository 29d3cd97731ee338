"""Generation: tokens from latent vectors, batched, cached, and only what the grammar allows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.data.vocabulary import GrammarState
from aurl.model.step_decoder import MOST_SEQUENCES, StepDecoder
from aurl.model.vae import Vae
from aurl.seeding import torch_generator

BLOCK = 64
"""Codes that are drawn from the prior together."""


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


def prior_block(
    model: Vae, seed: int, block: int, context: Int[Tensor, "code context"] | None = None
) -> Float[Tensor, "code coordinate"]:
    """Draws of the prior, :data:`BLOCK` at a time whatever is asked for: the first do not change.

    Args:
        model: The VAE.
        seed: Of all draws.
        block: Which of its blocks, from 0.
        context: Musical context of each; if left out, as often as the training music has it.
    """
    generator = torch_generator(seed, "prior", block)
    return model.sample_prior(BLOCK, generator=generator, context=context)


@torch.no_grad()
def generate(
    model: Vae,
    z: Float[Tensor, "batch coordinate"],
    *,
    max_tokens: int,
    sampling: Sampling,
    generator: torch.Generator | None = None,
    prompt: Int[Tensor, "batch prompt"] | None = None,
) -> Int[Tensor, "batch token"]:
    """Decode latent vectors freely, each token read back as input to the next.

    No token that the grammar forbids is ever drawn, and every sequence ends: as ``max_tokens``
    comes near, only tokens are allowed after which there is room to end it.

    Args:
        model: The VAE; call ``eval()`` first if it has modes.
        z: Latent vectors.
        max_tokens: Most tokens of a sequence, START included.
        sampling: Temperature and truncation.
        generator: Where the draws come from; required unless the temperature is 0. Each sequence
            has its own, whatever is decoded after it.
        prompt: Beginnings, START first and of one length, that the sequences go on from.

    Returns:
        Sequences from START on, padded after END.

    Raises:
        ValueError: If draws are asked for without a generator, the prompt is empty or the grammar
            refuses it, or ``max_tokens`` is too small for any sequence.
    """
    if sampling.temperature > 0.0 and generator is None:
        raise ValueError("generator must be given when temperature > 0, got None.")
    vocabulary = model.vocabulary
    batch = z.shape[0]
    if prompt is None:
        prompt = torch.full((batch, 1), vocabulary.start, device=z.device)
    length = prompt.shape[1]
    if len(prompt) != batch or length == 0:
        raise ValueError(
            f"prompt must be a beginning for each of the {batch} latent vectors, START at least, "
            f"got {len(prompt)} of {length} tokens."
        )
    if length >= max_tokens:
        raise ValueError(f"max_tokens must be more than the prompt's {length}, got {max_tokens}.")
    tokens = torch.full((batch, max_tokens), vocabulary.pad, device=z.device)
    tokens[:, :length] = prompt
    grammar = vocabulary.grammar(batch, model.n_bars, z.device)
    _follow(grammar, prompt)
    decode = _decoding(model, z, max_tokens)
    chances = _chances(batch, max_tokens, generator).to(z.device)
    new, places = prompt, vocabulary.positions(prompt)
    for index in range(length, max_tokens):
        logits = decode(new, *places)
        logits = logits.masked_fill(~grammar.allowed(max_tokens - index), -torch.inf)
        chosen = drawn(logits, sampling, chances[:, index])
        if bool((chosen == vocabulary.pad).all()):
            return tokens[:, :index]
        tokens[:, index] = chosen
        grammar.advance(chosen)
        bar, phase = grammar.place()
        new, places = chosen[:, None], (bar[:, None], phase[:, None])
    return tokens


def _decoding(
    model: Vae, z: Float[Tensor, "batch coordinate"], max_tokens: int
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """From the next tokens, with their bars and phases, to the logits after the last of them."""
    if z.device.type == "cpu" and len(z) <= MOST_SEQUENCES:
        return StepDecoder(model.decoder, z, max_tokens)
    caches = model.decoder.caches(len(z), max_tokens)

    def decode(tokens: Tensor, bar: Tensor, phase: Tensor) -> Tensor:
        return model.decoder(tokens, z, bar, phase, caches=caches)[:, -1]

    return decode


def _follow(grammar: GrammarState, prompt: Int[Tensor, "batch prompt"]) -> None:
    """Read a prompt, refusing what the grammar does not allow."""
    for place, column in enumerate(prompt.unbind(dim=1)):
        allowed = grammar.allowed()
        known = column.clamp(0, allowed.shape[1] - 1)
        if not bool((allowed.gather(1, known[:, None])[:, 0] & (known == column)).all()):
            raise ValueError(f"prompt must be what the grammar allows, got another token {place}.")
        grammar.advance(column)


def _chances(
    batch: int, max_tokens: int, generator: torch.Generator | None
) -> Float[Tensor, "batch token"]:
    """A random number for each token, in [0, 1), sequence after sequence; 0 if none is needed."""
    if generator is None:
        return torch.zeros(batch, max_tokens)
    device = generator.device
    return torch.rand(batch, max_tokens, generator=generator, device=device, dtype=torch.float64)


def drawn(
    logits: Float[Tensor, "batch vocab"], sampling: Sampling, chance: Float[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """One token per row of logits, by a random number in [0, 1) each."""
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1)
    # Held to what single precision can divide by: beyond, the draws are the same and 0/0 is not.
    temperature = min(max(sampling.temperature, 1e-30), 1e30)
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        order = logits.argsort(dim=-1, descending=True, stable=True)
        logits = logits.scatter(1, order[:, sampling.top_k :], -torch.inf)
    if sampling.top_p < 1.0:
        ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        beyond[:, 0] = False  # single precision takes a top_p below 1e-45 for 0
        logits = logits.masked_fill(beyond.scatter(1, order, beyond), -torch.inf)
    # By the inverse of the distribution function: one random number a row, where multinomial takes
    # one a token. Above 0 and at most the last sum, so that no token without probability is drawn.
    sums = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    return torch.searchsorted(sums, (1.0 - chance[:, None]) * sums[:, -1:])[:, 0]
