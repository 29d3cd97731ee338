"""Overlap and KL: closed forms, laws, and what the usual library gets wrong."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurl.metrics.distances import Distance, classes, distances

NAN = math.nan


def between(
    samples: np.ndarray, data: np.ndarray, piece: np.ndarray | None = None, seed: int = 0
) -> Distance:
    """The distance of one real quantity."""
    piece = np.arange(len(data)) if piece is None else piece
    tables = {"x": classes(samples, data)}, {"x": classes(data, data)}
    return distances(*tables, piece, n_resamples=100, seed=seed)["x"]


def counted(samples: list[list[int]], data: list[list[int]]) -> Distance:
    ours, theirs = np.array(samples), np.array(data)
    return distances({"x": ours}, {"x": theirs}, np.arange(len(theirs)), n_resamples=100)["x"]


def test_overlap_and_kl_in_closed_form() -> None:
    found = counted([[3, 1, 0]], [[1, 1, 2]])
    assert found.overlap.mean == pytest.approx(0.25 + 0.25)
    p, q = np.array([3.5, 1.5, 0.5]) / 5.5, np.array([1.5, 1.5, 2.5]) / 5.5
    assert found.kl_nats.mean == pytest.approx(float((q * np.log(q / p)).sum()))


def test_same_and_disjoint_shares_are_the_extremes() -> None:
    same = counted([[2, 4]] * 50, [[1, 2]] * 50)
    assert same.overlap.mean == pytest.approx(1.0)
    assert same.kl_nats.mean == pytest.approx(0.0, abs=1e-5)
    apart = counted([[1, 0]], [[0, 1]])
    assert apart.overlap.mean == 0.0
    assert apart.kl_nats.mean == pytest.approx(0.5 * math.log(3))


def test_rows_weigh_what_they_count() -> None:
    assert counted([[1, 0], [0, 9]], [[1, 9]]).overlap.mean == pytest.approx(1.0)


def test_a_side_without_counts_overlaps_nothing_and_is_finite() -> None:
    found = counted([[0, 0]] * 3, [[1, 1]] * 3)
    assert found.overlap.mean == 0.0
    assert math.isfinite(found.kl_nats.mean)


def test_classes_are_tenths_of_the_data_and_more_on_either_side() -> None:
    data = np.arange(100.0)
    table = classes(data, data)
    assert table.sum(axis=0).tolist() == [0, *[10] * 10, 0, 0]
    others = classes(np.array([-1.0, 0.0, 99.0, 99.5, NAN]), data)
    assert others.argmax(axis=1).tolist() == [0, 1, 10, 11, 12]


def test_a_common_value_is_a_class_of_its_own() -> None:
    data = np.concatenate([np.zeros(90), np.linspace(0.1, 1.0, 10)])
    near = np.full(50, 0.05)
    assert between(near, data).overlap.mean <= 0.1
    assert between(np.zeros(50), data).overlap.mean == pytest.approx(0.9)
    seventh = np.concatenate([np.full(15, 0.5), np.linspace(0.0, 1.0, 85)])
    common, beside = classes(np.array([0.5, 0.505]), seventh).argmax(axis=1)
    assert common != beside


def test_rounding_of_sums_makes_no_class() -> None:
    assert 0.1 + 0.2 != 0.3
    assert between(np.full(9, 0.1 + 0.2), np.full(9, 0.3)).overlap.mean == 1.0


def test_not_defined_is_a_value() -> None:
    data = np.array([1.0, 2.0, 3.0, NAN])
    assert between(data, data).overlap.mean == 1.0
    assert between(np.full(4, NAN), data).overlap.mean == pytest.approx(0.25)
    assert between(np.full(4, NAN), np.full(4, NAN)).overlap.mean == 1.0
    assert between(np.ones(4), np.full(4, NAN)).overlap.mean == 0.0


REALS = st.lists(
    st.one_of(st.just(NAN), st.integers(-3, 3).map(float), st.floats(-9.0, 9.0)),
    min_size=1,
    max_size=20,
)


@settings(max_examples=60)
@given(REALS, REALS)
def test_distances_of_anything_are_finite_and_in_range(
    ours: list[float], data: list[float]
) -> None:
    found = between(np.array(ours), np.array(data))
    for each, highest in ((found.overlap, 1.0), (found.kl_nats, math.inf)):
        assert -1e-12 <= each.low <= each.mean <= each.high <= highest + 1e-12
        assert math.isfinite(each.high)
    assert classes(np.array(ours), np.array(data)).sum() == len(ours)


@settings(max_examples=30)
@given(REALS, REALS)
def test_the_order_of_pieces_changes_nothing(ours: list[float], data: list[float]) -> None:
    first = between(np.array(ours), np.array(data))
    second = between(np.array(ours[::-1]), np.array(data[::-1]))
    assert first.overlap.mean == pytest.approx(second.overlap.mean)
    assert first.kl_nats.mean == pytest.approx(second.kl_nats.mean)


def test_same_seed_same_interval() -> None:
    rng = np.random.default_rng(0)
    ours, data = rng.normal(size=50), rng.normal(size=80)
    assert between(ours, data, seed=3) == between(ours, data, seed=3)
    assert between(ours, data, seed=3) != between(ours, data, seed=4)
    found = between(ours, data, seed=3).overlap  # around the value, not below it
    assert found.high - found.mean > 0.5 * (found.mean - found.low) > 0.0


def test_interval_is_wider_for_fewer_pieces_than_windows() -> None:
    """Windows of one piece are alike, so they are drawn together."""
    rng = np.random.default_rng(0)
    piece = np.repeat(np.arange(12), 50)
    data = rng.normal(size=12)[piece] + 0.05 * rng.normal(size=600)
    ours = rng.normal(size=600)
    by_piece = between(ours, data, piece).overlap
    by_window = between(ours, data).overlap
    assert by_piece.mean == by_window.mean
    assert by_piece.high - by_piece.low > 2 * (by_window.high - by_window.low)


def test_interval_covers_what_five_other_pieces_give() -> None:
    piece, found = np.repeat(np.arange(5), 14), []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        data = 0.8 * rng.normal(size=5)[piece] + 0.6 * rng.normal(size=70)
        found.append(between(rng.normal(size=256) + 1.0, data, piece).overlap)
    mean = np.mean([each.mean for each in found])
    assert np.mean([each.low <= mean <= each.high for each in found]) > 0.9  # three errors: 0.05


def test_the_mean_over_quantities_comes_with_its_own_interval() -> None:
    rng = np.random.default_rng(0)
    ours = {name: rng.integers(0, 5, (40, 3)) for name in ("a", "b")}
    data = {name: rng.integers(0, 5, (60, 3)) for name in ("a", "b")}
    found = distances(ours, data, np.arange(60), n_resamples=200)
    mean = (found["a"].overlap.mean + found["b"].overlap.mean) / 2
    assert found[""].overlap.mean == pytest.approx(mean)
    assert found[""].overlap.low < mean < found[""].overlap.high


@pytest.mark.parametrize(
    ("samples", "data", "message"),
    [
        (
            {"x": np.ones((2, 2))},
            {"y": np.ones((2, 2))},
            r"same quantities, got \['x'\] and \['y'\]",
        ),
        ({}, {}, r"same quantities, got \[\] and \[\]"),
        ({"x": np.ones((0, 2))}, {"x": np.ones((2, 2))}, r"one row or more, got none"),
    ],
    ids=["names", "nothing", "rows"],
)
def test_distances_refuse(
    samples: dict[str, np.ndarray], data: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        distances(samples, data, np.arange(2))


def test_classes_refuse() -> None:
    with pytest.raises(ValueError, match="finite or NaN, got an infinite one"):
        classes(np.array([np.inf]), np.ones(2))


# What mgeval gets wrong, on the inputs that show it.


@pytest.mark.parametrize("shift", [0.0, 1.0, 5.0, 100.0])
def test_overlap_of_normal_samples_is_that_of_their_densities(shift: float) -> None:
    """mgeval raises on current NumPy here. The area is ``2 Φ(-shift / 2)``; classes can only add
    to it, and chance takes some away."""
    rng = np.random.default_rng(0)
    data, ours = rng.normal(size=4000), rng.normal(size=4000) + shift
    exact = NormalDist().overlap(NormalDist(mu=shift))
    assert between(ours, data).overlap.mean == pytest.approx(exact, abs=0.035)


def test_kl_sees_a_shift() -> None:
    """mgeval evaluates two kernel densities on different grids: 0.083 nats for a shift by 100
    standard deviations, which is less than the 0.124 it gives a sample and itself."""
    rng = np.random.default_rng(0)
    data, ours = rng.normal(size=1000), rng.normal(size=1000)
    assert between(data, data).kl_nats.mean == pytest.approx(0.0, abs=1e-9)
    assert between(ours, data).kl_nats.mean < 0.02
    assert between(ours + 1.0, data).kl_nats.mean == pytest.approx(0.5, abs=0.1)  # shift² / 2
    assert between(ours + 100.0, data).kl_nats.mean > 5.0


def test_a_constant_is_a_distribution() -> None:
    """mgeval raises LinAlgError for a feature that does not vary."""
    same = between(np.full(30, 2.0), np.full(40, 2.0))
    assert (same.overlap.mean, same.overlap.low, same.overlap.high) == (1.0, 1.0, 1.0)
    assert same.kl_nats.mean == pytest.approx(0.0, abs=1e-3)
    for other in (1.0, 3.0):
        assert between(np.full(30, other), np.full(40, 2.0)).overlap.mean == 0.0
