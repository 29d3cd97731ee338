"""Regularizers in training: computed only with a weight, logged, able to move codes, refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from aurl.config import MelodiesConfig, RunConfig
from aurl.data.corpora import load_named
from aurl.errors import ConfigError
from aurl.model.latents import LatentLayout
from aurl.objectives.objective import Terms
from aurl.seeding import torch_generator
from aurl.training import regularization
from aurl.training.fits import check_fits
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import N_BARS, small_config, tiny_corpus

AT = "objective__regularizers__"
DENSITY = [{"name": "rhythm_density", "dimension": "global/1"}]
WEIGHTED: dict[str, dict[str, Any]] = {
    "total_correlation_nats": {AT + "total_correlation": 5.0},
    "dip_off_diagonal": {AT + "dip_off_diagonal": 100.0},
    "dip_diagonal": {AT + "dip_diagonal": 100.0},
    "orthogonality": {AT + "orthogonality": 100.0},
    "sparsity": {AT + "sparsity": 300.0},
    "attribute_order": {AT + "attribute_order": 300.0, AT + "attributes": DENSITY},
}
NAMES = {f"train/{name}" for name in WEIGHTED}


def trainer_of(config: RunConfig) -> Trainer:
    run = Run(config=config, corpus=tiny_corpus(), checkpoint_folder=Path("/nowhere"))
    return Trainer(run, Workers())


def steps(trainer: Trainer, count: int) -> list[Terms]:
    return [trainer.take_step() for _ in range(count)]


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_term_with_a_weight_is_in_the_objective_and_logged_under_its_name(name: str) -> None:
    changes = WEIGHTED[name]
    weight = next(value for value in changes.values() if isinstance(value, float))
    trainer = trainer_of(small_config(**changes))
    terms = trainer.take_step()
    row = trainer.row(terms)
    assert set(row) & NAMES == {f"train/{name}"}
    rest = terms.reconstruction + terms.kl_charged
    torch.testing.assert_close(terms.objective - rest, weight * terms.regularizers[name])
    assert row["train/negative_elbo_nats"] == pytest.approx(float(terms.reconstruction + terms.kl))


@pytest.mark.parametrize("name", ["sparsity", "dip_diagonal"])
def test_training_lowers_a_term_that_has_a_weight(name: str) -> None:
    config = small_config(
        training__steps=30, training__batch_size=16, optimizer__lr=0.01, **WEIGHTED[name]
    )
    values = [float(terms.regularizers[name]) for terms in steps(trainer_of(config), 30)]
    assert sum(values[-5:]) < 0.6 * sum(values[:5])


def test_without_weights_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "total_correlation",
        "dip_off_diagonal",
        "dip_diagonal",
        "level_covariance",
        "density_of_code",
        "attribute_order",
    ):
        monkeypatch.setattr(regularization, name, None)
    trainer = trainer_of(small_config(**{AT + "attributes": DENSITY}))
    assert set(trainer.row(trainer.take_step())) & NAMES == set()


def test_a_code_follows_the_attribute_it_is_told_to() -> None:
    config = small_config(
        training__steps=60,
        training__batch_size=16,
        optimizer__lr=0.01,
        **WEIGHTED["attribute_order"],
    )
    trainer = trainer_of(config)
    steps(trainer, 60)
    corpus = tiny_corpus()
    windows = corpus.indices("val")
    with torch.no_grad():
        codes = trainer.model.encode(trainer.store.padded(torch.from_numpy(windows))).mean
    density = torch.from_numpy(corpus.attributes[windows][:, 0])
    correlations = [torch.corrcoef(torch.stack([density, codes[:, i]]))[0, 1] for i in range(4)]
    assert correlations[1] > 0.65  # -0.62 without the weight


def test_terms_are_of_what_the_decoder_is_given_and_of_the_training_music(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The order is that of the codes drawn, and the aggregate posterior that of train alone."""
    seen: dict[str, Any] = {}
    orders: list[torch.Tensor] = []

    def order(code: torch.Tensor, attribute: torch.Tensor, sharpness: float) -> torch.Tensor:
        seen["code"], seen["attribute"], seen["sharpness"] = code, attribute, sharpness
        orders.append(code.sum())
        return orders[-1]

    def correlation(z: torch.Tensor, *others: Any) -> torch.Tensor:
        seen["z"], seen["n_sequences"] = z, others[-1]
        return z.sum()

    monkeypatch.setattr(regularization, "attribute_order", order)
    monkeypatch.setattr(regularization, "total_correlation", correlation)
    fine = [*DENSITY, {"name": "contour", "dimension": "fine/1", "sharpness": 3.0}]
    weights = WEIGHTED["total_correlation_nats"] | {
        AT + "attribute_order": 1.0,
        AT + "attributes": fine,
    }
    trainer = trainer_of(small_config(**weights))
    windows = torch.from_numpy(trainer.batches.windows_at(0))
    posterior = trainer.model.encode(trainer.store.padded(windows))
    noise = torch.randn(8, trainer.model.layout.size, generator=torch_generator(0, "noise", 0))
    z = posterior.sample(noise)
    terms = trainer.take_step()
    assert len(orders) == 2
    torch.testing.assert_close(terms.regularizers["attribute_order"], sum(orders) / 2)
    corpus = tiny_corpus()
    assert seen["n_sequences"] == len(corpus.indices("train"))
    torch.testing.assert_close(seen["z"], z)
    slots = trainer.model.layout.split(z)[2][:, :, 1]
    torch.testing.assert_close(seen["code"], slots.mean(dim=1))
    column = corpus.attribute_names.index("contour")
    assert seen["attribute"].tolist() == corpus.attributes[windows.numpy(), column].tolist()
    assert seen["sharpness"] == 3.0


def test_a_factor_that_transposition_moves_is_not_followed() -> None:
    corpus = load_named("melodies", MelodiesConfig(train=100))
    attributes = [{"name": "octave", "dimension": "global/0"}]
    config = small_config(**{AT + "attributes": attributes, "augmentation__transpose": 2})
    layout = LatentLayout.of(config.latent.levels, N_BARS)
    with pytest.raises(ConfigError, match=r"attributes\.octave must go with .*transpose 0, got 2"):
        regularization.check_regularizers(config, corpus, layout)


def test_dip_is_held_against_a_learned_prior() -> None:
    weights = WEIGHTED["dip_diagonal"] | WEIGHTED["dip_off_diagonal"]
    config = small_config(latent__prior__kind="mixture", latent__top_down=True, **weights)
    trainer = trainer_of(config)
    found = trainer.take_step().regularizers
    standard = trainer_of(small_config(**weights)).take_step().regularizers
    for name in ("dip_diagonal", "dip_off_diagonal"):
        assert abs(float(found[name] - standard[name])) > 1e-3, name
        assert math.isfinite(float(found[name]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {AT + "attributes": [{"name": "mood", "dimension": "global/0"}]},
            r"attributes\.mood must name an attribute with an order, one of rhythm_density",
        ),
        (
            {AT + "attributes": [{"name": "tonic", "dimension": "global/0"}]},
            r"attributes\.tonic must name an attribute with an order",
        ),
        (
            {AT + "attributes": [{"name": "contour", "dimension": "global/9"}]},
            r"contour\.dimension must name a dimension such as 'global/0', got 'global/9'",
        ),
        (
            {
                AT + "attributes": [{"name": "mean_pitch", "dimension": "global/0"}],
                "augmentation__transpose": 3,
            },
            r"attributes\.mean_pitch must go with augmentation\.transpose 0, got 3",
        ),
        (
            {AT + "orthogonality": 1.0, "latent__levels": [{"name": "one", "dim": 4}]},
            r"orthogonality must be 0 with fewer than two latent levels, got 1",
        ),
        (
            {AT + "sparsity": 1.0, "latent__levels": [{"name": "one", "dim": 1}]},
            r"sparsity must be 0 with a single latent coordinate, got 1",
        ),
        (
            {AT + "attributes": [{"name": "polyphony", "dimension": "global/0"}]},
            r"attributes\.polyphony must name an attribute that varies, got 'polyphony', which",
        ),
        (
            {"training__accumulate": 3},
            r"batch_size must be a multiple of training\.accumulate times .* accumulate=3",
        ),
    ],
)
def test_a_term_without_anything_to_act_on_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    config = small_config(**changes)
    with pytest.raises(ConfigError, match=message):
        check_fits(config, tiny_corpus(), 1)
    with pytest.raises(ConfigError, match=message):
        trainer_of(config)


# Parts of a step


def gradients(**changes: Any) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    config = small_config(training__batch_size=16, optimizer__gradient_clip=1e9, **changes)
    trainer = trainer_of(config)
    row = trainer.row(trainer.take_step())
    named = trainer.model.named_parameters()
    return {name: p.grad for name, p in named if p.grad is not None}, row


@pytest.mark.parametrize("parts", [2, 4, 16])
def test_parts_of_a_step_have_the_gradient_of_the_whole(parts: int) -> None:
    changes = {"model__token_dropout": 0.3, **WEIGHTED["sparsity"]}
    whole, row = gradients(**changes)
    cut, cut_row = gradients(training__accumulate=parts, **changes)
    assert cut_row == pytest.approx(row, rel=1e-5, abs=1e-6)
    assert cut.keys() == whole.keys()
    for name, value in whole.items():
        difference = (cut[name] - value).abs().max().item()
        assert difference <= 1e-5 * value.abs().max().item() + 1e-8, name


def test_parts_of_a_step_refuse_divergence_before_the_update() -> None:
    trainer = trainer_of(small_config(training__accumulate=2))
    with torch.no_grad():
        trainer.model.decoder.logits.bias[3] = float("nan")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(FloatingPointError, match="objective is not finite at step 1"):
        trainer.take_step()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name


def test_an_attribute_that_an_augmentation_changes_is_refused() -> None:
    attributes = [{"name": "tempo", "dimension": "global/0"}]
    config = small_config(**{AT + "attributes": attributes, "augmentation__tempo": 2})
    layout = LatentLayout.of(config.latent.levels, N_BARS)
    with pytest.raises(ConfigError, match=r"tempo must go with augmentation\.tempo 0, got 2"):
        regularization.check_regularizers(config, tiny_corpus(), layout)
