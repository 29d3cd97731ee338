import numpy as np
import pytest

from aurl.metrics.active_units import kl_from_aggregate
from aurl.metrics.dimensions import carried_nats, over_slots, own_rates
from aurl.metrics.latent_information import latent_information

DIMENSION = np.array([0, 1, 0, 1, 2])


def test_over_slots_is_the_mean_over_the_coordinates_of_a_dimension() -> None:
    values = np.array([[1.0, 10.0, 3.0, 30.0, 7.0], [0.0, 0.0, 4.0, 0.0, 1.0]])
    assert over_slots(values, DIMENSION).tolist() == [[2.0, 20.0, 7.0], [2.0, 0.0, 1.0]]
    assert over_slots(values[0], DIMENSION).tolist() == [2.0, 20.0, 7.0]


def test_over_slots_without_an_index_is_the_identity() -> None:
    assert over_slots(np.array([1.0, 2.0]), None).tolist() == [1.0, 2.0]


def test_over_slots_keeps_nan_within_its_dimension() -> None:
    values = np.array([np.nan, 1.0, 3.0, 3.0, 0.0])
    np.testing.assert_array_equal(over_slots(values, DIMENSION), [np.nan, 2.0, 0.0])


def posterior(rates: list[float], shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Means and log-variances that carry these rates exactly; together standard normal + shift."""
    a = np.sqrt(1.0 - np.exp(-2.0 * np.array(rates)))
    t = np.random.default_rng(0).normal(size=(500, len(rates)))
    t = (t - t.mean(axis=0)) / t.std(axis=0)
    return a * t + shift, np.broadcast_to(np.log(1.0 - a**2), t.shape)


def test_what_a_dimension_carries_is_its_kl_less_that_of_its_aggregate() -> None:
    rates = [2.0, 0.3, 0.0]
    assert carried_nats(*posterior(rates)) == pytest.approx(rates, abs=1e-9)
    mean, log_var = posterior(rates, shift=1.5)
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1.0 - log_var)
    assert kl.mean(axis=0) == pytest.approx(np.array(rates) + 0.5 * 1.5**2)
    assert carried_nats(mean, log_var) == pytest.approx(rates, abs=1e-9)
    assert carried_nats(0.01 * mean, log_var + 2.0 * np.log(0.01)) == pytest.approx(rates)
    widths = np.tile(np.linspace(-3.0, 3.0, 400), (30, 1))
    assert (carried_nats(np.zeros_like(widths), widths) >= 0.0).all()  # whatever rounding leaves


def test_what_a_dimension_carries_is_its_mean_kl_from_the_aggregate() -> None:
    rng = np.random.default_rng(1)
    mean, log_var = rng.normal(size=(40, 3)) ** 3, rng.normal(size=(40, 3))
    expected = kl_from_aggregate(mean, log_var).mean(axis=0)
    assert carried_nats(mean, log_var) == pytest.approx(expected)


def test_what_a_dimension_carries_is_never_less_than_its_information() -> None:
    """Two values far apart: ln 2 nats, whatever a Gaussian around both would hold."""
    mean = np.repeat([[-1.0], [1.0]], 250, axis=0)
    log_var = np.full_like(mean, -4.0)
    z = mean + np.exp(-2.0) * np.random.default_rng(2).normal(size=mean.shape)
    assert latent_information(z, mean, log_var) == pytest.approx([np.log(2.0)], abs=1e-6)
    assert carried_nats(mean, log_var) == pytest.approx([0.5 * (np.log1p(np.exp(-4.0)) + 4.0)])


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ([0, 2], r"dimension must number every dimension from 0, got none of \[1\]"),
        ([0, -1], r"dimension must not be negative, got -1"),
    ],
)
def test_over_slots_refuses_an_index_with_holes(dimension: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        over_slots(np.zeros(2), np.array(dimension))


def test_no_coordinate_tells_more_than_its_slot_costs_but_where_it_has_a_kl_of_its_own() -> None:
    kl = np.array([5.0, -4.9, 3.0, 1.0, -2.0, 1.5, 0.7])
    information = np.array([0.9, 0.05, 0.9, 4.5, 0.9, 0.9, 0.2])
    closed, slot = np.arange(7) == 6, np.array([0, 0, 1, 1, 2, 2, 3])
    found = own_rates(kl, information, closed, slot)
    assert found == pytest.approx([0.1, 0.05, 0.9, 4.0, 0.0, 0.0, 0.7])
