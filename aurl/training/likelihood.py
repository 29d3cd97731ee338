"""Likelihood of windows with their own codes, and with those of others."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.model.latents import LatentLayout
from aurl.model.vae import Vae
from aurl.objectives.reconstruction import token_nll
from aurl.seeding import numpy_generator


def partners(piece: Int[np.ndarray, " sample"]) -> Int[np.ndarray, " sample"]:
    """For each window another one, of another piece if there is one; fixed by a seed."""
    n = len(piece)
    order = numpy_generator(0, "shuffle").permutation(n)
    result = np.empty(n, dtype=np.int64)
    result[order] = np.roll(order, 1)
    for index in np.flatnonzero(piece[result] == piece):
        others = np.flatnonzero(piece != piece[index])
        if len(others):
            result[index] = others[int(index) % len(others)]
    return result


def one_level_of_others(
    layout: LatentLayout,
    z: Float[Tensor, "window coordinate"],
    others: Float[Tensor, "window coordinate"],
) -> list[Tensor]:
    """For each level the codes ``z`` with that level of ``others``."""
    level = layout.level.to(z.device)
    return [torch.where(level == index, others, z) for index in range(len(layout.levels))]


def nll_of_windows(
    model: Vae, logits: Float[Tensor, "batch place token"], tokens: Int[Tensor, "batch length"]
) -> Float[Tensor, " batch"]:
    """-log p(x|z) in nats of each window, in float64."""
    nll = token_nll(logits, tokens[:, 1:], pad=model.vocabulary.pad)
    return nll.double().sum(dim=1)


def likelihood(
    model: Vae,
    tokens: Int[Tensor, "batch length"],
    z: Float[Tensor, "batch coordinate"],
    others: Float[Tensor, "batch coordinate"],
) -> tuple[np.ndarray, ...]:
    """Of each window: NLL with its z, with another's; tokens predicted, tokens, notes."""
    targets = tokens[:, 1:]
    real = targets != model.vocabulary.pad
    logits = model.decode(tokens, z)
    nll = nll_of_windows(model, logits, tokens)
    shuffled = nll_of_windows(model, model.decode(tokens, others), tokens)
    correct = ((logits.argmax(dim=-1) == targets) & real).sum(dim=1)
    notes = model.vocabulary.note_count(tokens)
    columns = (nll, shuffled, correct, real.sum(dim=1), notes)
    return tuple(column.cpu().numpy() for column in columns)
