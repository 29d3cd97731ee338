"""The `events` vocabulary: notes on and off, and the time between them in seconds (774 tokens).

=========  ==================================================================================
0..3       START, END, PAD, UNK
4..91      NOTE_ON of pitch 21..108
92..179    NOTE_OFF of pitch 21..108
180..691   TIME_SHIFT by 0..511 steps of 1/64 s
692..723   VELOCITY, 32 steps from 1 to 127
724, 725   SUSTAIN on and off
726..757   TEMPO, 32 steps from 60 to 200 quarters a minute
758..773   INSTRUMENT, one of the 16 families of General MIDI
=========  ==================================================================================

Times are rounded to steps before they are told apart, so nothing drifts. Silence over 511 steps is
several TIME_SHIFTs. A sequence says each moment in one order: TEMPO, notes off, notes on; notes by
family and then pitch; so there is one way to write a piece.

What it cannot say is left out and counted (:meth:`Events.said`), never moved: drums, pitches
outside the piano's, one note of a family and pitch under another. A TEMPO tells how fast the music
is meant and times nothing. UNK, TIME_SHIFT 0 and SUSTAIN are never said: a :class:`Piece` has no
pedal. The layout is that of the system this one succeeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, Shaped, UInt16
from torch import Tensor

from aurl.data.clock import BAR, clocked, nearest
from aurl.data.events_grammar import EventsGrammar
from aurl.data.events_layout import (
    END,
    FULL_SHIFT,
    INSTRUMENT,
    LOWEST,
    NOTE_OFF,
    NOTE_ON,
    PAD,
    PITCHES,
    SIZE,
    START,
    STARTING_TEMPO,
    SUSTAIN,
    TEMPO,
    TEMPOS,
    TIME_SHIFT,
    VELOCITIES,
    VELOCITY,
    nearest_tempo,
    nearest_velocity,
)
from aurl.data.events_reader import EventsReader
from aurl.data.piece import Piece, sorted_notes
from aurl.data.settings import plain
from aurl.data.vocabulary import GrammarState
from aurl.errors import DataError

_Event = tuple[int, int, int, int, int]  # time, stage, family, pitch from 0, value
_TEMPO, _OFF, _ON = range(3)  # stages


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """The one vocabulary of this kind; it has no settings."""

    pad: ClassVar[int] = PAD
    start: ClassVar[int] = START

    @property
    def size(self) -> int:
        """774."""
        return SIZE

    @property
    def tempo(self) -> bool:
        """False: a TEMPO times nothing, so there is nothing to shift."""
        return False

    @property
    def velocity_bins(self) -> int:
        """Steps of loudness."""
        return len(VELOCITIES)

    def said(self, piece: Piece) -> tuple[Piece, dict[str, int]]:
        """The piece as the tokens say it, on the clock, and what that leaves out or changes.

        Returns:
            The piece, and notes by what happened to them: ``drums`` and ``pitch`` (left out),
            ``doubled`` (left out: another of the family has the pitch at that moment, and is
            longer), ``cut`` (ended where the same pitch of the family is struck again),
            ``program`` (now the first program of the family). Loudness is rounded and not counted.
        """
        clock = clocked(piece)
        notes = clock.notes
        pitch = notes["pitch"].astype(np.int64) - LOWEST
        inside = (pitch >= 0) & (pitch < PITCHES)
        counts = {
            "drums": int(notes["is_drum"].sum()),
            "pitch": int((~inside & ~notes["is_drum"]).sum()),
        }
        notes = notes[inside & ~notes["is_drum"]].copy()
        counts["program"] = int((notes["program"] % 8 != 0).sum())
        notes["program"] -= notes["program"] % 8
        notes["velocity"] = VELOCITIES[nearest_velocity(notes["velocity"].astype(np.int64))]
        columns = ("velocity", "duration", "onset", "pitch", "program")  # the last one first
        notes = notes[np.lexsort([notes[column] for column in columns])]
        doubled = _same_as_next(notes, "program", "pitch", "onset")
        counts["doubled"] = int(doubled.sum())
        notes = notes[~doubled]
        room = np.append(notes["onset"][1:], 0)[: len(notes)] - notes["onset"]
        cut = _same_as_next(notes, "program", "pitch") & (notes["duration"] > room)
        counts["cut"] = int(cut.sum())
        notes["duration"] = np.where(cut, room, notes["duration"])
        kept = {name: count for name, count in counts.items() if count}
        return replace(clock, notes=sorted_notes(notes)), kept

    def encode(self, piece: Piece, n_bars: int | None = None) -> UInt16[np.ndarray, " token"]:
        """The piece as tokens, ``START`` to ``END``.

        Args:
            piece: Any; what cannot be said is left out.
            n_bars: Write exactly so many bars of two seconds; by default those that hold the
                piece. A note that sounds on past them is cut.

        Raises:
            ValueError: If ``n_bars`` is not positive.
            DataError: If a note begins after the last bar.
        """
        if n_bars is not None and n_bars < 1:
            raise ValueError(f"n_bars must be >= 1, got {n_bars}.")
        said, _ = self.said(piece)
        end = (n_bars or max(said.n_bars, 1)) * BAR
        if len(said.notes) and said.notes["onset"][-1] >= end:
            raise DataError(
                f"notes: every onset must be before {end} steps, got {said.notes['onset'][-1]}."
            )
        ids = [START]
        time = family = 0
        velocity = -1
        for at, stage, of, pitch, value in sorted(
            [*_notes(said, end), *_tempos(piece, said, end)]
        ):
            if at > time:
                full, rest = divmod(at - time - 1, FULL_SHIFT)
                ids += [TIME_SHIFT + FULL_SHIFT] * full + [TIME_SHIFT + rest + 1]
                time = at
            if stage == _TEMPO:
                ids.append(TEMPO + value)
                continue
            if of != family:
                family = of
                ids.append(INSTRUMENT + family)
            if stage == _ON and value != velocity:
                velocity = value
                ids.append(VELOCITY + velocity)
            ids.append((NOTE_ON if stage == _ON else NOTE_OFF) + pitch)
        return np.asarray([*ids, END], np.uint16)

    def decode(self, tokens: Integer[np.ndarray, " token"]) -> Piece:
        """The piece that a sequence says, on the clock; what comes after ``END`` is not read.

        Its ``length`` is the bars of two seconds that hold its notes, at least one.

        Raises:
            DataError: If the grammar refuses a token, or there is no ``END``; the message names
                the place.
        """
        reader = EventsReader()
        for place, token in enumerate(tokens.tolist()):
            if not reader.accepts(token):
                shown = self.describe(token) if 0 <= token < SIZE else token
                raise DataError(f"token {place} must be one the grammar allows, got {shown}.")
            reader.read(token)
            if reader.ended:
                return reader.piece()
        raise DataError(f"token {len(tokens)} must be there: the sequence has no END.")

    def grammar(self, batch: int, n_bars: int, device: torch.device | str = "cpu") -> GrammarState:
        """The tokens that may come next, for ``batch`` sequences that grow together."""
        return EventsGrammar(batch, n_bars, device)

    def is_valid(self, tokens: Int[Tensor, "batch token"], n_bars: int) -> Bool[Tensor, " batch"]:
        """Whether each sequence is a whole one, ``START`` to ``END`` and then ``PAD``."""
        good = [_is_whole(row, n_bars * BAR) for row in tokens.tolist()]
        return torch.tensor(good, dtype=torch.bool, device=tokens.device)

    def positions(
        self, tokens: Int[Tensor, "batch token"]
    ) -> tuple[Int[Tensor, "batch token"], Float[Tensor, "batch token"]]:
        """The bar of two seconds that each token is in, and how far in."""
        shift = (tokens >= TIME_SHIFT) & (tokens < VELOCITY)
        time = (tokens - TIME_SHIFT).where(shift, 0).cumsum(dim=1)
        return time // BAR, (time % BAR) / BAR

    def note_count(self, tokens: Int[Tensor, "batch token"]) -> Int[Tensor, " batch"]:
        """How many notes each sequence has."""
        return ((tokens >= NOTE_ON) & (tokens < NOTE_OFF)).sum(dim=1)

    def transposed(
        self, tokens: Int[Tensor, "batch token"], semitones: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences moved by so many semitones; one that would leave 21..108 stays."""
        blocks = (range(NOTE_ON, NOTE_OFF), range(NOTE_OFF, TIME_SHIFT))
        return _moved(tokens, semitones, blocks)

    def with_tempo_shift(
        self, tokens: Int[Tensor, "batch token"], bins: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """Not in this vocabulary.

        Raises:
            ValueError: Always.
        """
        raise ValueError("an events vocabulary has no tempos to shift. Leave out the shift.")

    def with_velocity_shift(
        self, tokens: Int[Tensor, "batch token"], bins: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch token"]:
        """The sequences so many VELOCITY steps louder; one that would leave the range stays."""
        return _moved(tokens, bins, (range(VELOCITY, SUSTAIN),))

    def describe(self, token: int) -> str:
        """The token in words: ``NOTE_ON 60``, ``TIME_SHIFT 8``, ``TEMPO 118.7``.

        Raises:
            ValueError: If there is no such token.
        """
        if not 0 <= token < SIZE:
            raise ValueError(f"token must be in 0..{SIZE - 1}, got {token}.")
        if token < NOTE_ON:
            return ("START", "END", "PAD", "UNK")[token]
        name, first = next(each for each in reversed(_BLOCKS) if token >= each[1])
        value = token - first
        if name in ("NOTE_ON", "NOTE_OFF"):
            return f"{name} {LOWEST + value}"
        words = {
            "VELOCITY": str(VELOCITIES[value % 32]),
            "SUSTAIN": ("on", "off")[value % 2],
            "TEMPO": f"{TEMPOS[value % 32]:.1f}",
        }
        return f"{name} {words.get(name, value)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``vocabulary.json``."""
        return plain(self, "events")


_BLOCKS = (
    ("NOTE_ON", NOTE_ON),
    ("NOTE_OFF", NOTE_OFF),
    ("TIME_SHIFT", TIME_SHIFT),
    ("VELOCITY", VELOCITY),
    ("SUSTAIN", SUSTAIN),
    ("TEMPO", TEMPO),
    ("INSTRUMENT", INSTRUMENT),
)


def _same_as_next(notes: Shaped[np.ndarray, " note"], *columns: str) -> Bool[np.ndarray, " note"]:
    same = np.ones(max(len(notes) - 1, 0), np.bool_)
    for column in columns:
        same &= notes[column][1:] == notes[column][:-1]
    return np.append(same, False)[: len(notes)]


def _notes(said: Piece, end: int) -> Iterator[_Event]:
    """Both ends of every note."""
    velocities = nearest_velocity(said.notes["velocity"].astype(np.int64)).tolist()
    for note, velocity in zip(said.notes.tolist(), velocities, strict=True):
        onset, duration, pitch, _, program, _ = note
        family = program // 8
        yield onset, _ON, family, pitch - LOWEST, velocity
        yield min(onset + duration, end), _OFF, family, pitch - LOWEST, 0


def _tempos(piece: Piece, said: Piece, end: int) -> Iterator[_Event]:
    """The changes of TEMPO, of one moment the last, as long as notes follow or sound."""
    ticks = nearest(piece, np.asarray([tempo.tick for tempo in piece.tempos])).tolist()
    at = dict(zip(ticks, piece.tempos, strict=True))
    before = STARTING_TEMPO
    for tick, tempo in at.items():
        value = nearest_tempo(tempo.bpm)
        if value != before and tick < min(said.end, end):
            before = value
            yield tick, _TEMPO, 0, 0, value


def _is_whole(row: list[int], limit: int) -> bool:
    reader = EventsReader(limit)
    for token in row:
        if not reader.accepts(token):
            return False
        reader.read(token)
    return reader.ended


def _moved(
    tokens: Int[Tensor, "batch token"], by: Int[Tensor, " batch"], blocks: Sequence[range]
) -> Int[Tensor, "batch token"]:
    """The sequences with the tokens of some blocks moved; one of which any would leave stays."""
    moved = tokens + by[:, None]
    moves = torch.zeros_like(tokens, dtype=torch.bool)
    inside = torch.ones_like(moves)
    for block in blocks:
        here = (tokens >= block.start) & (tokens < block.stop)
        moves |= here
        inside &= ~here | ((moved >= block.start) & (moved < block.stop))
    return moved.where(moves & inside.all(dim=1, keepdim=True), tokens)
