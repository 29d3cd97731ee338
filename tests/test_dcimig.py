import golden
import numpy as np
import pytest

from aurl.metrics.dcimig import dcimig, own_code_gap
from aurl.metrics.mutual_information import (
    MutualInformation,
    rank_mutual_information,
    width_mutual_information,
)

LN2 = float(np.log(2.0))


@pytest.mark.parametrize(
    ("matrix", "score"),
    [
        pytest.param(np.eye(3, 2) * LN2, 1.0, id="one_code_per_factor"),
        pytest.param(np.zeros((3, 2)), 0.0, id="useless_codes"),
        pytest.param(np.full((1, 2), LN2), 0.0, id="merged_factors"),
        pytest.param(np.tile(np.eye(2), (2, 1)) * LN2, 1.0, id="duplicated_codes"),
        pytest.param(np.array([[LN2, LN2 / 4]]), 0.375, id="more_factors_than_codes"),
        pytest.param(np.zeros((0, 2)), 0.0, id="no_code"),
    ],
)
def test_dcimig_on_known_information(matrix: np.ndarray, score: float) -> None:
    information = MutualInformation(matrix=matrix, entropy=np.full(2, LN2))
    assert dcimig(information) == pytest.approx(score)


def test_dcimig_of_one_factor_is_its_best_share() -> None:
    information = MutualInformation(matrix=np.array([[0.1], [0.4]]), entropy=np.array([0.8]))
    assert dcimig(information) == pytest.approx(0.5)


def test_dcimig_is_zero_when_no_factor_varies() -> None:
    assert dcimig(MutualInformation(matrix=np.zeros((2, 1)), entropy=np.zeros(1))) == 0.0


def test_a_factor_that_no_code_prefers_gets_no_gap() -> None:
    information = MutualInformation(matrix=np.array([[0.5, 0.2], [0.4, 0.1]]), entropy=np.ones(2))
    assert own_code_gap(information) == pytest.approx([0.3, 0.0])


@pytest.mark.parametrize("name", golden.NAMES)
def test_dcimig_from_width_bins_matches_the_reference(name: str) -> None:
    fixture = golden.load(name)
    score = dcimig(width_mutual_information(*fixture.trained()))
    assert score == pytest.approx(fixture.values["ubisoft_dcimig_20bins"], abs=1e-6)


def test_dcimig_is_not_diluted_by_codes_that_nobody_uses() -> None:
    assert dcimig(rank_mutual_information(*golden.load("dmelodies_perfect32").trained())) > 0.99


def test_dcimig_of_noise_is_near_zero() -> None:
    factors = golden.load("dmelodies_perfect32").factors
    codes = np.random.default_rng(0).normal(size=(10_000, 32))
    assert dcimig(rank_mutual_information(codes, factors)) < 0.01
