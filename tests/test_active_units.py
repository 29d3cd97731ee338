import golden
import numpy as np
import pytest

from aurl.metrics.active_units import active_units, collapsed_fraction, kl_from_aggregate


def gaussian_kl(mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    return 0.5 * (mean**2 + np.exp(log_var) - 1.0 - log_var)


def test_counts_match_the_reference_on_linear_gaussian_posteriors() -> None:
    mean, log_var, values = golden.posterior()
    kl = gaussian_kl(mean, log_var)
    assert kl.mean(axis=0) == pytest.approx(values["kl_per_dim"], abs=2e-6)
    assert mean.var(axis=0, ddof=1) == pytest.approx(values["au_var"], abs=2e-6)
    assert active_units(mean) == values["au_count"]
    assert collapsed_fraction(kl) == values["collapsed_frac_eps0_01_delta0_01"]


def test_variance_is_fooled_by_scale_where_kl_is_not() -> None:
    mean = 0.15 * np.random.default_rng(0).normal(size=(1000, 1))
    kl = gaussian_kl(mean, np.full_like(mean, -0.02))
    assert active_units(mean) == 1
    assert collapsed_fraction(kl, epsilon=0.1) == 1.0


def test_variance_has_one_less_than_the_samples_below_the_line() -> None:
    assert active_units(np.array([[-0.08], [0.08]])) == 1  # 0.0128, not 0.0064


def test_kl_is_fooled_by_width_where_variance_is_not() -> None:
    mean = np.zeros((100, 1))
    assert active_units(mean) == 0
    assert collapsed_fraction(gaussian_kl(mean, np.full_like(mean, -2.0)), epsilon=0.1) == 0.0


def test_a_dimension_is_counted_once_whatever_its_slots() -> None:
    rng = np.random.default_rng(0)
    mean = np.concatenate([rng.normal(size=(500, 1)), np.zeros((500, 3))], axis=1)
    kl = gaussian_kl(mean, np.zeros_like(mean))
    dimension = np.array([0, 1, 0, 1])
    assert active_units(mean, dimension) == 1
    assert collapsed_fraction(kl, dimension) == 0.5
    assert collapsed_fraction(kl) == 0.75


@pytest.mark.parametrize(("n_used", "fraction"), [(1, 1.0), (2, 0.0)])
def test_collapse_allows_a_share_delta_of_the_samples(n_used: int, fraction: float) -> None:
    kl = np.zeros((100, 1))
    kl[:n_used] = 5.0
    assert collapsed_fraction(kl, epsilon=0.01, delta=0.01) == fraction
    assert collapsed_fraction(np.full((9, 1), 0.01), epsilon=0.01) == 0.0  # less, not as little


def test_without_a_prior_what_says_the_same_of_all_is_collapsed_wherever_it_lies() -> None:
    rng = np.random.default_rng(0)
    mean, log_var = np.full((4000, 2), 3.0), np.full((4000, 2), -1.0)
    mean[:, 1], log_var[:, 1] = 0.8 * rng.normal(size=4000), np.log(1.0 - 0.8**2)
    kl = kl_from_aggregate(mean, log_var)
    assert kl[:, 0] == pytest.approx(0.0, abs=1e-12)
    assert kl[:, 1].mean() == pytest.approx(-0.5 * np.log(1.0 - 0.8**2), abs=0.02)
    assert collapsed_fraction(kl) == 0.5
