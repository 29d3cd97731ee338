"""The grammar of the `metrical` vocabulary: which tokens may follow, for generation and checking.

The language is the one :func:`aurl.data.tokenizer.encode` writes and nothing else: there is one
way to write a piece, so whatever the grammar lets through decodes, and encodes to itself. It has
no dead ends: from every state there is a way to ``END``.

It is written once, in two parts. :data:`FOLLOWS` says which kinds may follow, and
:func:`_bounds` which values of each kind. A :class:`Grammar` walks along with a generator; it
holds the values in force after the last token. :func:`accepted` computes them for every place of
whole sequences at once.
"""

from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aurl.data.metrical_layout import KEEP, NONE, Kind, MetricalLayout, place

N_KINDS = len(Kind)
NOTHING, FIRST_BAR, FIRST_METRE, FULL_DURATION = range(N_KINDS, N_KINDS + 4)
"""Phases beside "the last token was of this kind": no token yet, a BAR before any METRE, a METRE
before any TEMPO, a DURATION of 96 ticks."""

_NOTE = (Kind.PROGRAM, Kind.VELOCITY, Kind.PITCH)
_NEXT = (Kind.POSITION, Kind.BAR, Kind.END)
FOLLOWS: dict[int, tuple[Kind, ...]] = {
    NOTHING: (Kind.START,),
    Kind.START: (Kind.BAR,),
    FIRST_BAR: (Kind.METRE,),
    FIRST_METRE: (Kind.TEMPO,),
    Kind.BAR: (Kind.METRE, Kind.TEMPO, *_NEXT),
    Kind.METRE: (Kind.TEMPO, *_NEXT),
    Kind.TEMPO: _NEXT,
    Kind.POSITION: _NOTE,
    Kind.PROGRAM: (Kind.VELOCITY, Kind.PITCH),
    Kind.VELOCITY: (Kind.PITCH,),
    Kind.PITCH: (Kind.DURATION,),
    Kind.DURATION: (*_NOTE, *_NEXT),
    FULL_DURATION: (Kind.DURATION, *_NOTE, *_NEXT),
    Kind.END: (Kind.PAD,),
    Kind.PAD: (Kind.PAD,),
}
"""Which kinds may follow in each phase; :func:`_bounds` narrows their values."""

_NEEDED = {
    Kind.PAD: 0,
    Kind.END: 1,
    Kind.BAR: 1,
    Kind.POSITION: 4,
    Kind.PROGRAM: 4,
    Kind.VELOCITY: 4,
    Kind.PITCH: 3,
}


class Grammar:
    """The tokens that may come next, for a batch of sequences that grow together.

    Args:
        vocabulary: Whose ids they are.
        batch: How many sequences.
        n_bars: How many bars each of them has; ``END`` comes in the last.
        device: Where the state is kept.

    Raises:
        ValueError: If ``n_bars`` is not positive.
    """

    def __init__(
        self,
        vocabulary: MetricalLayout,
        batch: int,
        n_bars: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if n_bars < 1:
            raise ValueError(f"n_bars must be >= 1, got {n_bars}.")
        self.n_bars = n_bars
        self._tables = vocabulary.tables(torch.device(device))
        self._rules = rules_of(vocabulary, torch.device(device))
        self._force = self._tables.initial.repeat(batch, 1)
        self._bars = self._force.new_zeros(batch)
        self._phase = self._force.new_full((batch,), NOTHING)

    @property
    def ended(self) -> Bool[Tensor, " batch"]:
        """Which sequences have had their ``END``."""
        return self._phase == Kind.END

    def allowed(self, budget: int | None = None) -> Bool[Tensor, "batch vocab"]:
        """Which tokens may come next; at least one in each row.

        Args:
            budget: How many tokens may still come, this one included. Only tokens are allowed
                after which the sequence can be ended in time, so a generator that always passes
                what it has left is never cut off before ``END``.

        Raises:
            ValueError: If ``budget`` is too small for some sequence to end.
        """
        low, high = _bounds(self._rules, self._force, self._phase, self._bars, self.n_bars)
        if budget is not None:
            needed = self._needed()
            high = high.where(needed <= budget, 0)
            if not bool((high > low).any(dim=1).all()):
                raise ValueError(f"budget must be enough to end the sequences, got {budget}.")
        # One row of 16-bit numbers an id is seven times as fast as one column of 64-bit ones.
        low, high, excluded = (
            bound.to(torch.int16).T.contiguous().index_select(0, self._tables.kind)
            for bound in (low, high, self._force)
        )
        value = self._rules.values
        return ((value >= low) & (value < high) & (value != excluded)).T.contiguous()

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Read one token for each sequence; a ``PAD`` is passed over.

        The tokens are trusted to be allowed; :func:`accepted` checks.
        """
        becomes = self._rules.becomes[tokens]
        self._force = becomes.where(becomes != KEEP, self._force)
        self._bars = self._bars + (tokens == Kind.BAR)
        phase = _phases(self._rules, tokens, self._bars, self._force[:, Kind.TEMPO])
        self._phase = phase.where(tokens != Kind.PAD, self._phase)

    def place(self) -> tuple[Int[Tensor, " batch"], Float[Tensor, " batch"]]:
        """Bar and phase after what was read: the last of :meth:`MetricalLayout.positions`."""
        metre, position = self._force[:, Kind.METRE], self._force[:, Kind.POSITION]
        return place(self._tables, self._bars, metre, position)

    def _needed(self) -> Int[Tensor, "batch kind"]:
        """The fewest tokens to ``END`` that begin with a token of each kind."""
        first = self._rules.first * (self._force[:, Kind.METRE] == NONE)[:, None]
        bars = (self.n_bars - self._bars)[:, None]
        return bars + first + self._rules.needed


class Rules:
    """The grammar of one vocabulary as tensors on one device."""

    def __init__(self, vocabulary: MetricalLayout, device: torch.device) -> None:
        tables = vocabulary.tables(device)
        self.becomes = tables.becomes.T.contiguous()
        self.values = tables.value.to(torch.int16)[:, None]
        self.bar_ticks = tables.bar_ticks
        self.with_tempo = vocabulary.tempo
        self.phase = tables.kind.clone()
        self.phase[vocabulary.ids(Kind.DURATION)[-1]] = FULL_DURATION
        sizes = torch.tensor([len(vocabulary.ids(kind)) for kind in Kind], device=device)
        self.high = sizes.new_zeros(len(FOLLOWS), N_KINDS)
        for phase, kinds in FOLLOWS.items():
            self.high[phase, list(kinds)] = sizes[list(kinds)]
        # The fewest tokens to END that begin with each kind, less the BARs still to come ...
        self.needed = torch.tensor([_NEEDED.get(kind, 2) for kind in Kind], device=device)
        # ... and more of them while there is no METRE yet.
        tempo = int(vocabulary.tempo)
        first = {Kind.START: 1 + tempo, Kind.BAR: 1 + tempo, Kind.METRE: tempo}
        self.first = torch.tensor([first.get(kind, 0) for kind in Kind], device=device)


@lru_cache(maxsize=64)
def rules_of(vocabulary: MetricalLayout, device: torch.device) -> Rules:
    """The grammar of a vocabulary; built once."""
    return Rules(vocabulary, device)


def accepted(
    vocabulary: MetricalLayout, tokens: Int[Tensor, "batch token"], n_bars: int
) -> Int[Tensor, " batch"]:
    """How many tokens at the beginning of each sequence the grammar accepts.

    Equal to the width of ``tokens`` where the whole sequence is one, or the beginning of one.
    """
    tables = vocabulary.tables(tokens.device)
    rules = rules_of(vocabulary, tokens.device)
    force = vocabulary.in_force(tokens, tuple(Kind)).movedim(0, -1)
    bars = (tokens == Kind.BAR).cumsum(dim=1)
    phase = _phases(rules, tokens, bars, force[..., Kind.TEMPO])

    force = _before(force, tables.initial)
    phase = _before(phase, phase.new_tensor(NOTHING))
    bars = _before(bars, bars.new_tensor(0))
    low, high = _bounds(rules, force, phase, bars, n_bars)
    kind, value = tables.kind[tokens], tables.value[tokens]
    low, high, excluded = (of.gather(2, kind[..., None])[..., 0] for of in (low, high, force))
    allowed = (value >= low) & (value < high) & (value != excluded)
    return allowed.long().cumprod(dim=1).sum(dim=1)


def is_valid(
    vocabulary: MetricalLayout, tokens: Int[Tensor, "batch token"], n_bars: int
) -> Bool[Tensor, " batch"]:
    """Whether each sequence is a whole one, ``START`` to ``END`` and then ``PAD``."""
    whole = (tokens == Kind.END).any(dim=1)
    return whole & (accepted(vocabulary, tokens, n_bars) == tokens.shape[1])


def _before(
    after: Int[Tensor, "batch token *kind"], start: Int[Tensor, "*kind"]
) -> Int[Tensor, "batch token *kind"]:
    """What was so before each token, of what is so after it."""
    return torch.cat([start.expand_as(after[:, :1]), after[:, :-1]], dim=1)


def _phases(
    rules: Rules,
    tokens: Int[Tensor, "*place"],
    bars: Int[Tensor, "*place"],
    tempo: Int[Tensor, "*place"],
) -> Int[Tensor, "*place"]:
    """The phase after each token; ``bars`` and ``tempo`` are those after it."""
    phase = rules.phase[tokens]
    phase = phase.masked_fill((tokens == Kind.BAR) & (bars == 1), FIRST_BAR)
    if rules.with_tempo:
        phase = phase.masked_fill((phase == Kind.METRE) & (tempo == NONE), FIRST_METRE)
    return phase


def _bounds(
    rules: Rules,
    force: Int[Tensor, "*place kind"],
    phase: Int[Tensor, "*place"],
    bars: Int[Tensor, "*place"],
    n_bars: int,
) -> tuple[Int[Tensor, "*place kind"], Int[Tensor, "*place kind"]]:
    """The least value, and one more than the greatest, that each kind may have next.

    What is in force already (metre, tempo, program, velocity) may not be said again; this is not
    in the bounds. ``PITCH`` in force is that of the note before at the same onset and program.
    """
    high = rules.high[phase]
    low = torch.zeros_like(force)
    pitch, program = force[..., Kind.PITCH], force[..., Kind.PROGRAM]
    low[..., Kind.POSITION] = force[..., Kind.POSITION] + 1
    low[..., Kind.PITCH] = pitch + 1
    low[..., Kind.PROGRAM] = (program + 1).where(pitch != NONE, 0)
    ticks = rules.bar_ticks[force[..., Kind.METRE]]
    high[..., Kind.POSITION] = torch.minimum(high[..., Kind.POSITION], ticks)
    high[..., Kind.VELOCITY] *= pitch < 127  # a PITCH must be left to be loud
    high[..., Kind.BAR] *= bars < n_bars
    high[..., Kind.END] *= bars == n_bars
    return low, high
