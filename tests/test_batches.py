"""Batches: every window at most once an epoch, shared exactly, and a function of (seed, step)."""

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from aurl.config import AugmentationConfig
from aurl.data.batches import TokenStore, TrainingBatches, check_batches
from aurl.data.corpus import Corpus
from aurl.data.metrical import Metrical
from aurl.data.metrical_layout import Kind
from aurl.data.tokenizer import encode
from aurl.errors import ConfigError
from tests.tiny import VOCABULARY, random_piece, tiny_corpus

CORPUS = tiny_corpus()
STORE = TokenStore(CORPUS)
TRAIN = CORPUS.indices("train")


def batches(
    batch_size: int = 8, seed: int = 0, worker: tuple[int, int] = (0, 1), *, transpose: int = 0
) -> TrainingBatches:
    return TrainingBatches(
        CORPUS,
        STORE,
        AugmentationConfig(transpose=transpose),
        batch_size=batch_size,
        seed=seed,
        worker=worker,
    )


def tokens_of(made: TrainingBatches, step: int) -> Tensor:
    return made.with_context(step)[0]


def rows(tokens: Tensor) -> list[tuple[int, ...]]:
    """The token ids of each window, without its padding."""
    return [tuple(row[row != STORE.pad].tolist()) for row in tokens]


def window(index: int) -> tuple[int, ...]:
    return tuple(int(token) for token in CORPUS.window(index))


def together(parts: list[Tensor]) -> list[tuple[int, ...]]:
    """The rows of all workers, in the order of the whole batch."""
    shares = [rows(part) for part in parts]
    return [row for same in zip(*shares, strict=True) for row in same]


WINDOWS = {window(int(index)): int(index) for index in range(len(CORPUS))}


def test_the_tiny_windows_are_distinct() -> None:
    assert len(WINDOWS) == len(CORPUS)


@given(st.lists(st.integers(0, len(CORPUS) - 1), min_size=1, max_size=9))
def test_padded_windows_hold_their_tokens_then_padding(chosen: list[int]) -> None:
    padded = STORE.padded(torch.tensor(chosen))
    longest = max(len(window(index)) for index in chosen)
    assert padded.shape == (len(chosen), -(-longest // 8) * 8)
    assert padded.dtype == torch.int64
    for row, index in zip(padded.tolist(), chosen, strict=True):
        tokens = window(index)
        assert tuple(row[: len(tokens)]) == tokens
        assert set(row[len(tokens) :]) <= {STORE.pad}
    lengths = STORE.lengths(torch.tensor(chosen)).tolist()
    assert lengths == [len(window(index)) for index in chosen]


class Narrow(TokenStore):
    FEW = 8


FEW = Narrow(CORPUS, few_widths=True)


@given(st.lists(st.integers(0, len(CORPUS) - 1), min_size=1, max_size=9))
def test_few_widths_double_up_to_the_longest_window(chosen: list[int]) -> None:
    padded = FEW.padded(torch.tensor(chosen))
    longest = max(len(window(index)) for index in chosen)
    widths = [width for width in (8, 16, 32, 40) if width >= longest]  # 38 is the longest of all
    assert padded.shape == (len(chosen), widths[0])
    assert rows(padded) == [window(index) for index in chosen]


def test_the_music_is_kept_on_the_device_that_is_asked_for() -> None:
    store = TokenStore(CORPUS, "meta", context=("key",))
    kept = {name: value for name, value in vars(store).items() if isinstance(value, Tensor)}
    assert {name: value.device.type for name, value in kept.items()} == dict.fromkeys(
        ("context", "tokens", "offsets"), "meta"
    )


def test_no_real_token_is_padding() -> None:
    assert STORE.pad not in np.asarray(CORPUS.tokens)


@given(st.integers(1, len(TRAIN)), st.integers(0, 3), st.integers(0, 2**31 - 1))
def test_an_epoch_reads_each_training_window_at_most_once(
    batch_size: int, epoch: int, seed: int
) -> None:
    made = batches(batch_size, seed)
    steps = len(TRAIN) // batch_size
    read = [
        WINDOWS[row]
        for step in range(epoch * steps, (epoch + 1) * steps)
        for row in rows(tokens_of(made, step))
    ]
    assert len(read) == len(set(read)) == steps * batch_size
    assert set(read) <= set(TRAIN.tolist())


def test_windows_of_a_batch_are_of_like_length_and_batches_in_no_order_of_it() -> None:
    made = batches()
    found = [sorted(map(len, rows(tokens_of(made, step)))) for step in range(len(TRAIN) // 8)]
    shortest = sorted(found)
    assert all(one[-1] <= other[0] for one, other in pairwise(shortest))  # all are sorted together
    assert found not in (shortest, shortest[::-1])


def test_epochs_have_orders_of_their_own_and_leave_out_other_windows() -> None:
    made = batches(24)  # 2 batches of 64 windows: 16 are left out
    first, second = ({row for s in (e, e + 1) for row in rows(tokens_of(made, s))} for e in (0, 2))
    assert first != second
    assert len(first | second) > 48


@given(st.sampled_from([1, 2, 4]), st.integers(0, 40), st.integers(0, 2**31 - 1))
def test_workers_together_read_what_one_reads(size: int, step: int, seed: int) -> None:
    whole = rows(tokens_of(batches(8, seed, transpose=3), step))
    parts = [tokens_of(batches(8, seed, (rank, size), transpose=3), step) for rank in range(size)]
    assert together(parts) == whole


@cache
def loud_corpus() -> Corpus:
    """Windows of notes of many velocities: a velocity shift changes how many tokens there are."""
    vocabulary = Metrical(velocity_bins=8, programs=False, tempo=False)
    rng = np.random.default_rng(0)
    pieces = [random_piece(rng, 4 + index % 8) for index in range(len(CORPUS))]
    for piece in pieces:
        piece.notes["velocity"] = rng.integers(30, 110, size=len(piece.notes))
    tokens = [encode(piece, vocabulary) for piece in pieces]
    return replace(
        CORPUS,
        vocabulary=vocabulary,
        tokens=np.concatenate(tokens).astype(np.uint16),
        offsets=np.cumsum([0, *map(len, tokens)]),
    )


@pytest.mark.parametrize("size", [2, 4])
def test_workers_together_read_what_one_reads_at_shifted_velocities(size: int) -> None:
    corpus = loud_corpus()

    def read(rank: int, n_workers: int, step: int) -> list[tuple[int, ...]]:
        store, changes = TokenStore(corpus), AugmentationConfig(velocity=4)
        made = TrainingBatches(
            corpus, store, changes, batch_size=8, seed=0, worker=(rank, n_workers)
        )
        return rows(tokens_of(made, step))

    for step in range(16):
        shares = [read(rank, size, step) for rank in range(size)]
        whole = [row for same in zip(*shares, strict=True) for row in same]
        assert whole == read(0, 1, step)


@given(st.integers(0, 40), st.integers(0, 2**31 - 1))
def test_a_step_does_not_depend_on_the_steps_before(step: int, seed: int) -> None:
    made = batches(8, seed, transpose=3)
    for earlier in range(0, step, 7):
        tokens_of(made, earlier)
    assert torch.equal(tokens_of(made, step), tokens_of(batches(8, seed, transpose=3), step))


def test_seeds_read_in_different_orders() -> None:
    assert rows(tokens_of(batches(8, 0), 0)) != rows(tokens_of(batches(8, 1), 0))


def test_augmentation_changes_pitches_alone_and_each_window_by_its_own_draw() -> None:
    plain, changed = tokens_of(batches(64), 0), tokens_of(batches(64, transpose=3), 0)
    assert plain.shape == changed.shape
    pitches = VOCABULARY.ids(Kind.PITCH)
    is_pitch = (plain >= pitches.start) & (plain < pitches.stop)
    assert torch.equal(plain[~is_pitch], changed[~is_pitch])
    moved = (changed - plain).masked_fill(~is_pitch, 0)
    by_window = {
        int(move[inside][0]) for move, inside in zip(moved, is_pitch, strict=True) if inside.any()
    }
    assert by_window == set(range(-3, 4))
    for move, inside in zip(moved, is_pitch, strict=True):
        assert len(set(move[inside].tolist())) <= 1, "a window moves as a whole"


def test_augmentation_of_a_step_is_always_the_same() -> None:
    assert torch.equal(tokens_of(batches(transpose=3), 5), tokens_of(batches(transpose=3), 5))


def test_each_step_draws_its_own_augmentation() -> None:
    pitches = VOCABULARY.ids(Kind.PITCH)
    moves: list[Tensor] = []
    for step in (0, 1):
        plain, changed = tokens_of(batches(64), step), tokens_of(batches(64, transpose=3), step)
        is_pitch = (plain >= pitches.start) & (plain < pitches.stop)
        moves.append((changed - plain).masked_fill(~is_pitch, 0).sum(dim=1) / is_pitch.sum(dim=1))
    assert not torch.equal(moves[0], moves[1])


@pytest.mark.parametrize(
    ("batch_size", "workers", "augmentation", "message"),
    [
        (9, 2, {}, r"multiple of the workers per trial, got batch_size=9, workers=2\.$"),
        (65, 1, {}, r"at most the training windows .*, got 65, windows=64\. Use a smaller"),
        (8, 1, {"tempo": 1}, r"augmentation\.tempo must be 0 .* got 1\.$"),
        (8, 1, {"velocity": 2}, r"augmentation\.velocity must be 0 .* got 2\.$"),
    ],
)
def test_batches_that_cannot_be_made_are_refused(
    batch_size: int, workers: int, augmentation: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_batches(CORPUS, AugmentationConfig(**augmentation), batch_size, workers)


@pytest.mark.parametrize("split", [1, 2])
def test_a_corpus_with_one_window_in_a_split_is_refused(split: int) -> None:
    name = ("train", "val", "test")[split]
    emptied = np.where(CORPUS.split == split, 0, CORPUS.split).astype(np.int8)
    emptied[0] = split
    message = rf"data\.corpus must have at least 2 {name} windows, got 1\. Prepare more music"
    with pytest.raises(ConfigError, match=message):
        check_batches(replace(CORPUS, split=emptied), AugmentationConfig(), 8, 1)
