"""The grammar in plain numbers is the grammar."""

import pytest
import torch
from random_music import VOCABULARIES, knows_where_it_is, random_walks

from aurl.data.grammar import Grammar
from aurl.data.metrical import FEW
from aurl.data.metrical_layout import Kind
from aurl.data.step_grammar import StepGrammar

BUDGET = 60
each_vocabulary = pytest.mark.parametrize("name", list(VOCABULARIES))


@each_vocabulary
@pytest.mark.parametrize("tight", [True, False])
def test_it_allows_what_the_grammar_allows(name: str, *, tight: bool) -> None:
    vocabulary = VOCABULARIES[name]
    walks = random_walks(vocabulary, batch=24, n_bars=3, budget=BUDGET, seed=3)
    grammar, step = Grammar(vocabulary, 24, 3), StepGrammar(vocabulary, 24, 3)
    for index, column in enumerate(walks.unbind(dim=1)):
        budget = BUDGET - index if tight else None
        assert torch.equal(step.allowed(budget), grammar.allowed(budget))
        grammar.advance(column)
        step.advance(column)
        assert torch.equal(step.ended, grammar.ended)
    assert step.ended.all()
    assert step.allowed().nonzero()[:, 1].tolist() == [Kind.PAD] * 24


@each_vocabulary
def test_places_are_those_of_the_vocabulary(name: str) -> None:
    vocabulary = VOCABULARIES[name]
    walks = random_walks(vocabulary, batch=6, n_bars=2, budget=BUDGET, seed=4)
    for grammar in (Grammar(vocabulary, 6, 2), StepGrammar(vocabulary, 6, 2)):
        assert knows_where_it_is(grammar, vocabulary, walks)


def test_what_cannot_be_is_refused() -> None:
    vocabulary = VOCABULARIES["default"]
    with pytest.raises(ValueError, match=r"n_bars must be >= 1, got 0\."):
        StepGrammar(vocabulary, 1, 0)
    with pytest.raises(ValueError, match=r"budget must be enough to end the sequences, got 3\."):
        StepGrammar(vocabulary, 1, 1).allowed(3)


def test_a_few_sequences_have_it_and_many_do_not() -> None:
    vocabulary = VOCABULARIES["default"]
    assert isinstance(vocabulary.grammar(FEW, 2), StepGrammar)
    assert isinstance(vocabulary.grammar(FEW + 1, 2), Grammar)
    assert isinstance(vocabulary.grammar(1, 2, "meta"), Grammar)
