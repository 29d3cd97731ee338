import json
from typing import Any

import golden
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurl.metrics.dci import ForestSettings
from aurl.metrics.disentanglement import (
    Disentanglement,
    disentanglement,
    permutation_floor,
    split,
    torn_rows,
)

QUICK = ForestSettings(n_trees=20)
TINY = ForestSettings(n_trees=3)
NAMES = {
    "disentanglement",
    "mig_rank32",
    "mig_dlib20",
    "dcimig",
    "dci_et_disentanglement",
    "dci_et_completeness",
    "dci_et_informativeness",
}


def factorial(n_repeats: int = 60) -> np.ndarray:
    """Every combination of three factors, over and over."""
    grid = np.stack(np.meshgrid(range(4), range(3), range(2)), axis=-1).reshape(-1, 3)
    return np.tile(grid, (n_repeats, 1))


def score(codes: np.ndarray, factors: np.ndarray, **arguments: Any) -> float:
    return disentanglement(codes, factors, forest=QUICK, **arguments).disentanglement


def assert_defined(result: Disentanglement) -> None:
    values = result.to_dict()
    assert set(values) == NAMES
    assert all(0.0 <= value <= 1.0 for value in values.values())
    for name, per_factor in result.per_factor.items():
        assert np.isfinite(per_factor).all()
        assert name == "entropy" or ((per_factor >= 0.0) & (per_factor <= 1.0)).all()
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize(
    ("name", "expected"),  # specs/metrics.md 4.2, last column
    [
        ("factorial_perfect", 1.000),
        ("noisy_aligned", 0.734),
        ("rotated_45", 0.196),
        ("near_dead_dims", 0.443),
        ("dmelodies_perfect32", 0.999),
    ],
)
def test_disentanglement_matches_the_published_table(name: str, expected: float) -> None:
    codes, factors, n_train, _ = golden.load(name)
    result = disentanglement(codes, factors, n_train=n_train, forest=QUICK)
    # the table's forest has other seeds and leaves
    assert result.disentanglement == pytest.approx(expected, abs=0.01)
    assert result.status == "ok"
    assert_defined(result)


def test_disentanglement_is_one_for_exact_codes_and_zero_for_duplicated_ones() -> None:
    factors = factorial()
    codes = factors.astype(np.float64)
    assert score(codes, factors) == pytest.approx(1.0)
    assert score(np.tile(codes, 2), factors) == pytest.approx(0.0, abs=1e-6)


def test_disentanglement_sees_merged_and_rotated_factors() -> None:
    factors = factorial()
    codes = factors - factors.mean(axis=0)
    merged = np.stack([codes[:, 0] + 4.0 * codes[:, 1], codes[:, 2]], axis=1)
    rotated = codes.copy()
    rotated[:, :2] = codes[:, :2] @ np.array([[1.0, -1.0], [1.0, 1.0]])
    assert score(merged, factors) < 0.9
    assert score(rotated, factors) < 0.8


def test_disentanglement_of_noise_is_near_zero() -> None:
    rng = np.random.default_rng(0)
    codes, factors = rng.normal(size=(1500, 16)), rng.integers(0, 6, size=(1500, 5))
    result = disentanglement(codes, factors, forest=QUICK)
    assert result.disentanglement < 0.01
    assert result.mig_rank32 < 0.01


def test_disentanglement_ignores_order_of_codes_and_monotone_maps_up_to_forest_noise() -> None:
    rng = np.random.default_rng(0)
    factors = factorial()
    codes = factors + 0.3 * rng.normal(size=factors.shape)
    expected = score(codes, factors)
    assert score(np.exp(3.0 * codes), factors) == expected
    assert score(1e-3 * codes + 7.0, factors) == expected
    assert score(codes[:, [2, 0, 1]], factors) == pytest.approx(expected, abs=0.02)
    assert score(-codes, factors) == pytest.approx(expected, abs=0.02)


def test_one_outlier_changes_disentanglement_by_less_than_a_hundredth() -> None:
    codes, factors, n_train, _ = golden.load("noisy_aligned")
    spoilt = codes.copy()
    spoilt[0] = 1e4
    before = disentanglement(codes, factors, n_train=n_train, forest=QUICK)
    after = disentanglement(spoilt, factors, n_train=n_train, forest=QUICK)
    assert after.disentanglement == pytest.approx(before.disentanglement, abs=0.01)
    assert after.mig_dlib20 < 0.01 < 0.8 < before.mig_dlib20  # what the published bins make of it


def test_codes_that_are_not_live_change_nothing() -> None:
    factors = factorial()
    codes = factors.astype(np.float64)
    leaky = np.concatenate([codes, 1e-3 * codes], axis=1)  # collapsed, but the means still leak
    live = np.array([True] * 3 + [False] * 3)
    assert score(leaky, factors) < 1e-6
    assert score(leaky, factors, live=live) == score(codes, factors)
    leaky[0, 5] = np.nan
    assert disentanglement(leaky, factors, live=live, forest=TINY).status == "non_finite"


def test_a_constant_factor_is_left_out_and_scored_zero() -> None:
    factors = factorial()
    constant = np.concatenate([factors, np.full((len(factors), 1), 9)], axis=1)
    result = disentanglement(factors.astype(np.float64), constant, forest=QUICK)
    assert result.counted.tolist() == [True, True, True, False]
    assert result.disentanglement == pytest.approx(1.0)
    assert result.per_factor["mig_rank32"] == pytest.approx([1.0, 1.0, 1.0, 0.0])
    assert result.per_factor["entropy"] == pytest.approx([*np.log([4, 3, 2]), 0.0])


def test_per_factor_values_average_to_the_scores() -> None:
    codes, factors, n_train, _ = golden.load("noisy_aligned")
    result = disentanglement(codes, factors, n_train=n_train, forest=TINY)
    per_factor = result.per_factor
    assert per_factor["mig_rank32"].mean() == pytest.approx(result.mig_rank32)
    assert per_factor["mig_dlib20"].mean() == pytest.approx(result.mig_dlib20)
    assert per_factor["accuracy"].mean() == pytest.approx(result.dci_et_informativeness)
    weighted = np.average(per_factor["dcimig"], weights=per_factor["entropy"])
    assert weighted == pytest.approx(result.dcimig)


@pytest.mark.parametrize(
    ("codes", "factors", "status"),
    [
        pytest.param(np.full((30, 2), np.nan), factorial(2)[:30], "non_finite", id="nan"),
        pytest.param(np.full((30, 2), np.inf), factorial(2)[:30], "non_finite", id="infinite"),
        pytest.param(np.ones((30, 0)), factorial(2)[:30], "no_live_dimension", id="no_code"),
        pytest.param(
            np.ones((30, 2)), np.ones((30, 2), dtype=np.int64), "no_varying_factor", id="constant"
        ),
        pytest.param(
            np.ones((30, 2)), np.ones((30, 0), dtype=np.int64), "no_varying_factor", id="no_factor"
        ),
        pytest.param(np.ones((1, 2)), factorial(1)[:1], "no_varying_factor", id="one_sample"),
        pytest.param(np.ones((0, 2)), factorial(1)[:0], "no_varying_factor", id="no_sample"),
    ],
)
def test_hard_failures_score_zero_and_say_why(
    codes: np.ndarray, factors: np.ndarray, status: str
) -> None:
    result = disentanglement(codes, factors, forest=TINY)
    assert result.status == status
    assert set(result.to_dict().values()) == {0.0}
    assert not result.counted.any()
    assert_defined(result)


def test_nothing_live_scores_zero() -> None:
    factors = factorial(2)
    codes = factors.astype(np.float64)
    result = disentanglement(codes, factors, live=np.zeros(3, dtype=bool), forest=TINY)
    assert result.status == "no_live_dimension"
    assert result.disentanglement == 0.0


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.integers(0, 12),
    st.integers(0, 3),
    st.integers(0, 4),
    st.integers(1, 3),
)
def test_disentanglement_is_always_defined(
    seed: int, n_samples: int, n_codes: int, n_factors: int, n_classes: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(n_samples, n_codes)).round(1)
    factors = rng.integers(0, n_classes, size=(n_samples, n_factors))
    assert_defined(disentanglement(codes, factors, forest=TINY))
    assert_defined(permutation_floor(codes, factors, groups=np.arange(n_samples), forest=TINY))


def test_one_code_cannot_disentangle_several_factors() -> None:
    factors = factorial()
    assert score(factors[:, :1].astype(np.float64), factors) < 0.5
    assert score(factors[:, :1].astype(np.float64), factors[:, :1]) == pytest.approx(1.0)


def test_permutation_floor_is_near_zero_and_reproducible() -> None:
    codes, factors = factorial().astype(np.float64), factorial()
    rows = np.arange(len(codes))
    first = permutation_floor(codes, factors, groups=rows, forest=QUICK)
    assert first.disentanglement < 0.02
    again = permutation_floor(codes, factors, groups=rows, forest=QUICK)
    assert first.to_dict() == again.to_dict()
    assert first.mig_rank32 < 0.05


def test_permutation_floor_of_pieces_keeps_the_likeness_within_a_piece() -> None:
    rng = np.random.default_rng(0)
    pieces = np.tile(np.arange(20), 40)
    codes = rng.normal(size=(20, 3))[pieces] + 0.5 * rng.normal(size=(800, 3))
    factors = rng.integers(0, 4, size=(20, 3))[pieces]  # as like within a piece as the codes
    grouped = permutation_floor(codes, factors, groups=pieces, forest=TINY)
    alone = permutation_floor(codes, factors, groups=np.arange(800), forest=TINY)
    assert grouped.mig_rank32 > 3.0 * alone.mig_rank32


def test_a_torn_piece_takes_the_rows_of_one_piece_however_long_each_is() -> None:
    pieces = np.random.default_rng(0).permutation(np.repeat(np.arange(12), np.arange(1, 13)))
    order = torn_rows(pieces, np.random.default_rng(0))
    taken = {piece: set(pieces[order[pieces == piece]]) for piece in range(12)}
    assert sorted(other for others in taken.values() for other in others) == list(range(12))
    sizes = np.bincount(pieces)
    for piece, (other,) in taken.items():
        times = np.bincount(order[pieces == piece], minlength=len(pieces))[
            pieces == other
        ]  # spread evenly
        assert times.sum() == sizes[piece]
        assert times.max() - times.min() <= 1


def test_rows_of_a_single_piece_are_torn_too() -> None:
    order = torn_rows(np.zeros(9, np.int64), np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(9))
    assert (order != np.arange(9)).all()


def test_split_takes_the_first_rows_as_told() -> None:
    train = split(5, n_train=3, groups=None)
    assert train.tolist() == [True, True, True, False, False]
    assert split(4, n_train=None, groups=np.zeros(4, np.int64)).all()


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 10))
def test_split_keeps_every_piece_on_one_side(seed: int, n_samples: int, n_pieces: int) -> None:
    pieces = np.random.default_rng(seed).integers(0, n_pieces, size=n_samples)
    train = split(n_samples, n_train=None, groups=pieces)
    assert not set(pieces[train]) & set(pieces[~train])
    if len(set(pieces)) > 1:
        assert train.any()
        assert not train.all()


def test_split_holds_out_a_third() -> None:
    train = split(3000, n_train=None, groups=None)
    assert (~train).sum() == 1000
    assert (np.diff(np.flatnonzero(train)) > 1).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_train": 0, "groups": None}, r"n_train must be in 1\.\.3, got 0"),
        ({"n_train": 4, "groups": None}, r"n_train must be in 1\.\.3, got 4"),
        (
            {"n_train": 2, "groups": np.arange(4)},
            r"n_train must not be given together with groups",
        ),
        ({"n_train": None, "groups": np.arange(3)}, r"groups must hold 4 values, got 3"),
    ],
)
def test_split_refuses_what_does_not_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(4, **arguments)
