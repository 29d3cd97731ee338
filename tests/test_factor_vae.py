import numpy as np
import pytest
from made_codes import first_two_thirds, made

from aurl.metrics.beta_vae import beta_vae
from aurl.metrics.factor_vae import factor_vae
from aurl.metrics.matching import RowMatching


def test_matched_rows_share_the_value_and_cover_all_that_do() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, size=(60, 3)) * [1, 5, -2]
    matching = RowMatching(factors)
    factor = rng.integers(0, 3, size=(2000, 1))
    like = matching.any_rows(rng, (2000, 8))
    rows = matching.rows_like(rng, like, factor)
    assert (factors[rows, factor] == factors[like, factor]).all()
    of_first = rows[(like == 0) & (factor == 1)]
    assert set(of_first) == set(np.flatnonzero(factors[:, 1] == factors[0, 1]))


@pytest.mark.parametrize("score", [factor_vae, beta_vae])
def test_score_is_reproducible(score: type) -> None:
    codes, factors = made("rotated")
    arrays = codes, factors, first_two_thirds(len(codes))
    assert score(*arrays) == score(*arrays)


def test_factor_vae_leaves_out_codes_below_a_twentieth() -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    small = codes * [1.0, 0.04, 1.0]
    assert factor_vae(small, factors, train) == factor_vae(codes[:, [0, 2]], factors, train)
    assert factor_vae(small, factors, train) < 0.7
    assert factor_vae(0.04 * codes, factors, train) == 0.0
    assert factor_vae(codes * [1.0, 0.125, 1.0], factors, train) > 0.99


def test_merged_and_duplicated_factors_are_not_seen_as_published() -> None:
    for kind in ("merged", "perfect"):
        codes, factors = made(kind)
        assert beta_vae(codes, factors, first_two_thirds(len(codes))) > 0.99
    codes, factors = made("duplicated")
    assert factor_vae(codes, factors, first_two_thirds(len(codes))) > 0.99


@pytest.mark.parametrize("score", [factor_vae, beta_vae])
def test_one_factor_cannot_be_mistaken(score: type) -> None:
    codes, factors = made("useless")
    train = first_two_thirds(len(codes))
    assert score(codes, factors[:, :1], train) == 1.0
    assert score(codes, factors[:, :2], train) < 0.7
    assert score(codes, np.zeros_like(factors), train) == 0.0


@pytest.mark.parametrize("score", [factor_vae, beta_vae])
def test_factors_that_do_not_vary_on_both_sides_are_left_out(score: type) -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    more = np.concatenate([factors, np.where(train, factors[:, 1], 0)[:, None]], axis=1)
    assert score(codes, more, train) == score(codes, factors, train)


def test_factor_vae_is_of_variances_relative_to_each_code() -> None:
    codes, factors = made("split")
    train = first_two_thirds(len(codes))
    expected = factor_vae(codes, factors, train)
    assert factor_vae(codes * [1.0, 3.0, 100.0, 10.0], factors, train) == expected


@pytest.mark.parametrize("score", [factor_vae, beta_vae])
def test_score_is_of_samples_that_training_has_not_seen(score: type) -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    noise = np.random.default_rng(0).normal(size=codes.shape)
    assert score(np.where(train[:, None], codes, noise), factors, train) < 0.6


def test_what_factor_vae_reads_codes_by_is_of_training_alone() -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    exchanged = np.where(train[:, None], codes, codes[:, [1, 2, 0]])
    assert factor_vae(exchanged, factors, train) < 0.1
    codes[-1, 0] = 1e6  # held out
    assert factor_vae(codes, factors, train) > 0.8
