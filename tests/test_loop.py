"""Training: exact resume, refusal of divergence, batches in parts."""

import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aurl.config import RunConfig
from aurl.errors import ConfigError
from aurl.objectives.controllers import schedule_of
from aurl.training import checkpoint
from aurl.training.fits import check_fits
from aurl.training.look import RATES, Look
from aurl.training.loop import DivergedError, Run, Trainer, train
from aurl.training.messages import Row
from aurl.training.workers import Workers
from tests.tiny import small_config, tiny_corpus, untimed

CPU = torch.device("cpu")


def run_in(folder: Path, config: RunConfig) -> Run:
    return Run(config=config, corpus=tiny_corpus(), checkpoint_folder=folder)


def rows_of(folder: Path, config: RunConfig, stop_at: int = 10**9) -> list[Row]:
    rows: list[Row] = []

    def report(new: Sequence[Row]) -> bool:
        rows.extend(new)
        return new[-1]["step"] < stop_at

    train(run_in(folder, config), workers=Workers(), report=report)
    return rows


CYCLICAL: dict[str, Any] = {
    "objective__beta__schedule": "cyclical",
    "objective__beta__cycles": 2,
    "objective__beta__ramp": 0.5,
}
TARGET_KL: dict[str, Any] = {
    "objective__beta__schedule": "target_kl",
    "objective__beta__target": 0.5,
    "objective__beta__integral": 0.01,
}
TARGET_RECONSTRUCTION: dict[str, Any] = {
    "objective__beta__schedule": "target_reconstruction",
    "objective__beta__target": 40.0,
}


@pytest.mark.parametrize(
    "changes",
    [
        CYCLICAL,
        {**CYCLICAL, "model__token_dropout": 0.3, "model__encoder_skip": 0.8},
        TARGET_KL,
        {**TARGET_RECONSTRUCTION, "training__precision": "bfloat16"},
    ],
    ids=["cyclical", "dropout and skip", "target_kl", "target_reconstruction in bfloat16"],
)
def test_resumed_run_equals_uninterrupted_run_bitwise(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = small_config(augmentation__transpose=2, **changes)
    whole = rows_of(tmp_path / "whole", config)
    first = rows_of(tmp_path / "parts", config, stop_at=4)
    assert checkpoint.step_of(tmp_path / "parts") == 4
    second = rows_of(tmp_path / "parts", config)
    assert untimed(first) + untimed(second) == untimed(whole)
    assert len({row["objective/beta"] for row in whole if "objective/beta" in row}) > 1
    weights = [
        Trainer(run_in(tmp_path / part, config), Workers()).model.state_dict()
        for part in ("whole", "parts")
    ]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


@pytest.mark.parametrize(
    "changes", [TARGET_KL, TARGET_RECONSTRUCTION], ids=["kl", "reconstruction"]
)
def test_a_controller_is_shown_its_own_quantity(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = small_config(**changes)
    trainer = Trainer(run_in(tmp_path, config), Workers())
    twin = schedule_of(config.objective.beta, config.training.steps)
    for _ in range(2):
        terms = trainer.take_step()
        twin.observe(kl=float(terms.kl), reconstruction=float(terms.reconstruction))
        assert trainer.schedule.state == pytest.approx(twin.state)


def test_each_step_draws_its_own_noise_and_dropout(tmp_path: Path) -> None:
    config = small_config(model__token_dropout=0.2, training__batch_size=64)
    trainer = Trainer(run_in(tmp_path, config), Workers())
    seen: list[tuple[Any, ...]] = []
    trainer.parallel.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2:4]))
    for _ in range(2):
        trainer.take_step()
    (noise, keep), (other_noise, other_keep) = seen
    assert noise.std().item() == pytest.approx(1.0, abs=0.1)
    assert not torch.equal(noise, other_noise)
    assert keep.float().mean().item() == pytest.approx(0.8, abs=0.05)
    width = min(keep.shape[1], other_keep.shape[1])
    assert not torch.equal(keep[:, :width], other_keep[:, :width])


def test_a_checkpoint_between_two_reports_loses_no_step_and_no_row(tmp_path: Path) -> None:
    config = small_config(training__log_every=1, evaluation__every=4)
    whole = rows_of(tmp_path / "whole", config)
    told: list[Row] = []

    def note(rows: Sequence[Row]) -> bool:
        if not rows or rows[-1]["step"] != 6:
            return False
        told.extend(rows)
        return True

    def report(rows: Sequence[Row]) -> bool:
        if rows[-1]["step"] > 6:
            raise ConnectionError("the machine is gone")
        told.extend(rows)
        return True

    run = replace(run_in(tmp_path / "cut", config), note=note)
    with pytest.raises(ConnectionError):
        train(run, workers=Workers(), report=report)
    assert checkpoint.step_of(tmp_path / "cut") == 6
    told += rows_of(tmp_path / "cut", config)
    assert untimed(told) == untimed(whole)


def test_the_encoder_skip_closes_in_its_share_of_training(tmp_path: Path) -> None:
    config = small_config(model__encoder_skip=0.5, training__log_every=1)
    rows = [row for row in rows_of(tmp_path, config) if "train/encoder_skip_gate" in row]
    gates = [row["train/encoder_skip_gate"] for row in rows]
    assert gates == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0]


def test_training_lowers_the_negative_elbo(tmp_path: Path) -> None:
    config = small_config(training__steps=60, evaluation__every=60, optimizer__lr=0.01)
    rows = rows_of(tmp_path, config)
    first, last = rows[0], rows[-2]
    assert last["train/negative_elbo_nats"] < 0.8 * first["train/negative_elbo_nats"]


def test_a_stop_takes_effect_at_the_step_that_was_reported(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, small_config(), stop_at=4)
    assert rows[-1]["step"] == 4
    assert checkpoint.step_of(tmp_path) == 4


def test_a_finished_run_has_nothing_left_to_report(tmp_path: Path) -> None:
    rows_of(tmp_path, small_config())
    assert rows_of(tmp_path, small_config()) == []


def test_every_logged_name_is_on_the_step_it_belongs_to(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, small_config())
    assert [row["step"] for row in rows] == [2, 4, 4, 6, 8, 8]
    final = rows[-1]
    expected = {"kl_health", "disentanglement", "reconstruction_score", "score", "rung_score"}
    expected |= {"kl_nats", "kl_nats/global", "kl_nats/local", "kl_nats/fine", "latent_use_nats"}
    assert {f"val/{name}" for name in expected} <= set(final)
    levels = sum(final[f"val/kl_nats/{name}"] for name in ("global", "local", "fine"))
    assert levels == pytest.approx(final["val/kl_nats"])
    elbo = final["val/reconstruction_nats"] + final["val/kl_nats"]
    assert final["val/negative_elbo_nats"] == pytest.approx(elbo)


def test_where_the_system_does_not_say_what_was_held_meanwhile_it_is_of_the_whole_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ever = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for text in ("VmSize:\t 9 kB\n", None):

        def read_text(_: Path, text: str | None = text) -> str:
            if text is None:
                raise FileNotFoundError
            return text

        monkeypatch.setattr(Path, "read_text", read_text)
        assert Workers().peak_gib() == pytest.approx(ever, rel=0.05)


def test_throughput_and_memory_are_those_of_the_run(tmp_path: Path) -> None:
    Workers().forget_peak()
    ballast = np.ones(2**26)  # 0.5 GiB that something before the run has held
    before = Workers().peak_gib()
    del ballast
    rows = rows_of(tmp_path, small_config())
    corpus = tiny_corpus()
    batches = Trainer(run_in(tmp_path / "other", small_config()), Workers()).batches
    lengths = np.diff(corpus.offsets)
    tokens = sum(int((lengths[batches.windows_at(step)] - 1).sum()) for step in range(4, 8))
    final = rows[-1]
    seconds = 4 * final["time/step_s"]
    assert final["throughput/tokens_per_s"] == pytest.approx(tokens / seconds)
    assert 0.05 < final["memory/peak_gib"] < before - 0.3


def test_the_rate_of_each_dimension_adds_up_to_the_kl(tmp_path: Path) -> None:
    final = rows_of(tmp_path, small_config())[-1]
    rates = {name: value for name, value in final.items() if name.startswith(RATES)}
    assert len(rates) == 4 + 3 + 2
    slots = {"global": 1, "local": 2, "fine": 4}
    for level, n_slots in slots.items():
        total = sum(n_slots * v for name, v in rates.items() if name.startswith(RATES + level))
        assert total == pytest.approx(final[f"val/kl_nats/{level}"], rel=1e-5)


def test_a_run_is_looked_at_once_at_its_end_before_its_report(tmp_path: Path) -> None:
    told: list[str] = []

    def show(look: Look) -> None:
        told.append(f"{len(look.traversals)} traversals")

    def report(rows: Sequence[Row]) -> bool:
        told.append(f"step {rows[-1]['step']}")
        return True

    train(replace(run_in(tmp_path, small_config()), show=show), workers=Workers(), report=report)
    assert told == ["step 4", "8 traversals", "step 8"]


def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path) -> None:
    trainer = Trainer(run_in(tmp_path, small_config()), Workers())
    with torch.no_grad():
        trainer.model.decoder.logits.bias[3] = float("nan")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(DivergedError, match="objective is not finite at step 1"):
        trainer.take_step()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name


def test_a_gradient_that_is_not_finite_stops_before_the_update(tmp_path: Path) -> None:
    trainer = Trainer(run_in(tmp_path, small_config()), Workers())
    trainer.model.decoder.logits.bias.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(DivergedError, match="not finite at step 1"):
        trainer.take_step()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    ("changes", "workers", "message"),
    [
        ({"training__batch_size": 9}, 2, r"batch_size must be a multiple .* got batch_size=9"),
        ({"training__batch_size": 80}, 1, r"at most the training windows .* got 80, windows=64"),
        ({"augmentation__tempo": 1}, 1, r"augmentation\.tempo must be 0 .* got 1"),
        ({"augmentation__velocity": 2}, 1, r"augmentation\.velocity must be 0 .* got 2"),
        ({"model__encoder_layers": 1}, 1, r"encoder_layers must be at least"),
        ({"training__accumulate": 4}, 4, r"batch_size=8, accumulate=4, workers=4\.$"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    changes: dict[str, Any], workers: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_fits(small_config(**changes), tiny_corpus(), workers)


@pytest.mark.parametrize(("prior", "lr"), [("standard", 1e8), ("mixture", 100.0)])
def test_a_run_that_diverges_in_its_last_step_is_measured_as_it_is(
    tmp_path: Path, prior: str, lr: float
) -> None:
    config = small_config(
        training__steps=1, optimizer__lr=lr, optimizer__warmup=0.0, latent__prior__kind=prior
    )
    looks: list[Look] = []
    rows: list[Row] = []

    def report(new: Sequence[Row]) -> bool:
        rows.extend(new)
        return True

    run = replace(run_in(tmp_path, config), show=looks.append)
    assert train(run, workers=Workers(), report=report)
    assert not np.isfinite(rows[-1]["val/negative_elbo_nats"])
    assert rows[-1]["val/kl_health"] == rows[-1]["val/score"] == 0.0
    assert not looks
