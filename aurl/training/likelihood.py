"""Likelihood of windows with their own codes, and with those of others."""

from collections.abc import Sequence

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


def with_others(
    layout: LatentLayout,
    z: Float[Tensor, "sample coordinate"],
    other: Int[np.ndarray, " sample"],
) -> list[Tensor]:
    """Codes that a decoder is tried with, to see what it reads.

    Returns:
        The codes; those of other windows; and, if there are several levels, for each level the
        codes with that level of other windows.
    """
    others = z[torch.from_numpy(other)]
    level = layout.level.to(z.device)
    n_levels = len(layout.levels)
    mixed = [torch.where(level == index, others, z) for index in range(n_levels)]
    return [z, others, *(mixed if n_levels > 1 else [])]


def likelihood(
    model: Vae, tokens: Int[Tensor, "batch token"], codes: Sequence[Tensor]
) -> tuple[np.ndarray, ...]:
    """Of each window: NLL in nats with each of the codes; tokens predicted, tokens, notes.

    Predicted are the tokens that are the likeliest one with the first of the codes.
    """
    targets = tokens[:, 1:]
    pad = model.vocabulary.pad
    real = targets != pad
    nll: list[Tensor] = []
    correct = real
    for place, z in enumerate(codes):
        logits = model.decode(tokens, z)
        nll.append(token_nll(logits, targets, pad=pad).double().sum(dim=1))
        if place == 0:
            correct = (logits.argmax(dim=-1) == targets) & real
    notes = model.vocabulary.note_count(tokens)
    columns = (torch.stack(nll, dim=1), correct.sum(dim=1), real.sum(dim=1), notes)
    return tuple(column.cpu().numpy() for column in columns)
