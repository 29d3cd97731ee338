"""The variational autoencoder: encoder, reparametrised sample, causal decoder."""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from aurl.config import RunConfig
from aurl.data.piece import Piece, sliced
from aurl.data.vocabulary import Vocabulary
from aurl.model.decoder import Decoder
from aurl.model.encoder import Encoder
from aurl.model.latents import LatentLayout, Posterior
from aurl.model.layers import full_precision
from aurl.model.mean_norm import MeanNorm
from aurl.model.priors import InBase, Prior


@dataclass(frozen=True)
class VaeOutput:
    """What one pass through the model gives."""

    logits: Float[Tensor, "batch target vocab"]
    """Of ``tokens[:, 1:]``, each from the tokens before it and z."""

    posterior: Posterior
    base: InBase
    """Posterior and sample as the prior's base densities see them: what the KL is of."""


class Vae(nn.Module):
    """A hierarchical Transformer VAE of token sequences.

    Args:
        config: The run's configuration; only ``model`` and ``latent`` decide the architecture.
        vocabulary: Token ids and their musical positions.
        n_bars: Bars of a window.
    """

    def __init__(self, config: RunConfig, vocabulary: Vocabulary, n_bars: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.n_bars = n_bars
        self.layout = LatentLayout.of(config.latent.levels, n_bars)
        self.encoder = Encoder(vocabulary.size, self.layout, config.model, n_bars)
        self.decoder = Decoder(vocabulary.size, self.layout, config.model, n_bars)
        gamma = config.latent.gamma
        self.mean_norm = None if gamma is None else MeanNorm(self.layout, gamma)
        self.prior = Prior(self.layout, config.latent)

    def encode(self, tokens: Int[Tensor, "batch token"]) -> Posterior:
        """The posterior q(z|x) of padded sequences."""
        return self._encoded(tokens, self.vocabulary.positions(tokens))[0]

    def _encoded(
        self, tokens: Int[Tensor, "batch token"], places: tuple[Tensor, Tensor]
    ) -> tuple[Posterior, Tensor]:
        """The posterior and the encoder's last states."""
        posterior, states = self.encoder(tokens, tokens != self.vocabulary.pad, *places)
        if self.mean_norm is not None:
            posterior = Posterior(self.mean_norm(posterior.mean), posterior.log_var)
        return posterior, states

    def decode(
        self, tokens: Int[Tensor, "batch token"], z: Float[Tensor, "batch coordinate"]
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits of ``tokens[:, 1:]``, teacher-forced on ``tokens[:, :-1]``.

        Args:
            tokens: Padded sequences.
            z: Latent vectors.
        """
        inputs = tokens[:, :-1]
        return self.decoder(inputs, z, *self.vocabulary.positions(inputs))

    def forward(
        self,
        tokens: Int[Tensor, "batch token"],
        noise: Float[Tensor, "batch coordinate"],
        keep: Bool[Tensor, "batch input"] | None = None,
        context: Int[Tensor, "batch context"] | None = None,
        gate: float | Tensor = 0.0,
        places: tuple[Tensor, Tensor] | None = None,
    ) -> VaeOutput:
        """Encode, sample z with ``noise``, decode: one pass of training.

        Args:
            tokens: Padded sequences.
            noise: Standard normal.
            keep: Token dropout: where False, the decoder reads PAD in place of the token. Its
                musical position stays known.
            context: Classes of the sequences' musical context; required if the prior has one.
            gate: How much the decoder sees of the encoder's states, if the model has a skip.
            places: Musical positions of the tokens, if they are known.
        """
        if places is None:
            places = self.vocabulary.positions(tokens)
        posterior, states = self._encoded(tokens, places)
        z = posterior.sample(noise)
        skipped = gate * states[:, :-1] if len(self.decoder.skip) else None
        bar, phase = places  # causal: those of the inputs are not changed by the last token
        inputs = tokens[:, :-1]
        if keep is not None:
            inputs = torch.where(keep, inputs, self.vocabulary.pad)
        logits = self.decoder(inputs, z, bar[:, :-1], phase[:, :-1], skipped=skipped)
        with full_precision(z):
            base = self.prior.in_base(posterior, z, context)
        return VaeOutput(logits, posterior, base)

    def music(self, tokens: Int[Tensor, "sequence token"]) -> list[Piece]:
        """What sequences say; no note sounds on past the window."""
        rows = tokens.cpu().numpy()
        return [sliced(self.vocabulary.decode(row), 0, self.n_bars) for row in rows]

    def sample_prior(
        self,
        count: int,
        *,
        generator: torch.Generator,
        context: Int[Tensor, "count context"] | None = None,
    ) -> Float[Tensor, "count coordinate"]:
        """Latent vectors drawn from the prior.

        Args:
            count: How many.
            generator: Where the draws come from; on the CPU.
            context: Classes for each; if left out, drawn as often as the training music has them.
        """
        noise = torch.randn(count, self.layout.size, generator=generator)
        like = self.decoder.logits.weight
        return self.prior.from_noise(noise.to(like), generator=generator, context=context)


def outline(config: RunConfig, vocabulary: Vocabulary, n_bars: int) -> Vae:
    """The model without values: its modules and shapes, at no cost in memory.

    Raises:
        ConfigError: If there can be no such model.
    """
    with without_values():
        return Vae(config, vocabulary, n_bars)


@contextlib.contextmanager
def without_values() -> Generator[None]:
    """A block in which modules are made without values.

    What initialisers do to such tensors is passed over: it takes time and torch's compiler, which
    takes seconds to import, and changes nothing.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    """Passes over the initialisers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        given = dict(kwargs or {})
        if getattr(func, "__module__", "") == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)
