"""Information per coordinate, against the Gaussian channel, where it is known."""

import golden
import numpy as np
import pytest
from scipy.stats import norm

from aurl.metrics.latent_information import latent_information


def channel(share: float, n: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z = a t + noise of variance 1 - a^2, t standard normal: KL and information are equal."""
    rng = np.random.default_rng(0)
    mean = share * rng.standard_normal((n, 1))
    log_var = np.full((n, 1), np.log(1.0 - share**2))
    return mean + np.exp(0.5 * log_var) * rng.standard_normal((n, 1)), mean, log_var


@pytest.mark.parametrize("nats", [0.1, 0.5, 2.0])
def test_information_of_a_gaussian_channel(nats: float) -> None:
    share = float(np.sqrt(1.0 - np.exp(-2.0 * nats)))
    found = latent_information(*channel(share))
    assert found[0] == pytest.approx(nats, rel=0.04, abs=0.02)


def test_information_matches_the_reference() -> None:
    mean, log_var, values = golden.posterior()
    found = latent_information(golden.posterior_draws(), mean, log_var)
    assert found == pytest.approx(values["mi_per_dim_mc"], abs=1e-6)


def test_a_model_that_has_diverged_has_no_number() -> None:
    z, mean, log_var = channel(0.8, n=20)
    for spoilt in (np.inf, np.nan):
        assert np.isnan(latent_information(z, np.full_like(mean, spoilt), log_var)).all()
    assert np.isnan(latent_information(z, mean, np.full_like(log_var, -2000.0))).all()


def test_a_coordinate_that_ignores_the_data_has_none() -> None:
    z = np.random.default_rng(1).standard_normal((500, 2))
    nothing = np.zeros((500, 2))
    assert latent_information(z, nothing, nothing) == pytest.approx([0.0, 0.0], abs=1e-12)


def test_information_is_at_most_the_log_of_the_samples() -> None:
    mean = np.arange(64.0)[:, None]
    log_var = np.full((64, 1), -20.0)
    assert latent_information(mean, mean, log_var) == pytest.approx([np.log(64)])


def test_moving_and_scaling_the_codes_changes_nothing() -> None:
    z, mean, log_var = channel(0.8)
    moved = latent_information(3.0 * z - 7.0, 3.0 * mean - 7.0, log_var + 2.0 * np.log(3.0))
    assert moved == pytest.approx(latent_information(z, mean, log_var))


def test_each_density_is_as_wide_as_its_own_posterior() -> None:
    rng = np.random.default_rng(0)
    mean, log_var = rng.normal(size=(7, 2)), rng.normal(size=(7, 2))
    z = mean + np.exp(0.5 * log_var) * rng.normal(size=(7, 2))
    found = latent_information(z, mean, log_var)
    for index in range(2):
        density = np.array(
            [
                norm.pdf(z[:, index], m, s)
                for m, s in zip(mean[:, index], np.exp(0.5 * log_var[:, index]), strict=True)
            ]
        )
        expected = np.log(np.diagonal(density) / density.mean(axis=0)).mean()
        assert found[index] == pytest.approx(expected)
