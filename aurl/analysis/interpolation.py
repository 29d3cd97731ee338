r"""Interpolation: a path of codes between two, and how smooth what is heard along it is.

``linear``: the straight line. It passes nearer to the origin than its ends, where few codes are:
halfway between two independent codes of many dimensions the norm is :math:`\sqrt{1/2}` of theirs.

``spherical``: the direction turns at a constant rate from one end to the other, and the norm
changes linearly. Where there is no such turn, between equal, opposite or zero directions, it is
the straight line.

``prior``: spherical, in coordinates in which the prior is standard normal; under a flow or a
mixture a path then goes where the prior has mass, not through what lies between its modes.

Source: White 2016, "Sampling generative networks", https://arxiv.org/abs/1609.04468, for
spherical paths; the safeguards are own.
"""

from collections.abc import Sequence, Set
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float

from aurl.data.piece import Piece
from aurl.model.priors import Prior

PathKind: TypeAlias = Literal["linear", "spherical", "prior"]

LEAST_SINE = 1e-6
"""Sine of the angle between two codes below which no turn between them is taken."""

Note: TypeAlias = tuple[int, int]


def linear(
    first: Float[np.ndarray, " coordinate"],
    last: Float[np.ndarray, " coordinate"],
    at: Float[np.ndarray, " step"],
) -> Float[np.ndarray, "step coordinate"]:
    """The straight line from the first code (at 0) to the last (at 1)."""
    return (1.0 - at)[:, None] * first + at[:, None] * last


def spherical(
    first: Float[np.ndarray, " coordinate"],
    last: Float[np.ndarray, " coordinate"],
    at: Float[np.ndarray, " step"],
) -> Float[np.ndarray, "step coordinate"]:
    r"""The path that turns from the first code to the last, at the angle :math:`\omega` apart.

    .. math:: \bigl((1 - t)\,|a| + t\,|b|\bigr)\,
        \frac{\sin((1 - t)\omega)\,\hat a + \sin(t\omega)\,\hat b}{\sin\omega}

    The straight line where a code is 0 or :math:`\sin\omega` is below :data:`LEAST_SINE`.
    """
    norms = np.linalg.norm(first), np.linalg.norm(last)
    if not min(norms) > 0.0:
        return linear(first, last, at)
    a, b = first / norms[0], last / norms[1]
    omega = np.arccos(np.clip(a @ b, -1.0, 1.0))  # rounding may leave [-1, 1]
    if not np.sin(omega) >= LEAST_SINE:
        return linear(first, last, at)
    turned = np.sin((1.0 - at) * omega)[:, None] * a + np.sin(at * omega)[:, None] * b
    norm = (1.0 - at) * norms[0] + at * norms[1]
    return norm[:, None] * turned / np.sin(omega)


def path(
    prior: Prior,
    first: Float[np.ndarray, " coordinate"],
    last: Float[np.ndarray, " coordinate"],
    at: Float[np.ndarray, " step"],
    kind: PathKind,
) -> Float[np.ndarray, "step coordinate"]:
    """The codes of a path; both ends are what was given, whatever rounding does.

    Args:
        prior: The model's; without a musical context if the path goes through it.
        first: Code at 0.
        last: Code at 1.
        at: Places on the path, in [0, 1].
        kind: Which path.

    Raises:
        ValueError: If the path goes through a prior that is conditioned on a musical context.
    """
    match kind:
        case "linear":
            codes = linear(first, last, at)
        case "spherical":
            codes = spherical(first, last, at)
        case "prior":
            codes = _through(prior, first, last, at)
    return np.where((at == 0.0)[:, None], first, np.where((at == 1.0)[:, None], last, codes))


def _through(
    prior: Prior, first: np.ndarray, last: np.ndarray, at: np.ndarray
) -> Float[np.ndarray, "step coordinate"]:
    if prior.context is not None:
        raise ValueError("prior must have no musical context for a path through it.")
    like = next(prior.parameters(), torch.zeros((), dtype=torch.float64))
    ends = prior.to_normal(torch.from_numpy(np.stack([first, last])).to(like)).double().numpy()
    normal = torch.from_numpy(spherical(ends[0], ends[1], at)).to(like)
    return prior.from_normal(normal).double().numpy()


def usual_path(prior: Prior) -> PathKind:
    """Through the prior if that is not standard normal and has no context, else spherical."""
    return "spherical" if prior.is_standard or prior.context else "prior"


def smoothness(pieces: Sequence[Piece]) -> float:
    r"""How evenly, and how directly, music turns from the first piece into the last, in [0, 1].

    .. math:: \frac{D(x_0, x_n)^2}{n \sum_{i=1}^n D(x_{i-1}, x_i)^2}

    with the distance D of :func:`note_distance`. By the triangle and Cauchy-Schwarz inequalities
    it is at most 1, and 1 only if all steps are equal and none is a detour. One jump among n steps
    has 1/n. Music that comes back to where it began has 0; music that never changes has 1.

    Args:
        pieces: Along the path; two at least.

    Raises:
        ValueError: If there are fewer than two pieces.

    Source:
        Own.
    """
    if len(pieces) < 2:
        raise ValueError(f"pieces must be 2 at least, got {len(pieces)}.")
    steps = [note_distance(a, b) for a, b in pairwise(pieces)]
    total = sum(step**2 for step in steps)
    if total == 0.0:
        return 1.0
    return min(1.0, note_distance(pieces[0], pieces[-1]) ** 2 / (len(steps) * total))


def note_distance(first: Piece, second: Piece) -> float:
    """Notes, by onset and pitch, that one of two pieces has and the other has not; a metric."""
    return float(len(_notes(first) ^ _notes(second)))


def _notes(piece: Piece) -> Set[Note]:
    return set(zip(piece.notes["onset"].tolist(), piece.notes["pitch"].tolist(), strict=True))
