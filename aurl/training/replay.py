"""Calls of one function on a GPU, recorded once for each set of shapes and replayed from then on.

A small model's step is hundreds of kernels of microseconds each, and launching them takes longer
than computing them. A CUDA graph launches all of them at once.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

Inputs = TypeVar("Inputs", bound=tuple[Any, ...])
Result = TypeVar("Result")
Shapes: TypeAlias = tuple[tuple[int, ...] | None, ...]


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: on each that it sees, cuBLAS keeps 65 MiB for ever."""
    return torch.cuda.Stream(device)


@dataclass(frozen=True)
class Recording(Generic[Inputs, Result]):
    """A CUDA graph, the tensors it reads and what it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    result: Result


class Replay(Generic[Inputs, Result]):
    """A function of tensors, replayed where it can be.

    The first calls with new shapes are made as they are: they compile what is compiled and make
    the optimizer's state. The next is recorded, and from then on only what the tensors hold is
    new. What a call returns holds until the next.

    Args:
        function: What a GPU computes of a named tuple of tensors, of which some may be None, and
            of tensors that stay where they are. It must not wait for the GPU, nor draw.
        device: The GPU.
    """

    AS_THEY_ARE = 3
    """Calls with new shapes before one is recorded."""

    def __init__(self, function: Callable[[Inputs], Result], device: torch.device) -> None:
        self._function = function
        self._stream = _stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._calls: Counter[Shapes] = Counter()
        self.recordings: dict[Shapes, Recording[Inputs, Result]] = {}

    def stream(self) -> AbstractContextManager[None]:
        """A block whose work on the GPU is in the order of the calls; make them within it."""
        self._stream.wait_stream(torch.cuda.current_stream())
        return torch.cuda.stream(self._stream)

    def __call__(self, inputs: Inputs) -> Result:
        """What the function gives for ``inputs``."""
        shapes = tuple(None if given is None else tuple(given.shape) for given in inputs)
        self._calls[shapes] += 1
        if self._calls[shapes] <= self.AS_THEY_ARE:
            return self._function(inputs)
        if shapes not in self.recordings:
            self.recordings[shapes] = self._recorded(inputs)
        recording = self.recordings[shapes]
        for kept, given in zip(recording.inputs, inputs, strict=True):
            if kept is not None:
                kept.copy_(given, non_blocking=True)
        recording.graph.replay()
        return recording.result

    def _recorded(self, inputs: Inputs) -> Recording[Inputs, Result]:
        """Record a call without making it."""
        copies = [None if given is None else given.clone() for given in inputs]
        kept = cast("Any", type(inputs))(*copies)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            result = self._function(kept)
        return Recording(graph, kept, result)


class Unchecked:
    """What a step has to be checked for, on its way from the device.

    Args:
        step: Steps taken with it.
        seen: What it is checked by; must not change until it is on its way.
    """

    def __init__(self, step: int, seen: Tensor) -> None:
        self.step = step
        self._values = seen.to("cpu", non_blocking=True)
        self._arrival = torch.cuda.Event() if seen.is_cuda else None
        if self._arrival is not None:
            self._arrival.record()

    def values(self) -> list[float]:
        """Its numbers; waits for them."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._values.tolist()
