import golden
import numpy as np
import pytest
from made_codes import made
from sklearn.feature_selection import mutual_info_classif

from aurl.metrics.infomec import infomec
from aurl.metrics.neighbour_information import neighbour_information


@pytest.mark.parametrize("name", golden.NAMES)
def test_infomec_matches_the_reference(name: str) -> None:
    fixture = golden.load(name)
    scores, values = infomec(*fixture.trained()), fixture.values["infomec_tripod"]
    assert scores.infom == pytest.approx(values["infom"], abs=5e-3)
    assert scores.infoe == pytest.approx(values["infoe"], abs=5e-3)
    assert scores.active.tolist() == [bool(each) for each in values["active"]]
    if values["infoc"] is None:  # two factors that no code carries: 0 / 0 there, 0 here
        assert scores.infoc == pytest.approx(0.576, abs=5e-3)
    else:
        assert scores.infoc == pytest.approx(values["infoc"], abs=5e-3)


def test_neighbour_information_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(0, 3, 400), rng.integers(0, 9, 400) ** 2], axis=1)
    factors[7, 1] = 1000  # a class of one
    factors[8:10, 1] = 1500  # a class of two
    factors[10:13, 1] = 2000  # a class of three
    codes = np.stack([factors[:, 0] + rng.normal(size=400), rng.normal(size=400)], axis=1)
    codes = (codes - codes.mean(axis=0)) / codes.std(axis=0)
    found = neighbour_information(codes, factors)
    for k in (0, 1):
        expected = mutual_info_classif(codes, factors[:, k], n_neighbors=10, random_state=0)
        assert found[:, k] == pytest.approx(expected, abs=1e-6)


def test_neighbour_information_of_a_gaussian_mixture_is_near_the_truth() -> None:
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 2, size=(4000, 1))
    codes = 8.0 * factors + rng.normal(size=(4000, 1))
    codes = (codes - codes.mean()) / codes.std()
    assert neighbour_information(codes, factors)[0, 0] == pytest.approx(np.log(2.0), abs=0.01)


def test_a_factor_that_no_code_carries_counts_zero_for_compactness() -> None:
    codes, factors = made("perfect")
    more = np.concatenate([factors, np.roll(factors[:, :1], 7, axis=0)], axis=1)
    full, spoilt = infomec(codes, factors), infomec(codes[:, :2], more)
    assert 0.0 <= spoilt.infoc < full.infoc
    assert spoilt.explicitness[0] > 0.99


def test_active_codes_are_those_of_a_tenth_of_the_widest() -> None:
    codes, factors = made("perfect")
    scores = infomec(codes * [1.0, 0.02, 1.0], factors)
    assert scores.active.tolist() == [True, False, True]
    constant = np.concatenate([factors, np.full((len(factors), 1), 3)], axis=1)
    assert infomec(codes, constant).infoe == infomec(codes, factors).infoe
    assert not infomec(np.zeros_like(codes), factors).active.any()
    assert infomec(np.zeros_like(codes), factors).infoe == 0.0


def test_a_code_is_as_wide_as_its_middle_half() -> None:
    """A fifth of the samples far away is no width; a width of 0.06 is none beside one of 1."""
    codes, factors = made("perfect")
    spread = np.quantile(codes[:, 0], 0.75) - np.quantile(codes[:, 0], 0.25)
    even = np.linspace(-0.06, 0.06, len(codes)) * spread
    far = np.where(np.arange(len(codes)) < 0.22 * len(codes), -9.0, even)
    found = infomec(np.stack([codes[:, 0], even, far, 2.0 * even], axis=1), factors)
    assert found.active.tolist() == [True, False, False, True]


def test_a_common_class_is_not_half_an_answer() -> None:
    rng = np.random.default_rng(0)
    factors = (np.arange(1000) % 10 == 0).astype(np.int64)[:, None]
    assert infomec(rng.normal(size=(1000, 2)), factors).infoe < 0.05
