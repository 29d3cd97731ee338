"""From a folder of MIDI to music of a model, in seconds instead of bars."""

from pathlib import Path

import numpy as np
import pytest
import torch

from aurl.config import RunConfig
from aurl.data.corpus import Corpus, load
from aurl.data.events import Events
from aurl.data.midi import read_midi, write_midi
from aurl.data.piece import NOTE, Piece, Tempo, sorted_notes
from aurl.data.prepare import REFUSED, PrepareOptions, Summary, prepare
from aurl.errors import ConfigError
from aurl.files import read_lines
from aurl.model.generation import Sampling, generate
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import small_config

N_PIECES = 20


def played(seed: int) -> Piece:
    """Twenty seconds of free rhythm at a tempo of its own, with a drum in some pieces."""
    rng = np.random.default_rng(seed)
    notes = np.zeros(60, NOTE)
    notes["onset"] = np.sort(rng.choice(480 * 30, 60, replace=False))
    notes["duration"] = rng.integers(10, 700, 60)
    notes["pitch"] = rng.integers(40, 90, 60)
    notes["velocity"] = rng.integers(30, 120, 60)
    notes["program"] = rng.choice([0, 40], 60)
    if seed % 2:
        notes["is_drum"][:3] = True
        notes["program"][:3] = 0
    return Piece(
        ticks_per_quarter=480,
        notes=sorted_notes(notes),
        tempos=(Tempo(tick=0, bpm=80.0 + seed),),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus, Summary]:
    folder = tmp_path_factory.mktemp("events")
    (folder / "midi").mkdir()
    for seed in range(N_PIECES):
        write_midi(played(seed), folder / "midi" / f"{seed:02d}.mid")
    low = played(1)
    low.notes["pitch"] = np.arange(60) % 20
    write_midi(low, folder / "midi" / "low.mid")
    drums = played(0)
    drums.notes["is_drum"], drums.notes["program"] = True, 0
    write_midi(drums, folder / "midi" / "drums.mid")
    options = PrepareOptions(vocabulary="events", workers=1)
    summary = prepare(folder / "midi", folder / "data", options)
    return folder, load(folder / "data"), summary


def test_windows_of_seconds_hold_every_note_that_can_be_said_once(
    made: tuple[Path, Corpus, Summary],
) -> None:
    folder, corpus, summary = made
    assert corpus.vocabulary == Events()
    assert summary.refused == {"no_windows": 1, "only_drums": 1}
    first, _ = read_lines(folder / "data" / REFUSED)
    assert first["detail"] == "the vocabulary has none, and all 60 notes are drums."
    assert summary.notes_not_said["drums"] == 3 * N_PIECES // 2
    assert summary.metres == {}  # its bars are seconds
    for index, name in enumerate(corpus.piece_names):
        said, _ = Events().said(read_midi(folder / "midi" / name))
        found: set[tuple[int, int, int]] = set()
        for window in np.flatnonzero(corpus.piece == index):
            notes = corpus.vocabulary.decode(corpus.window(int(window))).notes
            start = 128 * int(corpus.first_bar[window])
            rows = notes[["onset", "pitch", "program"]].tolist()
            found |= {(onset + start, pitch, program) for onset, pitch, program in rows}
        assert found == set(said.notes[["onset", "pitch", "program"]].tolist()), name


def test_preparing_again_does_nothing_and_another_vocabulary_is_another_corpus(
    made: tuple[Path, Corpus, Summary], tmp_path: Path
) -> None:
    folder, corpus, _ = made
    again = prepare(
        folder / "midi", folder / "data", PrepareOptions(vocabulary="events", workers=1)
    )
    assert again.is_unchanged
    metrical = prepare(folder / "midi", tmp_path / "data", PrepareOptions(workers=1))
    assert metrical.fingerprint != corpus.fingerprint
    assert metrical.notes_not_said == {"doubled": 1}  # two onsets on one tick of the grid


def test_a_model_of_events_trains_and_makes_only_what_the_grammar_allows(
    made: tuple[Path, Corpus, Summary], tmp_path: Path
) -> None:
    _, corpus, _ = made
    config: RunConfig = small_config(training__batch_size=8, augmentation__transpose=3)
    trainer = Trainer(Run(config=config, corpus=corpus, checkpoint_folder=tmp_path), Workers())
    nats = [trainer.take_step().reconstruction.item() for _ in range(16)]
    assert nats[-1] < nats[0]
    z = torch.randn(16, trainer.model.layout.size, generator=torch.Generator().manual_seed(0))
    for temperature in (0.0, 1.0):
        tokens = generate(
            trainer.model,
            z,
            max_tokens=60,
            sampling=Sampling(temperature=temperature),
            generator=torch.Generator().manual_seed(1),
        )
        assert corpus.vocabulary.is_valid(tokens, corpus.n_bars).all()


def test_loudness_of_events_is_not_for_choice() -> None:
    with pytest.raises(ConfigError, match=r"velocity_bins must be 32 for the vocabulary events"):
        PrepareOptions(vocabulary="events", velocity_bins=0)
