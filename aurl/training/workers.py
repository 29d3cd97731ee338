"""The workers that share a run's batches: who this one is, and averages over all of them."""

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


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

    def mean(self, value: Tensor) -> Tensor:
        """Average of a detached tensor over the workers."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.size

    def share(self, whole: Tensor) -> Tensor:
        """The rows of a whole batch's tensor that belong to this worker."""
        return whole[self.rank :: self.size]

    def parallel(self, model: nn.Module) -> nn.Module:
        """``model`` with gradients averaged over the workers at each backward pass."""
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        ids = [device] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
