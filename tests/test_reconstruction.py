from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurl.metrics.reconstruction import (
    note_f1,
    note_f1_scores,
    reconstruction_score,
    sequence_accuracy,
    token_accuracy,
)


def notes(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


@pytest.mark.parametrize(
    ("reference", "estimate", "score"),
    [
        pytest.param(notes((0, 60), (24, 62)), notes((24, 62), (0, 60)), 1.0, id="reordered"),
        pytest.param(notes((0, 60)), notes((0, 61)), 0.0, id="wrong_pitch"),
        pytest.param(notes((0, 60)), notes((1, 60)), 0.0, id="wrong_onset"),
        pytest.param(notes((0, 60), (24, 62)), notes((0, 60)), 2 / 3, id="one_missing"),
        pytest.param(notes((0, 60)), notes((0, 60), (0, 60)), 2 / 3, id="one_repeated"),
        pytest.param(notes((0, 60), (0, 60)), notes((0, 60), (0, 60)), 1.0, id="both_repeated"),
        pytest.param(notes(), notes((0, 60)), 0.0, id="notes_from_silence"),
        pytest.param(notes((0, 60)), notes(), 0.0, id="silence_from_notes"),
        pytest.param(notes(), notes(), 1.0, id="silence_from_silence"),
    ],
)
def test_note_f1_of_known_windows(
    reference: np.ndarray, estimate: np.ndarray, score: float
) -> None:
    assert note_f1(reference, estimate) == pytest.approx(score)


note_lists = st.lists(st.tuples(st.integers(0, 3), st.integers(60, 62)), max_size=8)


@given(note_lists, note_lists)
def test_note_f1_is_symmetric_and_one_only_for_the_same_notes(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    score = note_f1(notes(*first), notes(*second))
    assert score == note_f1(notes(*second), notes(*first))
    assert 0.0 <= score <= 1.0
    assert (score == 1.0) == (sorted(first) == sorted(second))


def test_reconstruction_score_is_the_mean_over_windows() -> None:
    references, estimates = [notes((0, 60)), notes((0, 60))], [notes((0, 60)), notes()]
    assert note_f1_scores(references, estimates).tolist() == [1.0, 0.0]
    assert reconstruction_score(references, estimates) == 0.5


@pytest.mark.parametrize(("n_references", "n_estimates"), [(0, 0), (2, 1)])
def test_note_f1_scores_refuse_windows_without_a_pair(n_references: int, n_estimates: int) -> None:
    message = f"references must pair with .* got {n_references} with {n_estimates}"
    with pytest.raises(ValueError, match=message):
        note_f1_scores([notes()] * n_references, [notes()] * n_estimates)


TOKENS = np.array([[4, 5, 6, 0], [4, 5, 0, 0], [0, 0, 0, 0]])
VALID = TOKENS > 0


def test_accuracies_count_real_tokens_only() -> None:
    predictions = np.array([[4, 5, 9, 9], [4, 5, 9, 9], [9, 9, 9, 9]])
    assert token_accuracy(predictions, TOKENS, VALID) == pytest.approx(4 / 5)
    assert sequence_accuracy(predictions, TOKENS, VALID) == 0.5


def test_accuracies_are_one_for_the_truth_and_zero_for_nothing_right() -> None:
    for accuracy in (token_accuracy, sequence_accuracy):
        assert accuracy(TOKENS, TOKENS, VALID) == 1.0
        assert accuracy(TOKENS, TOKENS.astype(np.uint16), VALID) == 1.0  # as a corpus stores them
        assert accuracy(TOKENS + 1, TOKENS, VALID) == 0.0


@pytest.mark.parametrize("accuracy", [token_accuracy, sequence_accuracy])
def test_accuracies_refuse_padding_alone(accuracy: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="valid must mark at least one token, got none"):
        accuracy(TOKENS, TOKENS, np.zeros_like(VALID))
