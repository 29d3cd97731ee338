"""Evaluation: every window is measured once, and what it is batched with changes nothing."""

import numpy as np
import pytest
import torch

from aurl.data.batches import TokenStore
from aurl.metrics.active_units import kl_from_aggregate
from aurl.metrics.kl_health import TERMS
from aurl.metrics.latent_information import latent_information
from aurl.model.latents import Posterior, gaussian_kl
from aurl.model.vae import Vae
from aurl.objectives.reconstruction import token_nll
from aurl.seeding import seeded, torch_generator
from aurl.training import evaluate
from aurl.training.evaluate import Evaluator, Measured
from aurl.training.likelihood import likelihood, one_level_of_others, partners
from tests.tiny import small_config, tiny_corpus

CORPUS = tiny_corpus()
STORE = TokenStore(CORPUS)
WINDOWS = CORPUS.indices("val")


def model() -> Vae:
    with seeded(0, "test"):
        return Vae(small_config(), CORPUS.vocabulary, CORPUS.n_bars).double()


@torch.no_grad()
def measured(at_once: int, tokens_at_once: int, monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setattr(evaluate, "BATCH", at_once)
    monkeypatch.setattr(evaluate, "BATCH_TOKENS", tokens_at_once)
    return Measured(model(), STORE, WINDOWS, np.asarray(CORPUS.piece)[WINDOWS])


@torch.no_grad()
def test_each_window_is_measured_as_if_it_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(64, 8192, monkeypatch)
    vae = model()
    noise = torch.randn(
        len(WINDOWS), vae.layout.size, generator=torch_generator(0, "evaluation noise")
    )
    for row, window in enumerate(WINDOWS):
        tokens = torch.from_numpy(CORPUS.window(int(window)).astype(np.int64))[None]
        posterior = vae.encode(tokens)
        logits = vae.decode(tokens, posterior.sample(noise[row : row + 1].double()))
        nll = token_nll(logits, tokens[:, 1:], pad=CORPUS.vocabulary.pad).sum()
        assert found.nll[row] == pytest.approx(float(nll), abs=1e-8)
        kl = gaussian_kl(posterior.mean, posterior.log_var)[0]
        np.testing.assert_allclose(found.kl[row], kl.numpy(), atol=1e-8)
        assert found.n_tokens[row] == tokens.shape[1] - 1


@pytest.mark.parametrize(("at_once", "tokens_at_once"), [(1, 8192), (7, 8192), (64, 100), (64, 1)])
def test_batches_change_no_measurement(
    at_once: int, tokens_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured(64, 8192, monkeypatch)
    parts = measured(at_once, tokens_at_once, monkeypatch)
    for name in ("mean", "log_var", "kl", "nll", "nll_shuffled", "nll_shuffled_level"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-8)
    for name in ("n_correct", "n_tokens", "n_notes"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_no_batch_has_more_tokens_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[tuple[int, ...]] = []
    padded = TokenStore.padded

    def watched(store: TokenStore, windows: torch.Tensor) -> torch.Tensor:
        tokens = padded(store, windows)
        widths.append(tuple(tokens.shape))
        return tokens

    monkeypatch.setattr(TokenStore, "padded", watched)
    measured(64, 200, monkeypatch)
    assert max(rows for rows, _ in widths) > 1
    assert all(rows * (width - 7) <= 200 for rows, width in widths)  # padded to a multiple of 8


@torch.no_grad()
def test_a_model_that_says_only_padding_predicts_no_token() -> None:
    vae, pad = model(), CORPUS.vocabulary.pad
    vae.decoder.logits.bias[pad] = 1e3
    tokens = STORE.padded(torch.from_numpy(WINDOWS[:4]))
    z = vae.encode(tokens).mean
    assert (tokens == pad).any()
    assert likelihood(vae, tokens, z, z)[2].tolist() == [0] * 4


def test_z_is_shuffled_between_pieces() -> None:
    piece = np.array([0, 0, 0, 1, 1, 2, 0, 0])
    other = partners(piece)
    assert (piece[other] != piece).all()
    assert (partners(piece) == other).all()
    alone = partners(np.zeros(4, int))  # one piece: there is no other, but there are its windows
    assert sorted(alone.tolist()) == [0, 1, 2, 3]
    assert (alone != np.arange(4)).all()


def test_one_level_at_a_time_is_that_of_another_window() -> None:
    layout = model().layout
    z = torch.arange(3.0)[:, None] + torch.arange(layout.size) / 100.0
    others = z[[1, 2, 0]]
    mixed = one_level_of_others(layout, z, others)
    assert len(mixed) == len(layout.levels)
    for index, code in enumerate(mixed):
        assert torch.equal(code[:, layout.level == index], others[:, layout.level == index])
        assert torch.equal(code[:, layout.level != index], z[:, layout.level != index])


def test_a_level_that_says_nothing_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = model()
    names = [level.name for level in vae.layout.levels]
    encoder = vae.encode

    def loud(tokens: torch.Tensor) -> Posterior:
        """Codes of which the second level says nothing, and the others much."""
        mean = encoder(tokens).mean
        said = torch.where(vae.layout.level == 1, 0.0, 30.0 * mean)
        return Posterior(said, torch.full_like(mean, -9.0))

    monkeypatch.setattr(vae, "encode", loud)
    values = Evaluator(CORPUS, STORE, small_config(), split="val").evaluate(vae, final=False)
    use = [values[f"val/kl_health/{name}/latent_use"] for name in names]
    costs = [values[f"val/latent_use_nats/{name}"] for name in names]
    assert costs[1] == pytest.approx(0.0, abs=0.05)
    assert min(abs(costs[0]), abs(costs[2])) > 0.05
    assert use[1] == pytest.approx(0.0, abs=0.001)
    assert values["val/kl_health/local/live_dimensions"] == 0.0
    assert values["val/kl_health/global/live_dimensions"] == 1.0


def test_what_is_not_live_is_not_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = model()
    encoder = vae.encode

    def faint(tokens: torch.Tensor) -> Posterior:
        """Codes that rank bins would read, and that a sample would not keep."""
        mean = encoder(tokens).mean
        return Posterior(1e-3 * mean, torch.zeros_like(mean))

    monkeypatch.setattr(vae, "encode", faint)
    config = small_config(evaluation__likelihood_windows=8, evaluation__importance_windows=1)
    values = Evaluator(CORPUS, STORE, config, split="val").evaluate(vae, final=True)
    assert values["val/live_dimensions"] == 0.0
    assert values["val/dci_et_informativeness"] == 0.0


def test_with_one_level_its_health_is_that_of_the_whole() -> None:
    config = small_config(latent__levels=[{"name": "all", "dim": 5, "span": "sequence"}])
    with seeded(0, "test"):
        vae = Vae(config, CORPUS.vocabulary, CORPUS.n_bars)
    values = Evaluator(CORPUS, STORE, config, split="val").evaluate(vae, final=False)
    for term in ("kl_health", *TERMS):
        name = "val/kl_health" if term == "kl_health" else f"val/kl_health/{term}"
        assert values[f"val/kl_health/all/{term}"] == pytest.approx(values[name], rel=1e-12)


def test_an_evaluation_is_the_same_each_time_and_leaves_the_model_alone() -> None:
    evaluator = Evaluator(CORPUS, STORE, small_config(), split="val")
    vae = model().float()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    first = evaluator.evaluate(vae, final=True)
    assert vae.training
    torch.randn(3)  # what else is drawn does not matter
    assert evaluator.evaluate(vae.eval(), final=True) == first
    assert not vae.training
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert {"val/score", "val/latent_use_nats/low", "val/reconstruction_score/zero_z"} <= set(
        first
    )


def test_fewer_likelihoods_leave_the_codes_and_say_how_many_they_are() -> None:
    vae = model()
    whole = Evaluator(CORPUS, STORE, small_config(), split="val").evaluate(vae, final=True)
    config = small_config(evaluation__likelihood_windows=7, evaluation__importance_windows=5)
    evaluator = Evaluator(CORPUS, STORE, config, split="val")
    few = evaluator.evaluate(vae, final=True)
    sizes = {"windows": 7, "reconstructions": 4, "importance_windows": 5, "importance_samples": 16}
    for name, size in {**sizes, "disentanglement/windows": 16}.items():
        assert few[f"val/{name}"] == size
    assert (whole["val/windows"], whole["val/importance_windows"]) == (16, 16)
    same = ("mig_rank32", "dcimig", "reconstruction_score", "sequence_accuracy")
    for name in ("disentanglement", "dci_et_informativeness", *same):
        assert few[f"val/{name}"] == pytest.approx(whole[f"val/{name}"], abs=1e-12), name
    with torch.no_grad():
        alone = Measured(vae, STORE, evaluator.windows[:7], np.arange(7))
    assert few["val/reconstruction_nats"] == pytest.approx(alone.nll.mean())
    assert few["val/kl_nats"] == pytest.approx(alone.kl.sum(axis=1).mean())
    assert few["val/kl_nats"] != whole["val/kl_nats"]


def test_an_export_measures_all_of_its_windows_whatever_a_trial_does() -> None:
    sizes = {"likelihood_windows": 3, "reconstructions": 2, "importance_windows": 4}
    few = small_config(**{f"evaluation__{name}": size for name, size in sizes.items()})
    evaluator = Evaluator(CORPUS, STORE, few, split="test")
    assert sorted(evaluator.windows) == CORPUS.indices("test").tolist()
    found = evaluator.evaluate(model(), final=True)
    usual = Evaluator(CORPUS, STORE, small_config(), split="test").evaluate(model(), final=True)
    assert found == usual
    assert (found["test/windows"], found["test/reconstructions"]) == (16, 8)
    assert found["test/importance_windows"] == 8


def test_the_way_there_is_measured_on_fewer_windows() -> None:
    config = small_config(evaluation__windows=9, evaluation__reconstructions=10)
    values = Evaluator(CORPUS, STORE, config, split="val").evaluate(model(), final=False)
    assert (values["val/windows"], values["val/reconstructions"]) == (9, 3)
    assert "val/disentanglement/windows" not in values


@torch.no_grad()
def test_values_of_likelihood_are_what_the_metrics_page_says() -> None:
    found = Measured(model(), STORE, WINDOWS, np.asarray(CORPUS.piece)[WINDOWS])
    values, use = found.likelihood(), found.latent_use()
    nll, kl, n = found.nll.sum(), found.kl.sum(), len(WINDOWS)
    tokens = sum(len(CORPUS.window(int(window))) - 1 for window in WINDOWS)  # START is given
    notes = sum(len(CORPUS.vocabulary.decode(CORPUS.window(int(w))).notes) for w in WINDOWS)
    assert values["reconstruction_nats"] == pytest.approx(nll / n)
    assert values["negative_elbo_nats"] == pytest.approx((nll + kl) / n)
    assert values["bits_per_token"] == pytest.approx((nll + kl) / tokens / np.log(2.0))
    assert values["nats_per_note"] == pytest.approx((nll + kl) / notes)
    assert values["token_probability"] == pytest.approx(np.exp(-nll / tokens))
    shuffled = values["reconstruction_shuffled_z_nats"]
    assert use["latent_use_nats"] == pytest.approx(shuffled - values["reconstruction_nats"])
    assert use["latent_use_nats/low"] < use["latent_use_nats"] < use["latent_use_nats/high"]


@torch.no_grad()
def test_under_a_learned_prior_a_coordinate_is_asked_what_it_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its KL is a part of a slot's, and says nothing by itself."""
    levels = [
        {"name": "all", "dim": 2, "span": "sequence", "prior": "mixture"},
        {"name": "bar", "dim": 2, "span": 1},
    ]
    with seeded(0, "test"):
        vae = Vae(small_config(latent__levels=levels), CORPUS.vocabulary, CORPUS.n_bars).double()
    found = Measured(vae, STORE, WINDOWS, np.asarray(CORPUS.piece)[WINDOWS])
    aggregate = kl_from_aggregate(found.mean, found.log_var)
    assert (found.own_kl[:, :2] == aggregate[:, :2]).all()
    assert (found.own_kl[:, 2:] == found.kl[:, 2:]).all()
    assert found.rates is not None
    told = latent_information(found.z, found.mean, found.log_var)
    assert found.rates[:2] == pytest.approx(told[:2])
    assert found.rates[2:] == pytest.approx(found.kl[:, 2:].mean(axis=0))
    much = np.full(vae.layout.size, 99.0)
    monkeypatch.setattr(evaluate, "latent_information", lambda *_: much)
    found = Measured(vae, STORE, WINDOWS, np.asarray(CORPUS.piece)[WINDOWS])
    assert found.rates is not None
    paid = found.kl[:, :2].sum(axis=1).mean()
    assert found.rates[:2] == pytest.approx(paid), "no more than its slot costs"
