"""The workers that share a run's batches: who this one is, and averages over all of them.

What has a gradient is reduced so that W workers, whose parameters' gradients are averaged, have
the gradient of one worker with the whole batch.
"""

import gc
import resource
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def gpu_fault() -> str:
    """Why torch finds no GPU on this machine; nothing if it finds one."""
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without CUDA"
    try:
        torch.cuda.init()
    except RuntimeError as error:  # such as a driver that is too old
        return f"torch {torch.__version__} finds no GPU: {str(error).splitlines()[0]}"
    return f"torch {torch.__version__} finds no GPU"


@dataclass(frozen=True)
class Workers:
    """This process among the workers of one run; alone unless a process group exists."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    """Where this one computes."""

    @staticmethod
    def of_this_process(device: torch.device) -> "Workers":
        """Rank and size from torch's process group, if there is one."""
        if not distributed.is_available() or not distributed.is_initialized():
            return Workers(device=device)
        return Workers(distributed.get_rank(), distributed.get_world_size(), device)

    def forget_peak(self) -> None:
        """Have :meth:`peak_gib` speak of what is held from now on."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):  # not Linux: then it speaks of the whole process's life
                Path("/proc/self/clear_refs").write_text("5")

    def peak_gib(self) -> float:
        """The most memory held since then: on a GPU by tensors, else by the process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        with suppress(OSError, IndexError):  # not Linux, or one that does not say
            words = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()
            return int(words[0]) / 2**20  # kibibytes
        unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, kibibytes on Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

    def release(self) -> None:
        """Give back the memory of a GPU that no run holds any more."""
        if self.device.type == "cuda":
            gc.collect()  # a run and the steps that it has recorded hold each other
            torch.cuda.empty_cache()

    def mean(self, value: Tensor) -> Tensor:
        """Average of a detached tensor over the workers."""
        return value if self.size == 1 else _sum(value) / self.size

    def mean_with_gradient(self, value: Tensor) -> Tensor:
        """Average of a tensor over the workers, with its gradient."""
        return value if self.size == 1 else _Mean.apply(value, self.size)

    def gathered(self, share: Tensor) -> Tensor:
        """The whole batch of which every worker has a share: the inverse of :meth:`share`."""
        return share if self.size == 1 else _Gathered.apply(share, self.rank, self.size)

    def share(self, whole: Tensor) -> Tensor:
        """The rows of a whole batch's tensor that belong to this worker."""
        return whole[self.rank :: self.size]

    def parallel(self, model: nn.Module) -> nn.Module:
        """``model`` with gradients averaged over the workers at each backward pass."""
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        ids = [device] if device.type == "cuda" else None
        return DistributedDataParallel(
            model, device_ids=ids, gradient_as_bucket_view=True, broadcast_buffers=False
        )

    @staticmethod
    def exchange(model: nn.Module, *, gradients: bool) -> AbstractContextManager[None]:
        """Whether backward passes through ``model`` exchange gradients, or only gather them."""
        if gradients or not isinstance(model, DistributedDataParallel):
            return nullcontext()
        return model.no_sync()


class _Mean(torch.autograd.Function):
    """Average over workers; backward, the average of the workers' gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, size: int) -> Tensor:  # noqa: ANN401  # pyrefly: ignore[bad-override]
        ctx.size = size
        return _sum(value) / size

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return _sum(gradients[0]) / ctx.size, None


class _Gathered(torch.autograd.Function):
    """Rows of all workers in the order of the whole batch; backward, own rows of the sum."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, rank: int, size: int) -> Tensor:  # noqa: ANN401  # pyrefly: ignore[bad-override]
        ctx.rank, ctx.size = rank, size
        parts = [torch.empty_like(share) for _ in range(size)]
        distributed.all_gather(parts, share.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return _sum(gradients[0])[ctx.rank :: ctx.size].contiguous(), None, None


def _sum(value: Tensor) -> Tensor:
    total = value.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total
