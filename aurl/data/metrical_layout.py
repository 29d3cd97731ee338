"""The ids of the `metrical` vocabulary: what each says, and where in the music it is.

A sequence is ``START`` then bars then ``END``. A bar is ``BAR [METRE] [TEMPO]`` and its onsets in
order; an onset is ``POSITION`` and its notes in order; a note is
``[PROGRAM] [VELOCITY] PITCH DURATION+``. What is in brackets is written only where it differs from
what is in force: metre and tempo last from bar to bar (the first bar always writes them), program
and velocity begin each bar at their defaults, so that a bar never needs an earlier one to be read.
Time is counted in ticks, 24 to a quarter. :mod:`aurl.data.grammar` says which token may follow.

A token has a *kind* (``PITCH``) and a *value* (67). Ids are blocks of one kind after another; no
other module writes an id as a number.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from aurl.data.piece import GRID, Metre, bar_length
from aurl.errors import ConfigError


class Kind(IntEnum):
    """What a token is about; the first four kinds are one token each, whose id is the kind."""

    PAD = 0
    START = 1
    END = 2
    BAR = 3
    METRE = 4
    POSITION = 5
    PITCH = 6
    DURATION = 7
    PROGRAM = 8
    VELOCITY = 9
    TEMPO = 10


DRUMS = 128
"""The value of PROGRAM that stands for drums; 0..127 are General MIDI programs."""

MAX_BAR = 192
"""Ticks of the longest bar there is a metre for: 4/2, 8/4, 12/6."""

MAX_DURATION = 96
"""Ticks one DURATION can say; a longer note repeats it and then says the rest."""

METRES = tuple(
    (numerator, denominator)
    for denominator in (1, 2, 4, 8, 16, 32)
    for numerator in range(1, 33)
    if bar_length(Metre(tick=0, numerator=numerator, denominator=denominator), GRID) <= MAX_BAR
)
"""(numerator, denominator) of each value of METRE."""

BAR_TICKS = tuple(numerator * 4 * GRID // denominator for numerator, denominator in METRES)
TEMPO_BINS = 32
TEMPO_RANGE = (20.0, 300.0)  # quarters a minute at the first and the last bin
KEEP = -2  # in Tables.becomes: this token leaves this kind as it is
NONE = -1  # in Tables.becomes: from this token on, nothing of this kind is in force


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricalLayout:
    """Which token ids there are; plain data, hashable, the same on every machine.

    Raises:
        ConfigError: If a value is out of range.
    """

    velocity_bins: int = 32
    """Steps of loudness, 2 to 127, or 0: no VELOCITY, and notes read at ``default_velocity``."""

    programs: bool = True
    """Whether there is PROGRAM; without it every note is of ``default_program``."""

    tempo: bool = True
    """Whether there is TEMPO; without it every sequence is at ``default_tempo``."""

    default_program: int = 0
    """The program at the start of each bar: 0..127, or 128 for drums."""

    default_velocity: int = 80
    """A MIDI velocity; its nearest bin is the velocity at the start of each bar."""

    default_tempo: float = 120.0
    """Quarters a minute of sequences without TEMPO."""

    pad: ClassVar[int] = int(Kind.PAD)
    start: ClassVar[int] = int(Kind.START)
    end: ClassVar[int] = int(Kind.END)
    bar: ClassVar[int] = int(Kind.BAR)

    def __post_init__(self) -> None:
        if self.velocity_bins != 0 and not 2 <= self.velocity_bins <= 127:
            raise ConfigError(f"velocity_bins must be 0 or in 2..127, got {self.velocity_bins}.")
        if not 0 <= self.default_program <= DRUMS:
            raise ConfigError(f"default_program must be in 0..128, got {self.default_program}.")
        if not 1 <= self.default_velocity <= 127:
            raise ConfigError(f"default_velocity must be in 1..127, got {self.default_velocity}.")
        if not 0.0 < self.default_tempo < float("inf"):
            raise ConfigError(f"default_tempo must be > 0, got {self.default_tempo}.")

    def ids(self, kind: Kind) -> range:
        """The ids of a kind, by value: ``ids(Kind.PITCH)[67]`` is the token ``PITCH 67``.

        Empty if the kind is switched off. DURATION counts from 1 tick: ``ids(Kind.DURATION)[23]``
        is the token ``DURATION 24``.
        """
        return _blocks(self)[kind]

    @property
    def size(self) -> int:
        """How many ids there are."""
        return _blocks(self)[-1].stop

    def velocities(self) -> Int[np.ndarray, " bin"]:
        """The MIDI velocity of each VELOCITY, 1 to 127 in even steps."""
        return np.rint(np.linspace(1.0, 127.0, self.velocity_bins)).astype(np.int64)

    def velocity_values(self, velocities: Int[np.ndarray, " note"]) -> Int[np.ndarray, " note"]:
        """The VELOCITY nearest to each MIDI velocity, or -1 if there are no VELOCITY tokens."""
        if not self.velocity_bins:
            return np.full(len(velocities), NONE)
        return np.abs(self.velocities() - velocities[:, None]).argmin(axis=1)

    def describe(self, token: int) -> str:
        """The token in words: ``PITCH 67``, ``METRE 6/8``, ``PROGRAM drums``, ``TEMPO 125.2``.

        Raises:
            ValueError: If there is no such token.
        """
        if not 0 <= token < self.size:
            raise ValueError(f"token must be in 0..{self.size - 1}, got {token}.")
        kind = next(kind for kind in Kind if token in self.ids(kind))
        value = token - self.ids(kind).start
        if kind <= Kind.BAR:
            return kind.name
        words: dict[Kind, Callable[[int], object]] = {
            Kind.METRE: lambda value: "{}/{}".format(*METRES[value]),
            Kind.DURATION: lambda value: value + 1,
            Kind.PROGRAM: lambda value: "drums" if value == DRUMS else value,
            Kind.VELOCITY: lambda value: self.velocities()[value],
            Kind.TEMPO: lambda value: f"{tempos()[value]:.1f}",
        }
        return f"{kind.name} {words.get(kind, int)(value)}"

    def in_force(
        self, tokens: Int[Tensor, "batch token"], kinds: Sequence[Kind]
    ) -> Int[Tensor, "kind batch token"]:
        """The value of each of ``kinds`` after each token is read, or -1 where there is none.

        It is that of the latest token that set it: a token of the kind itself, or a ``BAR``, which
        sets program and velocity to their defaults and forgets the position. After a ``PITCH`` the
        ``PITCH`` in force is the floor of the next note; a new onset or program forgets it.
        """
        tables = self.tables(tokens.device)
        rows = [int(kind) for kind in kinds]
        becomes = torch.stack([tables.becomes[row][tokens] for row in rows])
        initial = torch.stack([tables.initial[row] for row in rows])[:, None, None]
        at = torch.arange(tokens.shape[1], device=tokens.device)
        latest = at.where(becomes != KEEP, NONE).cummax(dim=2).values
        value = becomes.gather(2, latest.clamp(min=0))
        return value.where(latest != NONE, initial)

    def positions(
        self, tokens: Int[Tensor, "batch token"]
    ) -> tuple[Int[Tensor, "batch token"], Float[Tensor, "batch token"]]:
        """Where in the music one is after reading each token: the bar, and the place in it.

        Causal: changing a token changes nothing before it.

        Returns:
            The index of the bar, from 0 (also before the first ``BAR``), and the onset as a share
            of the bar's length, in [0, 1), from 0 (also before the bar's first ``POSITION``).
        """
        metre, position = self.in_force(tokens, (Kind.METRE, Kind.POSITION))
        bars = (tokens == self.bar).cumsum(dim=1)
        return place(self.tables(tokens.device), bars, metre, position)

    def note_count(self, tokens: Int[Tensor, "batch token"]) -> Int[Tensor, " batch"]:
        """How many notes each sequence has."""
        return (self.tables(tokens.device).kind[tokens] == Kind.PITCH).sum(dim=1)

    def tables(self, device: torch.device) -> "Tables":
        """What each id means, as tensors on ``device``; built once."""
        return _tables(self, device)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Tables:
    """The meaning of each id of a vocabulary, to be indexed by tokens."""

    kind: Int[Tensor, " vocab"]
    value: Int[Tensor, " vocab"]
    """The place of the id in its block."""

    becomes: Int[Tensor, "kind vocab"]
    """The value in force of each kind after each token, or :data:`KEEP`."""

    initial: Int[Tensor, " kind"]
    """The value in force before the first token, or :data:`NONE`."""

    bar_ticks: Int[Tensor, " metre"]
    """Ticks of a bar of each METRE; one more at the end, 4/4, for -1: before any METRE."""


def place(
    tables: Tables,
    bars: Int[Tensor, "*place"],
    metre: Int[Tensor, "*place"],
    position: Int[Tensor, "*place"],
) -> tuple[Int[Tensor, "*place"], Float[Tensor, "*place"]]:
    """The bar and the phase in it, of the bars that have begun and the values in force."""
    ticks = tables.bar_ticks[metre]
    return (bars - 1).clamp(min=0), torch.minimum(position.clamp(min=0), ticks - 1) / ticks


@lru_cache(maxsize=64)
def _blocks(vocabulary: MetricalLayout) -> tuple[range, ...]:
    sizes = {
        Kind.METRE: len(METRES),
        Kind.POSITION: MAX_BAR,
        Kind.PITCH: 128,
        Kind.DURATION: MAX_DURATION,
        Kind.PROGRAM: (DRUMS + 1) * vocabulary.programs,
        Kind.VELOCITY: vocabulary.velocity_bins,
        Kind.TEMPO: TEMPO_BINS * vocabulary.tempo,
    }
    edges = np.cumsum([0, *(sizes.get(kind, 1) for kind in Kind)]).tolist()
    return tuple(map(range, edges[:-1], edges[1:]))


@lru_cache(maxsize=64)
def _tables(vocabulary: MetricalLayout, device: torch.device) -> Tables:
    counts = [len(vocabulary.ids(kind)) for kind in Kind]
    kind = np.repeat(np.arange(len(Kind)), counts)
    value = np.concatenate([np.arange(count) for count in counts])
    becomes = np.where(np.arange(len(Kind))[:, None] == kind, value, KEEP)
    becomes[[Kind.PAD, Kind.START, Kind.END, Kind.BAR, Kind.DURATION]] = KEEP
    initial = np.full(len(Kind), NONE)
    initial[Kind.PROGRAM] = vocabulary.default_program
    initial[Kind.VELOCITY] = vocabulary.velocity_values(np.asarray([vocabulary.default_velocity]))[
        0
    ]
    becomes[Kind.POSITION, Kind.BAR] = NONE
    becomes[Kind.PITCH, np.isin(kind, [Kind.POSITION, Kind.PROGRAM])] = NONE
    becomes[[Kind.PROGRAM, Kind.VELOCITY], Kind.BAR] = initial[[Kind.PROGRAM, Kind.VELOCITY]]

    def tensor(values: Int[np.ndarray, "..."]) -> Int[Tensor, "..."]:
        return torch.from_numpy(values).to(device)

    return Tables(
        kind=tensor(kind),
        value=tensor(value),
        becomes=tensor(becomes),
        initial=tensor(initial),
        bar_ticks=tensor(np.asarray([*BAR_TICKS, 4 * GRID])),
    )


@lru_cache(maxsize=1)
def tempos() -> tuple[float, ...]:
    """Quarters a minute of each TEMPO: 32 steps of one ratio from 20 to 300."""
    return tuple(np.geomspace(*TEMPO_RANGE, TEMPO_BINS).tolist())


def tempo_value(bpm: float) -> int:
    """The TEMPO nearest to a speed in quarters a minute, as ratios go; the end bins are open."""
    slowest, fastest = TEMPO_RANGE
    share = math.log(bpm / slowest) / math.log(fastest / slowest)
    return min(max(round(share * (TEMPO_BINS - 1)), 0), TEMPO_BINS - 1)


def program_values(notes: Shaped[np.ndarray, " note"]) -> Int[np.ndarray, " note"]:
    """The value of PROGRAM of each note."""
    return np.where(notes["is_drum"], DRUMS, notes["program"].astype(np.int64))
