"""What holds of every bundled tune: the round-trip laws of both vocabularies, and pickups.

The laws run in a process without the checks of shapes that tests have: these take six times as
long as the code itself, and every other test of the same functions has them.
"""

import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from aurl.data.bars import with_pickup
from aurl.data.clock import seconds
from aurl.data.corpora import TUNES
from aurl.data.events import Events
from aurl.data.metrical import choose_vocabulary
from aurl.data.midi import read_midi
from aurl.data.piece import Piece, bar_length, quantized

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tunes")]  # they are read once
HALF_STEP_S = 1 / 128
_tunes: list[Piece] = []


def read_tunes() -> None:
    with TemporaryDirectory() as folder, zipfile.ZipFile(TUNES) as archive:
        archive.extractall(folder)
        _tunes.extend(read_midi(path) for path in sorted(Path(folder).rglob("*.mid")))
    assert len(_tunes) == 1059


@pytest.fixture(scope="module")
def reader() -> Iterator[ProcessPoolExecutor]:
    """The process that has read the tunes; what fails there fails here, with its message."""
    with ProcessPoolExecutor(1, get_context("spawn"), read_tunes) as pool:
        yield pool


def test_metrical_gives_every_tune_back_on_its_grid(reader: ProcessPoolExecutor) -> None:
    assert reader.submit(metrical_law).result() == 1059, "each was held against the law"


def metrical_law() -> int:
    pieces = [with_pickup(quantized(tune)) for tune in _tunes]
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
    return len(pieces)


def test_events_gives_every_tune_back_within_half_a_step(reader: ProcessPoolExecutor) -> None:
    assert reader.submit(events_law).result() == 1059, "each was held against the law"


def events_law() -> int:
    vocabulary = Events()
    for piece in _tunes:
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
    return len(_tunes)


def test_pickups_put_the_accents_of_the_bundled_tunes_on_bar_lines(
    reader: ProcessPoolExecutor,
) -> None:
    n_pickups, n_accents, n_before, n_after = reader.submit(pickups).result()
    assert n_pickups == 743
    assert n_before / n_accents < 0.26
    assert n_after / n_accents > 0.91


def pickups() -> tuple[int, int, int, int]:
    """Tunes with a pickup, accents, and those on bar lines before it is found and after."""
    n_pickups = n_accents = n_before = n_after = 0
    for tune in _tunes:
        piece = quantized(tune)
        found = with_pickup(piece)
        accents = piece.notes["onset"][piece.notes["velocity"] >= 105]
        n_pickups += found.pickup > 0
        n_accents += len(accents)
        n_before += int(np.isin(accents, piece.bar_lines()).sum())
        n_after += int(np.isin(accents, found.bar_lines()).sum())
    return n_pickups, n_accents, n_before, n_after
