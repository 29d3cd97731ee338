"""The constructed corpus against its published facts: hashes, examples, splits."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from aurl.config import MelodiesConfig
from aurl.data.corpora import load_named
from aurl.data.melodies import (
    ENTROPY_NATS,
    FACTORS,
    N_MELODIES,
    REST,
    SIZES,
    VOCABULARY,
    factors_of_rows,
    grid_of,
    hashes,
    melodies_corpus,
    midi_grid,
    permutation,
    piece_of,
    read_factors,
    tokens_of,
)
from aurl.data.midi import read_midi, write_midi
from aurl.errors import ConfigError

NAMES = ["C", "C#", "D", "E-", "E", "F", "F#", "G", "G#", "A", "B-", "B"]
EXAMPLES = {
    1048516: "A4 . C5 E-5 A5 F#5 . D5 E-5 G5 . B5 A4 . C5 E-5",
    594571: "B4 G#4 . F4 B-4 D5 . F5 G5 E-5 B4 B4 . G#4 . F4",
    886780: "D7 . B-6 . G6 G7 E-7 C7 D7 F#7 . A7 G6 B-6 . D7",
    120912: "C#4 . F4 G#4 F#4 . B-4 C#5 . G#4 C5 . E-5 C#4 F4 G#4",
    586628: ". F4 G#4 C5 F5 C#5 B-4 . C5 E5 . G5 F4 . G#4 C5",
    0: "C4 E4 G4 F4 A4 C5 . . G4 B4 D5 C4 E4 G4 . .",
    N_MELODIES - 1: ". . F7 D7 B6 B7 G#7 E7 . . C#8 A7 F7 F7 D7 B6",
}
SPREAD = np.arange(0, N_MELODIES, 677)


def midi_number(word: str) -> int:
    if word == ".":
        return REST
    return NAMES.index(word[:-1]) + 12 * (int(word[-1]) + 1)


def test_all_melodies_have_the_published_hashes() -> None:
    assert hashes() == {
        "midi_grid_int8": "1adbaea75da1151eda3605d9ab9c26c6e6dbdbb49dc2d12f1164c39665c44825",
        "factors_int8": "98d0846939fa2ba058b6a736a1c89cf0e6ae6eb3f5e9f5bd4eeb1cc9c8540f52",
    }


def test_there_are_so_many_melodies() -> None:
    assert N_MELODIES == 1_354_752
    assert pytest.approx(14.119, abs=5e-4) == ENTROPY_NATS
    assert sum(math.log(size) for size in SIZES) == pytest.approx(ENTROPY_NATS)


@pytest.mark.parametrize("row", EXAMPLES)
def test_examples_are_the_published_notes(row: int) -> None:
    (notes,) = midi_grid(factors_of_rows(np.asarray([row])))
    assert notes.tolist() == [midi_number(word) for word in EXAMPLES[row].split()]


def test_factors_can_be_read_from_the_notes() -> None:
    factors = factors_of_rows(SPREAD)
    assert len(np.unique(factors, axis=0)) == len(SPREAD)
    assert np.array_equal(read_factors(midi_grid(factors)), factors)


@pytest.mark.slow
def test_factors_of_every_melody_can_be_read_so_all_melodies_are_different() -> None:
    factors = factors_of_rows(np.arange(N_MELODIES))
    grid = midi_grid(factors)
    assert np.array_equal(read_factors(grid), factors)
    assert len(np.unique(grid.view("V16"))) == N_MELODIES


def test_what_notes_do_not_show_is_not_read() -> None:
    grid = midi_grid(factors_of_rows(np.asarray([0, 0, 0, 0, 0, 0])))
    grid[0, 0] = REST  # eleven notes
    grid[1] = REST
    grid[2, 5] += 1  # a note of no scale; the chord still rises
    grid[3, :3] = 60  # the first chord stands still
    grid[4, :] += 36 * (grid[4] != REST)  # above all octaves
    grid[5, 4] = 64  # the second chord falls and then rises, higher than it began
    found = read_factors(grid)
    assert found[0].tolist() == [-1, -1, -1, -1, 0, -1, -1, -1, -1]
    assert found[1].tolist() == [-1] * 9
    assert found[2].tolist() == [0, 0, -1, 0, 0, 0, 0, 0, 0]
    assert found[3].tolist() == [0, 0, 0, 0, 0, -1, 0, 0, 0]
    assert found[4].tolist() == [-1, -1, 0, 0, 0, 0, 0, 0, 0]
    assert found[5].tolist() == [0] * 9


@pytest.mark.parametrize(
    ("seed", "digest", "first"),
    [
        (
            0,
            "4df8b8711977dfb805a495dcf07aa0b56f73906c722d781e40e704ee37516f54",
            [860905, 1011499, 742214],
        ),
        (
            1,
            "b87d389e862f9fc22dbe170b7a3ddd1b74500f0d148fed7712639b8099d2d8e4",
            [305731, 1156924, 743481],
        ),
        (
            2,
            "b92e45666eef0cf7ad50251ad942f37b4b7f31c304ff73308080cc46e053fcdd",
            [173412, 440477, 68087],
        ),
    ],
)
def test_splits_are_the_published_ones(seed: int, digest: str, first: list[int]) -> None:
    order = permutation(seed)
    assert order[:3].tolist() == first
    assert hashlib.sha256(order.astype("<i8").tobytes()).hexdigest() == digest


def test_all_of_the_corpus_is_cut_at_the_published_places() -> None:
    corpus = melodies_corpus(MelodiesConfig(train=948_326))
    sizes = [len(corpus.indices(split)) for split in ("train", "val", "test")]
    assert sizes == [948_326, 270_950, 135_476]
    assert corpus.piece[corpus.indices("test")][:3].tolist() == [1110395, 599933, 1232408]
    assert corpus.max_tokens == 17


def test_a_subset_is_the_beginning_of_each_split_and_says_what_it_is_made_of() -> None:
    corpus = load_named("melodies", MelodiesConfig(train=7000, seed=1))
    order = permutation(1)
    sizes = [len(corpus.indices(split)) for split in ("train", "val", "test")]
    assert sizes == [7000, 1999, 1000]
    for split, start in (("train", 0), ("val", 948_326), ("test", 948_326 + 270_950)):
        piece = corpus.piece[corpus.indices(split)]  # type: ignore[arg-type]
        assert np.array_equal(piece, order[start : start + len(piece)])
    assert np.array_equal(corpus.attributes, factors_of_rows(corpus.piece))
    assert corpus.attribute_names == tuple(FACTORS)
    assert corpus.target_rate_nats == ENTROPY_NATS
    for index in (0, 8000):
        row = int(corpus.piece[index])
        assert np.array_equal(corpus.window(index), VOCABULARY.encode(piece_of(row), 2))


def test_subsets_and_seeds_are_different_music_by_their_fingerprints() -> None:
    configs = [
        MelodiesConfig(train=700),
        MelodiesConfig(train=701),
        MelodiesConfig(train=700, seed=1),
    ]
    prints = [melodies_corpus(config).fingerprint for config in configs]
    assert len(set(prints)) == 3
    assert melodies_corpus(configs[0]).fingerprint == prints[0]


def test_a_melody_is_written_as_midi_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "melody.mid"
    piece = piece_of(1048516)
    write_midi(piece, path)
    read = read_midi(path)
    scale = read.ticks_per_quarter // 24
    assert (read.notes["onset"] // scale).tolist() == piece.notes["onset"].tolist()
    assert (read.notes["duration"] == 12 * scale).all()
    assert read.notes["pitch"].tolist() == [
        midi_number(word) for word in EXAMPLES[1048516].split() if word != "."
    ]


def test_tokens_are_notes_and_rests_and_never_anything_else() -> None:
    grid = midi_grid(factors_of_rows(SPREAD))
    tokens = tokens_of(grid)
    assert np.array_equal(grid_of(tokens), grid)
    batch = torch.from_numpy(tokens)
    assert VOCABULARY.is_valid(batch, 2).all()
    assert not (tokens == VOCABULARY.hold).any()
    assert (VOCABULARY.note_count(batch) == 12).all()
    assert ((tokens[:, 1:] == VOCABULARY.rest).mean(axis=1) == 0.25).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 99}, r"data\.melodies\.train must be in 100\.\.948326, got 99"),
        ({"train": 948_327}, r"data\.melodies\.train must be in 100\.\.948326, got 948327"),
        ({"seed": -1}, r"data\.melodies\.seed must be in 0\.\.4294967295, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MelodiesConfig(**change)
