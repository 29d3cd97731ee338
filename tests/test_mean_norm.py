"""The batch-norm posterior: its bound on the KL, statistics by dimension, evaluation, batch 1."""

from pathlib import Path

import pytest
import torch

from aurl.latent_config import LevelConfig
from aurl.model.latents import LatentLayout, Posterior, gaussian_kl
from aurl.model.mean_norm import MeanNorm
from aurl.model.vae import Vae
from aurl.training.evaluate import Evaluator
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import N_BARS, VOCABULARY, small_config, tiny_corpus

LAYOUT = LatentLayout.of(
    (
        LevelConfig(name="global", dim=2, span="sequence"),
        LevelConfig(name="fine", dim=3, span=0.5),  # four slots each
    ),
    2,
)
BATCH_NORM = {"latent__posterior": "batch_norm", "latent__gamma": 0.6}


@pytest.fixture
def means() -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return 3.0 + 0.01 * torch.randn(16, LAYOUT.size, generator=rng)


def of_dimension(values: torch.Tensor, dimension: int) -> torch.Tensor:
    return values[:, LAYOUT.dimension == dimension]


def test_every_dimension_has_mean_zero_and_standard_deviation_gamma(means: torch.Tensor) -> None:
    normed = MeanNorm(LAYOUT, 0.6)(means)
    for dimension in range(LAYOUT.n_dimensions):
        values = of_dimension(normed, dimension)
        assert values.mean().item() == pytest.approx(0.0, abs=1e-4)
        assert values.std(correction=0).item() == pytest.approx(0.6, rel=0.01)


def test_slots_of_a_dimension_share_statistics(means: torch.Tensor) -> None:
    means[:, 2] += 1.0  # one slot of dimension 2 is unlike its others, and stays so
    normed = MeanNorm(LAYOUT, 1.0)(means)
    slots = of_dimension(normed, 2).mean(dim=0)
    assert slots[0] > 1.0
    assert (slots[1:] < 0.0).all()


@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_the_kl_of_each_dimension_is_at_least_half_gamma_squared(
    means: torch.Tensor, gamma: float
) -> None:
    kl = gaussian_kl(MeanNorm(LAYOUT, gamma)(means), torch.zeros_like(means))
    for dimension in range(LAYOUT.n_dimensions):
        rate = of_dimension(kl, dimension).mean().item()
        assert rate == pytest.approx(0.5 * gamma**2, rel=0.02)  # a log-variance of 0 is the least


@pytest.mark.parametrize("scale", [0.1, 0.01, 1e-3])
def test_an_encoder_cannot_shrink_its_way_under_the_bound(
    means: torch.Tensor, scale: float
) -> None:
    kl = gaussian_kl(MeanNorm(LAYOUT, 1.0)(scale * means), torch.zeros_like(means))
    assert kl.mean().item() == pytest.approx(0.5, rel=0.02)


def test_evaluation_uses_running_averages_of_what_training_saw(means: torch.Tensor) -> None:
    norm = MeanNorm(LAYOUT, 0.6)
    for _ in range(200):
        norm(means)
    trained = norm(means)
    assert norm.running_mean == pytest.approx(3.0, abs=0.01)
    norm.eval()
    before = norm.running_mean.clone()
    torch.testing.assert_close(norm(means), trained, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(norm(means[:1]), trained[:1], rtol=1e-3, atol=1e-3)
    assert torch.equal(norm.running_mean, before)


def test_each_step_moves_the_running_averages_a_tenth_of_the_way(means: torch.Tensor) -> None:
    norm = MeanNorm(LAYOUT, 0.6)
    norm(means)
    for dimension in range(LAYOUT.n_dimensions):
        values = of_dimension(means, dimension)
        variance = values.var(correction=0).item()
        assert norm.running_mean[dimension].item() == pytest.approx(0.1 * values.mean().item())
        assert norm.running_var[dimension].item() == pytest.approx(0.9 + 0.1 * variance)


def test_a_batch_of_one_uses_running_averages_and_leaves_them(means: torch.Tensor) -> None:
    norm = MeanNorm(LAYOUT, 0.6)
    norm(means)
    before = norm.running_mean.clone(), norm.running_var.clone()
    alone = norm(means[:1])
    assert torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_var, before[1])
    torch.testing.assert_close(alone, norm.eval()(means[:1]))


def test_the_gradient_is_that_of_numerical_differences() -> None:
    rng = torch.Generator().manual_seed(1)
    values = torch.randn(5, LAYOUT.size, generator=rng, dtype=torch.float64, requires_grad=True)
    norm = MeanNorm(LAYOUT, 0.6).double()
    assert torch.autograd.gradcheck(norm, (values,))


def test_reported_kl_is_the_monte_carlo_kl_of_what_is_sampled() -> None:
    config = small_config(**BATCH_NORM)
    model = Vae(config, VOCABULARY, N_BARS)
    corpus = tiny_corpus()
    trainer = Trainer(
        Run(config=config, corpus=corpus, checkpoint_folder=Path("/nowhere")), Workers()
    )
    tokens, _ = trainer.batches.with_context(0)
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        posterior = model.encode(tokens)
        draws = [
            log_ratio(posterior, torch.randn(posterior.mean.shape, generator=rng))
            for _ in range(2000)
        ]
    reported = gaussian_kl(posterior.mean, posterior.log_var).sum(dim=1).mean()
    assert torch.stack(draws).mean().item() == pytest.approx(reported.item(), rel=0.02)
    assert reported.item() > 0.9 * model.layout.size * 0.5 * 0.6**2


def log_ratio(posterior: Posterior, noise: torch.Tensor) -> torch.Tensor:
    """ln q(z|x) - ln p(z) of one draw of z, mean over the batch."""
    z = posterior.sample(noise)
    q = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_var).exp())
    p = torch.distributions.Normal(0.0, 1.0)
    return (q.log_prob(z) - p.log_prob(z)).sum(dim=1).mean()


def test_evaluation_reads_the_model_and_gives_a_window_the_same_code_in_any_company(
    tmp_path: Path,
) -> None:
    config = small_config(**BATCH_NORM)
    corpus = tiny_corpus()
    trainer = Trainer(Run(config=config, corpus=corpus, checkpoint_folder=tmp_path), Workers())
    trainer.take_step()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    evaluator = Evaluator(corpus, trainer.store, config, split="val")
    first = evaluator.evaluate(trainer.model, final=False)
    assert trainer.model.training
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert evaluator.evaluate(trainer.model, final=False) == first
    tokens, _ = trainer.batches.with_context(0)
    model = trainer.model.eval()
    torch.testing.assert_close(model.encode(tokens).mean[:1], model.encode(tokens[:1]).mean)


def test_a_run_with_a_batch_norm_posterior_resumes_bitwise(tmp_path: Path) -> None:
    config = small_config(**BATCH_NORM)
    run = Run(config=config, corpus=tiny_corpus(), checkpoint_folder=tmp_path)
    first = Trainer(run, Workers())
    for _ in range(2):
        first.take_step()
    first.save()
    second = Trainer(run, Workers())
    for trainer in (first, second):
        trainer.take_step()
    assert first.model.state_dict()["mean_norm.running_var"].std() > 0.0
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
