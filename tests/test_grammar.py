from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_music import VOCABULARIES, Plan, advance, planned, plans, random_walks

from aurl.data.grammar import Grammar, accepted, is_valid
from aurl.data.metrical import Metrical
from aurl.data.metrical_layout import BAR_TICKS, METRES, Kind
from aurl.data.tokenizer import encode

each_vocabulary = pytest.mark.parametrize("name", list(VOCABULARIES))


def may_follow(vocabulary: Metrical, before: list[int], n_bars: int) -> set[str]:
    """What may come after some tokens, in words, as the language's definition says: no tables.

    The slow second opinion on the grammar: it reads the sequence anew from its description.
    """
    said = [vocabulary.describe(token) for token in before]
    last = said[-1].split()[0] if said else ""
    alone = {"": "START", "START": "BAR", "END": "PAD", "PAD": "PAD"}
    if last in alone:
        return {alone[last]}
    words: set[str] = set()
    if last == "PITCH" or said[-1] == "DURATION 96":
        words |= {f"DURATION {ticks}" for ticks in range(1, 97)}
    if last in ("BAR", "METRE", "TEMPO", "DURATION"):
        words |= set(bars_and_onsets(vocabulary, said, n_bars))
    if last in ("POSITION", "PROGRAM", "VELOCITY", "DURATION"):
        words |= set(notes_to_come(vocabulary, said))
    return words


def bars_and_onsets(vocabulary: Metrical, said: list[str], n_bars: int) -> Iterator[str]:
    metre = next((word for word in reversed(said) if word.startswith("METRE")), None)
    tempo = next((word for word in reversed(said) if word.startswith("TEMPO")), None)
    metres = {f"METRE {n}/{d}": ticks for (n, d), ticks in zip(METRES, BAR_TICKS, strict=True)}
    if said[-1] == "BAR":
        yield from metres.keys() - {metre}
    if metre is None:
        return
    if said[-1] in ("BAR", metre) and vocabulary.tempo:
        yield from {vocabulary.describe(token) for token in vocabulary.ids(Kind.TEMPO)} - {tempo}
        if tempo is None:
            return
    yield "END" if said.count("BAR") == n_bars else "BAR"
    positions = [int(word.split()[1]) for word in in_bar(said) if word.startswith("POSITION")]
    yield from (f"POSITION {at}" for at in range(max(positions, default=-1) + 1, metres[metre]))


def in_bar(said: list[str]) -> list[str]:
    return said[len(said) - said[::-1].index("BAR") :]


def notes_to_come(vocabulary: Metrical, said: list[str]) -> Iterator[str]:
    programs = [*(str(program) for program in range(128)), "drums"]
    program, note = vocabulary.default_program, (-1, -1)
    steps = [
        abs(int(velocity) - vocabulary.default_velocity) for velocity in vocabulary.velocities()
    ]
    loud = f"VELOCITY {vocabulary.velocities()[steps.index(min(steps))]}" if steps else ""
    for kind, value in (word.split() for word in in_bar(said) if " " in word):
        if kind == "POSITION":
            note = (-1, -1)
        elif kind == "PROGRAM":
            program = programs.index(value)
        elif kind == "VELOCITY":
            loud = f"VELOCITY {value}"
        elif kind == "PITCH":
            note = (program, int(value))
    pitches = [pitch for pitch in range(128) if (program, pitch) > note]
    yield from (f"PITCH {pitch}" for pitch in pitches)
    last = said[-1].split()[0]
    if last != "VELOCITY" and pitches:
        yield from {f"VELOCITY {velocity}" for velocity in vocabulary.velocities()} - {loud}
    if last in ("POSITION", "DURATION") and vocabulary.programs:
        later = programs[note[0] + 1 :]
        yield from (f"PROGRAM {other}" for other in later if other != programs[program])


@each_vocabulary
def test_allowed_is_what_the_definition_says_after_every_token(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    walks = random_walks(vocabulary, batch=6, n_bars=2, budget=70, seed=11)
    grammar = Grammar(vocabulary, 6, 2)
    for index in range(walks.shape[1]):
        for row, allowed in zip(walks, grammar.allowed(), strict=True):
            words = {vocabulary.describe(int(token)) for token in allowed.nonzero()[:, 0]}
            assert words == may_follow(vocabulary, row[:index].tolist(), 2)
        grammar.advance(walks[:, index])


def steps_accepted(vocabulary: Metrical, tokens: torch.Tensor, n_bars: int) -> list[int]:
    """What :func:`accepted` says, found with a :class:`Grammar`, token by token."""
    count = torch.zeros(len(tokens), dtype=torch.int64)
    going = torch.ones(len(tokens), dtype=torch.bool)
    grammar = Grammar(vocabulary, len(tokens), n_bars)
    for column in tokens.unbind(dim=1):
        going &= grammar.allowed().gather(1, column[:, None])[:, 0]
        count += going
        grammar.advance(column)
    return count.tolist()


@each_vocabulary
def test_accepted_counts_what_a_grammar_lets_through(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    generator = np.random.default_rng(5)
    tokens = random_walks(vocabulary, batch=64, n_bars=3, budget=60, seed=2).numpy()
    for row in tokens[:48]:  # one wrong token, two swapped, or one left out
        at, other = generator.integers(0, len(row), 2)
        match int(generator.integers(3)):
            case 0:
                row[at] = generator.integers(vocabulary.size)
            case 1:
                row[[at, other]] = row[[other, at]]
            case _:
                row[at:-1] = row[at + 1 :]
    corrupted = torch.from_numpy(tokens)
    found = accepted(vocabulary, corrupted, 3).tolist()
    assert found == steps_accepted(vocabulary, corrupted, 3)
    assert found[48:] == [tokens.shape[1]] * 16
    assert sum(count < tokens.shape[1] for count in found) >= 24
    whole = [
        count == len(row) and vocabulary.end in row
        for count, row in zip(found, tokens, strict=True)
    ]
    assert is_valid(vocabulary, corrupted, 3).tolist() == whole


@each_vocabulary
@settings(max_examples=50)
@given(plan=plans, place=st.floats(0, 1, exclude_max=True), other=st.integers(0, 2**31))
def test_a_wrong_token_is_refused_where_the_definition_refuses_it(
    name: str, plan: Plan, place: float, other: int
) -> None:
    vocabulary = VOCABULARIES[name]
    n_bars = len(plan[0])
    ids = encode(planned(plan, vocabulary), vocabulary).astype(np.int64).tolist()
    tokens = torch.tensor([ids])
    assert is_valid(vocabulary, tokens, n_bars).all()
    assert not is_valid(vocabulary, tokens, n_bars + 1).any()
    assert not is_valid(vocabulary, tokens[:, :-1], n_bars).any()
    at = int(place * len(ids))
    wrong = other % vocabulary.size
    good = vocabulary.describe(wrong) in may_follow(vocabulary, ids[:at], n_bars)
    ids[at] = wrong
    count = int(accepted(vocabulary, torch.tensor([ids]), n_bars)[0])
    assert count > at if good else count == at


@pytest.mark.parametrize("budget", [5, 6, 9, 30])
def test_sequences_end_within_the_budget(budget: int) -> None:
    vocabulary = VOCABULARIES["plain"]
    walks = random_walks(vocabulary, batch=200, n_bars=2, budget=budget, seed=budget)
    assert walks.shape[1] <= budget
    assert is_valid(vocabulary, walks, 2).all()


@each_vocabulary
def test_the_least_budget_is_the_shortest_sequence(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    shortest = 4 + 3 + vocabulary.tempo - 1  # START, three BAR, METRE, perhaps TEMPO, END
    walks = random_walks(vocabulary, batch=3, n_bars=3, budget=shortest, seed=0)
    assert walks.shape[1] == shortest
    with pytest.raises(ValueError, match=f"enough to end the sequences, got {shortest - 1}"):
        Grammar(vocabulary, 1, 3).allowed(shortest - 1)


@each_vocabulary
def test_every_token_that_a_budget_allows_leaves_time_to_end(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    walks = random_walks(vocabulary, batch=20, n_bars=2, budget=40, seed=4)
    for length in (1, 3, 6, 10, 15):
        grammar = Grammar(vocabulary, 20, 2)
        advance(grammar, walks[:, :length])
        budget = next(b for b in range(1, 20) if ends(grammar, b))
        tight = grammar.allowed(budget)
        for row in range(20):
            for token in tight[row].nonzero()[:, 0][:5]:
                after = Grammar(vocabulary, 1, 2)
                advance(after, torch.cat([walks[row, :length], token[None]])[None])
                assert bool(after.ended) or ends(after, budget - 1)


def ends(grammar: Grammar, budget: int) -> bool:
    try:
        return bool(grammar.allowed(budget).any(dim=1).all())
    except ValueError:
        return False


def test_padding_is_passed_over() -> None:
    vocabulary = Metrical()
    walks = random_walks(vocabulary, batch=2, n_bars=2, budget=50, seed=1)
    ragged = walks[:, :12].clone()
    ragged[1, 7:] = vocabulary.pad
    together = Grammar(vocabulary, 2, 2)
    advance(together, ragged)
    alone = Grammar(vocabulary, 1, 2)
    advance(alone, walks[1:, :7])
    assert torch.equal(together.allowed()[1:], alone.allowed())


def test_after_end_there_is_only_padding() -> None:
    vocabulary = VOCABULARIES["plain"]
    grammar = Grammar(vocabulary, 1, 1)
    metre = vocabulary.ids(Kind.METRE)[0]
    tokens = torch.tensor([[vocabulary.start, vocabulary.bar, metre, vocabulary.end]])
    advance(grammar, tokens[:, :3])
    assert not grammar.ended.any()
    advance(grammar, tokens[:, 3:])
    for _ in range(2):
        assert grammar.ended.all()
        assert grammar.allowed(1).nonzero().tolist() == [[0, vocabulary.pad]]
        grammar.advance(torch.tensor([vocabulary.pad]))


def test_grammar_refuses_a_piece_without_bars() -> None:
    with pytest.raises(ValueError, match=r"n_bars must be >= 1, got 0\."):
        Grammar(Metrical(), 1, 0)
