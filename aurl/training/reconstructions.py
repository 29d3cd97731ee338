"""Windows decoded freely from their codes, and how much of them comes back."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.data.corpus import Corpus
from aurl.metrics.bootstrap import Interval, mean_interval
from aurl.metrics.reconstruction import note_f1
from aurl.model.generation import Sampling, generate
from aurl.model.vae import Vae

Notes: TypeAlias = Int[np.ndarray, "_ 2"]
"""Onset and pitch of each note; drums have pitches of their own, above 128."""


class Reconstructions:
    """Windows decoded freely and greedily from their codes, and from z = 0.

    Args:
        model: The model.
        corpus: The music.
        windows: Windows to decode.
        z: Their codes.
        truth: Their notes.
        with_zero: Also decode z = 0.
    """

    def __init__(
        self,
        model: Vae,
        corpus: Corpus,
        windows: Int[np.ndarray, " sample"],
        z: Tensor,
        truth: list[Notes],
        *,
        with_zero: bool,
    ) -> None:
        self.piece = np.asarray(corpus.piece)[windows]
        self._model = model
        self._constructed = corpus.is_constructed
        self._windows = [corpus.window(int(window)) for window in windows]
        self._truth = truth
        zero = torch.zeros_like(z[: int(with_zero)])
        codes = torch.cat([z, zero])  # at once: what a step costs hardly depends on the rows
        tokens = generate(model, codes, max_tokens=corpus.max_tokens, sampling=Sampling())
        tokens = tokens.cpu().numpy()
        self.exact = self._exact([*tokens[: len(z)]])
        self.score = self._scores(tokens[: len(z)])
        self.without = self._scores(tokens[len(z) :]) if with_zero else None

    def summary(self) -> dict[str, float]:
        """Score of the reconstructions; with that of z = 0, also what z gains, and an interval.

        The score is the share of notes that come back (F1), or, where the music is constructed, of
        windows that come back whole: there the code can say all there is to say.
        """
        values = {
            "reconstruction_score": float(self.score.mean()),
            "sequence_accuracy": float(self.exact.mean()),
        }
        if self.without is None:
            return values
        gain = self.score - self.without
        interval = interval_by_piece(gain, self.piece, within=(-1.0, 1.0))
        return values | {
            "reconstruction_score/zero_z": float(self.without.mean()),
            "reconstruction_score/gain": float(gain.mean()),
            "reconstruction_score/gain/low": interval.low,
            "reconstruction_score/gain/high": interval.high,
        }

    def _scores(self, tokens: Int[np.ndarray, "sequence token"]) -> Float[np.ndarray, " sample"]:
        """Score of each window against what its code decoded to, or one sequence for all."""
        times = len(self._windows) // len(tokens)
        if self._constructed:
            return self._exact([*tokens] * times)
        found = [notes_of(row, self._model) for row in tokens] * times
        return np.array(
            [note_f1(truth, notes) for truth, notes in zip(self._truth, found, strict=True)]
        )

    def _exact(self, rows: Sequence[Int[np.ndarray, " token"]]) -> Float[np.ndarray, " sample"]:
        """1 for each window that is decoded token for token, else 0."""
        pad = self._model.vocabulary.pad
        pairs = zip(self._windows, rows, strict=True)
        same = [np.array_equal(window, row[row != pad]) for window, row in pairs]
        return np.array(same, np.float64)


def notes_of(tokens: np.ndarray, model: Vae) -> Notes:
    """The notes that one window says."""
    notes = model.vocabulary.decode(tokens).notes
    pitch = notes["pitch"].astype(np.int64) + 128 * notes["is_drum"]
    return np.stack([notes["onset"], pitch], axis=1)


def interval_by_piece(
    values: Float[np.ndarray, " sample"],
    piece: Int[np.ndarray, " sample"],
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """95 % interval of the mean over pieces; all of ``within`` where nothing is known of it.

    That is where there is one piece only, or a value of a diverged model is not finite.
    """
    if len(np.unique(piece)) < 2 or not np.isfinite(values).all():
        return Interval(mean=float(values.mean()), low=within[0], high=within[1])
    return mean_interval(values, piece, within=within)
