"""A GPU that is none: tensors that are said to be on it are computed on the CPU, and any call that
a real one would refuse, because its tensors are in two places, is refused.

It shows nothing of a GPU's numbers, speed, memory or graphs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda")
CPU = torch.device("cpu")
_FREE = {
    *("copy_", "size", "dim", "numel", "stride", "data_ptr"),
    *("__len__", "__repr__", "__set__", "_has_compatible_shallow_copy_type"),
}
"""What may be called with tensors of both, or looks at no values."""

_READ = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__"}


class WrongDeviceError(RuntimeError):
    """A call that a real GPU would refuse."""


class PretendGpu(TorchFunctionMode):
    """A block in which ``cuda`` is a device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "__get__":
            return _got(func, args)
        if name == "pin_memory":
            return args[0]
        if name in ("to", "cpu", "cuda"):
            return _moved(name, args, given)
        is_there = _check(name, args, given)
        if "device" in given:
            given["device"] = given["device"] and CPU
        result = func(*args, **given)
        if name == "__set__" and isinstance(args[1], Tensor):
            _mark(args[0], there=_is_there(args[1]))
        if is_there and name not in _READ:
            tree_map(lambda leaf: _mark(leaf, there=True), result)
        return result


def _tensors(values: Any) -> Iterator[Tensor]:
    yield from (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _is_there(value: Any) -> bool:
    return getattr(value, "pretended", False)


def _mark(value: Any, *, there: bool) -> Any:
    if isinstance(value, Tensor):
        value.pretended = there  # pyrefly: ignore[missing-attribute]
    return value


def _got(func: Callable[..., Any], args: Sequence[Any]) -> Any:
    tensor = args[0]
    there = _is_there(tensor)
    if func == Tensor.device.__get__:
        return GPU if there else CPU
    if func == vars(torch._C.TensorBase)["is_cuda"].__get__:
        return there
    result = func(*args)
    return _mark(result, there=True) if there and isinstance(result, Tensor) else result


def _moved(name: str, args: Sequence[Any], given: dict[str, Any]) -> Tensor:
    """What ``to``, ``cpu`` and ``cuda`` make of a tensor."""
    tensor, *rest = args
    there = {"cpu": False, "cuda": True}.get(name, _is_there(tensor))
    given.pop("non_blocking", None)
    words: list[Any] = []
    for each in [*rest, given.pop("device", None)]:
        if isinstance(each, torch.device) or (isinstance(each, str) and each):
            there = torch.device(each).type == "cuda"
        elif isinstance(each, Tensor):
            there = _is_there(each)
            words.append(each.dtype)
        elif each is not None and not isinstance(each, bool):
            words.append(each)
    result = tensor.to(*words, **given) if words or given else tensor
    if result is tensor and there != _is_there(tensor):
        result = tensor.clone()
    return _mark(result, there=there)


def _check(name: str, args: Sequence[Any], given: Mapping[str, Any]) -> bool:
    """Whether a call computes on the GPU, as it may."""
    wanted = given.get("device")
    counted = args[0] if name == "__deepcopy__" else (args, given)  # its memo is of many
    there = _is_together(name, [*_tensors(counted)])
    is_there = there if wanted is None else torch.device(wanted).type == "cuda"
    if is_there and given.get("generator") is not None:
        raise WrongDeviceError(f"{name} on the GPU with a generator of the CPU")
    if there and name in ("numpy", "__array__"):
        raise WrongDeviceError(f"{name} of a tensor on the GPU")
    return is_there


def _is_together(name: str, found: Sequence[Tensor]) -> bool:
    """Whether tensors are on the GPU, all that must be."""
    here = [each for each in found if not _is_there(each)]
    if len(here) == len(found):
        return False
    if name in _FREE:
        return _is_there(found[0])
    if name in ("__getitem__", "__setitem__", "index_put_", "index_put"):
        if not _is_there(found[0]):
            raise WrongDeviceError(f"{name} of a tensor of the CPU with one of the GPU")
        return True
    if any(each.dim() > 0 for each in here):
        where = [("CPU", "GPU")[_is_there(each)] for each in found]
        raise WrongDeviceError(f"{name} of tensors in two places: {where}")
    return True


class _Nothing:
    def __init__(self, *_: Any) -> None:
        pass

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


def pretend(monkeypatch: pytest.MonkeyPatch) -> PretendGpu:
    """The block, and what the product asks CUDA itself."""
    for name, value in {
        "Event": _Nothing,
        "reset_peak_memory_stats": lambda *_: None,
        "max_memory_allocated": lambda *_: 2**30,
        "is_bf16_supported": lambda *_: True,
        "empty_cache": lambda: None,
        "current_device": lambda: 0,
        "get_device_properties": lambda *_: SimpleNamespace(major=9, minor=0),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    copied = nn.Parameter.__deepcopy__

    def deepcopied(self: nn.Parameter, memo: dict[int, Any]) -> nn.Parameter:
        return _mark(copied(self, memo), there=_is_there(self))

    monkeypatch.setattr(nn.Parameter, "__deepcopy__", deepcopied)
    return PretendGpu()
