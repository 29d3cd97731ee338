"""The importance-weighted bound against closed forms, and against the ELBO it is beside."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch.distributions import Normal

from aurl.data.batches import TokenStore
from aurl.metrics.importance import importance_bound
from aurl.model.vae import Vae
from aurl.objectives.reconstruction import token_nll
from aurl.seeding import seeded, torch_generator
from aurl.training.evaluate import Evaluator
from aurl.training.importance import importance_metrics
from tests.tiny import small_config, tiny_corpus

CORPUS = tiny_corpus()
STORE = TokenStore(CORPUS)
WINDOWS = CORPUS.indices("val")
FEW = WINDOWS[:4]

# p(z) = N(0, 1), p(x|z) = N(2 z + 1, 0.5): p(x) and p(z|x) are Gaussian and known.
X = torch.tensor([-3.0, 0.5, 1.0, 4.0], dtype=torch.float64)
LOG_P_X = Normal(1.0, (4.0 + 0.25) ** 0.5).log_prob(X)
POSTERIOR = Normal((X - 1.0) * 2.0 / 4.25, (0.25 / 4.25) ** 0.5)


def log_weights(posterior: Normal, n_draws: int) -> np.ndarray:
    noise = torch.randn(
        n_draws, len(X), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    z = posterior.loc + posterior.scale * noise
    joint = Normal(0.0, 1.0).log_prob(z) + Normal(2.0 * z + 1.0, 0.5).log_prob(X)
    return (joint - posterior.log_prob(z)).numpy()


def test_the_exact_posterior_gives_the_likelihood_with_one_draw() -> None:
    for n_draws in (1, 7):
        bound = importance_bound(log_weights(POSTERIOR, n_draws))
        np.testing.assert_allclose(bound, -LOG_P_X.numpy(), atol=1e-9)


def test_the_bound_falls_towards_the_likelihood_of_a_linear_gaussian_model() -> None:
    wrong = Normal(POSTERIOR.loc + 0.2, 1.5 * POSTERIOR.scale)
    weights = log_weights(wrong, 80_000)
    gaps: list[float] = []
    for n_draws in (1, 4, 16, 256):
        parts = weights[: 80_000 - 80_000 % n_draws].reshape(n_draws, -1)
        gaps.append(float(importance_bound(parts).mean() + LOG_P_X.mean()))
    kl = torch.distributions.kl_divergence(wrong, POSTERIOR).mean().item()
    assert gaps[0] == pytest.approx(kl, rel=0.05)  # one draw: the negative ELBO
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[2] < 0.2 * gaps[0]
    assert gaps[3] == pytest.approx(0.0, abs=0.01)


@given(
    st.lists(st.floats(-2000, 2000), min_size=1, max_size=20),
    st.floats(-3000, 3000),
)
def test_it_is_never_above_the_negative_elbo_and_moves_with_the_weights(
    values: list[float], shift: float
) -> None:
    weights = np.array(values)[:, None]
    bound = importance_bound(weights)
    assert bound[0] <= -weights.mean() + 1e-9
    assert bound[0] >= -weights.max() - 1e-9
    np.testing.assert_allclose(importance_bound(weights + shift), bound - shift, atol=1e-6)


def model(**changes: Any) -> Vae:
    with seeded(0, "test"):
        made = Vae(small_config(**changes), CORPUS.vocabulary, CORPUS.n_bars)
    return made.double().eval()


@torch.no_grad()
def nll_without_z(vae: Vae) -> float:
    """Mean NLL of windows under a decoder that has been made deaf to z."""
    for name, parameter in vae.decoder.named_parameters():
        if ".current." in name or ".following." in name:
            parameter.zero_()
    for name, parameter in vae.encoder.named_parameters():
        if ".head." in name:
            parameter.mul_(0.4)  # so near to the prior that few draws are enough
        if name.endswith(".head.bias"):
            parameter[len(parameter) // 2 :] -= 0.3  # and narrower than that
    z = torch.zeros(len(FEW), vae.layout.size).double()
    tokens = STORE.padded(torch.from_numpy(FEW))
    assert torch.equal(vae.decode(tokens, z), vae.decode(tokens, z + 1.0))
    nll = token_nll(vae.decode(tokens, z), tokens[:, 1:], pad=CORPUS.vocabulary.pad)
    return float(nll.sum(dim=1).mean())


@pytest.mark.parametrize("prior", ["standard", "mixture"])
@torch.no_grad()
def test_a_decoder_without_z_has_its_own_likelihood_whatever_the_posterior(prior: str) -> None:
    vae = model(latent__prior__kind=prior)
    truth = nll_without_z(vae)
    rows = list(torch.arange(len(FEW)).split(3))
    found = importance_metrics(vae, STORE, FEW, rows, 64)
    elbo = found["iwae_nats/negative_elbo"]
    assert elbo - truth > 0.05
    assert found["iwae_nats"] == pytest.approx(truth, abs=0.15 * (elbo - truth))
    assert found["iwae_nats"] < elbo


def test_an_evaluation_says_the_same_of_each_window_however_it_is_batched() -> None:
    vae = model()
    one, all_at_once = (
        importance_metrics(vae, STORE, WINDOWS, list(torch.arange(16).split(size)), 3)
        for size in (1, 16)
    )
    assert one == pytest.approx(all_at_once, rel=1e-9)


@torch.no_grad()
def test_the_prior_knows_the_context_of_the_window_that_is_measured() -> None:
    vae = model(latent__context=("mode",))
    for parameter in vae.prior.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    window, store = WINDOWS[-1:], TokenStore(CORPUS, context=("mode",))
    store.context[window] = 0  # of the others nobody knows it
    tokens = store.padded(torch.from_numpy(window))
    posterior = vae.encode(tokens)
    noise = torch.randn(1, vae.layout.size, generator=torch_generator(0, "importance", 0)).double()
    z = posterior.sample(noise)
    nll = token_nll(vae.decode(tokens, z), tokens[:, 1:], pad=CORPUS.vocabulary.pad).sum()
    density = Normal(posterior.mean, (0.5 * posterior.log_var).exp()).log_prob(z).sum()
    weight = vae.prior.log_prob(z, store.context[window]) - density - nll
    found = importance_metrics(vae, store, window, [torch.arange(1)], 1)
    assert found["iwae_nats"] == pytest.approx(-float(weight), abs=1e-6)


def test_the_final_evaluation_reports_it_beside_the_elbo() -> None:
    config = small_config(
        evaluation__importance_windows=10,
        evaluation__importance_samples=16,
        evaluation__reconstructions=1,
    )
    evaluator = Evaluator(CORPUS, STORE, config, split="val")
    vae = model()
    assert "val/iwae_nats" not in evaluator.evaluate(vae, final=False)
    values = evaluator.evaluate(vae, final=True)
    chosen = evaluator.windows[:10]
    notes = vae.vocabulary.note_count(STORE.padded(torch.from_numpy(chosen))).sum()
    per_note = 10.0 * values["val/iwae_nats"] / float(notes)
    assert values["val/iwae_nats_per_note"] == pytest.approx(per_note)
    whole = importance_metrics(vae, STORE, evaluator.windows, [torch.arange(16)], 16)
    elbo = whole["iwae_nats/negative_elbo"]  # of all windows of the evaluation, over 16 draws
    assert elbo == pytest.approx(values["val/negative_elbo_nats"], rel=0.02)
