from collections.abc import Callable

import golden
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurl.metrics.mutual_information import (
    class_labels,
    mutual_information,
    rank_bins,
    rank_mutual_information,
    width_bins,
    width_mutual_information,
)

LN2 = float(np.log(2.0))


def columns(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64).T


@pytest.mark.parametrize("name", golden.NAMES)
def test_width_mutual_information_matches_the_reference(name: str) -> None:
    fixture = golden.load(name)
    information = width_mutual_information(*fixture.trained())
    expected = np.array(fixture.values["mi_matrix_train_nats_codes_x_factors"])
    np.testing.assert_allclose(information.matrix, expected, atol=1e-6)
    entropy = np.array(fixture.values["factor_entropy_train_nats"])
    np.testing.assert_allclose(information.entropy, entropy, atol=1e-6)


def test_rank_bins_hold_equal_numbers_of_samples() -> None:
    codes = np.random.default_rng(0).normal(size=(3200, 2))
    bins = rank_bins(codes, n_bins=32)
    assert bins.max() == 31
    assert all((np.bincount(column) == 100).all() for column in bins.T)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        pytest.param([3.0, 1.0, 2.0, 4.0], [1, 0, 0, 1], id="halves"),
        pytest.param([5.0, 5.0, 5.0, 5.0], [0, 0, 0, 0], id="constant"),
        pytest.param([0.0, 1.0, 1.0, 1.0], [0, 1, 1, 1], id="rare_low_value"),
        pytest.param([0.0, 0.0, 0.0, 1.0], [0, 0, 0, 1], id="rare_high_value"),
    ],
)
def test_rank_bins_of_two_bins(values: list[float], labels: list[int]) -> None:
    assert rank_bins(columns(values), n_bins=2).ravel().tolist() == labels


def test_rank_bins_keep_every_level_of_a_discrete_code() -> None:
    codes = np.repeat(np.arange(28.0), 50)[:, None]
    np.testing.assert_array_equal(rank_bins(codes), codes.astype(np.int64))


def test_width_bins_keep_the_largest_value_in_the_last_bin() -> None:
    bins = width_bins(columns([0.0, 0.5, 0.99, 1.0], [2.0, 2.0, 2.0, 2.0]), n_bins=2)
    assert bins.T.tolist() == [[0, 1, 1, 1], [0, 0, 0, 0]]


def test_class_labels_number_the_classes_in_order() -> None:
    assert class_labels(np.array([[-5], [900], [3]])).ravel().tolist() == [0, 2, 1]


@given(st.integers(0, 10_000), st.integers(2, 400))
def test_rank_bins_ignore_strictly_increasing_maps(seed: int, n_samples: int) -> None:
    codes = np.random.default_rng(seed).normal(size=(n_samples, 3)).round(1)
    for mapped in (7.0 * codes - 3.0, np.exp(codes), codes**3):
        np.testing.assert_array_equal(rank_bins(mapped), rank_bins(codes))


@given(st.integers(0, 10_000))
def test_mutual_information_follows_permutations_of_rows_codes_and_factors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, factors = rng.normal(size=(120, 4)), rng.integers(0, 4, size=(120, 3))
    rows, latents, order = rng.permutation(120), rng.permutation(4), rng.permutation(3)
    for estimate in (rank_mutual_information, width_mutual_information):
        before = estimate(codes, factors)
        after = estimate(codes[rows][:, latents], factors[rows][:, order])
        np.testing.assert_allclose(after.matrix, before.matrix[latents][:, order], atol=1e-12)
        np.testing.assert_allclose(after.entropy, before.entropy[order], atol=1e-12)


@given(st.integers(0, 10_000), st.integers(0, 60), st.booleans())
def test_mutual_information_lies_between_zero_and_the_entropy(
    seed: int, n_samples: int, corrected: bool
) -> None:
    rng = np.random.default_rng(seed)
    codes, factors = rng.normal(size=(n_samples, 3)), rng.integers(0, 5, size=(n_samples, 2))
    information = mutual_information(rank_bins(codes), factors, corrected=corrected)
    assert (information.matrix >= 0.0).all()
    assert (information.matrix <= information.entropy).all()
    assert (information.entropy <= np.log(5.0) + 1e-12).all()


def test_miller_madow_correction_removes_the_bias_on_independent_codes() -> None:
    rng = np.random.default_rng(0)
    bins, factors = rng.integers(0, 32, size=(2000, 40)), rng.integers(0, 8, size=(2000, 5))
    plug_in = mutual_information(bins, factors, corrected=False).matrix.mean()
    corrected = mutual_information(bins, factors, corrected=True).matrix.mean()
    assert plug_in == pytest.approx(31 * 7 / (2 * 2000), rel=0.1)  # theory of the bias
    assert corrected < 0.1 * plug_in


def test_miller_madow_correction_is_that_of_the_three_entropies() -> None:
    bins, factors = (
        np.array([[0], [0], [1], [1], [2], [2]]),
        np.array([[0], [1], [0], [0], [1], [1]]),
    )
    plug_in = mutual_information(bins, factors, corrected=False).matrix[0, 0]
    corrected = mutual_information(bins, factors, corrected=True).matrix[0, 0]
    assert plug_in == pytest.approx(LN2 * 2 / 3)  # only the first bin is undecided
    assert corrected - plug_in == pytest.approx(((3 - 1) + (2 - 1) - (4 - 1)) / (2 * 6))


def test_correlated_gaussians_have_the_mutual_information_of_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(2, 40_000))
    codes = (0.8 * signal + 0.6 * noise)[:, None]
    factors = rank_bins(signal[:, None], n_bins=32)
    truth = -0.5 * np.log(1.0 - 0.8**2)
    # binning both sides to 32 levels loses about 2 %
    assert rank_mutual_information(codes, factors).matrix[0, 0] == pytest.approx(truth, rel=0.04)


@pytest.mark.parametrize(
    "shape", [(0, 3, 2), (5, 0, 2), (5, 3, 0)], ids=["rows", "codes", "factors"]
)
def test_mutual_information_of_nothing_is_empty_or_zero(shape: tuple[int, int, int]) -> None:
    n_samples, n_latents, n_factors = shape
    factors = np.arange(n_samples * n_factors).reshape(n_samples, n_factors)
    for estimate in (rank_mutual_information, width_mutual_information):
        information = estimate(np.ones((n_samples, n_latents)), factors)
        assert information.matrix.shape == (n_latents, n_factors)
        assert not information.matrix.any()
        assert information.entropy == pytest.approx(np.full(n_factors, np.log(max(n_samples, 1))))


@pytest.mark.parametrize("bin_codes", [rank_bins, width_bins])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bins_refuse_codes_that_are_not_finite(
    bin_codes: Callable[[np.ndarray], np.ndarray], bad: float
) -> None:
    with pytest.raises(
        ValueError, match=r"codes must be finite, got NaN or infinity in columns \[1\]"
    ):
        bin_codes(columns([0.0, 1.0], [bad, 1.0]))


@pytest.mark.parametrize("n_bins", [0, -3])
def test_bins_refuse_to_be_none(n_bins: int) -> None:
    with pytest.raises(ValueError, match=f"n_bins must be >= 1, got {n_bins}"):
        rank_bins(np.zeros((2, 1)), n_bins=n_bins)
    with pytest.raises(ValueError, match=f"n_bins must be >= 1, got {n_bins}"):
        width_bins(np.zeros((2, 1)), n_bins=n_bins)


@pytest.mark.parametrize("n_bins", [32, 256])
def test_rank_bins_follow_their_definition_with_few_edges_and_with_many(n_bins: int) -> None:
    rng = np.random.default_rng(0)
    codes = np.stack(
        [rng.normal(size=300), rng.integers(0, 90, 300), rng.normal(size=300)], axis=1
    )
    codes[:, 2] = codes[:, 2].round(1)
    below = (codes[None] < codes[:, None]).sum(axis=1)
    not_above = (codes[None] <= codes[:, None]).sum(axis=1)
    bins = n_bins * (below + not_above) // (2 * len(codes))
    expected = np.stack([np.unique(each, return_inverse=True)[1] for each in bins.T], axis=1)
    np.testing.assert_array_equal(rank_bins(codes, n_bins=n_bins), expected)
