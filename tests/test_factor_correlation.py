import numpy as np
import pytest

from aurl.metrics.factor_correlation import factor_correlations


def test_correlation_is_one_for_copies_and_near_zero_for_strangers() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.integers(0, 12, size=(2, 1000))
    found = factor_correlations(np.stack([first, -3 * first, other, np.full(1000, 4)], axis=1))
    assert found[0, 1] == pytest.approx(1.0)
    assert np.diag(found) == pytest.approx([1.0, 1.0, 1.0, 0.0])
    assert found[0, 2] < 0.05  # without the correction 0.09
    assert (found == found.T).all()
    assert found[3].tolist() == [0.0, 0.0, 0.0, 0.0]


def test_correlation_of_two_classes_is_that_of_their_numbers() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, size=100_000)
    second = np.where(rng.random(100_000) < 0.3, rng.integers(0, 2, size=100_000), first)
    expected = abs(np.corrcoef(first, second)[0, 1])
    found = factor_correlations(np.stack([first, second], axis=1))[0, 1]
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("n_samples", [0, 1, 2, 3])
def test_correlation_of_few_samples_is_defined(n_samples: int) -> None:
    found = factor_correlations(np.arange(2 * n_samples).reshape(n_samples, 2))
    assert np.isfinite(found).all()
    assert ((found >= 0.0) & (found <= 1.0)).all()


def test_a_factor_that_another_one_tells_is_wholly_correlated_with_it() -> None:
    finer = np.tile(np.arange(6), 50)
    found = factor_correlations(np.stack([finer, finer // 3], axis=1))
    assert found[0, 1] == pytest.approx(1.0, abs=0.01)


def test_a_factor_with_a_class_for_each_sample_is_itself_and_tells_nothing() -> None:
    found = factor_correlations(np.array([[0, 0], [1, 1], [2, 0]]))
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0]]
