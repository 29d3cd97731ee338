"""A model on music: codes, pieces, and what is heard in them, alike in data and decoded."""

import numpy as np
import pytest
import torch

from aurl.analysis.readings import factor_readings, musical_readings, readings_of
from aurl.analysis.subject import Subject
from aurl.data.attributes import ATTRIBUTES
from aurl.data.batches import TokenStore
from aurl.data.melodies import VOCABULARY, factors_of_rows, piece_of
from aurl.model.vae import Vae
from aurl.seeding import seeded
from tests.tiny import small_config, tiny_corpus

CORPUS = tiny_corpus()


@pytest.fixture(scope="module")
def subject() -> Subject:
    with seeded(0, "test"):
        return Subject(Vae(small_config(), CORPUS.vocabulary, CORPUS.n_bars).eval(), CORPUS)


def test_codes_are_posterior_means_whatever_windows_are_encoded_with(subject: Subject) -> None:
    windows = np.array([5, 90, 17, 40, 3])  # of all lengths, in no order
    mean, log_var = subject.posterior(windows)
    with torch.no_grad():
        alone = [
            subject.model.encode(TokenStore(CORPUS).padded(torch.tensor([w]))) for w in windows
        ]
    np.testing.assert_allclose(mean, np.concatenate([each.mean for each in alone]), atol=1e-5)
    np.testing.assert_allclose(
        log_var, np.concatenate([each.log_var for each in alone]), atol=1e-5
    )


def test_the_same_code_is_the_same_music(subject: Subject) -> None:
    z = np.random.default_rng(0).normal(size=(5, subject.layout.size))
    pieces = subject.pieces(z)
    assert len(pieces) == 5
    assert subject.pieces(z[2:4]) == pieces[2:4]
    assert all(piece.end <= piece.bar_lines(2)[2] for piece in pieces)
    assert {piece.n_bars for piece in pieces} == {2}
    np.testing.assert_array_equal(subject.hear(z), subject.readings.read(pieces))


def test_musical_attributes_are_read_as_the_corpus_has_them() -> None:
    readings = readings_of(CORPUS)
    assert readings.names == tuple(n for n in ATTRIBUTES if n not in ("tonic", "mode"))
    windows = [0, 1, 2, 30]
    found = readings.read([CORPUS.vocabulary.decode(CORPUS.window(w)) for w in windows])
    columns = [ATTRIBUTES.index(name) for name in readings.names]
    np.testing.assert_allclose(found, CORPUS.attributes[windows][:, columns], rtol=1e-6)
    assert [n for n, c in zip(readings.names, readings.categorical, strict=True) if c] == ["metre"]
    assert musical_readings().read([]).shape == (0, len(readings.names))


def test_factors_are_read_from_melodies_and_missing_from_what_is_none() -> None:
    rows = np.array([0, 7, 1_000_000])
    readings = factor_readings()
    found = readings.read([piece_of(int(row)) for row in rows])
    np.testing.assert_array_equal(found, factors_of_rows(rows))
    silence = VOCABULARY.decode(np.array([VOCABULARY.start, *[VOCABULARY.rest] * 16]))
    assert np.isnan(readings.read([silence])).all()
