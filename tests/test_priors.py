"""Priors: each is a density, and its samples are of that density."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from aurl.data.batches import TokenStore
from aurl.errors import ConfigError
from aurl.latent_config import PriorConfig, PriorKind
from aurl.model.densities import Density, Mixture, Planar, Standard, density_of
from aurl.model.latents import Posterior, gaussian_kl
from aurl.model.priors import cover
from aurl.model.vae import Vae
from aurl.objectives.reconstruction import token_nll
from aurl.seeding import seeded
from aurl.training.checkpoint import load_weights, save_weights
from tests.tiny import N_BARS, VOCABULARY, small_config, tiny_corpus

KINDS: tuple[PriorKind, ...] = get_args(PriorKind)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_top_down = pytest.mark.parametrize("top_down", [False, True], ids=["flat", "top_down"])
CONTEXT = ("key", "metre")


def made(kind: PriorKind, dim: int, seed: int = 0) -> Density:
    with seeded(seed, "density"):
        return density_of(kind, dim, PriorConfig()).double()


def target(count: int, dim: int) -> Tensor:
    """Two clusters on a bent line: something a density has to learn."""
    rng = torch.Generator().manual_seed(5)
    x = torch.randn(count, dim, generator=rng, dtype=torch.float64)
    x[:, 0] = 0.4 * x[:, 0] + torch.where(torch.rand(count, generator=rng) < 0.3, -1.5, 1.0)
    x[:, 1] = 0.5 * x[:, 1] + x[:, 0].square() - 1.0
    return x


def trained(kind: PriorKind, dim: int, steps: int = 60) -> Density:
    density, data = made(kind, dim), target(512, dim)
    parameters = [*density.parameters()]
    if not parameters:
        return density
    optimizer = torch.optim.Adam(parameters, lr=0.03)
    first = density.log_prob(data).mean().item()
    for _ in range(steps):
        optimizer.zero_grad()
        (-density.log_prob(data).mean()).backward()
        optimizer.step()
    assert density.log_prob(data).mean().item() > first + 0.1
    return density


def noise(count: int, dim: int) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def samples(density: Density, count: int, dim: int) -> Tensor:
    return density.from_noise(noise(count, dim), torch.Generator().manual_seed(2)).detach()


@each_kind
@pytest.mark.parametrize("is_trained", [False, True], ids=["random", "trained"])
def test_density_integrates_to_one(kind: PriorKind, is_trained: bool) -> None:
    for density in (
        [trained(kind, 2)] if is_trained else [made(kind, 2, seed) for seed in range(3)]
    ):
        width, n = 16.0, 241
        axis = torch.linspace(-width / 2, width / 2, n, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        with torch.no_grad():
            total = density.log_prob(grid).exp().sum() * (width / (n - 1)) ** 2
        assert total.item() == pytest.approx(1.0, abs=0.01)


@each_kind
@pytest.mark.parametrize("is_trained", [False, True], ids=["random", "trained"])
def test_samples_have_the_moments_of_the_density(kind: PriorKind, is_trained: bool) -> None:
    density = trained(kind, 2) if is_trained else made(kind, 2)
    axis = torch.linspace(-8.0, 8.0, 161, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        share = density.log_prob(grid).softmax(dim=0)[:, None]
    mean = (share * grid).sum(dim=0)
    spread = (share * (grid - mean).square()).sum(dim=0).sqrt()
    drawn = samples(density, 20_000, 2)
    assert ((drawn.mean(dim=0) - mean).abs() / spread).max() < 0.03
    assert (drawn.std(dim=0) / spread - 1.0).abs().max() < 0.03


@pytest.mark.parametrize("kind", ["planar", "spline"])
@pytest.mark.parametrize("is_trained", [False, True], ids=["random", "trained"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_log_prob_of_a_sample_is_its_density_on_the_way_forward(
    kind: PriorKind, is_trained: bool, dtype: torch.dtype
) -> None:
    dim = 48
    density = (trained(kind, dim, steps=20) if is_trained else made(kind, dim)).to(dtype)
    start = noise(8, dim).to(dtype)
    x = density.from_noise(start, None)
    reported = density.log_prob(x).detach()
    exact = density.double()
    # That of the noise, times the Jacobian that autograd finds at the sample.
    jacobians = torch.stack([jacobian(exact, row) for row in x.double()])
    forward = Normal(0.0, 1.0).log_prob(start.double()).sum(dim=1)
    forward = forward + torch.linalg.slogdet(jacobians).logabsdet
    assert (reported - forward).abs().max() < 1e-3
    assert (to_base(exact, x.double()) - start).abs().max() < 1e-3


def test_the_same_weights_are_the_same_splines_whatever_zuko_prefers() -> None:
    # zuko 1.4, whose own least slope is another, and 1.5 and 1.6 gave these numbers.
    density = density_of("spline", 2, PriorConfig(layers=1))
    with torch.no_grad():
        for parameter in density.parameters():
            numbers = torch.arange(parameter.numel(), dtype=torch.float32)
            parameter.copy_(torch.sin(numbers).reshape(parameter.shape))
    x = torch.tensor([[0.5, -1.0], [2.5, -4.5], [6.0, -7.0]])
    normal = torch.tensor([[-0.93480, -4.95851], [1.56452, -4.99985], [6.0, -7.0]])
    torch.testing.assert_close(density.to_normal(x), normal, atol=1e-4, rtol=0.0)
    log_prob = torch.tensor([-28.8126, -28.0371, -44.3379])
    torch.testing.assert_close(density.log_prob(x), log_prob, atol=1e-3, rtol=0.0)


def test_samples_of_steep_splines_are_exact_in_single_precision() -> None:
    with seeded(1, "density"):
        density = density_of("spline", 48, PriorConfig())
        with torch.no_grad():
            for parameter in density.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    drawn = noise(200, 48).float()
    sample = density.from_noise(drawn, None)
    assert sample.dtype == torch.float32
    back = density.double().to_normal(sample.double())
    assert (back - drawn).abs().max() < 0.02  # 0.28 if they are undone in single precision


@pytest.mark.parametrize("kind", ["planar", "spline"])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_log_determinant_equals_autograd(kind: PriorKind, dim: int) -> None:
    density = made(kind, dim)
    x = 2.0 * noise(16, dim)
    log_det = density.log_prob(x) - Normal(0.0, 1.0).log_prob(to_base(density, x)).sum(dim=1)
    jacobians = torch.stack([jacobian(density, row) for row in x])
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobians).logabsdet)


def to_base(density: Density, x: Tensor) -> Tensor:
    """The map from code to base, written again here, with no word of its determinant."""
    if isinstance(density, Planar):
        u, _ = density.directions()
        for index in range(len(u)):
            x = x + (x @ density.w[index] + density.b[index]).tanh()[..., None] * u[index]
        return x
    transform: Any = density.transform
    return transform()(x)


def jacobian(density: Density, x: Tensor) -> Tensor:
    def mapped(row: Tensor) -> Tensor:
        return to_base(density, row[None])[0]

    found = torch.autograd.functional.jacobian(mapped, x)
    assert isinstance(found, Tensor)
    return found


def test_planar_maps_stay_one_to_one_where_their_parameters_would_not_be() -> None:
    density = Planar(6, 4).double()
    with torch.no_grad():
        density.u.copy_(-4.0 * density.w)  # w'u far below -1
        density.w.mul_(2.0)
    _, slack = density.directions()
    assert (slack > 0.0).all()
    start = noise(64, 6)
    x = density.from_noise(start, None)
    torch.testing.assert_close(to_base(density, x), start, atol=1e-6, rtol=0.0)


def test_the_density_of_a_planar_map_that_is_nearly_flat_is_finite_in_single_precision() -> None:
    density = Planar(2, 1)
    with torch.no_grad():
        density.w.copy_(torch.tensor([[1.0, 0.0]]))
        density.u.copy_(torch.tensor([[-30.0, 0.0]]))  # 1 - softplus(-30) is 1 in float32
        density.b.zero_()
    x = torch.zeros(1, 2)
    log_prob = density.log_prob(x)
    assert log_prob.item() == pytest.approx(-30.0 - math.log(2.0 * math.pi), abs=1e-4)
    log_prob.sum().backward()
    assert density.u.grad is not None
    assert density.u.grad.isfinite().all()


def test_mixture_variances_have_a_floor() -> None:
    density = Mixture(2, 3)
    with torch.no_grad():
        density.log_variances.fill_(-100.0)
    assert density.variances().min().item() == pytest.approx(0.01)


def test_standard_log_prob_is_the_normal_density() -> None:
    x = noise(10, 3)
    torch.testing.assert_close(Standard().log_prob(x), Normal(0.0, 1.0).log_prob(x).sum(dim=1))


def vae(kind: PriorKind = "standard", top_down: bool = False, **changes: Any) -> Vae:
    config = small_config(latent__prior__kind=kind, latent__top_down=top_down, **changes)
    with seeded(0, "test"):
        return Vae(config, VOCABULARY, N_BARS)


def stirred(model: Vae, scale: float = 0.5) -> Vae:
    """A model whose conditioners do something."""
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.prior.named_parameters():
            if "conditioner.output" in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=rng))
    return model


def contexts(count: int) -> Tensor:
    rng = torch.Generator().manual_seed(4)
    return torch.stack([torch.randint(high, (count,), generator=rng) for high in (13, 4)], dim=1)


def codes(model: Vae, count: int) -> tuple[Posterior, Tensor]:
    rng = torch.Generator().manual_seed(6)
    mean, log_var, unit = torch.randn(3, count, model.layout.size, generator=rng).unbind()
    posterior = Posterior(mean, 0.3 * log_var - 1.0)
    return posterior, posterior.sample(unit)


def kl_of(model: Vae, posterior: Posterior, z: Tensor, context: Tensor | None = None) -> Tensor:
    return model.prior.in_base(posterior, z, context).kl()


def test_the_standard_prior_takes_the_closed_form_to_the_bit() -> None:
    model = vae()
    posterior, z = codes(model, 16)
    assert not [*model.prior.parameters()]
    assert model.prior.is_standard
    assert torch.equal(kl_of(model, posterior, z), gaussian_kl(posterior.mean, posterior.log_var))


@each_kind
@each_top_down
@pytest.mark.parametrize("has_context", [False, True], ids=["bare", "context"])
def test_kl_is_log_posterior_minus_log_prior_of_the_same_sample(
    kind: PriorKind, top_down: bool, has_context: bool
) -> None:
    model = stirred(vae(kind, top_down, latent__context=CONTEXT if has_context else ()))
    context = contexts(8) if has_context else None
    posterior, z = codes(model, 8)
    log_q = Normal(posterior.mean, (0.5 * posterior.log_var).exp()).log_prob(z).sum(dim=1)
    log_p = model.prior.log_prob(z, context)
    base = model.prior.in_base(posterior, z, context)
    nowhere = torch.zeros_like(base.closed_form)
    slots = model.prior.base_log_prob(base.z)
    estimate = replace(base, log_prob=slots, closed_form=nowhere).kl().sum(dim=1)
    torch.testing.assert_close(estimate, log_q - log_p, atol=1e-3, rtol=1e-4)


@each_top_down
def test_closed_form_of_an_affine_gaussian_prior_is_the_mean_of_the_estimate(
    top_down: bool,
) -> None:
    model = stirred(vae("standard", top_down, latent__context=CONTEXT)).double()
    posterior, _ = codes(model, 1)
    count = 20_000
    many = Posterior(
        posterior.mean.double().expand(count, -1), posterior.log_var.double().expand(count, -1)
    )
    z = many.sample(noise(count, model.layout.size))
    context = contexts(1).expand(count, -1)
    closed = kl_of(model, many, z, context).sum(dim=1).mean()
    log_q = Normal(many.mean, (0.5 * many.log_var).exp()).log_prob(z).sum(dim=1)
    estimate = (log_q - model.prior.log_prob(z, context)).mean()
    assert closed.item() == pytest.approx(estimate.item(), rel=0.02)


@each_kind
@each_top_down
@pytest.mark.parametrize("names", [(), CONTEXT], ids=["bare", "context"])
@pytest.mark.parametrize("dims", [(4, 3, 2), (4, 0, 0), (0, 3, 2)], ids=str)
def test_every_prior_takes_a_step_on_a_batch_of_one(
    kind: PriorKind, top_down: bool, names: tuple[str, ...], dims: tuple[int, ...]
) -> None:
    levels = {
        f"latent__levels__{name}__dim": dim
        for name, dim in zip(("global", "local", "fine"), dims, strict=True)
    }
    model = vae(kind, top_down, latent__context=names, **levels)
    tokens = TokenStore(tiny_corpus()).padded(torch.arange(1))
    context = contexts(1) if names else None
    unit = torch.randn(1, model.layout.size, generator=torch.Generator().manual_seed(0))
    output = model(tokens, unit, None, context)
    nll = token_nll(output.logits, tokens[:, 1:], pad=VOCABULARY.pad)
    (nll.sum() + output.base.kl().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if name.startswith("prior."):
            assert parameter.grad.abs().max() > 0, name
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@each_kind
def test_state_survives_saving(kind: PriorKind, tmp_path: Path) -> None:
    model = stirred(vae(kind, True, latent__context=CONTEXT))
    assert model.prior.context is not None
    model.prior.context.teach(contexts(500), transpose=0, tempo=0)
    save_weights(tmp_path / "weights.safetensors", model)
    with seeded(9, "other"):
        other = Vae(
            small_config(latent__prior__kind=kind, latent__top_down=True, latent__context=CONTEXT),
            VOCABULARY,
            N_BARS,
        )
    _, z = codes(model, 8)
    assert not torch.equal(
        other.prior.log_prob(z, contexts(8)), model.prior.log_prob(z, contexts(8))
    )
    load_weights(tmp_path / "weights.safetensors", other)
    assert torch.equal(other.prior.log_prob(z, contexts(8)), model.prior.log_prob(z, contexts(8)))
    drawn = [
        each.sample_prior(4, generator=torch.Generator().manual_seed(0)) for each in (model, other)
    ]
    assert torch.equal(drawn[0], drawn[1])


@each_kind
@each_top_down
def test_samples_are_of_the_density_that_log_prob_reports(kind: PriorKind, top_down: bool) -> None:
    """The mean of exp(log_other - log_own) over samples of a density is 1, and only of it."""
    levels = [
        {"name": "coarse", "dim": 1, "span": "sequence"},
        {"name": "fine", "dim": 2, "span": 1},
    ]
    model = stirred(vae(kind, top_down, latent__levels=levels), 0.1).double()
    with torch.no_grad():
        z = model.sample_prior(20_000, generator=torch.Generator().manual_seed(0))
        own = model.prior.log_prob(z)
        half = Normal(z.mean(dim=0), 0.5 * z.std(dim=0)).log_prob(z).sum(dim=1)
        weights = (half - own).exp()
    error = weights.std() / len(weights) ** 0.5
    assert error < 0.1
    assert weights.mean().item() == pytest.approx(1.0, abs=4 * error.item())


def test_a_slot_is_conditioned_by_the_coarser_slots_that_cover_it_alone() -> None:
    model = stirred(vae("standard", True))
    _, z = codes(model, 1)
    moved = z.clone()
    local = model.layout.levels[1]
    moved[:, local.start : local.start + local.dim] += 1.0  # the local slot of the first bar
    before, after = model.prior.affine(z, None)[0], model.prior.affine(moved, None)[0]
    changed = [
        (a != b).any(dim=2)[0].tolist()
        for a, b in zip(model.layout.split(before), model.layout.split(after), strict=True)
    ]
    assert changed == [[False], [False, False], [True, True, False, False]]


def test_a_slot_across_two_coarser_ones_is_covered_by_both() -> None:
    model = vae(
        latent__levels=[
            {"name": "coarse", "dim": 1, "span": 1},
            {"name": "fine", "dim": 1, "span": 2 / 3},
        ]
    )
    coarse, fine = model.layout.levels
    expected = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    torch.testing.assert_close(cover(fine, coarse), expected)


def test_top_down_refuses_levels_in_the_wrong_order() -> None:
    levels = [{"name": "a", "dim": 2, "span": 1}, {"name": "b", "dim": 2, "span": "sequence"}]
    with pytest.raises(
        ConfigError, match=r"from coarse to fine .* a \(span 1\) before b \(span 2"
    ):
        vae(top_down=True, latent__levels=levels)


@each_kind
def test_free_bits_by_dimension_are_refused_where_dimensions_have_no_kl(kind: PriorKind) -> None:
    changes: dict[str, Any] = {"objective__free_bits__threshold": 0.1}
    if kind == "standard":
        small_config(latent__prior__kind=kind, **changes)
    else:
        with pytest.raises(ConfigError, match=r"granularity must be level or total .* dimension"):
            small_config(latent__prior__kind=kind, **changes)
    small_config(latent__prior__kind=kind, objective__free_bits__granularity="level", **changes)


def test_top_down_takes_two_levels_of_one_span() -> None:
    levels = [{"name": name, "dim": 2, "span": 1} for name in ("a", "b")]
    model = vae(top_down=True, latent__levels=levels)
    assert model.prior.levels[0].n_above == 0
    assert model.prior.levels[1].n_above == 1


@pytest.mark.parametrize(
    ("kind", "key", "usual"),
    [("mixture", "components", 8), ("planar", "layers", 8), ("spline", "layers", 2)],
)
def test_a_prior_has_as_many_parts_as_it_is_asked_for(
    kind: PriorKind, key: str, usual: int
) -> None:
    def parameters(**parts: int) -> int:
        density = density_of(kind, 3, PriorConfig(kind=kind, **parts))
        return sum(each.numel() for each in density.parameters())

    assert parameters() == parameters(**{key: usual})
    assert parameters(**{key: 3}) * 4 == parameters(**{key: 4}) * 3


def test_a_level_may_have_a_prior_of_its_own() -> None:
    levels = [
        {"name": "a", "dim": 2, "span": "sequence", "prior": "mixture"},
        {"name": "b", "dim": 3, "span": 1},
    ]
    model = vae(latent__levels=levels, latent__prior__components=5)
    assert model.prior.closed_form.tolist() == [False] * 2 + [True] * 6
    assert {tuple(p.shape) for p in model.prior.parameters()} == {(5,), (5, 2)}
    posterior, z = codes(model, 4)
    kl = kl_of(model, posterior, z)
    closed = gaussian_kl(posterior.mean, posterior.log_var)
    assert torch.equal(kl[:, 2:], closed[:, 2:])
    assert not torch.allclose(kl[:, :2], closed[:, :2])
    log_2pi = math.log(2.0 * math.pi)
    log_q = -0.5 * (
        (z - posterior.mean) ** 2 / posterior.log_var.exp() + posterior.log_var + log_2pi
    )
    slot = model.prior.log_prob(z) + 0.5 * (z[:, 2:] ** 2 + log_2pi).sum(dim=1)
    torch.testing.assert_close(kl[:, :2].sum(dim=1), log_q[:, :2].sum(dim=1) - slot)


@each_kind
def test_normal_coordinates_are_one_to_one_and_the_density_is_theirs(kind: PriorKind) -> None:
    density = trained(kind, 2)
    x = target(40, 2)
    normal = density.to_normal(x).detach()
    torch.testing.assert_close(density.from_normal(normal).detach(), x, atol=1e-7, rtol=1e-7)
    for row in x[:8]:
        jacobian = torch.autograd.functional.jacobian(density.to_normal, row)
        assert isinstance(jacobian, Tensor)
        at = Normal(0.0, 1.0).log_prob(density.to_normal(row)).sum()
        torch.testing.assert_close(at + jacobian.det().abs().log(), density.log_prob(row))


def test_normal_coordinates_of_a_mixture_hold_far_out() -> None:
    density = made("mixture", 3)
    far = 6.0 * noise(50, 3)
    torch.testing.assert_close(density.to_normal(density.from_normal(far)), far)


@each_kind
@each_top_down
def test_the_prior_in_normal_coordinates_is_undone(*, kind: PriorKind, top_down: bool) -> None:
    config = small_config(latent__prior__kind=kind, latent__top_down=top_down)
    with seeded(0, "prior"):
        prior = Vae(config, VOCABULARY, N_BARS).double().prior
    z = prior.from_noise(noise(64, prior.layout.size), generator=torch.Generator().manual_seed(1))
    normal = prior.to_normal(z)
    torch.testing.assert_close(prior.from_normal(normal), z, atol=1e-7, rtol=1e-7)
    # 64 draws of 16 coordinates: four standard errors of the mean and of the variance
    assert abs(normal.mean().item()) < 4 / normal.numel() ** 0.5
    assert abs(normal.var().item() - 1.0) < 4 * (2 / normal.numel()) ** 0.5
