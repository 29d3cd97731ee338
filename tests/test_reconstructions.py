"""What comes back of windows that are decoded freely, and how sure that is."""

import numpy as np
import pytest
import torch

from aurl.metrics.bootstrap import mean_interval
from aurl.model.vae import Vae
from aurl.seeding import seeded
from aurl.training.reconstructions import Reconstructions, interval_by_piece, notes_of
from tests.tiny import small_config, tiny_corpus

CORPUS = tiny_corpus()


def test_an_interval_is_over_pieces_and_of_one_piece_nothing_is_known() -> None:
    values, piece = np.repeat([0.0, 1.0, 0.5, 0.2], 8), np.repeat(np.arange(4), 8)
    assert interval_by_piece(values, piece) == mean_interval(values, piece)
    alone = interval_by_piece(values, np.zeros(len(values), np.int64))
    assert (alone.mean, alone.low, alone.high) == (values.mean(), -np.inf, np.inf)
    values[3] = np.nan
    diverged = interval_by_piece(values, piece, within=(-1.0, 1.0))
    assert np.isnan(diverged.mean)
    assert (diverged.low, diverged.high) == (-1.0, 1.0)


def test_the_gain_is_over_z_at_zero_with_the_pieces_of_these_windows() -> None:
    with seeded(0, "test"):
        model = Vae(small_config(), CORPUS.vocabulary, CORPUS.n_bars).eval()
    windows = CORPUS.indices("val")[4:10]
    z = torch.randn(len(windows), model.layout.size, generator=torch.Generator().manual_seed(0))
    truth = [notes_of(CORPUS.window(int(window)), model) for window in windows]
    found = Reconstructions(model, CORPUS, windows, 4.0 * z, truth, with_zero=True)
    assert found.piece.tolist() == CORPUS.piece[windows].tolist()
    assert len(found.score) == len(windows)
    found.score, found.without = np.linspace(0.2, 0.7, 6), np.array([0.1, 0.1, 0.1, 0.4, 0.4, 0.4])
    found.piece = np.array([0, 0, 1, 1, 2, 2])
    said, gain = found.summary(), found.score - found.without
    assert said["reconstruction_score/gain"] == pytest.approx(gain.mean())
    interval = mean_interval(gain, found.piece)
    ends = (said["reconstruction_score/gain/low"], said["reconstruction_score/gain/high"])
    assert ends == (interval.low, interval.high)
    found.piece = np.zeros(6, np.int64)
    alone = found.summary()  # nothing is known but what a difference of shares can be
    assert alone["reconstruction_score/gain/low"] == -1.0
    assert alone["reconstruction_score/gain/high"] == 1.0
    assert said["reconstruction_score/zero_z"] == pytest.approx(0.25)
