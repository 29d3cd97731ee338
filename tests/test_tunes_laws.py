"""What holds of every bundled tune: the round-trip laws of both vocabularies, and pickups."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from aurl.data.bars import with_pickup
from aurl.data.clock import seconds
from aurl.data.corpus import TUNES
from aurl.data.events import Events
from aurl.data.midi import read_midi
from aurl.data.piece import Piece, bar_length, quantized
from aurl.data.tokenizer import choose_vocabulary

pytestmark = pytest.mark.xdist_group("tunes")  # they are read once
HALF_STEP_S = 1 / 128


@pytest.fixture(scope="module")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> list[Piece]:
    folder = tmp_path_factory.mktemp("tunes")
    with zipfile.ZipFile(TUNES) as archive:
        archive.extractall(folder)
    pieces = [read_midi(path) for path in sorted(Path(folder).rglob("*.mid"))]
    assert len(pieces) == 1059
    return pieces


@pytest.mark.slow
def test_metrical_gives_every_tune_back_on_its_grid(tunes: list[Piece]) -> None:
    pieces = [with_pickup(quantized(tune)) for tune in tunes]
    vocabulary = choose_vocabulary(pieces, velocity_bins=32)
    columns = ["onset", "duration", "pitch", "program", "is_drum"]
    for piece in pieces:
        decoded = vocabulary.decode(vocabulary.encode(piece))
        notes = piece.notes.copy()
        if piece.pickup:
            notes["onset"] += bar_length(piece.metres[0], 24) - piece.pickup
        assert np.array_equal(decoded.notes[columns], notes[columns]), piece.name
        loud = vocabulary.velocity_values(notes["velocity"].astype(np.int64))
        assert np.array_equal(decoded.notes["velocity"], vocabulary.velocities()[loud])


@pytest.mark.slow
def test_events_gives_every_tune_back_within_half_a_step(tunes: list[Piece]) -> None:
    vocabulary = Events()
    for piece in tunes:
        said, counts = vocabulary.said(piece)
        decoded = vocabulary.decode(vocabulary.encode(piece))
        assert np.array_equal(decoded.notes, said.notes), piece.name
        assert set(counts) <= {"cut", "doubled"}
        assert len(decoded.notes) + counts.get("doubled", 0) == len(piece.notes)
        true, found = seconds(piece, piece.notes["onset"]), decoded.notes["onset"] / 64
        for pitch in np.unique(piece.notes["pitch"]):
            of, near = true[piece.notes["pitch"] == pitch], found[decoded.notes["pitch"] == pitch]
            error = np.abs(of[:, None] - near)
            assert max(error.min(axis=1).max(), error.min(axis=0).max()) <= HALF_STEP_S + 1e-9


@pytest.mark.slow
def test_pickups_put_the_accents_of_the_bundled_tunes_on_bar_lines(tunes: list[Piece]) -> None:
    n_pickups = n_accents = n_before = n_after = 0
    for tune in tunes:
        piece = quantized(tune)
        found = with_pickup(piece)
        accents = piece.notes["onset"][piece.notes["velocity"] >= 105]
        n_pickups += found.pickup > 0
        n_accents += len(accents)
        n_before += int(np.isin(accents, piece.bar_lines()).sum())
        n_after += int(np.isin(accents, found.bar_lines()).sum())
    assert n_pickups == 743
    assert n_before / n_accents < 0.26
    assert n_after / n_accents > 0.91
