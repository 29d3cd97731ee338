"""One sequence of `events` read token by token: what the grammar allows, and what was said.

This is the grammar for one sequence, to check and to decode; :mod:`aurl.data.events_grammar` is
the same for a batch, to generate. A moment is said in one order, so what was said last at a moment
is a number that grows: :data:`FRESH`, :data:`TOLD_TEMPO`, notes off by family and pitch, notes on
by family and pitch.
"""

import math

import numpy as np

from aurl.data.clock import BAR, TICKS_PER_QUARTER
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
    TIME_SHIFT,
    VELOCITIES,
    VELOCITY,
)
from aurl.data.piece import NOTE, Piece, sorted_notes

FRESH, TOLD_TEMPO = -2, -1
"""A moment at which nothing was said yet, or only its TEMPO."""

VOICES = 16 * PITCHES
"""A voice is a family and a pitch, ``88 * family + pitch``: one note of it sounds at a time."""


class EventsReader:
    """Reads one sequence.

    Args:
        limit: Steps that the music may last; no limit by default.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self._limit = limit
        self._before = -1  # the token read last
        self._said = FRESH
        self._time = self._family = 0
        self._velocity, self._tempo = -1, STARTING_TEMPO
        self._sounding: dict[int, tuple[int, int]] = {}  # voice to onset and velocity
        self._notes: list[tuple[int, int, int, int, int, bool]] = []

    @property
    def ended(self) -> bool:
        """Whether ``END`` was read."""
        return self._before == END

    def accepts(self, token: int) -> bool:
        """Whether the grammar allows the token next."""
        if self._before == -1 or self.ended:
            return token == (START if self._before == -1 else PAD)
        if NOTE_ON <= token < NOTE_OFF:
            return self._velocity >= 0 and self._can_begin(self._voice(token - NOTE_ON))
        if NOTE_OFF <= token < TIME_SHIFT:
            return not self._after(VELOCITY) and self._can_end(self._voice(token - NOTE_OFF))
        if VELOCITY <= token < SUSTAIN:
            new = token - VELOCITY != self._velocity
            return new and not self._after(VELOCITY) and self._some_can_begin(self._family)
        if self._after(VELOCITY) or self._after(INSTRUMENT):
            return False
        return self._accepts_alone(token)

    def _accepts_alone(self, token: int) -> bool:
        """The tokens that may not stand between a VELOCITY or INSTRUMENT and its note."""
        if token == END:
            waits = self._after(TIME_SHIFT) or self._after(TEMPO)
            return not self._sounding and not waits
        if TIME_SHIFT < token < VELOCITY:
            whole = self._before == TIME_SHIFT + FULL_SHIFT or not self._after(TIME_SHIFT)
            room = self._limit - self._time - (not self._sounding)
            return whole and token - TIME_SHIFT <= room
        if TEMPO <= token < INSTRUMENT:
            new = token - TEMPO != self._tempo
            return new and self._said == FRESH and self._time < self._limit
        if INSTRUMENT <= token < SIZE:
            family = token - INSTRUMENT
            return family != self._family and (
                self._some_can_begin(family) or self._some_can_end(family)
            )
        return False

    def read(self, token: int) -> None:
        """Read a token that :meth:`accepts` allows."""
        if NOTE_ON <= token < NOTE_OFF:
            voice = self._voice(token - NOTE_ON)
            self._sounding[voice] = (self._time, self._velocity)
            self._said = VOICES + voice
        elif NOTE_OFF <= token < TIME_SHIFT:
            voice = self._voice(token - NOTE_OFF)
            self._end(voice)
            self._said = voice
        elif TIME_SHIFT <= token < VELOCITY:
            self._time += token - TIME_SHIFT
            self._said = FRESH
        elif VELOCITY <= token < SUSTAIN:
            self._velocity = token - VELOCITY
        elif TEMPO <= token < INSTRUMENT:
            self._tempo = token - TEMPO
            self._said = TOLD_TEMPO
        elif INSTRUMENT <= token < SIZE:
            self._family = token - INSTRUMENT
        self._before = token if token != PAD else self._before

    def piece(self) -> Piece:
        """What was said, on the clock; its length is whole bars of two seconds, at least one."""
        notes = sorted_notes(np.array(self._notes, NOTE))
        end = int((notes["onset"] + notes["duration"]).max(initial=1))
        return Piece(ticks_per_quarter=TICKS_PER_QUARTER, notes=notes, length=end + -end % BAR)

    def _voice(self, pitch: int) -> int:
        return PITCHES * self._family + pitch

    def _after(self, block: int) -> bool:
        """Whether the token read last is of the block that begins there."""
        ends = {VELOCITY: SUSTAIN, INSTRUMENT: SIZE, TIME_SHIFT: VELOCITY, TEMPO: INSTRUMENT}
        return block <= self._before < ends[block]

    def _can_begin(self, voice: int) -> bool:
        silent = voice not in self._sounding
        return silent and VOICES + voice > self._said and self._time < self._limit

    def _can_end(self, voice: int) -> bool:
        if voice not in self._sounding or voice <= self._said:
            return False
        return self._time < self._limit or voice == min(self._sounding)

    def _some_can_begin(self, family: int) -> bool:
        first = PITCHES * family
        return any(self._can_begin(voice) for voice in range(first, first + PITCHES))

    def _some_can_end(self, family: int) -> bool:
        return any(self._can_end(voice) for voice in self._sounding if voice // PITCHES == family)

    def _end(self, voice: int) -> None:
        onset, velocity = self._sounding.pop(voice)
        family, pitch = divmod(voice, PITCHES)
        loud = int(VELOCITIES[velocity])
        self._notes.append((onset, self._time - onset, pitch + LOWEST, loud, 8 * family, False))
