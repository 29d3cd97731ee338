"""AdamW with parameter groups, and its learning-rate schedule."""

import math

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from aurl.config import OptimizerConfig


def adamw(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices only: not gains, biases, embeddings or learned queries.

    Source:
        Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101
    """
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.dim() < 2 or id(parameter) in embeddings or not name.endswith("weight")
        (others if plain else decayed).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=(0.9, 0.98),
        fused=True,
        capturable=next(model.parameters()).is_cuda,
    )


def step_if(optimizer: torch.optim.AdamW, condition: Bool[Tensor, ""]) -> None:
    """Take a step, or leave everything as it is, without asking the device which.

    Args:
        optimizer: A fused one; it reads the flag that a gradient scaler would set.
        condition: On the parameters' device.
    """
    setattr(optimizer, "found_inf", (~condition).float())  # noqa: B010 - no declared attribute
    optimizer.step()


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Linear rise from 0 over the warm-up, then a cosine to a tenth of the peak.

    Args:
        config: Peak and warm-up share.
        step: Optimizer steps taken so far, from 0.
        steps: Optimizer steps of the whole run.
    """
    warmup = config.warmup * steps
    if step < warmup:
        return config.lr * min(1.0, (step + 1) / warmup)  # a warm-up need not be whole steps
    share = (step - warmup) / max(1.0, steps - warmup)
    return config.lr * (0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share))))
