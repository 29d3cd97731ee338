import golden
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_codes import mig_dlib20, mig_rank32

from aurl.metrics.mig import mutual_information_gap
from aurl.metrics.mutual_information import MutualInformation

LN2 = float(np.log(2.0))


def factorial() -> np.ndarray:
    """Every combination of three factors, twenty times."""
    grid = np.stack(np.meshgrid(range(4), range(3), range(2)), axis=-1).reshape(-1, 3)
    return np.tile(grid, (20, 1))


@pytest.mark.parametrize(
    ("matrix", "gaps"),
    [
        pytest.param(np.eye(3, 2) * LN2, [1.0, 1.0], id="one_code_per_factor"),
        pytest.param(np.zeros((3, 2)), [0.0, 0.0], id="useless_codes"),
        pytest.param(np.full((3, 2), LN2), [0.0, 0.0], id="duplicated_codes"),
        pytest.param(np.array([[LN2, 0.0], [LN2 / 2, 0.0]]), [0.5, 0.0], id="half_shared"),
        pytest.param(np.array([[LN2, LN2 / 4]]), [1.0, 0.25], id="more_factors_than_codes"),
        pytest.param(np.zeros((0, 2)), [0.0, 0.0], id="no_code"),
    ],
)
def test_gap_on_known_information(matrix: np.ndarray, gaps: list[float]) -> None:
    information = MutualInformation(matrix=matrix, entropy=np.full(2, LN2))
    assert mutual_information_gap(information) == pytest.approx(gaps)


@pytest.mark.parametrize("name", golden.NAMES)
def test_mig_dlib20_matches_the_reference(name: str) -> None:
    fixture = golden.load(name)
    assert mig_dlib20(*fixture.trained()) == pytest.approx(fixture.values["mig_train"], abs=1e-6)
    full = mig_dlib20(fixture.codes, fixture.factors)
    assert full == pytest.approx(fixture.values["mig_full"], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "score"),  # specs/metrics.md 4.2, three digits
    [
        ("factorial_perfect", 1.000),
        ("noisy_aligned", 0.861),
        ("rotated_45", 0.012),
        ("near_dead_dims", 0.555),
        ("dmelodies_perfect32", 0.998),
    ],
)
def test_mig_rank32_matches_the_published_table(name: str, score: float) -> None:
    assert mig_rank32(*golden.load(name).trained()) == pytest.approx(score, abs=5e-4)


def test_mig_is_one_for_exact_codes_and_zero_for_duplicated_ones() -> None:
    factors = factorial()
    codes = factors.astype(np.float64)
    for score in (mig_rank32, mig_dlib20):
        assert score(codes, factors) == pytest.approx(1.0)
        assert score(np.tile(codes, 2), factors) == pytest.approx(0.0)


def test_mig_does_not_see_two_factors_merged_into_one_code() -> None:
    factors = factorial()
    merged = np.stack([factors[:, 0] + 4.0 * factors[:, 1], 1.0 * factors[:, 2]], axis=1)
    assert mig_rank32(merged, factors) == pytest.approx(1.0)


def test_mig_of_a_hadamard_mixture_is_near_zero() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 8, size=(10_000, 4))
    standard = (factors - 3.5) / factors.std(axis=0)
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2.0
    assert mig_rank32(standard @ hadamard, factors) < 0.05


def test_mig_rank32_of_noise_is_near_zero() -> None:
    rng = np.random.default_rng(0)
    codes, factors = rng.normal(size=(10_000, 32)), golden.load("dmelodies_perfect32").factors
    assert mig_rank32(codes, factors) < 0.01
    assert mig_rank32(codes[:1500], factors[:1500]) < 0.01


def test_one_outlier_changes_mig_rank32_by_less_than_a_hundredth_and_ruins_mig_dlib20() -> None:
    codes, factors = golden.load("dmelodies_perfect32").trained()
    before = mig_rank32(codes, factors), mig_dlib20(codes, factors)
    codes = codes.copy()
    codes[0] = 1e3
    assert mig_rank32(codes, factors) == pytest.approx(before[0], abs=0.01)
    assert before[1] > 0.9
    assert mig_dlib20(codes, factors) < 0.01


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_mig_rank32_ignores_order_scale_monotone_maps_and_dead_codes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 4, size=(192, 2))
    aligned = factors + 0.3 * rng.normal(size=(192, 2))
    codes = np.concatenate([aligned, rng.normal(size=(192, 1))], axis=1)
    dead = np.concatenate([codes, np.zeros((192, 4))], axis=1)
    score = mig_rank32(codes, factors)
    rows = rng.permutation(192)
    assert mig_rank32(codes[rows], factors[rows]) == pytest.approx(score, abs=1e-12)
    assert mig_dlib20(dead, factors) == pytest.approx(mig_dlib20(codes, factors), abs=1e-12)
    for same in (
        codes[:, rng.permutation(3)],
        codes * 1e-3 + 5.0,
        np.exp(3.0 * codes),
        -codes,  # exactly, because 192 is a multiple of 32: no value lies on the edge of a bin
        dead,
    ):
        assert mig_rank32(same, factors) == pytest.approx(score, abs=1e-12)


def test_mig_leaves_a_constant_factor_out() -> None:
    factors = factorial()
    codes = factors.astype(np.float64)
    constant = np.concatenate([factors, np.zeros((len(factors), 1), dtype=np.int64)], axis=1)
    for score in (mig_rank32, mig_dlib20):
        assert score(codes, constant) == score(codes, factors)
        assert score(codes, constant[:, 3:]) == 0.0
