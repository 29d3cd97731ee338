import numpy as np
import pytest

from aurl.metrics.dimensions import live_coordinates, over_slots

DIMENSION = np.array([0, 1, 0, 1, 2])


def test_over_slots_is_the_mean_over_the_coordinates_of_a_dimension() -> None:
    values = np.array([[1.0, 10.0, 3.0, 30.0, 7.0], [0.0, 0.0, 4.0, 0.0, 1.0]])
    assert over_slots(values, DIMENSION).tolist() == [[2.0, 20.0, 7.0], [2.0, 0.0, 1.0]]
    assert over_slots(values[0], DIMENSION).tolist() == [2.0, 20.0, 7.0]


def test_over_slots_without_an_index_is_the_identity() -> None:
    assert over_slots(np.array([1.0, 2.0]), None).tolist() == [1.0, 2.0]


def test_over_slots_keeps_nan_within_its_dimension() -> None:
    values = np.array([np.nan, 1.0, 3.0, 3.0, 0.0])
    np.testing.assert_array_equal(over_slots(values, DIMENSION), [np.nan, 2.0, 0.0])


def test_live_coordinates_are_all_slots_of_the_live_dimensions() -> None:
    kl = np.array([[0.1, 0.0, 0.0, 0.08, np.nan]] * 3)
    assert live_coordinates(kl, DIMENSION).tolist() == [True, False, True, False, False]
    assert live_coordinates(kl).tolist() == [True, False, False, True, False]
    assert live_coordinates(kl, DIMENSION, threshold=0.03).tolist()[:4] == [True] * 4


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ([0, 2], r"dimension must number every dimension from 0, got none of \[1\]"),
        ([0, -1], r"dimension must not be negative, got -1"),
    ],
)
def test_over_slots_refuses_an_index_with_holes(dimension: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        over_slots(np.zeros(2), np.array(dimension))
