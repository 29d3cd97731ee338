"""The reconstruction term, in nats per sequence."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def token_nll(
    logits: Float[Tensor, "batch target vocab"], targets: Int[Tensor, "batch target"], *, pad: int
) -> Float[Tensor, "batch target"]:
    """Negative log-likelihood of each target token, 0 where the target is padding.

    Sum over tokens for nats per sequence. Logits of half precision are normalised in float32.

    Args:
        logits: Unnormalised log-probabilities.
        targets: Token ids.
        pad: The id that is not scored.
    """
    if logits.dtype == torch.bfloat16:
        logits = logits.float()
    return F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=pad, reduction="none"
    ).view_as(targets)
