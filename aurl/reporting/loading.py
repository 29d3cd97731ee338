"""A trained model for use from Python: what ``aurl.load`` gives.

Music goes in as a MIDI file or a :class:`~aurl.data.piece.Piece` and comes out as pieces; codes
are rows of a numpy array, one for every window of music.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.analysis.interpolation import linear
from aurl.audio import write_wav
from aurl.config import RunConfig
from aurl.data import corpora
from aurl.data.arrange import in_sequence, on_one_instrument
from aurl.data.clock import clocked
from aurl.data.corpus import Corpus
from aurl.data.events import Events
from aurl.data.grid import Grid
from aurl.data.metrical import Metrical
from aurl.data.metrical_layout import DRUMS
from aurl.data.midi import write_midi
from aurl.data.piece import Piece, quantized, sliced
from aurl.data.sources import read_source
from aurl.errors import ConfigError, DataError
from aurl.model.generation import Sampling
from aurl.plain import printable
from aurl.reporting import export as exports
from aurl.reporting.export import TrainedModel
from aurl.search.provenance import config_in

Music: TypeAlias = str | Path | Piece
"""The path of a MIDI file, or a piece."""

ENCODED_AT_ONCE = 64
LARGEST_CODE = 1e6
"""Far beyond what any prior draws; the decoder's squares of codes of 1e160 are no numbers."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained model: music to codes, codes to music."""

    trained: TrainedModel

    @property
    def config(self) -> RunConfig:
        """Everything that decided its training."""
        return self.trained.config

    @property
    def n_bars(self) -> int:
        """Bars of a window: the music that one row of codes stands for."""
        return self.trained.n_bars

    @property
    def only_program(self) -> int | None:
        """The General MIDI program of all its notes; None if its music has instruments."""
        vocabulary = self.trained.vocabulary
        if isinstance(vocabulary, Grid):
            return 0
        if isinstance(vocabulary, Metrical) and not vocabulary.programs:
            return vocabulary.default_program if vocabulary.default_program < DRUMS else None
        return None

    @torch.no_grad()
    def encode(self, music: Music | Sequence[Music]) -> Float[np.ndarray, "window coordinate"]:
        """The codes of music: posterior means, one row for every window of ``n_bars`` bars.

        The first window of a piece begins with its first bar (with its pickup, if it has one), and
        the last one is filled up with silence. A model whose music has one instrument reads every
        piece as played by it, and no drums.

        Args:
            music: A MIDI file or a piece, or several.

        Raises:
            ConfigError: If there is no music.
            DataError: If a file cannot be read, or a window cannot be said in the model's tokens.
        """
        several = [music] if isinstance(music, str | Path | Piece) else music
        rows = [row for each in several for row in self._windows(each)]
        if not rows:
            raise ConfigError("music must be a piece at least, got none.")
        means: list[Tensor] = []
        for start in range(0, len(rows), ENCODED_AT_ONCE):
            batch = self._padded(rows[start : start + ENCODED_AT_ONCE])
            means.append(self.trained.model.encode(batch).mean)
        return torch.cat(means).numpy()

    def decode(
        self,
        codes: Float[np.ndarray, "window coordinate"],
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Piece]:
        """The music of codes, a piece of ``n_bars`` bars for each row.

        Args:
            codes: Rows as :meth:`encode` gives them.
            temperature: 0 takes the likeliest token at every place; 1 draws from the model.
            seed: Of the draws.

        Raises:
            ConfigError: If the codes are not rows of the model's size, or not finite or beyond a
                million, or the temperature is negative.
        """
        z = torch.from_numpy(self._checked(codes))
        return self.trained.pieces(z, _sampling(temperature), seed)

    def sample(
        self,
        count: int = 1,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        context: str = "",
        prompt: Music | None = None,
        prompt_bars: int = 1,
    ) -> list[Piece]:
        """Music from the prior.

        Args:
            count: How many pieces.
            temperature: As in :meth:`decode`.
            seed: Same seed, same music: more pieces are the same ones and others.
            context: Musical context such as ``key=Dm,metre=6/8``, for a model trained with one.
            prompt: Music whose first bars each piece begins with.
            prompt_bars: How many of its bars.

        Raises:
            ConfigError: If there is nothing to draw, no such context, or no bar left to draw.
            DataError: As :meth:`encode`.
        """
        if not count >= 1:
            raise ConfigError(f"count must be >= 1, got {count}.")
        given = exports.asked_for(self.trained, context) if context else {}
        sampling = _sampling(temperature)
        opening = None if prompt is None else self.opening(prompt, prompt_bars)
        return self.trained.samples(
            count, sampling=sampling, seed=seed, given=given, prompt=opening
        )

    def opening(self, music: Music, bars: int) -> Int[Tensor, " token"]:
        """The tokens of the first bars of music, for samples to go on from.

        Bars are kept as they are, but for a note that is held for longer than a window: it ends
        with one whose other bars are like the last of these. Of ``events``, whose bars are two
        seconds, more may come after the last event in them, and a note that is held over their
        end may end within them.

        Args:
            music: A MIDI file or a piece.
            bars: How many; a window must have more.

        Raises:
            ConfigError: If a window has no more bars.
            DataError: As :meth:`encode`.
        """
        if not 1 <= bars < self.n_bars:
            raise ConfigError(
                "prompt_bars must be >= 1 and less than the bars of this model's windows, "
                f"{self.n_bars}, got {bars}."
            )
        vocabulary = self.trained.vocabulary
        said, name = self._piece(music)
        line = said.bar_lines(bars)[bars]
        metres = [metre for metre in said.metres if metre.tick < line]
        # Said again, so that a last bar that is not whole ends there.
        metres.append(replace(metres[-1], tick=int(line)))
        kept = said.notes["onset"] < line
        begun = replace(said, notes=said.notes[kept], metres=tuple(metres))
        row = torch.from_numpy(self._tokens(begun, 0, name))
        bar, _ = vocabulary.positions(row[None])
        length = int((bar[0] < bars).sum())
        if isinstance(vocabulary, Metrical):
            length += 1  # with the line that the last bar ends at, nothing can be added to it
        return row[: min(length, len(row) - 1)]  # less the end of music that ends before

    def interpolate(
        self,
        first: Music | Float[np.ndarray, " coordinate"],
        last: Music | Float[np.ndarray, " coordinate"],
        steps: int = 7,
    ) -> list[Piece]:
        """Music on the straight line between two codes, the reconstructions of both ends included.

        Args:
            first: Music, of which the first window counts, or a row of codes.
            last: The other end.
            steps: Pieces in all.

        Raises:
            ConfigError: If there are fewer than two steps.
            DataError: As :meth:`encode`.
        """
        if not steps >= 2:
            raise ConfigError(f"steps must be >= 2, got {steps}.")
        ends = [
            self._checked(end[None])[0] if isinstance(end, np.ndarray) else self.encode(end)[0]
            for end in (first, last)
        ]
        return self.decode(linear(ends[0], ends[1], np.linspace(0.0, 1.0, steps)))

    def write(self, pieces: Sequence[Piece], path: str | Path) -> None:
        """Write pieces to a file, one after another, each ``n_bars`` bars long.

        Args:
            pieces: What to write.
            path: Of a MIDI file, or of the sound of it if it ends in ``.wav``.

        Raises:
            ConfigError: If there is no piece, or the file would be neither.
        """
        if not pieces:
            raise ConfigError("pieces must hold a piece at least, got none.")
        kind = Path(path).suffix.lower()
        if kind not in (".mid", ".midi", ".wav"):
            raise ConfigError(f"path must end in .mid, .midi or .wav, got {path}.")
        joined = in_sequence(pieces, bars_each=self.n_bars, gap_bars=0)
        write = write_wav if kind == ".wav" else write_midi
        write(joined, Path(path))

    def _windows(self, music: Music) -> list[Int[np.ndarray, " token"]]:
        """The tokens of each window of a piece."""
        said, name = self._piece(music)
        starts = range(0, max(said.n_bars, 1), self.n_bars)
        return [self._tokens(said, first_bar, name) for first_bar in starts]

    def _tokens(self, said: Piece, first_bar: int, name: str) -> Int[np.ndarray, " token"]:
        """The tokens of one window."""
        n_bars = self.n_bars
        place = f"bars {first_bar + 1} to {first_bar + n_bars} of {name}"
        try:
            tokens = self.trained.vocabulary.encode(sliced(said, first_bar, n_bars), n_bars)
        except DataError as error:
            raise DataError(f"{place} cannot be encoded: {error}") from error
        if len(tokens) > self.trained.max_tokens:
            raise DataError(
                f"{place} must have {self.trained.max_tokens} tokens at most, the longest "
                f"window of the model's training music, got {len(tokens)}."
            )
        return tokens.astype(np.int64)

    def _piece(self, music: Music) -> tuple[Piece, str]:
        """A piece as the model's corpus and tokens would have it, and what to call it."""
        is_timed = isinstance(self.trained.vocabulary, Events)
        if isinstance(music, Piece):
            piece = clocked(music) if is_timed else quantized(music)
            return self._fitted(piece), printable(music.name) or "the piece"
        name = printable(str(music))
        try:
            piece = read_source(Path(music), is_timed=is_timed)
        except DataError as error:
            raise DataError(f"{name} cannot be read: {error}") from error
        return self._fitted(piece), name

    def _fitted(self, piece: Piece) -> Piece:
        """What the tokens say of a piece, on the one instrument of a model that has no other."""
        program = self.only_program
        said, _ = self.trained.vocabulary.said(
            piece if program is None else on_one_instrument(piece, program)
        )
        return said

    def _padded(self, rows: Sequence[Int[np.ndarray, " _"]]) -> Int[Tensor, "window token"]:
        """Rows of one width, filled up at their ends."""
        pad = self.trained.vocabulary.pad
        padded = torch.full((len(rows), max(map(len, rows))), pad)
        for place, row in enumerate(rows):
            padded[place, : len(row)] = torch.from_numpy(row)
        return padded

    def _checked(self, codes: np.ndarray) -> Float[np.ndarray, "window coordinate"]:
        """Codes that the model can decode, in its precision."""
        size = self.trained.model.layout.size
        if codes.ndim != 2 or codes.shape[1] != size or not len(codes):
            raise ConfigError(f"codes must have the shape [windows, {size}], got {codes.shape}.")
        if not np.isfinite(codes).all():
            raise ConfigError("codes must be finite, got NaN or infinity.")
        largest = np.abs(codes).max()
        if largest > LARGEST_CODE:
            raise ConfigError(f"codes must be within ±{LARGEST_CODE:g}, got {largest:g}.")
        return codes.astype(np.float64)


def load(folder: str | Path) -> Model:
    """Load a trained model onto the CPU.

    Args:
        folder: An export, which needs nothing else, or the folder of a run or trial, whose corpus
            must be where its configuration says.

    Raises:
        DataError: If the folder is neither, or a file of it is damaged.
    """
    return Model(trained=trained_model(Path(folder)))


def trained_model(folder: Path) -> TrainedModel:
    """The model of an export, or of the folder of a run or trial."""
    if not (folder / "checkpoint").is_dir():
        return exports.load_export(folder)
    return trained_run(folder)[0]


def trained_run(folder: Path, data: str = "") -> tuple[TrainedModel, Corpus]:
    """The model of the last checkpoint of a run or trial, and its music.

    Args:
        folder: Of the run or trial.
        data: Where the music is, if not where the configuration says.

    Raises:
        ConfigError: If its configuration cannot be read.
        DataError: If its checkpoint cannot be used, or the music is not there or another.
    """
    config = config_in(folder)
    corpus = music_of(config, data)
    exports.check_corpus(config, corpus)
    return exports.trained_trial(folder, corpus), corpus


def music_of(config: RunConfig, data: str) -> Corpus:
    """The corpus that ``--data`` names, or else the configuration."""
    return corpora.load_named(data or config.data.corpus, config.data.melodies)


def _sampling(temperature: float) -> Sampling:
    try:
        return Sampling(temperature=temperature)
    except ValueError as error:
        raise ConfigError(str(error)) from error
