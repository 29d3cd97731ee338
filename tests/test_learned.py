"""What a model has learned after a few hundred steps: to use its code, and to close its notes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aurl.config import MelodiesConfig, RunConfig
from aurl.data.batches import TokenStore
from aurl.data.corpora import load_named
from aurl.data.corpus import Corpus
from aurl.data.events import Events
from aurl.data.events_layout import NOTE_OFF, NOTE_ON, PITCHES
from aurl.model.generation import Sampling, drawn
from aurl.model.vae import Vae
from aurl.training import checkpoint
from aurl.training.evaluate import Evaluator
from aurl.training.loop import Run, train
from aurl.training.workers import Workers
from tests.made_pieces import random_tune
from tests.tiny import small_config, tiny_corpus

N_TUNES = 960


def performed() -> Corpus:
    """Random tunes as note-ons and note-offs, four windows a piece."""
    vocabulary = Events()
    rows = [vocabulary.encode(random_tune(seed, 8), 2) for seed in range(N_TUNES)]
    owner = np.arange(N_TUNES) // 4
    tiny = tiny_corpus()
    return replace(
        tiny,
        vocabulary=vocabulary,
        tokens=np.concatenate(rows).astype(np.uint16),
        offsets=np.cumsum([0, *map(len, rows)]),
        piece=owner.astype(np.int32),
        first_bar=np.zeros(N_TUNES, np.int32),
        split=np.select([owner % 6 < 4, owner % 6 == 4], [0, 1], default=2).astype(np.int8),
        attributes=np.resize(tiny.attributes, (N_TUNES, tiny.attributes.shape[1])),
        piece_names=tuple(f"piece {index}" for index in range(owner[-1] + 1)),
    )


@torch.no_grad()
def drawn_freely(model: Vae, n: int, max_tokens: int) -> np.ndarray:
    """Draws from the prior that no grammar keeps in bounds."""
    generator = torch.Generator().manual_seed(0)
    z = model.sample_prior(n, generator=generator)
    tokens = torch.full((n, 1), model.vocabulary.start)
    caches = model.decoder.caches(n, max_tokens)
    for _ in range(max_tokens - 1):
        bar, phase = (values[:, -1:] for values in model.vocabulary.positions(tokens))
        logits = model.decoder(tokens[:, -1:], z, bar, phase, caches=caches)[:, -1]
        chance = torch.rand(n, generator=generator, dtype=torch.float64)
        chosen = drawn(logits, Sampling(temperature=1.0), chance)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
    return tokens.numpy()


def pairing(tokens: np.ndarray) -> float:
    """Share of note-ons that are closed by the note-off of their pitch before the next of it."""
    paired, total = 0, 0
    for row in tokens:
        sounding: set[int] = set()
        for token in row:
            if NOTE_ON <= token < NOTE_ON + PITCHES:
                sounding.add(int(token) - NOTE_ON)
                total += 1
            elif NOTE_OFF <= token < NOTE_OFF + PITCHES and int(token) - NOTE_OFF in sounding:
                sounding.remove(int(token) - NOTE_OFF)
                paired += 1
    return paired / total


def trained(corpus: Corpus, folder: Path, **changes: Any) -> tuple[Vae, RunConfig]:
    """A small model and its config, 250 steps old unless told otherwise."""
    config = small_config(
        **{"model__d_model": 32, "training__steps": 250, "evaluation__every": 250, **changes}
    )
    run = Run(config=config, corpus=corpus, checkpoint_folder=folder)
    train(run, workers=Workers(), report=lambda rows: True)
    model = Vae(config, corpus.vocabulary, corpus.n_bars)
    checkpoint.load_run_weights(folder, model)
    return model.eval(), config


@pytest.mark.slow
def test_a_few_hundred_steps_teach_that_notes_are_closed(tmp_path: Path) -> None:
    corpus = performed()
    model, _ = trained(corpus, tmp_path, training__batch_size=16, optimizer__lr=0.01)
    assert pairing(corpus.tokens[None]) == 1.0
    assert pairing(drawn_freely(model, 32, corpus.max_tokens)) > 0.95


@pytest.mark.slow
def test_a_few_hundred_steps_teach_the_use_of_the_code(tmp_path: Path) -> None:
    corpus = load_named("melodies", MelodiesConfig(train=10_000))
    model, config = trained(
        corpus,
        tmp_path,
        data__corpus="melodies",
        data__melodies__train=10_000,
        training__batch_size=64,
        optimizer__lr=0.005,
        objective__beta__value=0.05,
        training__steps=100,
        evaluation__every=100,
    )
    seen = Evaluator(corpus, TokenStore(corpus), config, split="val").evaluate(model, final=False)
    used = seen["val/reconstruction_shuffled_z_nats"] - seen["val/reconstruction_nats"]
    assert used > 1.0
