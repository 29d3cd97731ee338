"""AdamW: what decays and what does not."""

import pytest
import torch
from torch import nn

from aurl.config import OptimizerConfig
from aurl.model.vae import Vae
from aurl.training.optimizer import adamw, learning_rate
from tests.tiny import N_BARS, VOCABULARY, small_config


def test_only_matrices_of_linear_layers_decay() -> None:
    config = small_config(
        latent__prior__kind="mixture",
        latent__top_down=True,
        latent__posterior="batch_norm",
        latent__gamma=0.7,
        model__encoder_skip=0.5,
    )
    model = Vae(config, VOCABULARY, N_BARS)
    decaying, plain = adamw(model, OptimizerConfig(weight_decay=0.1)).param_groups
    assert (decaying["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    matrices = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    assert {id(each) for each in decaying["params"]} == matrices
    everything = {id(each): name for name, each in model.named_parameters()}
    rest = {everything[id(each)] for each in plain["params"]}
    assert rest | {everything[each] for each in matrices} == {*everything.values()}
    for part in (
        "norm.weight",
        "bias",
        "embedding.weight",
        "bar.weight",
        "query",
        "null",
        "means",
    ):
        assert [name for name in rest if name.endswith(part)], part


def test_a_step_without_a_gradient_only_shrinks_what_decays() -> None:
    model = Vae(small_config(), VOCABULARY, N_BARS)
    optimizer = adamw(model, OptimizerConfig(weight_decay=0.1, lr=0.5))
    before = [[each.clone() for each in group["params"]] for group in optimizer.param_groups]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for group, kept, factor in zip(optimizer.param_groups, before, (0.95, 1.0), strict=True):
        for parameter, value in zip(group["params"], kept, strict=True):
            torch.testing.assert_close(parameter.detach(), factor * value.detach())


def test_the_learning_rate_rises_and_falls_to_a_tenth() -> None:
    config = OptimizerConfig(lr=2.0, warmup=0.1)
    rates = [learning_rate(config, step, 100) for step in range(101)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == 2.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(1.1)
    assert rates[100] == pytest.approx(0.2)


def test_the_learning_rate_never_passes_its_peak() -> None:
    config = OptimizerConfig(lr=2.0, warmup=0.05)  # of 21 steps, a little more than one
    rates = [learning_rate(config, step, 21) for step in range(21)]
    assert max(rates) == 2.0
