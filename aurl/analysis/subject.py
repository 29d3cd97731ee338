"""A model on music: codes of windows, pieces from codes, and what is heard in them."""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.analysis.readings import Readings, readings_of
from aurl.data.batches import TokenStore
from aurl.data.corpus import Corpus
from aurl.data.piece import Piece
from aurl.model.generation import Sampling, generate
from aurl.model.latents import LatentLayout, Posterior
from aurl.model.vae import Vae

AT_ONCE = 64  # bounds the memory of cached keys and values
GREEDY = Sampling()


def played(
    model: Vae,
    z: Float[Tensor, "sample coordinate"],
    *,
    max_tokens: int,
    sampling: Sampling = GREEDY,
    generator: torch.Generator | None = None,
    prompt: Int[Tensor, " prompt"] | None = None,
) -> list[Piece]:
    """What codes decode to; no note sounds on past the window.

    Args:
        model: In ``eval()`` mode.
        z: Codes.
        max_tokens: Most tokens of one of them.
        sampling: How tokens are drawn.
        generator: Where draws come from; required unless the temperature is 0.
        prompt: The tokens that each begins with.
    """
    pieces: list[Piece] = []
    for part in z.split(AT_ONCE):
        pieces += model.music(
            generate(
                model,
                part,
                max_tokens=max_tokens,
                sampling=sampling,
                generator=generator,
                prompt=None if prompt is None else prompt.expand(len(part), -1),
            )
        )
    return pieces


class Subject:
    """A trained model, looked at on the music that it was trained on.

    Codes are posterior means, and what is decoded from them is greedy: the same code is the same
    music.

    Args:
        model: In ``eval()`` mode.
        corpus: Where windows come from, and how long one may be.
    """

    def __init__(self, model: Vae, corpus: Corpus) -> None:
        self.model = model
        self.corpus = corpus
        self.readings: Readings = readings_of(corpus)

    @cached_property
    def _store(self) -> TokenStore:
        table = self.model.prior.context
        return TokenStore(self.corpus, context=() if table is None else table.names)

    @property
    def layout(self) -> LatentLayout:
        """Levels, slots and dimensions."""
        return self.model.layout

    @torch.no_grad()
    def posterior(
        self, windows: Int[np.ndarray, " window"]
    ) -> tuple[Float[np.ndarray, "window coordinate"], Float[np.ndarray, "window coordinate"]]:
        """Means and log-variances of the codes of windows of the corpus."""
        wanted = torch.from_numpy(windows)
        by_length = self._store.lengths(wanted).argsort(stable=True)  # so little is padded
        parts = [
            self.model.encode(self._store.padded(part))
            for part in wanted[by_length].split(AT_ONCE)
        ]
        back = by_length.argsort()
        mean = torch.cat([part.mean for part in parts])[back]
        log_var = torch.cat([part.log_var for part in parts])[back]
        return mean.double().numpy(), log_var.double().numpy()

    @torch.no_grad()
    def kl(
        self,
        windows: Int[np.ndarray, " window"],
        posterior: tuple[np.ndarray, np.ndarray],
        z: Float[np.ndarray, "window coordinate"],
    ) -> Float[np.ndarray, " coordinate"]:
        """Mean KL of each coordinate in nats; without a closed form, only sums over slots count.

        Args:
            windows: Whose musical context the prior is told.
            posterior: Means and log-variances of their codes.
            z: A sample of each.
        """
        like = self.model.decoder.logits.weight
        mean, log_var, drawn = (torch.from_numpy(each).to(like) for each in (*posterior, z))
        context = self._store.context[torch.from_numpy(windows)]
        base = self.model.prior.in_base(Posterior(mean, log_var), drawn, context)
        return base.kl().double().mean(dim=0).numpy()

    def pieces(self, z: Float[np.ndarray, "sample coordinate"]) -> list[Piece]:
        """What codes decode to, greedily; no note sounds on past the window."""
        codes = torch.from_numpy(z).to(self.model.decoder.logits.weight)
        return played(self.model, codes, max_tokens=self.corpus.max_tokens)

    def hear(
        self, z: Float[np.ndarray, "sample coordinate"]
    ) -> Float[np.ndarray, "sample attribute"]:
        """The attributes of what codes decode to; NaN where it does not show one."""
        return self.readings.read(self.pieces(z))
