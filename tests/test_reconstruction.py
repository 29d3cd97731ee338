import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurl.metrics.reconstruction import note_f1


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
