"""Checkpoints: what is read is what was written, and a bad file is one clear line."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from aurl.errors import DataError, StorageError
from aurl.training import checkpoint
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers
from tests.tiny import small_config, tiny_corpus


def trainer(folder: Path) -> Trainer:
    run = Run(config=small_config(), corpus=tiny_corpus(), checkpoint_folder=folder)
    return Trainer(run, Workers())


def small(width: int = 2) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()


def saved(folder: Path, at: int = 5) -> Path:
    model, optimizer = small()
    step(model, optimizer)
    checkpoint.save(folder, step=at, model=model, optimizer=optimizer)
    return folder / checkpoint.FILE_NAME


def one_line(error: pytest.ExceptionInfo[DataError], path: Path) -> bool:
    text = str(error.value)
    return "\n" not in text and text.startswith(str(path))


def test_weights_optimizer_and_step_come_back_bitwise(tmp_path: Path) -> None:
    first = trainer(tmp_path)
    for _ in range(3):
        first.take_step()
    first.save()
    second = trainer(tmp_path)
    assert second.step == 3
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    before, after = first.optimizer.state_dict()["state"], second.optimizer.state_dict()["state"]
    assert before.keys() == after.keys()
    for index, entries in before.items():
        for name, value in entries.items():
            assert torch.equal(value, after[index][name]), (index, name)
    first.take_step()
    second.take_step()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_a_fresh_optimizer_is_saved_and_restored_too(tmp_path: Path) -> None:
    model, optimizer = small()
    checkpoint.save(tmp_path, step=0, model=model, optimizer=optimizer)
    assert checkpoint.restore(tmp_path, model=model, optimizer=optimizer) == 0
    step(model, optimizer)


def test_no_checkpoint_is_step_zero_and_changes_nothing(tmp_path: Path) -> None:
    model, optimizer = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert checkpoint.restore(tmp_path / "none", model=model, optimizer=optimizer) == 0
    assert checkpoint.step_of(tmp_path / "none") == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_only_the_weights_can_be_read(tmp_path: Path) -> None:
    model, optimizer = small()
    step(model, optimizer)
    checkpoint.save(tmp_path, step=1, model=model, optimizer=optimizer)
    other, _ = small()
    checkpoint.load_run_weights(tmp_path, other)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_a_save_that_fails_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def torn(tensors: dict[str, torch.Tensor], where: Path, metadata: dict[str, str]) -> None:
        save_file(tensors, where, metadata=metadata)
        with where.open("r+b") as file:
            file.truncate(100)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", torn)
    with pytest.raises(
        StorageError, match=r"checkpoint\.safetensors cannot be written: .*No space"
    ):
        saved(tmp_path, at=6)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [checkpoint.FILE_NAME]
    assert checkpoint.step_of(tmp_path) == 5


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    model, optimizer = small()
    with pytest.raises(DataError, match="cannot be read as model weights") as restoring:
        checkpoint.restore(tmp_path, model=model, optimizer=optimizer)
    with pytest.raises(DataError, match="is not a checkpoint") as stepping:
        checkpoint.step_of(tmp_path)
    with pytest.raises(DataError, match="cannot be read as model weights") as reading:
        checkpoint.load_run_weights(tmp_path, model)
    assert all(one_line(error, path) for error in (restoring, stepping, reading))


def test_a_file_of_something_else_is_not_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.FILE_NAME
    path.write_bytes(b"MThd and so on, which is no safetensors header at all")
    with pytest.raises(DataError, match="is not a checkpoint") as error:
        checkpoint.step_of(tmp_path)
    assert one_line(error, path)
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(DataError, match="is not a checkpoint"):
        checkpoint.step_of(tmp_path)


def test_another_architecture_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = saved(tmp_path)
    model, optimizer = small(width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    message = r"must fit the configuration beside it, but 0\.bias differs"
    with pytest.raises(DataError, match=message) as error:
        checkpoint.restore(tmp_path, model=model, optimizer=optimizer)
    assert one_line(error, path)
    with pytest.raises(DataError, match=message):
        checkpoint.load_run_weights(tmp_path, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_missing_checkpoint_has_no_weights(tmp_path: Path) -> None:
    model, _ = small()
    with pytest.raises(DataError, match="cannot be read as model weights"):
        checkpoint.load_run_weights(tmp_path, model)


def test_exported_weights_come_back_and_other_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model, _ = small()
    checkpoint.save_weights(path, model)
    other, _ = small()
    checkpoint.load_weights(path, other)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    wide, _ = small(width=4)
    with pytest.raises(DataError, match=r"must fit the configuration beside it"):
        checkpoint.load_weights(path, wide)
    assert sorted(load_file(path)) == sorted(model.state_dict())


def test_whoever_may_read_a_folder_may_read_its_weights(tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.touch()
    weights = tmp_path / "weights.safetensors"
    checkpoint.save_weights(weights, small()[0])
    assert [path.stat().st_mode for path in (saved(tmp_path), weights)] == [
        beside.stat().st_mode
    ] * 2


def test_weights_that_may_not_be_read_are_not_said_to_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.symlink_to(path.name)  # whoever runs this, root too, may not open a link to itself
    with pytest.raises(DataError, match=r"model weights: Too many levels of symbolic links\.$"):
        checkpoint.load_weights(path, small()[0])


def test_a_checkpoint_that_cannot_be_read_now_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    opened = Path.open

    def refused(self: Path, *given: Any, **more: Any) -> Any:
        if self == path:
            raise OSError(errno.ESTALE, "Stale file handle")
        return opened(self, *given, **more)

    monkeypatch.setattr(Path, "open", refused)
    model, optimizer = small()
    with pytest.raises(StorageError, match=r"\.safetensors cannot be read: Stale file handle\.$"):
        checkpoint.step_of(tmp_path)
    with pytest.raises(StorageError, match="cannot be read: Stale file handle"):
        checkpoint.restore(tmp_path, model=model, optimizer=optimizer)
