"""A model on music: codes of windows, pieces from codes, and what is heard in them."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from aurl.analysis.readings import Readings, readings_of
from aurl.data.batches import TokenStore
from aurl.data.corpus import Corpus
from aurl.data.piece import Piece, sliced
from aurl.model.generation import Sampling, generate
from aurl.model.latents import LatentLayout
from aurl.model.vae import Vae

AT_ONCE = 64  # bounds the memory of cached keys and values


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
        return TokenStore(self.corpus)

    @property
    def layout(self) -> LatentLayout:
        """Levels, slots and dimensions."""
        return self.model.layout

    @torch.no_grad()
    def posterior(
        self, windows: Int[np.ndarray, " window"]
    ) -> tuple[Float[np.ndarray, "window coordinate"], Float[np.ndarray, "window coordinate"]]:
        """Means and log-variances of the codes of windows of the corpus."""
        parts = [
            self.model.encode(self._store.padded(part))
            for part in torch.from_numpy(windows).split(AT_ONCE)
        ]
        mean = torch.cat([part.mean for part in parts])
        log_var = torch.cat([part.log_var for part in parts])
        return mean.double().numpy(), log_var.double().numpy()

    @torch.no_grad()
    def encode(
        self, rows: Sequence[Integer[np.ndarray, " token"]]
    ) -> Float[np.ndarray, "window coordinate"]:
        """Codes of windows that are given as tokens, such as those of a file."""
        longest = max(len(row) for row in rows)
        pad = self.model.vocabulary.pad
        tokens = np.full((len(rows), longest), pad, np.int64)
        for index, row in enumerate(rows):
            tokens[index, : len(row)] = row
        return self.model.encode(torch.from_numpy(tokens)).mean.double().numpy()

    def pieces(self, z: Float[np.ndarray, "sample coordinate"]) -> list[Piece]:
        """What codes decode to, greedily; no note sounds on past the window."""
        codes: Tensor = torch.from_numpy(z).to(self.model.decoder.logits.weight)
        decoded: list[Piece] = []
        for part in codes.split(AT_ONCE):
            tokens = generate(
                self.model, part, max_tokens=self.corpus.max_tokens, sampling=Sampling()
            )
            decoded += [self.model.vocabulary.decode(row) for row in tokens.numpy()]
        return [sliced(piece, 0, self.model.n_bars) for piece in decoded]

    def hear(
        self, z: Float[np.ndarray, "sample coordinate"]
    ) -> Float[np.ndarray, "sample attribute"]:
        """The attributes of what codes decode to; NaN where it does not show one."""
        return self.readings.read(self.pieces(z))
