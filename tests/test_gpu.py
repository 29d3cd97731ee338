"""What only a GPU can show: the same numbers as on a CPU, and steps replayed as CUDA graphs.

Run it with ``pytest tests/test_gpu.py -o addopts= -m gpu``: the checks of shapes that other tests
have cannot be compiled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aurl.data.batches import TokenStore
from aurl.model.generation import Sampling, generate
from aurl.seeding import torch_generator
from aurl.training.evaluate import Evaluator
from aurl.training.look import look_at
from aurl.training.loop import DivergedError, Run, Trainer, train
from aurl.training.workers import Workers
from tests.tiny import small_config, tiny_corpus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
GPU = torch.device("cuda")
REGULARIZERS = {
    "objective__regularizers__total_correlation": 0.5,
    "objective__regularizers__dip_off_diagonal": 0.5,
    "objective__regularizers__dip_diagonal": 0.5,
    "objective__regularizers__orthogonality": 0.5,
    "objective__regularizers__sparsity": 0.5,
    "objective__regularizers__attribute_order": 0.5,
    "objective__regularizers__attributes": [
        {"name": "rhythm_density", "dimension": "global/0"},
    ],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "standard": {},
    "mixture": {"latent__prior__kind": "mixture", "latent__top_down": True},
    "planar": {"latent__prior__kind": "planar"},
    "spline": {"latent__prior__kind": "spline"},
    "batch_norm": {"latent__posterior": "batch_norm", "latent__gamma": 0.5},
    "free_bits": {"objective__free_bits__threshold": 0.1},
    "opening": {"latent__levels__fine__opens": 0.3},
    "target_kl": {"objective__beta__schedule": "target_kl", "objective__beta__target": 3.0},
    "training_aids": {"model__token_dropout": 0.2, "model__encoder_skip": 0.5},
    "context": {"latent__context": ["mode"], "latent__top_down": True},
    "bfloat16": {"training__precision": "bfloat16"},
    "augmented": {"augmentation__transpose": 2},
    "regularizers": REGULARIZERS,
    "learned, regularizers": {"latent__prior__kind": "mixture", **REGULARIZERS},
}
each_setting = pytest.mark.parametrize("name", SETTINGS)


def trainer_of(device: torch.device, **changes: Any) -> Trainer:
    changes.setdefault("training__steps", 40)
    run = Run(
        config=small_config(**changes), corpus=tiny_corpus(), checkpoint_folder=Path("/nowhere")
    )
    return Trainer(run, Workers(device=device))


def rows(trainer: Trainer, count: int) -> list[dict[str, float]]:
    return [trainer.row(trainer.take_step()) for _ in range(count)]


@each_setting
def test_a_gpu_trains_what_a_cpu_trains(name: str) -> None:
    expected = rows(trainer_of(torch.device("cpu"), **SETTINGS[name]), 4)
    error = 2e-2 if name == "bfloat16" else 2e-3
    for found, wanted in zip(rows(trainer_of(GPU, **SETTINGS[name]), 4), expected, strict=True):
        assert found == pytest.approx(wanted, rel=error, abs=error / 10)


@each_setting
@pytest.mark.timeout(600)
def test_replayed_steps_are_those_that_are_not(name: str) -> None:
    plain = trainer_of(GPU, **SETTINGS[name])
    replayed = trainer_of(GPU, training__compile=True, **SETTINGS[name])
    assert replayed.replay is not None
    for found, wanted in zip(rows(replayed, 12), rows(plain, 12), strict=True):
        assert found == pytest.approx(wanted, rel=5e-3, abs=1e-3)
    assert replayed.replay.recordings
    for name_, parameter in replayed.model.named_parameters():
        other = plain.model.get_parameter(name_)
        assert (parameter - other).norm() < 0.02 * other.norm() + 1e-3, name_


def test_a_replayed_step_that_is_not_finite_changes_nothing() -> None:
    trainer = trainer_of(GPU, training__compile=True)
    rows(trainer, 8)
    assert trainer.replay is not None
    assert trainer.replay.recordings
    with torch.no_grad():
        trainer.model.decoder.logits.bias[3] = float("nan")
    before = {name: each.clone() for name, each in trainer.model.state_dict().items()}
    with pytest.raises(DivergedError, match="objective is not finite at step 9"):  # noqa: PT012
        trainer.take_step()
        trainer.check()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value.nan_to_num(7.0), before[name].nan_to_num(7.0)), name


@pytest.mark.parametrize("name", ["standard", "spline"])
def test_an_evaluation_says_the_same_on_a_gpu(name: str) -> None:
    config = small_config(**SETTINGS[name])
    corpus = tiny_corpus()
    trainer = trainer_of(torch.device("cpu"), **SETTINGS[name])
    rows(trainer, 8)
    on_cpu = Evaluator(corpus, TokenStore(corpus), config, split="val").evaluate(
        trainer.model, final=True
    )
    evaluator = Evaluator(corpus, TokenStore(corpus, GPU), config, split="val")
    assert evaluator.evaluate(trainer.model.to(GPU), final=True) == pytest.approx(
        on_cpu, rel=1e-2, abs=1e-2, nan_ok=True
    )
    assert evaluator.seen is not None
    assert look_at(trainer.model, evaluator.seen) is not None, "samples are drawn there too"


def test_a_gpu_generates_what_a_cpu_generates() -> None:
    model = trainer_of(torch.device("cpu")).model.eval()
    z = torch.randn(4, model.layout.size, generator=torch_generator(0, "z"))
    for temperature in (0.0, 1.0):
        settings: dict[str, Any] = {
            "max_tokens": 40,
            "sampling": Sampling(temperature=temperature),
        }
        generators = [torch_generator(0, "draws") for _ in range(2)]
        expected = generate(model.cpu(), z, generator=generators[0], **settings)
        found = generate(model.to(GPU), z.to(GPU), generator=generators[1], **settings)
        assert torch.equal(found.cpu(), expected)


@pytest.mark.timeout(600)
def test_gpu_memory_does_not_grow_over_runs(tmp_path: Path) -> None:
    held: list[int] = []
    for number in range(6):
        config = small_config(training__compile=True, training__steps=10, evaluation__every=10)
        run = Run(config=config, corpus=tiny_corpus(), checkpoint_folder=tmp_path / str(number))
        assert train(run, workers=Workers(device=GPU), report=lambda _: True)
        Workers(device=GPU).release()
        held.append(torch.cuda.memory_allocated())
    assert np.ptp(held[1:]) == 0, held
