"""The grammar of `events` for a batch of sequences that grow together: what may come next.

The same language as :class:`aurl.data.events_reader.EventsReader` reads. It has no dead ends: no
sequence ends while a note sounds, and from every state there is a way to end in time. That way is
the *plan*: end what sounds, in order, if need be after one more TIME_SHIFT; begin a note first
where the last token must be followed by one. As the budget runs out only the plan is allowed.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aurl.data.clock import BAR
from aurl.data.events_layout import (
    END,
    FAMILIES,
    FULL_SHIFT,
    INSTRUMENT,
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
    VELOCITY,
)
from aurl.data.events_reader import FRESH, TOLD_TEMPO, VOICES

SLACK = 7
"""After any token the plan takes at most this many tokens more than one for each note that sounds
and one for each of their families."""

_NONE = -1


class EventsGrammar:
    """The tokens that may come next.

    Args:
        batch: How many sequences.
        n_bars: How many bars of two seconds each of them has.
        device: Where the state is kept.

    Raises:
        ValueError: If ``n_bars`` is not positive.
    """

    def __init__(self, batch: int, n_bars: int, device: torch.device | str = "cpu") -> None:
        if n_bars < 1:
            raise ValueError(f"n_bars must be >= 1, got {n_bars}.")
        self._limit = n_bars * BAR
        self._sounding = torch.zeros(batch, VOICES, dtype=torch.bool, device=device)

        def filled(value: int) -> Int[Tensor, " batch"]:
            return torch.full((batch,), value, device=device)

        self._before, self._said = filled(_NONE), filled(FRESH)
        self._time, self._family = filled(0), filled(0)
        self._velocity, self._tempo = filled(_NONE), filled(STARTING_TEMPO)

    @property
    def ended(self) -> Bool[Tensor, " batch"]:
        """Which sequences have had their ``END``."""
        return self._before == END

    def allowed(self, budget: int | None = None) -> Bool[Tensor, "batch vocab"]:
        """Which tokens may come next; at least one in each row.

        Args:
            budget: How many tokens may still come, this one included. Only tokens are allowed
                after which the sequence can be ended in time.

        Raises:
            ValueError: If ``budget`` is too small for some sequence to end.
        """
        view = _View(self._sounding, self._said, self._time == self._limit)
        rows = self._rows(view)
        if budget is None:
            return rows
        needed, plan = self._plan(view, rows)
        if bool((needed > budget).any()):
            raise ValueError(f"budget must be enough to end the sequences, got {budget}.")
        tight = budget - 1 < view.n_sounding + view.n_families + SLACK
        return rows & (plan | ~tight[:, None])

    def _rows(self, view: "_View") -> Bool[Tensor, "batch vocab"]:
        batch, device = len(self._before), self._before.device
        rows = torch.zeros(batch, SIZE, dtype=torch.bool, device=device)
        loud, family = self._after(VELOCITY, SUSTAIN), self._after(INSTRUMENT, SIZE)
        live = (self._before != _NONE) & ~self.ended
        alone = live & ~loud & ~family
        begins, ends = (
            view.of_family(view.can_begin, self._family),
            view.of_family(view.can_end, self._family),
        )
        rows[:, NOTE_ON:NOTE_OFF] = begins & (live & (self._velocity != _NONE))[:, None]
        rows[:, NOTE_OFF:TIME_SHIFT] = ends & (live & ~loud)[:, None]
        quiet = begins.any(dim=1) & live & ~loud
        rows[:, VELOCITY:SUSTAIN] = quiet[:, None] & self._other(self._velocity, 32)
        busy = (view.can_begin | view.can_end).unflatten(1, (FAMILIES, PITCHES)).any(dim=2)
        rows[:, INSTRUMENT:SIZE] = alone[:, None] & busy & self._other(self._family, FAMILIES)
        told = alone & (self._said == FRESH) & ~view.at_end
        rows[:, TEMPO:INSTRUMENT] = told[:, None] & self._other(self._tempo, 32)
        shifted = self._after(TIME_SHIFT, VELOCITY)
        whole = ~shifted | (self._before == TIME_SHIFT + FULL_SHIFT)
        room = self._limit - self._time - (view.n_sounding == 0).long()
        steps = torch.arange(1, FULL_SHIFT + 1, device=device)
        rows[:, TIME_SHIFT + 1 : VELOCITY] = (alone & whole)[:, None] & (steps <= room[:, None])
        waits = shifted | self._after(TEMPO, INSTRUMENT)
        rows[:, END] = alone & (view.n_sounding == 0) & ~waits
        rows[:, START] = self._before == _NONE
        rows[:, PAD] = self.ended
        return rows

    def _plan(
        self, view: "_View", rows: Bool[Tensor, "batch vocab"]
    ) -> tuple[Int[Tensor, " batch"], Bool[Tensor, "batch vocab"]]:
        """How many tokens the plan takes at most from here, and which it goes on with.

        Every token it goes on with leaves a plan of at least one token less.
        """
        n, families = view.n_sounding, view.n_families
        loud, family = self._after(VELOCITY, SUSTAIN), self._after(INSTRUMENT, SIZE)
        ends = rows[:, NOTE_OFF:TIME_SHIFT]
        own = PITCHES * self._family + ends.int().argmax(dim=1)  # the lowest that can end
        has_end = ends.any(dim=1)
        change = families - (view.lowest // PITCHES == self._family).long()
        in_order = view.lowest > self._said
        unsaid = (self._velocity == _NONE).long()

        begin = torch.zeros_like(rows)
        begin[:, NOTE_ON:NOTE_OFF] = True
        begin[:, VELOCITY:SUSTAIN] = (unsaid == 1)[:, None]
        shift = torch.zeros_like(rows)
        shift[:, TIME_SHIFT:VELOCITY] = True
        at = torch.arange(SIZE, device=rows.device)
        end_own = at == (NOTE_OFF + own % PITCHES)[:, None]
        away = view.lowest // PITCHES != self._family
        move = at == (INSTRUMENT + view.lowest // PITCHES)[:, None]

        # Notes sound, and nothing waits for one: end them in order, or shift first.
        needed = n + change + torch.where(in_order, 1, 2)
        plan = torch.where(away[:, None], move, end_own)
        plan = torch.where(in_order[:, None], plan, shift)
        # Nothing sounds: END if it may come, else a note must.
        silent = n == 0
        can_stop = rows[:, END]
        needed = torch.where(silent, torch.where(can_stop, 1, 4 + 2 * unsaid), needed)
        stop = torch.where(can_stop[:, None], at == END, begin)
        plan = torch.where(silent[:, None], stop, plan)
        # After an INSTRUMENT: a note of it ends, or begins.
        first = torch.where(own == view.lowest, n + families, n + families + 2)
        after = torch.where(has_end, first, n + families + 5 + unsaid)
        needed = torch.where(family, after, needed)
        chosen = torch.where(has_end[:, None], end_own, begin)
        plan = torch.where(family[:, None], chosen, plan)
        # After a VELOCITY: a note begins.
        needed = torch.where(loud, n + families + 5, needed)
        plan = torch.where(loud[:, None], begin, plan)
        # Before START and after END there is no choice.
        fixed = (self._before == _NONE) | self.ended
        needed = torch.where(fixed, torch.where(self.ended, 0, 2), needed)
        return needed, plan | fixed[:, None]

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Read one token for each sequence; a ``PAD`` is passed over.

        The tokens are trusted to be allowed.
        """

        def within(first: int, stop: int) -> Bool[Tensor, " batch"]:
            return (tokens >= first) & (tokens < stop)

        on, off = within(NOTE_ON, NOTE_OFF), within(NOTE_OFF, TIME_SHIFT)
        shift, tempo = within(TIME_SHIFT, VELOCITY), within(TEMPO, INSTRUMENT)
        self._family = (tokens - INSTRUMENT).where(within(INSTRUMENT, SIZE), self._family)
        self._velocity = (tokens - VELOCITY).where(within(VELOCITY, SUSTAIN), self._velocity)
        self._tempo = (tokens - TEMPO).where(tempo, self._tempo)
        self._time = self._time + (tokens - TIME_SHIFT).where(shift, 0)
        voice = PITCHES * self._family + torch.where(off, tokens - NOTE_OFF, tokens - NOTE_ON)
        this = torch.arange(VOICES, device=tokens.device) == voice[:, None]
        self._sounding = (self._sounding | (this & on[:, None])) & ~(this & off[:, None])
        self._said = torch.where(shift, FRESH, torch.where(tempo, TOLD_TEMPO, self._said))
        self._said = torch.where(on, VOICES + voice, torch.where(off, voice, self._said))
        self._before = tokens.where(tokens != PAD, self._before)

    def place(self) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
        """The bar of two seconds that the time is in, and how far in."""
        return self._time // BAR, (self._time % BAR) / BAR

    def _after(self, first: int, stop: int) -> Bool[Tensor, " batch"]:
        """Whether the token read last is one of a block."""
        return (self._before >= first) & (self._before < stop)

    def _other(self, value: Int[Tensor, " batch"], count: int) -> Bool[Tensor, "batch value"]:
        """Which values are not the one in force."""
        return torch.arange(count, device=value.device) != value[:, None]


class _View:
    """What sounds, and which voices can begin or end a note now."""

    def __init__(
        self,
        sounding: Bool[Tensor, "batch voice"],
        said: Int[Tensor, " batch"],
        at_end: Bool[Tensor, " batch"],
    ) -> None:
        self.at_end = at_end
        self.n_sounding = sounding.sum(dim=1)
        self.n_families = sounding.unflatten(1, (FAMILIES, PITCHES)).any(dim=2).sum(dim=1)
        self.lowest = sounding.int().argmax(dim=1).where(self.n_sounding > 0, VOICES)
        voice = torch.arange(VOICES, device=said.device)
        later = voice > said[:, None]
        # At the end of the time they end in order, so that none is passed over.
        in_turn = ~at_end[:, None] | (voice == self.lowest[:, None])
        self.can_end = sounding & later & in_turn
        self.can_begin = ~sounding & (VOICES + voice > said[:, None]) & ~at_end[:, None]

    @staticmethod
    def of_family(
        voices: Bool[Tensor, "batch voice"], family: Int[Tensor, " batch"]
    ) -> Bool[Tensor, "batch pitch"]:
        """The voices of one family in each row."""
        by_family = voices.unflatten(1, (FAMILIES, PITCHES))
        return by_family[torch.arange(len(family), device=family.device), family]
