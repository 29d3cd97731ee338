"""Regularizers against closed forms and brute force; what is called unbiased is."""

import math
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor

from aurl.objectives.regularizers import (
    attribute_order,
    covariances,
    density_of_code,
    dip_diagonal,
    dip_off_diagonal,
    level_covariance,
    squared_covariances,
    stratified_log_weights,
    total_correlation,
)

LEVEL = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2])


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def correlated(n: int, mixing: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian codes with the covariance ``mixing @ mixing.T``."""
    noise = torch.randn(n, len(mixing), generator=generator, dtype=mixing.dtype)
    return noise @ mixing.T


# Unbiased squares of covariances


def between_levels(values: Tensor) -> Tensor:
    return level_covariance(values, LEVEL)


def off_diagonal(values: Tensor) -> Tensor:
    return dip_off_diagonal(values, None)


TERMS: tuple[Callable[[Tensor], Tensor], ...] = (off_diagonal, between_levels)


def test_squared_covariances_are_the_mean_over_all_quadruples() -> None:
    values = torch.randn(6, 2, generator=rng(), dtype=torch.float64) + 3.0
    x, y = values.T

    def brute(x: Tensor, y: Tensor) -> float:
        found = [
            float((x[a] - x[b]) * (y[a] - y[b]) * (x[c] - x[d]) * (y[c] - y[d]) / 4.0)
            for a, b, c, d in permutations(range(6), 4)
        ]
        return sum(found) / len(found)

    expected = torch.tensor([[brute(x, x), brute(x, y)], [brute(y, x), brute(y, y)]])
    torch.testing.assert_close(squared_covariances(values).float(), expected)
    torch.testing.assert_close(covariances(values), torch.cov(values.T))


def replicated(estimate: Callable[[torch.Generator], Tensor], count: int) -> tuple[float, float]:
    """Mean and standard error of an estimate over independent batches."""
    generator = rng()
    values = torch.stack([estimate(generator) for _ in range(count)])
    return values.mean().item(), values.std().item() / math.sqrt(count)


def plug_in(values: Tensor) -> Tensor:
    """Sum of squared sample covariances, which is biased."""
    squares = values.T.cov().square()
    return squares.sum() - squares.diagonal().sum()


sizes = pytest.mark.parametrize(("batch", "count"), [(8, 3000), (512, 300)])


@sizes
def test_covariance_terms_have_expectation_zero_on_independent_codes(
    batch: int, count: int
) -> None:
    def codes(generator: torch.Generator) -> Tensor:
        return 1.0 + 2.0 * torch.randn(batch, len(LEVEL), generator=generator)

    biased, _ = replicated(lambda g: plug_in(codes(g)), 100)
    for term in TERMS:
        mean, error = replicated(lambda g, term=term: term(codes(g)), count)
        assert abs(mean) < 4.0 * error
        assert 4.0 * error < 0.25 * biased  # small enough to see the bias of the usual form


@sizes
def test_covariance_terms_have_the_right_expectation_on_correlated_codes(
    batch: int, count: int
) -> None:
    mixing = torch.eye(len(LEVEL)) + 0.3 * torch.randn(len(LEVEL), len(LEVEL), generator=rng())
    squares = (mixing @ mixing.T).square()
    all_pairs = (squares.sum() - squares.diagonal().sum()).item()
    levels = squares[LEVEL[:, None] < LEVEL].sum().item()
    for term, truth in zip(TERMS, (all_pairs, levels), strict=True):
        mean, error = replicated(lambda g, term=term: term(correlated(batch, mixing, g)), count)
        assert abs(mean - truth) < 4.0 * error
        assert 4.0 * error < 0.2 * truth


@sizes
@pytest.mark.parametrize(("spread", "truth"), [(0.5, 0.0), (1.5, 4.0 * 1.0)])
def test_the_variance_term_is_unbiased(
    batch: int, count: int, spread: float, truth: float
) -> None:
    """Four coordinates; variances of the means ``spread``, mean of the posterior's 1/2."""

    def estimate(generator: torch.Generator) -> Tensor:
        mean = math.sqrt(spread) * torch.randn(batch, 4, generator=generator)
        noise = 0.5 * torch.rand(batch, 4, generator=generator) + 0.25
        return dip_diagonal(mean, noise.log(), None)

    mean, error = replicated(estimate, count)
    assert abs(mean - truth) < 4.0 * error
    assert 4.0 * error < 0.5  # a plug-in form is 1.3 too high at batch 8 already where it is 0


def test_the_variance_term_allows_for_noise_that_goes_with_the_mean() -> None:
    """Posterior variances that depend on the mean: no product of two estimates from one batch."""

    def estimate(generator: torch.Generator) -> Tensor:
        mean = torch.randn(6, 500, generator=generator)
        every = dip_diagonal(mean, mean.square().log(), None)
        return every / 500  # variance 1, mean noise 1: (2 - 1)^2

    mean, error = replicated(estimate, 120)
    assert abs(mean - 1.0) < 4.0 * error
    assert error < 0.05


@sizes
def test_dip_under_a_learned_prior_is_an_unbiased_distance_of_covariances(
    batch: int, count: int
) -> None:
    size = 6
    first = torch.eye(size) + 0.3 * torch.randn(size, size, generator=rng())
    other = torch.eye(size) + 0.3 * torch.randn(size, size, generator=rng().manual_seed(1))
    log_var = torch.full((batch, size), math.log(0.5))
    for mixing in (first, other):  # the prior is as the posterior, or not
        prior_covariance = mixing @ mixing.T + 0.5 * torch.eye(size)
        difference = (first @ first.T + 0.5 * torch.eye(size) - prior_covariance).square()

        def distance(generator: torch.Generator, mixing: Tensor = mixing) -> Tensor:
            mean = correlated(batch, first, generator)
            draws = correlated(512, mixing, generator)
            draws = draws + math.sqrt(0.5) * torch.randn(512, size, generator=generator)
            return dip_off_diagonal(mean, draws) + dip_diagonal(mean, log_var, draws)

        mean, error = replicated(distance, count // 4)
        assert abs(mean - difference.sum().item()) < 4.0 * error
        assert error < 0.5


def test_levels_that_say_the_same_are_told_from_levels_that_do_not() -> None:
    shared = torch.randn(512, 1, generator=rng())
    same = torch.cat([shared, shared], dim=1)
    assert level_covariance(same, torch.tensor([0, 1])).item() == pytest.approx(1.0, rel=0.15)
    assert level_covariance(same, torch.tensor([0, 0])).item() == 0.0


# Total correlation


def test_total_correlation_of_a_gaussian_is_its_closed_form() -> None:
    mixing = torch.tensor([[0.8, 0.0], [0.7, 0.4]], dtype=torch.float64)
    noise = 0.3
    mean = correlated(2000, mixing, rng())
    log_var = torch.full_like(mean, 2.0 * math.log(noise))
    z = mean + noise * torch.randn(mean.shape, generator=rng().manual_seed(1), dtype=mean.dtype)
    covariance = mixing @ mixing.T + noise**2 * torch.eye(2, dtype=torch.float64)
    truth = 0.5 * (covariance.diagonal().log().sum() - covariance.logdet())
    measured = total_correlation(z, torch.arange(2000), mean, log_var, 2000)
    assert measured.item() == pytest.approx(truth.item(), abs=0.05)


def test_stratified_sampling_is_unbiased_over_all_batches() -> None:
    """Of 5 sequences, batches of 3 with sequence 0: the mean weight of each is 1/5."""
    weights = torch.zeros(5)
    batches = [(0, *others) for others in permutations(range(1, 5), 2)]
    for batch in batches:
        weights[list(batch)] += stratified_log_weights(torch.tensor([0]), 3, 5)[0].exp()
    torch.testing.assert_close(weights / len(batches), torch.full((5,), 0.2))


@pytest.mark.parametrize(("batch", "n_sequences"), [(2, 2), (2, 100), (7, 7), (8, 1000)])
def test_stratified_weights_sum_to_one(batch: int, n_sequences: int) -> None:
    weights = stratified_log_weights(torch.arange(batch), batch, n_sequences).exp()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(batch))


def test_one_coordinate_or_one_sequence_has_no_total_correlation() -> None:
    values = torch.randn(8, 1, generator=rng())
    zero = torch.zeros_like(values)
    assert total_correlation(values, torch.arange(8), values, zero, 100).abs() < 1e-6
    row = torch.randn(1, 5, generator=rng(), requires_grad=True)
    alone = total_correlation(row, torch.arange(1), row, torch.zeros(1, 5), 100)
    alone.backward()
    assert alone.abs() < 1e-5
    assert row.grad is not None
    assert row.grad.isfinite().all()


def test_each_worker_may_take_its_own_rows() -> None:
    mean = torch.randn(6, 3, generator=rng())
    z = mean + torch.randn(6, 3, generator=rng().manual_seed(1))
    log_var = torch.zeros_like(mean)
    whole = total_correlation(z, torch.arange(6), mean, log_var, 40)
    halves = [
        total_correlation(z[first::2], torch.arange(6)[first::2], mean, log_var, 40)
        for first in range(2)
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


# Sparsity


def test_the_density_of_known_codes() -> None:
    assert density_of_code(torch.eye(9)).item() == pytest.approx(0.0, abs=1e-6)
    assert density_of_code(torch.ones(3, 9)).item() == pytest.approx(1.0)
    assert density_of_code(torch.tensor([[3.0, 4.0]])).item() == pytest.approx(
        (7.0 / 5.0 - 1.0) / (math.sqrt(2.0) - 1.0)
    )
    gaussian = torch.randn(400, 400, generator=rng())
    expected = (math.sqrt(400 * 2.0 / math.pi) - 1.0) / (math.sqrt(400) - 1.0)
    assert density_of_code(gaussian).item() == pytest.approx(expected, rel=0.01)


def test_the_density_does_not_depend_on_scale() -> None:
    codes = torch.randn(5, 7, generator=rng())
    torch.testing.assert_close(density_of_code(1000.0 * codes), density_of_code(codes))


def test_a_code_of_zeros_has_density_zero_and_a_finite_gradient() -> None:
    codes = torch.zeros(2, 5, requires_grad=True)
    value = density_of_code(codes)
    value.backward()
    assert value.item() == 0.0
    assert codes.grad is not None
    assert codes.grad.isfinite().all()
    assert density_of_code(torch.randn(4, 1, generator=rng())).item() == 0.0


# Attribute order


def test_a_code_in_order_costs_nothing_and_one_in_reverse_two() -> None:
    attribute = torch.tensor([0.1, 5.0, 2.0, 3.0])
    assert attribute_order(attribute, attribute, 100.0).item() == pytest.approx(0.0, abs=1e-6)
    assert attribute_order(-attribute, attribute, 100.0).item() == pytest.approx(2.0, abs=1e-6)
    assert attribute_order(torch.zeros(4), attribute, 100.0).item() == pytest.approx(1.0)


def test_attribute_order_of_two_pairs_by_hand() -> None:
    code = torch.tensor([0.0, 1.0, 0.5])
    attribute = torch.tensor([1.0, 2.0, float("nan")])
    one = 1.0 - math.tanh(2.0)
    assert attribute_order(code, attribute, 2.0).item() == pytest.approx(one)
    tied = torch.tensor([1.0, 1.0, float("nan")])
    assert attribute_order(code, tied, 2.0).item() == pytest.approx(math.tanh(2.0))


def test_a_batch_without_pairs_costs_nothing() -> None:
    code = torch.ones(2, requires_grad=True)
    value = attribute_order(code, torch.tensor([1.0, float("nan")]), 1.0)
    value.backward()
    assert value.item() == 0.0
    assert attribute_order(torch.ones(1), torch.ones(1), 1.0).item() == 0.0


def test_attribute_order_does_not_depend_on_the_batch_size() -> None:
    def estimate(generator: torch.Generator, batch: int) -> Tensor:
        attribute = torch.randn(batch, generator=generator)
        return attribute_order(0.5 * attribute, attribute, 1.0)

    small, small_error = replicated(lambda g: estimate(g, 8), 3000)
    large, large_error = replicated(lambda g: estimate(g, 512), 100)
    assert abs(small - large) < 4.0 * math.hypot(small_error, large_error)
    assert small_error < 0.01
