"""Random pieces and random token sequences for the laws of the tokenizer and the grammar."""

import hypothesis.strategies as st
import numpy as np
import torch
from jaxtyping import Int

from aurl.data.grammar import Grammar
from aurl.data.metrical import Metrical
from aurl.data.metrical_layout import BAR_TICKS, DRUMS, METRES, tempos
from aurl.data.piece import NOTE, Metre, Piece, Tempo, sorted_notes
from aurl.data.vocabulary import GrammarState, Vocabulary

VOCABULARIES = {
    "default": Metrical(),
    "plain": Metrical(velocity_bins=0, programs=False, tempo=False, default_tempo=96.0),
    "drum_default": Metrical(velocity_bins=5, default_program=DRUMS, tempo=False),
    "single_program": Metrical(velocity_bins=0, programs=False, default_program=40),
}
PLACES = (0, 1, 12, 24, 90, 191)  # few, so that chords happen
PITCHES = (0, 1, 60, 64, 126, 127)


Plan = tuple[list[tuple[int, int]], list[tuple[int, ...]]]
"""Bars as (METRE, TEMPO) and notes as (bar, place, pitch, duration, program, velocity)."""

plans: st.SearchStrategy[Plan] = st.tuples(
    st.lists(
        st.tuples(st.integers(0, len(METRES) - 1), st.integers(0, 31)), min_size=1, max_size=3
    ),
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(PLACES),
            st.sampled_from(PITCHES),
            st.sampled_from([1, 95, 96, 97, 192, 193, 400]),
            st.sampled_from([0, 7, 127, DRUMS]),
            st.integers(0, 126),
        ),
        max_size=9,
    ),
)
"""Plain data on purpose: a strategy may not call functions whose types beartype checks."""


def planned(plan: Plan, vocabulary: Metrical) -> Piece:
    """A piece on the grid that the vocabulary can say exactly, filled up to its last bar line."""
    bars, rows = plan
    ticks = [BAR_TICKS[metre] for metre, _ in bars]
    lines = [sum(ticks[:bar]) for bar in range(len(bars) + 1)]
    notes: dict[tuple[int, int, int], tuple[int, ...]] = {}
    for bar, place, pitch, duration, program, velocity in rows:
        program = program if vocabulary.programs else vocabulary.default_program
        onset = lines[bar % len(bars)] + place % ticks[bar % len(bars)]
        loud = vocabulary.default_velocity
        if vocabulary.velocity_bins:
            loud = int(vocabulary.velocities()[velocity % vocabulary.velocity_bins])
        long, drum = min(duration, lines[-1] - onset), program == DRUMS
        notes[onset, program, pitch] = (onset, long, pitch, loud, 0 if drum else program, drum)
    starts = [bar for bar in range(len(bars)) if bar == 0 or bars[bar][0] != bars[bar - 1][0]]
    speeds = [bar for bar in range(len(bars)) if bar == 0 or bars[bar][1] != bars[bar - 1][1]]
    metres = [(lines[bar], *METRES[bars[bar][0]]) for bar in starts]
    return Piece(
        ticks_per_quarter=24,
        notes=sorted_notes(np.array(list(notes.values()), NOTE)),
        metres=tuple(Metre(tick=at, numerator=n, denominator=d) for at, n, d in metres),
        tempos=tuple(Tempo(tick=lines[bar], bpm=tempos()[bars[bar][1]]) for bar in speeds)
        if vocabulary.tempo
        else (Tempo(tick=0, bpm=vocabulary.default_tempo),),
        length=lines[-1],
    )


def random_walks(
    vocabulary: Metrical, *, batch: int, n_bars: int, budget: int, seed: int
) -> Int[torch.Tensor, "batch token"]:
    """Sequences of allowed tokens: the kind is drawn evenly, then its value."""
    generator = torch.Generator().manual_seed(seed)
    grammar = Grammar(vocabulary, batch, n_bars)
    kind = vocabulary.tables(torch.device("cpu")).kind
    drawn: list[torch.Tensor] = []
    while not bool(grammar.ended.all()):
        allowed = grammar.allowed(budget - len(drawn)).float()
        of_kind = torch.zeros(batch, 11).index_add(1, kind, allowed)
        weights = allowed / of_kind[:, kind].clamp(min=1.0)
        tokens = torch.multinomial(weights, 1, generator=generator)[:, 0]
        grammar.advance(tokens)
        drawn.append(tokens)
    return torch.stack(drawn, dim=1)


def advance(grammar: GrammarState, tokens: Int[torch.Tensor, "batch token"]) -> None:
    """Read the beginnings of sequences, token after token."""
    for column in tokens.unbind(dim=1):
        grammar.advance(column)


def knows_where_it_is(
    grammar: GrammarState, vocabulary: Vocabulary, tokens: Int[torch.Tensor, "batch token"]
) -> bool:
    """The law of every grammar: after each token its place is the vocabulary's position."""
    bars, phases = vocabulary.positions(tokens)
    for index, column in enumerate(tokens.unbind(dim=1)):
        grammar.advance(column)
        bar, phase = grammar.place()
        if not (torch.equal(bar, bars[:, index]) and torch.equal(phase, phases[:, index])):
            return False
    return True
