"""KL, free bits and beta schedules against closed forms and reference values."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from jaxtyping import TypeCheckError
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from aurl.model.latents import gaussian_kl
from aurl.objective_config import BetaConfig, FreeBitsConfig
from aurl.objectives.free_bits import Floors, charged_kl, floors_of
from aurl.objectives.objective import CLOSED, level_rates, objective
from aurl.objectives.reconstruction import token_nll
from aurl.objectives.schedules import beta_at, settled_step

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "golden" / "golden.json").read_text()
)["kl_formula_examples"]
FREE_BITS = GOLDEN["free_bits"]


def alone(value: Tensor) -> Tensor:
    return value


def test_gaussian_kl_matches_torch_distributions(rng: torch.Generator) -> None:
    mean, log_var = torch.randn(2, 5, 3, generator=rng)
    posterior = Normal(mean, (0.5 * log_var).exp())
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(gaussian_kl(mean, log_var), kl_divergence(posterior, prior))


@given(mean=st.floats(-5, 5), log_var=st.floats(-5, 5))
def test_gaussian_kl_is_never_negative(mean: float, log_var: float) -> None:
    assert gaussian_kl(torch.tensor([[mean]]), torch.tensor([[log_var]])).item() >= -1e-6


def test_gaussian_kl_refuses_mismatched_shapes() -> None:
    with pytest.raises(TypeCheckError, match="log_var"):
        gaussian_kl(torch.zeros(4, 2), torch.zeros(4, 3))


def test_free_bits_match_the_reference_table() -> None:
    """The batch-mean clamps; the table's per-sample clamps, hinges and masks are none of ours."""
    kl = torch.tensor(FREE_BITS["kl_batch_x_dim"])
    each = torch.arange(3)
    one = torch.zeros(3, dtype=torch.long)

    def charged(threshold: float, granularity: Any) -> float:
        config = FreeBitsConfig(threshold=threshold, granularity=granularity)
        return charged_kl(kl, floors_of(config, each, one), alone).item()

    assert charged(0.0, "dimension") == pytest.approx(FREE_BITS["plain"])
    per_dimension = FREE_BITS["kingma_per_dim_batch_mean_then_clamp"]
    assert charged(FREE_BITS["lambda_per_dim"], "dimension") == pytest.approx(per_dimension)
    total = FREE_BITS["batch_mean_total_clamp"]
    assert charged(FREE_BITS["target_total"], "total") == pytest.approx(total)
    assert charged(3.0, "total") == pytest.approx(3.0)
    assert charged(3.0, "level") == pytest.approx(3.0)


def test_a_dimension_with_slots_is_held_up_by_the_mean_over_them() -> None:
    kl = torch.tensor([[0.4, 0.5, 1.0]])  # dimension 0 has two slots, rate 0.45
    config = FreeBitsConfig(threshold=0.5)
    floors = floors_of(config, torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    assert charged_kl(kl, floors, alone).item() == pytest.approx(2 * 0.5 + 1.0)
    assert charged_kl(2.0 * kl, floors, alone).item() == pytest.approx(2.0 * kl.sum().item())


@pytest.mark.parametrize("granularity", ["dimension", "level", "total"])
def test_a_level_with_a_floor_of_its_own_is_held_up_as_a_whole(granularity: Any) -> None:
    kl = torch.tensor([[0.5, 0.25, 0.5, 3.0]], requires_grad=True)
    config = FreeBitsConfig(threshold=1.0, granularity=granularity)
    dimension, level = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 1, 2])
    floors = floors_of(config, dimension, level, of_levels=[None, 2.0, 0.0])
    charged = charged_kl(kl, floors, alone)
    assert charged.item() == pytest.approx(1.0 + 2.0 + 3.0)
    charged.backward()
    assert kl.grad is not None
    torch.testing.assert_close(kl.grad, torch.tensor([[0.0, 0.0, 0.0, 1.0]]))


def test_a_group_below_its_floor_gets_no_gradient_and_one_above_gets_all() -> None:
    kl = torch.tensor([[0.1, 2.0], [0.1, 1.0]], requires_grad=True)
    floors = Floors(torch.tensor(0.5).expand(2), torch.tensor([0, 1]), torch.ones(2))
    charged_kl(kl, floors, alone).backward()
    assert kl.grad is not None
    torch.testing.assert_close(kl.grad, torch.tensor([[0.0, 0.5], [0.0, 0.5]]))


def test_a_kl_that_is_not_a_number_is_not_hidden_by_its_floor() -> None:
    kl = torch.tensor([[0.1, float("nan")]])
    floors = floors_of(FreeBitsConfig(threshold=0.5), torch.arange(2), torch.arange(2))
    assert charged_kl(kl, floors, lambda value: value).isnan()


def test_a_floor_that_single_precision_cannot_hold_shows_in_the_objective() -> None:
    floors = floors_of(FreeBitsConfig(threshold=1e308), torch.arange(2), torch.arange(2))
    assert charged_kl(torch.ones(1, 2), floors, alone).isinf()


def test_the_floor_is_decided_on_the_whole_batch_of_all_workers() -> None:
    kl = torch.full((2, 1), 0.4, requires_grad=True)
    floors = Floors(torch.tensor([0.5]), torch.tensor([0]), torch.ones(1))
    assert charged_kl(kl, floors, lambda rate: rate + 0.2).item() == pytest.approx(0.4)
    assert charged_kl(kl, floors, alone).item() == pytest.approx(0.5)


def test_the_objective_at_beta_one_is_the_negative_elbo(rng: torch.Generator) -> None:
    reconstruction = torch.rand(6, generator=rng)
    kl = torch.rand(6, 3, generator=rng)
    floors = Floors(torch.zeros(3), torch.arange(3), torch.ones(3))
    terms = objective(reconstruction, kl, beta=1.0, floors=floors, mean_over_workers=alone)
    expected = (reconstruction + kl.sum(dim=1)).mean()
    torch.testing.assert_close(terms.objective, expected)
    torch.testing.assert_close(terms.negative_elbo, expected)
    half = objective(reconstruction, kl, beta=0.5, floors=floors, mean_over_workers=alone)
    torch.testing.assert_close(half.objective, (reconstruction + 0.5 * kl.sum(dim=1)).mean())
    torch.testing.assert_close(half.negative_elbo, expected)


def test_a_closed_level_is_charged_more_than_it_can_save_whatever_beta_and_floor(
    rng: torch.Generator,
) -> None:
    reconstruction = torch.rand(6, generator=rng)
    kl = torch.rand(6, 3, generator=rng)
    floors = Floors(torch.tensor([9.0]), torch.zeros(3, dtype=torch.long), torch.ones(1))
    closed = torch.tensor([0.0, 1.0, 1.0])
    terms = objective(
        reconstruction, kl, beta=0.5, floors=floors, mean_over_workers=alone, closed=closed
    )
    assert CLOSED > 1.0
    of_closed = CLOSED * kl[:, 1:].sum(dim=1).mean()
    torch.testing.assert_close(terms.kl_charged, torch.tensor(9.0))
    torch.testing.assert_close(terms.objective, reconstruction.mean() + 0.5 * 9.0 + of_closed)
    torch.testing.assert_close(terms.kl, kl.sum(dim=1).mean())


def test_level_rates_sum_to_the_kl(rng: torch.Generator) -> None:
    kl = torch.rand(6, 3, generator=rng)
    rates = level_rates(kl.mean(dim=0), torch.tensor([0, 0, 1]), ["a", "b"])
    torch.testing.assert_close(rates["a"], kl[:, :2].sum(dim=1).mean())
    torch.testing.assert_close(rates["a"] + rates["b"], kl.sum(dim=1).mean())


def test_token_nll_of_a_uniform_guess_is_ln_of_the_vocabulary_and_padding_is_free() -> None:
    nll = token_nll(torch.zeros(1, 3, 7), torch.tensor([[4, 5, 0]]), pad=0)
    torch.testing.assert_close(nll, torch.tensor([[7.0, 7.0, 1.0]]).log())


def test_the_cyclical_schedule_matches_the_reference_table() -> None:
    config = BetaConfig(schedule="cyclical", value=1.0, cycles=4, ramp=0.5)
    for step, beta in GOLDEN["schedules"]["cyclical_linear_n1000_M4_R05"].items():
        assert beta_at(config, int(step), 1000) == pytest.approx(beta, abs=1e-9), step


def test_the_sigmoid_schedule_is_the_reference_one_rescaled_to_run_from_zero_to_one() -> None:
    """Slope 0.0025 a step is a warm-up of 4,800 steps with its middle at 2,400, not at 2,500.

    The table's MusicVAE and dMelodies schedules, 1 - r^t and exp(t ln(1 + beta) / n) - 1, are none
    of ours: ``exponential`` is (1 - e^{-5u}) / (1 - e^{-5}).
    """
    config = BetaConfig(schedule="sigmoid", warmup=1.0)
    low, high = (1.0 / (1.0 + math.exp(x)) for x in (6.0, -6.0))
    table = GOLDEN["schedules"]["bowman_sigmoid_k0_0025_x0_2500"]
    for step in ("1000", "2500"):
        ours = beta_at(config, int(step) - 100, 4800)
        assert low + (high - low) * ours == pytest.approx(table[step], abs=1e-7), step


CONFIGS = [
    BetaConfig(schedule="constant", value=0.7),
    BetaConfig(schedule="linear", value=0.7, warmup=0.25),
    BetaConfig(schedule="exponential", value=0.7, warmup=1.0),
    BetaConfig(schedule="sigmoid", value=0.7, warmup=0.5),
    BetaConfig(schedule="cyclical", value=0.7, cycles=3, ramp=0.5),
    BetaConfig(schedule="cyclical", value=0.7, cycles=1, ramp=1.0),
]
each_schedule = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.schedule)


@each_schedule
@pytest.mark.parametrize("steps", [1, 3, 10, 997])
def test_every_schedule_stays_in_range_and_settles_at_its_value(
    config: BetaConfig, steps: int
) -> None:
    betas = [beta_at(config, step, steps) for step in range(steps + 5)]
    assert all(0.0 <= beta <= config.value for beta in betas)
    settled = settled_step(config, steps)
    assert settled <= steps
    assert betas[settled:] == pytest.approx([config.value] * len(betas[settled:]))


@pytest.mark.parametrize(
    ("schedule", "halfway"), [("linear", 0.5), ("exponential", 0.9241418), ("sigmoid", 0.5)]
)
def test_warmups_rise_from_zero_through_a_known_middle(schedule: Any, halfway: float) -> None:
    config = BetaConfig(schedule=schedule, value=2.0, warmup=0.5)
    betas = [beta_at(config, step, 400) for step in range(201)]
    assert betas[0] == 0.0
    assert betas == sorted(betas)
    assert betas[100] == pytest.approx(2.0 * halfway)
    assert betas[200] == 2.0


@pytest.mark.parametrize("warmup_steps", [1, 2, 3])
def test_cyclical_reaches_its_top_in_every_cycle_however_short(warmup_steps: int) -> None:
    config = BetaConfig(schedule="cyclical", value=1.0, cycles=warmup_steps, ramp=0.5)
    steps = 4 * warmup_steps
    tops = [
        max(beta_at(config, step, steps) for step in range(4 * cycle, 4 * cycle + 4))
        for cycle in range(warmup_steps)
    ]
    assert tops == [1.0] * warmup_steps


@pytest.mark.parametrize("of_levels", [(), (0.0,)], ids=["no floors", "a level with none"])
def test_without_free_bits_a_negative_estimate_of_the_kl_is_charged_as_it_is(
    of_levels: Sequence[float],
) -> None:
    kl = torch.tensor([[-1.0, 0.5], [0.2, -0.4]], requires_grad=True)
    one = torch.zeros(2, dtype=torch.long)
    floors = floors_of(
        FreeBitsConfig(), torch.arange(2), one, is_closed_form=False, of_levels=of_levels
    )
    charged = charged_kl(kl, floors, alone)
    assert charged.item() == pytest.approx(-0.35)
    charged.backward()
    assert kl.grad is not None
    torch.testing.assert_close(kl.grad, torch.full((2, 2), 0.5))


def test_neither_beta_nor_free_bits_nor_a_closed_level_change_the_elbo_that_is_reported() -> None:
    kl = torch.tensor([[0.2, 1.0, 3.0], [0.4, 2.0, 1.0]])
    each = torch.arange(3)
    floors = floors_of(FreeBitsConfig(threshold=5.0), each, each)
    found = objective(
        torch.tensor([10.0, 12.0]),
        kl,
        beta=7.0,
        floors=floors,
        mean_over_workers=alone,
        closed=torch.tensor([0.0, 0.0, 1.0]),
    )
    assert found.kl_charged.item() == pytest.approx(15.0)
    assert found.kl.item() == pytest.approx(3.8)
    assert found.negative_elbo.item() == pytest.approx(14.8)
    assert found.rates.tolist() == pytest.approx([0.3, 1.5, 2.0])
