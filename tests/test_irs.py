import golden
import numpy as np
import pytest
from made_codes import made

from aurl.metrics.irs import irs, robustness


@pytest.mark.parametrize("name", golden.NAMES)
def test_irs_matches_the_reference(name: str) -> None:
    fixture = golden.load(name)
    assert irs(*fixture.trained()) == pytest.approx(fixture.values["irs"], abs=1e-5)


def test_robustness_of_known_codes() -> None:
    factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    codes = np.array([[-1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert robustness(codes, factors) == pytest.approx(np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert irs(codes, factors) == 1.0  # the code that never varies has no weight


def test_codes_weigh_what_they_deviate_at_most() -> None:
    codes, factors = made("perfect")
    mixed = np.stack([codes[:, 0], np.random.default_rng(0).normal(size=len(codes))], axis=1)
    useful, useless = robustness(mixed, factors).max(axis=1)
    small, large = irs(mixed * [1.0, 1e-6], factors), irs(mixed * [1e-6, 1.0], factors)
    assert small == pytest.approx(useful, abs=1e-4)
    assert large == pytest.approx(useless, abs=1e-4)


def test_one_outlier_raises_irs_as_published() -> None:
    codes, factors = made("useless")
    before = irs(codes, factors)
    codes[0] = 1e3
    assert before < 0.4
    assert irs(codes, factors) > 0.95


def test_factors_of_many_values_are_cut_into_twenty_parts() -> None:
    factors = np.arange(400)[:, None] % 40
    codes = factors.astype(np.float64)
    # two values share a part, so each moves by half a value around their mean
    assert irs(codes, factors) == pytest.approx(1.0 - 0.5 / 19.5, abs=1e-12)
