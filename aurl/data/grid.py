"""The `grid` vocabulary: one token a step, one voice, bars of 4/4 (the MusicVAE family).

A sequence is ``START`` and one token for each step: ``NOTE p`` where a note begins, ``HOLD`` where
the note before sounds on, ``REST`` where nothing sounds. There is no ``END``: all windows of so
many bars have the same length, and what is always so must cost no nats.

Source: one token a step with a hold token as in Roberts et al. 2018 (MusicVAE),
https://arxiv.org/abs/1803.05428, with a token of its own for silence.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, UInt16
from torch import Tensor

from aurl.data.piece import GRID, NOTE, Piece
from aurl.data.settings import plain
from aurl.errors import ConfigError, DataError

BAR = 4 * GRID
"""Ticks of a bar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Which token ids there are; plain data, hashable, the same on every machine.

    Raises:
        ConfigError: If a value is out of range.
    """

    steps_per_bar: int = 16
    """Tokens of a bar; must divide its 96 ticks."""

    lowest: int = 21
    """MIDI number of the lowest note."""

    highest: int = 108
    """MIDI number of the highest note."""

    velocity: int = 80
    """MIDI velocity that notes are read with."""

    pad: ClassVar[int] = 0
    start: ClassVar[int] = 1
    rest: ClassVar[int] = 2
    hold: ClassVar[int] = 3
    first_note: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if self.steps_per_bar < 1 or BAR % self.steps_per_bar != 0:
            raise ConfigError(f"steps_per_bar must divide {BAR}, got {self.steps_per_bar}.")
        if not 0 <= self.lowest <= self.highest <= 127:
            raise ConfigError(
                f"lowest and highest must be in 0..127 and in order, "
                f"got {self.lowest}, {self.highest}."
            )
        if not 1 <= self.velocity <= 127:
            raise ConfigError(f"velocity must be in 1..127, got {self.velocity}.")

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.first_note + self.highest - self.lowest + 1

    @property
    def tempo(self) -> bool:
        """False: it has no tempos."""
        return False

    @property
    def velocity_bins(self) -> int:
        """0: it has no velocities."""
        return 0

    @property
    def step_ticks(self) -> int:
        """Ticks of a step."""
        return BAR // self.steps_per_bar

    def said(self, piece: Piece) -> tuple[Piece, dict[str, int]]:
        """The piece itself: what cannot be said is refused, not changed."""
        return piece, {}

    def encode(self, piece: Piece, n_bars: int | None = None) -> UInt16[np.ndarray, " token"]:
        """The piece as tokens, ``START`` and one token a step.

        Args:
            piece: One voice on the grid of 24 ticks a quarter, every onset and end on a step.
            n_bars: Write exactly so many bars; by default those that hold the piece, at least one.

        Raises:
            ValueError: If the piece is not on the grid, or ``n_bars`` is not positive.
            DataError: If it cannot be said; the message begins with ``metre:``, ``program:`` or
                ``notes:``.
        """
        if piece.ticks_per_quarter != GRID:
            raise ValueError(
                f"piece.ticks_per_quarter must be {GRID}, got {piece.ticks_per_quarter}. "
                "Call quantized(piece) first."
            )
        if n_bars is not None and n_bars < 1:
            raise ValueError(f"n_bars must be >= 1, got {n_bars}.")
        lines = piece.bar_lines(n_bars or 1)
        n_bars = n_bars or len(lines) - 1
        if not np.array_equal(lines[: n_bars + 1], BAR * np.arange(n_bars + 1)):
            raise DataError("metre: every bar must be a whole one of 4/4, got another.")
        self._check(piece, n_bars * BAR)
        notes = piece.notes
        first = notes["onset"] // self.step_ticks
        last = (notes["onset"] + notes["duration"]) // self.step_ticks
        steps = np.full(n_bars * self.steps_per_bar, self.rest)
        for start, stop in zip(first.tolist(), last.tolist(), strict=True):
            steps[start:stop] = self.hold
        steps[first] = self.first_note + notes["pitch"].astype(np.int64) - self.lowest
        return np.append(self.start, steps).astype(np.uint16)

    def _check(self, piece: Piece, end: int) -> None:
        notes = piece.notes
        ends = notes["onset"] + notes["duration"]
        if (notes["is_drum"] | (notes["program"] != 0)).any():
            raise DataError("program: every note must be of program 0, got another or drums.")
        if len(notes) and ends[-1] > end:
            raise DataError(f"notes: every note must end by tick {end}, got {ends[-1]}.")
        if (notes["onset"][1:] < ends[:-1]).any():
            raise DataError("notes: one note must end before the next begins, got two at a time.")
        off = (notes["onset"] % self.step_ticks != 0) | (ends % self.step_ticks != 0)
        if off.any():
            raise DataError(
                f"notes: every onset and end must be a multiple of {self.step_ticks} ticks, "
                f"got a note from {notes['onset'][off][0]} to {ends[off][0]}."
            )
        outside = (notes["pitch"] < self.lowest) | (notes["pitch"] > self.highest)
        if outside.any():
            raise DataError(
                f"notes: every pitch must be in {self.lowest}..{self.highest}, "
                f"got {notes['pitch'][outside][0]}."
            )

    def decode(self, tokens: Integer[np.ndarray, " token"]) -> Piece:
        """The piece that a sequence says, padding left out; its ``length`` is all its bars.

        Raises:
            DataError: If the grammar refuses it.
        """
        ids = tokens.astype(np.int64)
        ids = ids[: np.flatnonzero(ids != self.pad).max(initial=-1) + 1]
        n_bars, rest = divmod(len(ids) - 1, self.steps_per_bar)
        if rest or n_bars < 1:
            raise DataError(
                f"tokens must be START and whole bars of {self.steps_per_bar}, got {len(ids)}."
            )
        if not bool(self.is_valid(torch.from_numpy(ids)[None], n_bars)[0]):
            raise DataError("tokens must be what the grammar allows, got others.")
        steps = ids[1:]
        at = np.flatnonzero(steps >= self.first_note)
        silent = np.append(np.flatnonzero(steps == self.rest), len(steps))
        ends = np.minimum(
            np.append(at[1:], len(steps))[: len(at)], silent[silent.searchsorted(at)]
        )
        notes = np.zeros(len(at), NOTE)
        notes["onset"] = at * self.step_ticks
        notes["duration"] = (ends - at) * self.step_ticks
        notes["pitch"] = steps[at] - self.first_note + self.lowest
        notes["velocity"] = self.velocity
        return Piece(ticks_per_quarter=GRID, notes=notes, length=n_bars * BAR)

    def grammar(
        self, batch: int, n_bars: int, device: torch.device | str = "cpu"
    ) -> "GridGrammar":
        """The tokens that may come next, for ``batch`` sequences that grow together."""
        return GridGrammar(self, batch, n_bars, device)

    def is_valid(self, tokens: Int[Tensor, "batch token"], n_bars: int) -> Bool[Tensor, " batch"]:
        """Whether each sequence is ``START``, so many bars, and then ``PAD``."""
        width = 1 + n_bars * self.steps_per_bar
        if tokens.shape[1] < width:
            return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        steps, before = tokens[:, 1:width], tokens[:, : width - 1]
        good = (steps >= self.rest) & (steps < self.size)
        good &= (steps != self.hold) | (before >= self.hold)
        padded = (tokens[:, width:] == self.pad).all(dim=1)
        return (tokens[:, 0] == self.start) & good.all(dim=1) & padded

    def positions(
        self, tokens: Int[Tensor, "batch token"]
    ) -> tuple[Int[Tensor, "batch token"], Float[Tensor, "batch token"]]:
        """The bar and the phase of the step that each token is; ``START`` is at the first."""
        step = (torch.arange(tokens.shape[1], device=tokens.device) - 1).clamp(min=0)
        step = step.expand(tokens.shape)
        return step // self.steps_per_bar, (step % self.steps_per_bar) / self.steps_per_bar

    def note_count(self, tokens: Int[Tensor, "batch token"]) -> Int[Tensor, " batch"]:
        """How many notes each sequence has."""
        return (tokens >= self.first_note).sum(dim=1)

    def transposed(
        self, tokens: Int[Tensor, "batch token"], semitones: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences moved by so many semitones; one that would leave the range stays."""
        note = tokens >= self.first_note
        moved = tokens + semitones[:, None]
        inside = (~note | ((moved >= self.first_note) & (moved < self.size))).all(dim=1)
        return moved.where(note & inside[:, None], tokens)

    def with_tempo_shift(
        self, tokens: Int[Tensor, "batch token"], bins: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """Not in this vocabulary.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a grid vocabulary has no tempos to shift. Leave out the shift.")

    def with_velocity_shift(
        self, tokens: Int[Tensor, "batch token"], bins: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """Not in this vocabulary.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a grid vocabulary has no velocities to shift. Leave out the shift.")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``vocabulary.json``."""
        return plain(self, "grid")


class GridGrammar:
    """The tokens that may come next, for a batch of sequences that grow together.

    Args:
        vocabulary: Whose ids they are.
        batch: How many sequences.
        n_bars: How many bars each of them has.
        device: Where the state is kept.

    Raises:
        ValueError: If ``n_bars`` is not positive.
    """

    def __init__(
        self, vocabulary: Grid, batch: int, n_bars: int, device: torch.device | str = "cpu"
    ) -> None:
        if n_bars < 1:
            raise ValueError(f"n_bars must be >= 1, got {n_bars}.")
        self._vocabulary = vocabulary
        self._width = 1 + n_bars * vocabulary.steps_per_bar
        self._count = torch.zeros(batch, dtype=torch.long, device=device)
        self._sounds = torch.zeros(batch, dtype=torch.bool, device=device)

    @property
    def ended(self) -> Bool[Tensor, " batch"]:
        """Which sequences have all their steps."""
        return self._count == self._width

    def allowed(self, budget: int | None = None) -> Bool[Tensor, "batch vocab"]:
        """Which tokens may come next; at least one in each row.

        Args:
            budget: How many tokens may still come, this one included.

        Raises:
            ValueError: If ``budget`` is too small for some sequence to end.
        """
        left = self._width - int(self._count.min()) if len(self._count) else 0
        if budget is not None and budget < left:
            raise ValueError(f"budget must be enough to end the sequences, got {budget}.")
        vocabulary = self._vocabulary
        fresh, ended = self._count == 0, self.ended
        inside = ~fresh & ~ended
        rows = inside[:, None].repeat(1, vocabulary.size)
        rows[:, vocabulary.pad] = ended
        rows[:, vocabulary.start] = fresh
        rows[:, vocabulary.hold] = inside & self._sounds
        return rows

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Read one token for each sequence; a ``PAD`` is passed over."""
        real = tokens != self._vocabulary.pad
        self._count = self._count + real
        self._sounds = (tokens >= self._vocabulary.hold).where(real, self._sounds)

    def place(self) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Bar and phase of the step read last."""
        steps_per_bar = self._vocabulary.steps_per_bar
        step = (self._count - 2).clamp(min=0)  # START is no step
        return step // steps_per_bar, (step % steps_per_bar) / steps_per_bar
