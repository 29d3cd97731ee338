"""Traversal: one dimension moves, and its effect is what is heard, in stated units."""

import numpy as np
import pytest

from aurl.analysis.readings import Readings
from aurl.analysis.traversal import (
    Aggregate,
    Ground,
    effects,
    monotonicity,
    traversed,
)
from aurl.metrics.bootstrap import mean_interval

STEPS = np.linspace(-3.0, 3.0, 7)
WEIGHTS = np.array([[2.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
PIECES = np.repeat(np.arange(10), 3)
CODES = np.random.default_rng(0).normal(size=(30, 2))
AGGREGATE = Aggregate(mean=np.array([1.0, 0.0]), std=np.array([0.5, 2.0]))


def hear(z: np.ndarray) -> np.ndarray:
    """Two attributes in proportion to one coordinate each, and a name: which side of 1 it is."""
    found = z @ WEIGHTS
    found[:, 2] = z[:, 0] > 1.0
    return found


def heard_along(codes: np.ndarray) -> np.ndarray:
    return np.stack([hear(each) for each in codes])


def ground() -> Ground:
    readings = Readings(
        names=("high", "low", "side"),
        categorical=np.array([False, False, True]),
        read=lambda pieces: np.zeros((len(pieces), 3)),
    )
    return Ground(readings=readings, scale=np.array([4.0, 1.0, 1.0]), pieces=PIECES)


def test_the_aggregate_posterior_is_as_wide_as_its_draws() -> None:
    mean = np.array([[1.0, 0.0], [3.0, 0.0]])
    log_var = np.log([[0.5, 4.0], [1.5, 4.0]])
    found = Aggregate.of(mean, log_var)
    np.testing.assert_allclose(found.mean, [2.0, 0.0])
    np.testing.assert_allclose(found.std, np.sqrt([1.0 + 1.0, 0.0 + 4.0]))


def test_only_the_dimension_moves_to_steps_of_the_aggregate_posterior() -> None:
    found = traversed(CODES, np.array([True, False]), AGGREGATE, STEPS)
    np.testing.assert_allclose(found[:, :, 0], np.tile(1.0 + 0.5 * STEPS, (30, 1)))
    np.testing.assert_array_equal(found[:, :, 1], np.tile(CODES[:, 1:], (1, 7)))


def test_the_effect_of_a_linear_dimension_is_its_weight_in_standard_deviations() -> None:
    along = traversed(CODES, np.array([True, False]), AGGREGATE, STEPS)
    found = {each.attribute: each for each in effects(heard_along(along), STEPS, ground())}
    assert found["high"].size.mean == pytest.approx(2.0 * 0.5 / 4.0)
    assert (found["high"].monotonicity, found["high"].unit) == (1.0, "deviations")
    assert found["high"].is_certain
    assert found["low"].size.mean == pytest.approx(0.0)
    assert not found["low"].is_certain
    assert (found["side"].size.mean, found["side"].unit) == (1.0, "changed")
    other = traversed(CODES, np.array([False, True]), AGGREGATE, STEPS)
    second = {each.attribute: each for each in effects(heard_along(other), STEPS, ground())}
    assert second["low"].size.mean == pytest.approx(-2.0)
    assert second["low"].monotonicity == -1.0
    assert second["low"].is_certain
    assert second["high"].size.mean == pytest.approx(0.0)
    assert second["side"].size.mean == 0.0


def test_windows_of_one_piece_are_one_piece_of_evidence() -> None:
    slopes = np.random.default_rng(1).normal(size=10)[PIECES]
    curves = np.tile((slopes[:, None] * STEPS)[:, :, None], 3)
    found = {each.attribute: each for each in effects(curves, STEPS, ground())}
    expected = mean_interval(slopes, PIECES)
    size = found["low"].size
    assert (size.low, size.high) == pytest.approx((expected.low, expected.high))


def test_the_largest_effect_comes_first() -> None:
    along = traversed(CODES, np.array([False, True]), AGGREGATE, STEPS)
    assert effects(heard_along(along), STEPS, ground())[0].attribute == "low"


def test_steps_at_which_nothing_is_heard_are_left_out_of_the_slope() -> None:
    curves = np.tile((3.0 * STEPS)[None, :, None], (30, 1, 3))
    curves[:, 2] = np.nan
    curves[0, 1:, 1] = np.nan
    found = {each.attribute: each for each in effects(curves, STEPS, ground())}
    assert found["high"].size.mean == pytest.approx(3.0 / 4.0)
    assert (found["low"].size.mean, found["low"].windows) == (pytest.approx(3.0), 29)
    assert found["high"].monotonicity == 1.0


def test_attributes_that_do_not_vary_or_are_never_heard_are_left_out() -> None:
    curves = np.zeros((30, 7, 3))
    curves[:, :, 1] = np.nan
    where = ground()
    flat = Ground(readings=where.readings, scale=np.array([0.0, 1.0, 1.0]), pieces=PIECES)
    assert [each.attribute for each in effects(curves, STEPS, flat)] == ["side"]


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([1, 2, 3], 1.0),
        ([3, 1], -1.0),
        ([1, 2, 1, 2], 1 / 3),
        ([1, 1, 1], 0.0),
        ([1, 2, 2], 1.0),
        ([1, np.nan, 2], 1),
    ],
)
def test_monotonicity_is_rises_less_falls(curve: list[float], expected: float) -> None:
    assert monotonicity(np.array(curve, np.float64)) == pytest.approx(expected)
