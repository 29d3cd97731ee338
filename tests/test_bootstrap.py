from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made_codes import mig_rank32

from aurl.metrics.bootstrap import mean_interval, score_intervals, widening
from aurl.metrics.mig import mutual_information_gap
from aurl.metrics.mutual_information import mutual_information, rank_bins

PIECES = np.repeat(np.arange(40), 8)


def clustered(rng: np.random.Generator) -> np.ndarray:
    """Windows whose pieces differ more than the windows within them; the true mean is 0."""
    return rng.normal(size=40)[PIECES] + 0.5 * rng.normal(size=PIECES.size)


def coverage(pieces: np.ndarray, trials: int = 300) -> float:
    hits = 0
    for seed in range(trials):
        values = clustered(np.random.default_rng(seed))[: pieces.size]
        interval = mean_interval(values, pieces)
        hits += interval.low <= 0.0 <= interval.high
    return hits / trials


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    # 300 trials: three standard errors are 0.038
    assert 0.91 <= coverage(PIECES) <= 0.99
    assert 0.91 <= coverage(PIECES[: 4 * 8]) <= 0.99


@pytest.mark.parametrize(("n", "t"), [(2, 12.7062), (3, 4.3027), (10, 2.2622), (134, 1.9780)])
def test_few_pieces_widen_an_interval_by_student_s_t(n: int, t: float) -> None:
    assert widening(n) == pytest.approx((n / (n - 1)) ** 0.5 * t / 1.95996, rel=1e-4)


def test_resampling_windows_instead_of_pieces_would_cover_far_too_seldom() -> None:
    assert coverage(np.arange(PIECES.size), trials=75) < 0.7


def test_interval_width_agrees_with_the_standard_error_over_pieces() -> None:
    values = clustered(np.random.default_rng(0))
    interval = mean_interval(values, PIECES)
    error = values.reshape(40, 8).mean(axis=1).std(ddof=1) / np.sqrt(40)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low < interval.mean < interval.high


def test_long_pieces_weigh_by_their_windows() -> None:
    values, pieces = np.array([1.0, 1.0, 1.0, 0.0]), np.array([5, 5, 5, 9])
    interval = mean_interval(values, pieces, within=(0.0, 1.0))
    assert interval.mean == 0.75
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_interval_of_equal_values_has_no_width() -> None:
    interval = mean_interval(np.full(6, 0.25), np.array([0, 0, 1, 1, 2, 2]))
    assert (interval.low, interval.mean, interval.high) == (0.25, 0.25, 0.25)


def test_many_pieces_are_resampled_in_blocks() -> None:
    values = np.random.default_rng(0).normal(size=3_000)
    interval = mean_interval(values, np.arange(3_000))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / np.sqrt(3_000), rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": np.array([0.0, np.nan])}, "values must be finite, got 1 NaN or infinite"),
        ({"pieces": np.array([3, 3])}, "pieces must name at least 2 pieces, got 1"),
    ],
)
def test_mean_interval_names_the_argument_to_change(
    arguments: dict[str, Any], message: str
) -> None:
    defaults: dict[str, Any] = {"values": np.array([0.0, 1.0]), "pieces": np.array([0, 1])}
    with pytest.raises(ValueError, match=message):
        mean_interval(**(defaults | arguments))


def of_rows(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: np.array([values[rows].mean(), values[rows].std()])


def test_score_intervals_of_a_mean_are_as_wide_as_those_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    pieces = np.repeat(np.arange(6), (30, 10, 8, 6, 4, 2))
    values = 0.5 + 0.05 * rng.normal(size=60) + 0.1 * rng.normal(size=6)[pieces]
    found = score_intervals(of_rows(values), pieces, n_resamples=1000)[0]
    expected = mean_interval(values, pieces)
    assert found.mean == expected.mean
    assert found.high - found.low == pytest.approx(expected.high - expected.low)
    assert expected.high - expected.low > 0.1


def test_score_intervals_lie_around_the_score_whatever_resampling_adds() -> None:
    values = np.random.default_rng(0).random(200)

    def biased(rows: np.ndarray) -> np.ndarray:
        return values[rows].mean(keepdims=True) + 0.2 * (len(np.unique(rows)) < 200)

    interval = score_intervals(biased, np.arange(200))[0]
    assert interval.low < interval.mean < interval.high
    assert interval.high - interval.low < 0.12


def test_score_intervals_cover_what_fresh_data_give() -> None:
    def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        factors = rng.integers(0, 3, size=(500, 2))
        return factors + 0.5 * rng.normal(size=(500, 2)), factors

    scores = [mig_rank32(*sample(seed)) for seed in range(1, 60)]
    codes, factors = sample(0)
    bins = rank_bins(codes, n_bins=32)

    def mig(rows: np.ndarray) -> np.ndarray:
        information = mutual_information(bins[rows], factors[rows], corrected=True)
        return mutual_information_gap(information).mean(keepdims=True)

    interval = score_intervals(mig, np.arange(500))[0]
    assert (interval.high - interval.low) / 3.92 == pytest.approx(np.std(scores), rel=0.5)


def test_score_intervals_refuse_one_piece() -> None:
    with pytest.raises(ValueError, match=r"pieces must name at least 2 pieces, got 1\."):
        score_intervals(of_rows(np.ones(4)), np.zeros(4, dtype=np.int64))
