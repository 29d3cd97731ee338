"""Evaluation on constructed music: its factors, its rate and its score."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aurl.config import MelodiesConfig, RunConfig
from aurl.data.batches import TokenStore
from aurl.data.corpora import load_named
from aurl.data.corpus import Corpus
from aurl.data.grid import Grid
from aurl.data.melodies import ENTROPY_NATS, FACTORS
from aurl.data.metrical import Metrical
from aurl.data.piece import NOTE, Piece, sorted_notes
from aurl.metrics.kl_health import KLHealth, KLHealthSettings
from aurl.model.generation import Sampling, generate
from aurl.model.vae import Vae
from aurl.seeding import seeded
from aurl.training import evaluate, reconstructions
from aurl.training.evaluate import Evaluator
from tests.tiny import small_config, tiny_corpus

MELODIES = load_named("melodies", MelodiesConfig(train=200))


def evaluator(corpus: Corpus, config: RunConfig) -> Evaluator:
    return Evaluator(corpus, TokenStore(corpus), config, split="val")


def untrained(corpus: Corpus, config: RunConfig) -> Vae:
    with seeded(0, "initialisation"):
        return Vae(config, corpus.vocabulary, corpus.n_bars)


def test_a_drum_is_not_the_note_of_its_number() -> None:
    notes = np.zeros(2, dtype=NOTE)
    notes["duration"], notes["pitch"], notes["velocity"] = 12, 38, 80
    notes["is_drum"] = [False, True]
    vocabulary = Metrical(velocity_bins=0, programs=True, tempo=False)
    piece = Piece(ticks_per_quarter=24, notes=sorted_notes(notes), length=192)
    model = Vae(small_config(), vocabulary, 2)
    said = reconstructions.notes_of(vocabulary.encode(piece, 2), model)
    assert sorted(said.tolist()) == [[0, 38], [0, 38 + 128]]


def test_the_factors_of_constructed_music_are_used_as_they_are() -> None:
    found = evaluator(MELODIES, small_config())
    assert found.factor_names == list(FACTORS)
    assert np.array_equal(found.factors, MELODIES.attributes[found.windows])
    assert len(np.unique(found.factors[:, 3])) > 8  # no quantile bins


def test_constructed_windows_are_not_padded() -> None:
    store = TokenStore(MELODIES)
    assert store.padded(torch.arange(3)).shape == (3, 17)
    assert not (store.padded(torch.arange(3)) == MELODIES.vocabulary.pad).any()


@pytest.mark.parametrize(
    ("corpus", "changes", "target", "n_target"),
    [
        (MELODIES, {}, ENTROPY_NATS, 9),
        (MELODIES, {"evaluation__target_rate_nats_per_bar": 3}, 6.0, 9),
        (tiny_corpus(), {}, 13.4, 6),  # six attributes vary
        (tiny_corpus(), {"evaluation__target_rate_nats_per_bar": 3}, 6.0, 6),
    ],
)
def test_the_target_is_the_corpus_s_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
    corpus: Corpus,
    changes: dict[str, Any],
    target: float,
    n_target: int,
) -> None:
    seen: list[KLHealthSettings] = []

    def spy(evidence: Any, settings: KLHealthSettings) -> KLHealth:
        seen.append(settings)
        return real(evidence, settings)

    real = evaluate.kl_health
    monkeypatch.setattr(evaluate, "kl_health", spy)
    config = small_config(**changes)
    evaluator(corpus, config).evaluate(untrained(corpus, config), final=False)
    (settings,) = seen
    assert settings.target_rate_nats == pytest.approx(target)
    assert settings.n_target == n_target


@pytest.mark.parametrize("corpus", [MELODIES, tiny_corpus()], ids=["constructed", "found"])
def test_whole_windows_are_the_score_of_constructed_music_and_notes_of_other(
    monkeypatch: pytest.MonkeyPatch, corpus: Corpus
) -> None:
    config = small_config(evaluation__reconstructions=4)
    found = evaluator(corpus, config)
    truth = TokenStore(corpus).padded(torch.from_numpy(found.windows[:4]))
    almost = truth.clone()

    asked: list[torch.Tensor] = []

    def answers(model: Vae, z: torch.Tensor, **rest: Any) -> torch.Tensor:
        asked.append(z)
        if len(asked) == 2:  # samples of the posteriors: two of four come back
            return torch.cat([truth[:2], truth[:2]])
        assert len(z) == 5
        assert not z[4].any()
        return torch.cat([almost, truth[1:2]])  # z = 0 gives the second window

    almost[0] = truth[1]  # one of four comes back as another
    monkeypatch.setattr(reconstructions, "generate", answers)
    values = found.evaluate(untrained(corpus, config), final=True)
    assert values["val/sequence_accuracy"] == 0.75
    if corpus is MELODIES:
        assert values["val/sequence_accuracy/sampled_z"] == 0.5
        mean, sampled = asked[0][:4], asked[1]
        assert sampled.shape == mean.shape
        assert 0.5 < (sampled - mean).std() < 2.0  # an untrained posterior is near N(0, 1)
        assert values["val/reconstruction_score"] == 0.75
        assert values["val/reconstruction_score/zero_z"] == 0.25
        assert values["val/reconstruction_score/gain"] == 0.5
    else:
        assert len(asked) == 1
        assert 0.75 <= values["val/reconstruction_score"] < 1.0
    assert 0.0 <= values["val/token_accuracy"] <= 1.0


@pytest.fixture
def _alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codes of untrained models are dead: here they have a KL health of 0.36."""

    def alive(evidence: Any, settings: KLHealthSettings) -> KLHealth:
        return replace(real(evidence, settings), kl_health=0.36)

    real = evaluate.kl_health
    monkeypatch.setattr(evaluate, "kl_health", alive)


@pytest.mark.usefixtures("_alive")
def test_a_rung_tells_models_apart_of_which_no_melody_comes_back() -> None:
    config = small_config(evaluation__reconstructions=4)
    found, model = evaluator(MELODIES, config), untrained(MELODIES, config)
    scores: list[float] = []
    for less in (0.0, 10.0):  # neither is ever a right token
        with torch.no_grad():
            model.decoder.logits.bias[[Grid.pad, Grid.start]] -= less
        values = found.evaluate(model, final=False)
        assert values["val/reconstruction_score"] == 0.0
        probability = np.exp(-values["val/reconstruction_nats"] / 16)
        assert values["val/token_probability"] == pytest.approx(probability)
        assert values["val/rung_score"] == pytest.approx(0.6 * probability**0.5)
        scores.append(values["val/rung_score"])
    assert scores[0] < scores[1]


@pytest.mark.usefixtures("_alive")
def test_a_rung_of_found_music_is_of_the_notes_that_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(evaluation__reconstructions=8)
    found = evaluator(tiny_corpus(), config)
    truth = TokenStore(tiny_corpus()).padded(torch.from_numpy(found.windows[:2]))
    monkeypatch.setattr(reconstructions, "generate", lambda *_, **__: truth[[0, 0]])
    values = found.evaluate(untrained(tiny_corpus(), config), final=False)
    assert 0.5 <= values["val/reconstruction_score"] < 1.0
    assert values["val/rung_score"] == pytest.approx(
        0.6 * values["val/reconstruction_score"] ** 0.5
    )


def test_an_untrained_model_of_melodies_makes_only_what_the_grammar_allows() -> None:
    model = untrained(MELODIES, small_config())
    z = torch.randn(200, model.layout.size, generator=torch.Generator().manual_seed(0))
    for temperature in (0.0, 1.0, 3.0):
        sampling = Sampling(temperature=temperature)
        generator = torch.Generator().manual_seed(1)
        tokens = generate(model, z, max_tokens=17, sampling=sampling, generator=generator)
        assert tokens.shape == (200, 17)
        assert MELODIES.vocabulary.is_valid(tokens, 2).all()
