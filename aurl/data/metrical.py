"""The `metrical` vocabulary: bars, positions, pitches, durations; exact on its grid.

:mod:`aurl.data.metrical_layout` says what each id is, :mod:`aurl.data.grammar` which may follow,
:mod:`aurl.data.tokenizer` how a piece is written and read.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer, UInt16
from torch import Tensor

from aurl.data.grammar import Grammar, is_valid
from aurl.data.metrical_layout import DRUMS, Kind, MetricalLayout, program_values, tempo_value
from aurl.data.piece import Piece
from aurl.data.settings import plain
from aurl.data.step_grammar import StepGrammar
from aurl.data.tokenizer import decode, encode
from aurl.data.vocabulary import GrammarState

FEW = 8  # sequences up to which plain numbers are faster than tensors
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrical(MetricalLayout):
    """The vocabulary; plain data, hashable, the same on every machine."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``vocabulary.json``."""
        return plain(self, "metrical")

    def said(self, piece: Piece) -> tuple[Piece, dict[str, int]]:
        """The piece itself: what cannot be said is refused, not changed."""
        return piece, {}

    def encode(self, piece: Piece, n_bars: int | None = None) -> UInt16[np.ndarray, " token"]:
        """The piece as tokens: :func:`aurl.data.tokenizer.encode`."""
        return encode(piece, self, n_bars)

    def decode(self, tokens: Integer[np.ndarray, " token"]) -> Piece:
        """The piece that tokens say: :func:`aurl.data.tokenizer.decode`."""
        return decode(tokens, self)

    def grammar(self, batch: int, n_bars: int, device: torch.device | str = "cpu") -> GrammarState:
        """The tokens that may come next, for ``batch`` sequences that grow together."""
        if batch <= FEW and torch.device(device).type == "cpu":
            return StepGrammar(self, batch, n_bars)
        return Grammar(self, batch, n_bars, device)

    def is_valid(self, tokens: Int[Tensor, "batch token"], n_bars: int) -> Bool[Tensor, " batch"]:
        """Whether each sequence is a whole one: :func:`aurl.data.grammar.is_valid`."""
        return is_valid(self, tokens, n_bars)

    def transposed(
        self, tokens: Int[Tensor, "batch token"], semitones: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences moved by so many semitones each; drums never move.

        A sequence of which any pitch would leave 0..127 is returned as it was.
        """
        pitched = self.in_force(tokens, (Kind.PROGRAM,))[0] != DRUMS
        return self._shifted(tokens, Kind.PITCH, semitones, pitched)

    def with_tempo_shift(
        self, tokens: Int[Tensor, "batch token"], bins: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences at so many TEMPO bins more (faster) or less each.

        A sequence of which any TEMPO would leave the vocabulary is returned as it was.

        Raises:
            ValueError: If there are no TEMPO tokens.
        """
        if not self.tempo:
            raise ValueError("tempo must be true to shift tempos, got false. Leave out the shift.")
        everywhere = torch.ones_like(tokens, dtype=torch.bool)
        return self._shifted(tokens, Kind.TEMPO, bins, everywhere)

    def with_velocity_shift(
        self, tokens: Int[Tensor, "batch token"], bins: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences at so many VELOCITY bins more (louder) or less each.

        The default velocity is not written, so a bar may gain or lose one token. A sequence of
        which any note would leave the vocabulary, or that would no longer fit the width of
        ``tokens``, is returned as it was.

        Raises:
            ValueError: If there are no VELOCITY tokens.
        """
        if not self.velocity_bins:
            raise ValueError(
                "velocity_bins must be >= 2 to shift velocities, got 0. Leave out the shift."
            )
        kind = self.tables(tokens.device).kind[tokens]
        note, written = kind == Kind.PITCH, kind == Kind.VELOCITY
        louder = self.in_force(tokens, (Kind.VELOCITY,))[0] + bins[:, None]
        inside = (~note | ((louder >= 0) & (louder < self.velocity_bins))).all(dim=1)
        # Within a bar the differences stay; only its first note is told from the default.
        count = note.cumsum(dim=1)
        before_bar = count.where(kind == Kind.BAR, 0).cummax(dim=1).values
        first = note & (count - before_bar == 1)
        needed = louder != self.tables(tokens.device).initial[int(Kind.VELOCITY)]
        gains = first & needed & ~written.roll(1, dims=1)
        loses = written & (first & ~needed).roll(-1, dims=1)
        width = tokens.shape[1]
        at = torch.arange(width, device=tokens.device) + gains.cumsum(1) - loses.cumsum(1)
        longer = tokens.new_full((len(tokens), 2 * width + 1), self.pad)
        last = 2 * width  # a column for what is not written
        longer.scatter_(1, at.where(~loses, last), tokens + bins[:, None] * written)
        velocity = (self.ids(Kind.VELOCITY).start + louder).where(gains, self.pad)
        longer.scatter_(1, (at - 1).where(gains, last), velocity)
        fits = (longer[:, width:last] == self.pad).all(dim=1)
        return longer[:, :width].where((inside & fits)[:, None], tokens)

    def _shifted(
        self,
        tokens: Int[Tensor, "batch token"],
        kind: Kind,
        by: Int[Tensor, " batch"],
        movable: Bool[Tensor, "batch token"],
    ) -> Int[Tensor, "batch token"]:
        tables = self.tables(tokens.device)
        moves = (tables.kind[tokens] == kind) & movable
        value = tables.value[tokens] + by[:, None]
        inside = (~moves | ((value >= 0) & (value < len(self.ids(kind))))).all(dim=1)
        return (tokens + by[:, None]).where(moves & inside[:, None], tokens)


def choose_vocabulary(pieces: Iterable[Piece], velocity_bins: int) -> Metrical:
    """The vocabulary that costs a corpus the fewest tokens.

    The defaults are the commonest program and velocity. There is no PROGRAM where all notes are of
    one program and none is a drum, and no TEMPO where one TEMPO would say every tempo.

    Args:
        pieces: All of the corpus; what is not in them may turn out not to be sayable.
        velocity_bins: Steps of loudness, or 0 to leave it out.
    """
    programs, velocities, speeds = Counter[int](), Counter[int](), Counter[float]()
    for piece in pieces:
        programs.update(program_values(piece.notes).tolist())
        velocities.update(piece.notes["velocity"].tolist())
        speeds.update(tempo.bpm for tempo in piece.tempos)
    vocabulary = Metrical(
        velocity_bins=velocity_bins,
        programs=len(programs) > 1 or DRUMS in programs,
        tempo=len({tempo_value(bpm) for bpm in speeds}) > 1,
    )
    if speeds:
        vocabulary = replace(vocabulary, default_tempo=float(_commonest(speeds)))
    if not programs:
        return vocabulary
    loudness = Counter[int]()
    for velocity, count in velocities.items():
        loudness[_said_velocity(velocity, vocabulary)] += count
    return replace(
        vocabulary,
        default_program=_commonest(programs),
        default_velocity=_commonest(loudness),
    )


def _commonest(counts: Counter[Number]) -> Number:
    """The value counted most; the least of several."""
    return min(counts, key=lambda value: (-counts[value], value))


def _said_velocity(velocity: int, vocabulary: Metrical) -> int:
    if not vocabulary.velocity_bins:
        return velocity
    value = vocabulary.velocity_values(np.asarray([velocity]))[0]
    return int(vocabulary.velocities()[value])
