"""Checkpoints: weights, optimizer state, step and beta in one safetensors file, whole or absent.

Nothing else needs saving: order of data, noise and augmentation are functions of the seed and the
step. No pickle is written or read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from aurl.errors import DataError, StorageError
from aurl.files import atomic
from aurl.objectives.controllers import BetaSchedule
from aurl.training.place import Place
from aurl.training.store import Remote

FILE_NAME = "checkpoint.safetensors"


def save(
    place: Place,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: BetaSchedule | None = None,
) -> None:
    """Write the checkpoint of a run, replacing the one before in one rename.

    Args:
        place: Where the run's checkpoint is kept.
        step: Optimizer steps taken.
        model: Its parameters and buffers.
        optimizer: Its state for every parameter.
        schedule: Its state, if it has one.

    Raises:
        StorageError: If the place does not take it; the checkpoint before stays.
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
    about = {"step": str(step)}
    if isinstance(place, Remote):
        place.write(FILE_NAME, to_bytes(plain, metadata=about))
        return
    path = place / FILE_NAME
    try:
        with atomic(path) as temporary:
            _write(plain, temporary, about)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} cannot be written: {error}.") from error


def restore(
    place: Place,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: BetaSchedule | None = None,
) -> int:
    """Read a checkpoint into the objects of a run; returns its step, 0 if there is none.

    Raises:
        DataError: If it is damaged or belongs to another architecture.
        StorageError: If it cannot be read now.
    """
    stored = _stored(place)
    if stored is None:
        return 0
    tensors, step = stored
    _load(model, _weights(tensors), _named(place))
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    if schedule is not None:
        _load_schedule(schedule, tensors, _named(place))
    return step


def step_of(place: Place) -> int:
    """Steps taken at a run's checkpoint; 0 if there is none.

    Raises:
        DataError: If it is damaged.
        StorageError: If it cannot be read now.
    """
    if isinstance(place, Remote):
        return _step_at(place)
    path = place / FILE_NAME
    if not path.exists():
        return 0
    _check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.metadata()["step"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a checkpoint: {error}.") from error


def _step_at(remote: Remote) -> int:
    data = remote.read(FILE_NAME)
    if data is None:
        return 0
    try:
        load(data)  # whole, or it is damaged
    except SafetensorError as error:
        raise DataError(f"{_named(remote)} is not a checkpoint: {error}.") from error
    return _step_in(data, _named(remote))


def _step_in(data: bytes, name: str) -> int:
    size = int.from_bytes(data[:8], "little")
    try:
        return int(json.loads(data[8 : 8 + size])["__metadata__"]["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name} is not a checkpoint: {error}.") from error


def remove(place: Place) -> None:
    """Remove a run's checkpoint, if there is one."""
    if isinstance(place, Remote):
        place.remove(FILE_NAME)
    else:
        (place / FILE_NAME).unlink(missing_ok=True)


def load_run_weights(place: Place, model: nn.Module) -> int:
    """Read only the weights of a run's checkpoint; returns its step.

    Raises:
        DataError: If it is missing, damaged or belongs to another architecture.
    """
    stored = _stored(place)
    if stored is None:
        raise DataError(f"{_named(place)} cannot be read as model weights: it is not there.")
    tensors, step = stored
    _load_finite(model, _weights(tensors), _named(place))
    return step


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers, in float32, as one safetensors file."""
    weights = {name: v.float().cpu().contiguous() for name, v in model.state_dict().items()}
    with atomic(path) as temporary:
        _write(weights, temporary)


def _write(tensors: dict[str, Tensor], path: Path, about: dict[str, str] | None = None) -> None:
    """Write tensors with the rights of any new file; safetensors lets nobody else read its own."""
    path.touch()
    rights = path.stat().st_mode
    save_file(tensors, path, metadata=about)
    if path.stat().st_mode != rights:
        path.chmod(rights)


def load_weights(path: Path, model: nn.Module) -> None:
    """Read a model's parameters and buffers.

    Raises:
        DataError: If the file is missing, damaged, or belongs to another architecture.
    """
    _load_finite(model, _read(path), str(path))


def _load_finite(model: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Load the weights of a model that is to be used, not trained on."""
    _load(model, weights, name)
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise DataError(f"{name} cannot be used: {key} holds NaN or infinity.")


def _named(place: Place) -> str:
    """The checkpoint at a place, for a message."""
    return f"{place.uri}/{FILE_NAME}" if isinstance(place, Remote) else str(place / FILE_NAME)


def _stored(place: Place) -> tuple[dict[str, Tensor], int] | None:
    """The tensors of a run's checkpoint and its step; None if there is none."""
    if not isinstance(place, Remote):
        path = place / FILE_NAME
        if not path.exists():
            return None
        _check_readable(path)
        return _read(path), step_of(path.parent)
    data = place.read(FILE_NAME)
    if data is None:
        return None
    try:
        return load(data), _step_in(data, _named(place))
    except SafetensorError as error:
        raise DataError(f"{_named(place)} cannot be read as model weights: {error}.") from error


def _check_readable(path: Path) -> None:
    """Refuse a file that the disk does not give; what is in it may be whole.

    Raises:
        StorageError: If it cannot be read now, because of its rights or its file system.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "model."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        path.open("rb").close()  # of what may not be read, safetensors says that it is not there
        return load_file(path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise DataError(f"{path} cannot be read as model weights: {reason or error}.") from error


def _load_schedule(schedule: BetaSchedule, tensors: dict[str, Tensor], name: str) -> None:
    prefix = "schedule."
    found = {k.removeprefix(prefix): v.item() for k, v in tensors.items() if k.startswith(prefix)}
    if found.keys() != schedule.state.keys():
        raise DataError(
            f"{name} must fit the configuration beside it, but objective.beta.schedule differs."
        )
    schedule.state = found


def _load(model: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise DataError(f"{name} must fit the configuration beside it, but {wrong} differs.")
    model.load_state_dict(weights)
