"""Checkpoints: weights, optimizer state, step and beta in one safetensors file, whole or absent.

Nothing else needs saving: order of data, noise and augmentation are functions of the seed and the
step. No pickle is written or read.
"""

from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aurl.errors import DataError
from aurl.files import atomic
from aurl.objectives.controllers import BetaSchedule

FILE_NAME = "checkpoint.safetensors"


def save(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: BetaSchedule | None = None,
) -> None:
    """Write the checkpoint of a run, replacing the one before in one rename.

    Args:
        folder: The run's checkpoint folder.
        step: Optimizer steps taken.
        model: Its parameters and buffers.
        optimizer: Its state for every parameter.
        schedule: Its state, if it has one.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    state = cast("dict[int, dict[str, Tensor]]", optimizer.state_dict()["state"])
    for index, entries in state.items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in entries.items()}
    numbers = schedule.state if schedule else {}
    tensors |= {
        f"schedule.{name}": torch.tensor(x, dtype=torch.float64) for name, x in numbers.items()
    }
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic(folder / FILE_NAME) as temporary:
        save_file(plain, temporary, metadata={"step": str(step)})


def restore(
    folder: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: BetaSchedule | None = None,
) -> int:
    """Read a checkpoint into the objects of a run; returns its step, 0 if there is none.

    Raises:
        DataError: If it is damaged or belongs to another architecture.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return 0
    tensors = _read(path)
    prefix = "model."
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    _load(model, weights, path)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    if schedule is not None:
        _load_schedule(schedule, tensors, path)
    return step_of(folder)


def step_of(folder: Path) -> int:
    """Steps taken at the checkpoint in ``folder``; 0 if there is none."""
    path = folder / FILE_NAME
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.metadata()["step"])
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a checkpoint: {error}.") from error


def load_run_weights(folder: Path, model: nn.Module) -> None:
    """Read only the weights of a run's checkpoint.

    Raises:
        DataError: If it is missing, damaged or belongs to another architecture.
    """
    path = folder / FILE_NAME
    prefix = "model."
    weights = {k.removeprefix(prefix): v for k, v in _read(path).items() if k.startswith(prefix)}
    _load(model, weights, path)


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers, in float32, as one safetensors file."""
    weights = {name: v.float().cpu().contiguous() for name, v in model.state_dict().items()}
    with atomic(path) as temporary:
        save_file(weights, temporary)


def load_weights(path: Path, model: nn.Module) -> None:
    """Read a model's parameters and buffers.

    Raises:
        DataError: If the file is missing, damaged, or belongs to another architecture.
    """
    _load(model, _read(path), path)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as model weights: {error}.") from error


def _load_schedule(schedule: BetaSchedule, tensors: dict[str, Tensor], path: Path) -> None:
    prefix = "schedule."
    found = {k.removeprefix(prefix): v.item() for k, v in tensors.items() if k.startswith(prefix)}
    if found.keys() != schedule.state.keys():
        raise DataError(
            f"{path} must fit the configuration beside it, but objective.beta.schedule differs."
        )
    schedule.state = found


def _load(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise DataError(f"{path} must fit the configuration beside it, but {wrong} differs.")
    model.load_state_dict(weights)
