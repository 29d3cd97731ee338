"""Attribute directions: found where they are, held to account on other pieces, none in noise."""

import numpy as np
import pytest

from aurl.analysis.directions import PENALTIES, direction, directions, held_out, moved, r2, ridge
from aurl.metrics.bootstrap import Interval

PIECES = np.repeat(np.arange(150), 4)
RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(600, 6)) * np.array([1.0, 3.0, 0.2, 1.0, 1.0, 0.0]) + 5.0
WEIGHTS = np.array([0.5, -1.0, 2.0, 0.0, 0.0, 0.0])
LINEAR = CODES @ WEIGHTS


def found(values: np.ndarray, codes: np.ndarray = CODES):  # noqa: ANN201 - one of many
    (each,) = directions(codes, values[:, None], ["attribute"], PIECES)
    return each


def test_ridge_is_the_least_squares_solution_shrunk_by_its_penalty() -> None:
    x = np.linalg.qr(RNG.normal(size=(200, 4)))[0] * 200**0.5
    y = x @ np.array([1.0, -2.0, 0.0, 0.5]) + RNG.normal(size=200)
    weights, penalty = ridge(x, y)
    assert penalty in PENALTIES
    np.testing.assert_allclose(weights, x.T @ y / 200 / (1.0 + penalty))
    direct = np.linalg.solve(x.T @ x + 200 * penalty * np.eye(4), x.T @ y)
    np.testing.assert_allclose(weights, direct)


def test_the_penalty_grows_with_the_noise() -> None:
    x = RNG.normal(size=(60, 40))
    signal = x @ RNG.normal(size=40)
    assert ridge(x, signal)[1] < ridge(x, RNG.normal(size=60))[1]


def test_a_linear_attribute_is_found_and_rises_by_its_gain() -> None:
    each = found(LINEAR)
    assert each.r2 > 0.999
    change = moved(CODES[:1], each.vector, np.array([-1.0, 0.0, 2.0])) @ WEIGHTS
    rise = (change[0] - change[0, 1]) / LINEAR[~held_out(PIECES)].std()
    np.testing.assert_allclose(rise, each.gain * np.array([-1.0, 0.0, 2.0]), rtol=1e-3)
    assert each.vector[5] == 0.0  # a coordinate that never varies is never moved
    fit = CODES[~held_out(PIECES)][:, :5]
    deviations = each.vector[:5] / fit.std(axis=0)
    along = (fit / fit.std(axis=0)) @ deviations / np.linalg.norm(deviations)
    assert np.linalg.norm(deviations) == pytest.approx(along.std()), "a deviation of the codes"


def test_a_direction_does_not_leave_the_codes_of_the_music() -> None:
    """A code that only helps to tell the attribute from another's noise is not moved."""
    rng = np.random.default_rng(5)
    attribute, noise = rng.normal(size=(2, 600))
    codes = np.stack([attribute + 2.0 * noise, noise], axis=1)
    each = found(attribute, codes)
    assert each.r2 > 0.999  # the first less twice the second
    assert abs(each.vector[1]) < 0.1 * each.vector[0]


def test_held_out_r2_is_the_share_of_the_variance_that_codes_can_tell() -> None:
    noisy = LINEAR + LINEAR.std() * np.random.default_rng(2).normal(size=600)
    each = found(noisy)
    assert each.r2 == pytest.approx(0.5, abs=0.1)  # three standard errors over 200 windows
    assert each.r2_interval.low < 0.5 < each.r2_interval.high


def test_noise_has_no_r2() -> None:
    each = found(np.random.default_rng(3).normal(size=600))
    assert each.r2 < 0.02
    assert each.r2_interval.low == 0.0


def test_the_mean_has_an_r2_of_0_and_what_is_worse_comes_last() -> None:
    assert r2(np.array([1.0, 2.0, 3.0]), np.full(3, 2.0)) == 0.0
    turned = np.where(held_out(PIECES), -LINEAR, LINEAR)
    both = directions(CODES, np.stack([turned, LINEAR], axis=1), ["turned", "linear"], PIECES)
    assert [each.attribute for each in both] == ["linear", "turned"]
    assert both[1].r2 < -2.0
    assert both[1].r2_interval == Interval(mean=0.0, low=0.0, high=0.0)


def test_what_only_tells_pieces_apart_does_not_count() -> None:
    """Codes that know the piece by heart, and an attribute that is the piece's own noise."""
    rng = np.random.default_rng(4)
    codes = rng.normal(size=(150, 100))[PIECES]
    values = rng.normal(size=150)[PIECES]
    each = direction_of(codes, values)
    assert each is None or each.r2 < 0.1


def direction_of(codes: np.ndarray, values: np.ndarray):  # noqa: ANN201 - as above
    (*each,) = directions(codes, values[:, None], ["attribute"], PIECES)
    return each[0] if each else None


def test_attributes_that_cannot_be_foretold_are_left_out() -> None:
    constant = np.ones(600)
    rare = np.full(600, np.nan)
    rare[:9] = np.arange(9)
    for values, pieces in ((constant, PIECES), (rare, PIECES), (LINEAR, np.zeros(600, int))):
        assert direction("x", CODES, values, pieces) is None
    assert directions(CODES, np.stack([constant, LINEAR], axis=1), ["a", "b"], PIECES)[0].r2 > 0.9


def test_unknown_values_are_left_out_and_pieces_are_held_out_whole() -> None:
    values = LINEAR.copy()
    values[::5] = np.nan
    assert found(values).r2 > 0.999
    held = held_out(PIECES).reshape(150, 4)
    assert (held.all(axis=1) | ~held.any(axis=1)).all()
    assert held.any(axis=1).sum() == 50
