"""The differentiable part of a step: bfloat16 where it may be, and the same when compiled."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aurl.errors import ConfigError
from aurl.training import loop
from aurl.training.dials import Weights
from aurl.training.elbo import Elbo, check_precision, compile_for
from aurl.training.loop import DivergedError, Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import small_config, tiny_corpus

LEARNED: dict[str, Any] = {"latent__prior__kind": "mixture", "latent__top_down": True}
CPU = torch.device("cpu")


def trainer_of(**changes: Any) -> Trainer:
    config = small_config(optimizer__gradient_clip=1e9, **changes)
    return Trainer(
        Run(config=config, corpus=tiny_corpus(), checkpoint_folder=Path("/")), Workers()
    )


def uncompiled(elbo: Elbo, device: torch.device) -> None:
    """In the place of ``compile_for``."""


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    named = trainer.model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("changes", [{}, LEARNED], ids=["standard", "mixture, top down"])
def test_bfloat16_has_the_loss_and_the_gradients_of_float32_nearly(
    changes: dict[str, Any],
) -> None:
    full, half = trainer_of(**changes), trainer_of(training__precision="bfloat16", **changes)
    exact, rounded = full.take_step(), half.take_step()
    assert rounded.objective.item() == pytest.approx(exact.objective.item(), rel=1e-3)
    assert rounded.kl.item() == pytest.approx(exact.kl.item(), rel=0.02)
    assert not torch.equal(rounded.reconstruction, exact.reconstruction)
    expected = gradients(full)
    assert expected.keys() == gradients(half).keys()
    for name, gradient in gradients(half).items():
        assert gradient.isfinite().all(), name
        assert gradient.dtype == torch.float32
        assert (gradient - expected[name]).norm() < 0.05 * expected[name].norm(), name


def test_under_bfloat16_only_matrix_products_are_rounded() -> None:
    trainer = trainer_of(training__precision="bfloat16", **LEARNED)
    tokens, context = trainer.batches.with_context(0)
    places = trainer.model.vocabulary.positions(tokens)
    noise = torch.randn(len(tokens), trainer.model.layout.size)
    seen: list[Tensor] = []

    def note(_module: nn.Module, _inputs: object, logits: Tensor) -> None:
        seen.append(logits)

    hook = trainer.model.decoder.register_forward_hook(note)
    terms, posterior = trainer.elbo(tokens, places, noise, None, context, Weights(0.5, 0.0, None))
    hook.remove()
    assert [logits.dtype for logits in seen] == [torch.bfloat16]
    for value in (terms.objective, terms.kl, terms.rates, posterior.mean, posterior.log_var):
        assert value.dtype == torch.float32
        assert not torch.equal(value, value.bfloat16().float())
    # The density of the prior is that which float32 has at the same sample.
    with torch.autocast("cpu", torch.bfloat16):
        output = trainer.model(tokens, noise, None, context)
    again = trainer.model.prior.in_base(posterior, posterior.sample(noise), context)
    assert output.base.log_prob is not None
    assert again.log_prob is not None
    assert torch.equal(output.base.log_prob, again.log_prob)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    exact = trainer_of(**LEARNED).model
    assert torch.equal(trainer.model.encode(tokens).mean, exact.encode(tokens).mean)


def test_the_terms_are_of_the_next_token_with_the_skip_as_far_open_as_is_asked() -> None:
    trainer = trainer_of(model__encoder_skip=0.5)
    tokens, context = trainer.batches.with_context(0)
    vocabulary, size = trainer.model.vocabulary, trainer.model.layout.size
    places, noise = vocabulary.positions(tokens), torch.zeros(len(tokens), size)
    terms, _ = trainer.elbo(tokens, places, noise, None, context, Weights(1.0, 0.25, None))
    logits = trainer.model(tokens, noise, None, context, 0.25).logits.flatten(0, 1)
    nll = nn.CrossEntropyLoss(ignore_index=vocabulary.pad, reduction="sum")
    expected = nll(logits, tokens[:, 1:].flatten()) / len(tokens)
    assert terms.reconstruction.item() == pytest.approx(expected.item())


def test_bfloat16_is_refused_on_a_gpu_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, half = torch.device("cuda"), small_config(training__precision="bfloat16")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    check_precision(half, gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla P100")
    check_precision(small_config(), gpu)
    check_precision(half, CPU)
    with pytest.raises(ConfigError, match=r"float32 on this GPU, got bfloat16: Tesla P100 has"):
        check_precision(half, gpu)


@pytest.mark.parametrize("changes", [{}, LEARNED], ids=["standard", "mixture, top down"])
def test_weights_as_tensors_and_few_widths_change_nothing(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """What is different about a compiled step, the compiler aside."""
    monkeypatch.setattr(loop, "compile_for", uncompiled)
    changes |= {
        "objective__beta__schedule": "linear",
        "objective__beta__warmup": 0.5,
        "model__encoder_skip": 0.5,
        "model__token_dropout": 0.1,
        "latent__levels__fine__opens": 0.3,
    }
    plain, other = trainer_of(**changes), trainer_of(training__compile=True, **changes)
    for _ in range(4):
        row = plain.row(plain.take_step())
        assert other.row(other.take_step()) == pytest.approx(row, rel=1e-5)


def test_a_machine_that_cannot_compile_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Any) -> Callable[..., Tensor]:
        def call(*_: Any) -> Tensor:
            raise RuntimeError("\nInvalidCxxCompiler: No working C++ compiler found.\n\nSet ...")

        return call

    trainer = trainer_of()
    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(ConfigError, match=r"^training\.compile must be false .* Install a C\+\+"):
        compile_for(trainer.elbo, CPU)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_loss_that_is_not_finite_is_refused_in_either_precision(precision: str) -> None:
    trainer = trainer_of(training__precision=precision)
    with torch.no_grad():
        trainer.model.decoder.logits.bias[3] = float("nan")
    before = trainer.model.decoder.logits.weight.clone()
    with pytest.raises(DivergedError, match="objective is not finite at step 1"):
        trainer.take_step()
    assert torch.equal(trainer.model.decoder.logits.weight, before)


def test_a_gradient_that_is_not_finite_is_refused_and_changes_nothing() -> None:
    trainer = trainer_of()
    trainer.take_step()
    weight = trainer.model.decoder.logits.weight
    hook = weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: each.clone() for name, each in trainer.model.state_dict().items()}
    with pytest.raises(DivergedError, match="gradient is not finite at step 2"):
        trainer.take_step()
    hook.remove()
    trainer.take_step()  # once something was not finite, nothing is updated any more
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name


COMPILED = """
import functools, json, torch
from pathlib import Path
from torch._dynamo.utils import counters
from aurl.errors import ConfigError
from aurl.training.loop import DivergedError, Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import small_config, tiny_corpus

torch.set_num_threads(1)
torch.compile = functools.partial(torch.compile, backend="aot_eager")
CHANGES = {
    "objective__beta__schedule": "linear",
    "objective__beta__warmup": 0.5,
    "model__encoder_layers": 2,
    "model__decoder_layers": 1,
    "model__encoder_skip": 0.5,
    "model__token_dropout": 0.1,
    "latent__levels": [
        {"name": "global", "dim": 4, "span": "sequence"},
        {"name": "local", "dim": 3, "span": 0.5, "opens": 0.4},
    ],
    "latent__top_down": True,
    "training__steps": 20,
    "optimizer__lr": 0.01,
}

def trainer_of(**changes):
    config = small_config(**CHANGES, **changes)
    run = Run(config=config, corpus=tiny_corpus(), checkpoint_folder=Path("/nowhere"))
    return Trainer(run, Workers())

def rows(trainer):
    return [trainer.row(trainer.take_step()) for _ in range(20)]

plain = rows(trainer_of())
trainer = trainer_of(training__compile=True)
before = dict(counters["stats"])
compiled = rows(trainer)
graphs = counters["stats"]["unique_graphs"] - before["unique_graphs"]
with torch.no_grad():
    trainer.model.decoder.logits.bias[3] = float("nan")
try:
    trainer.take_step()
    diverged = ""
except DivergedError as error:
    diverged = str(error)
breaks = sum(counters["graph_break"].values())
print(json.dumps([plain, compiled, graphs, breaks, diverged]))
"""


@pytest.mark.slow
def test_a_compiled_run_is_the_eager_one_from_one_graph() -> None:
    """In a process of its own: the checks of shapes that tests have are no part of the code.

    Its graph is recorded, cut into forward and backward, and run by torch's own kernels. Those
    that inductor would write take three CPU minutes; ``tests/test_gpu.py`` has them.
    """
    root = Path(__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILED],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    plain, compiled, graphs, breaks, diverged = json.loads(ran.stdout.splitlines()[-1])
    assert len({row["objective/beta"] for row in plain}) > 5
    for expected, found in zip(plain, compiled, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    assert graphs == 1
    assert breaks == 0
    assert diverged == "objective is not finite at step 21."
