r"""Reconstruction: how much of a piece comes back through its code.

Notes are matched as a multiset of (onset, pitch): no tolerance, because both sides are on the same
grid, and a note played twice must come back twice. Whole-sequence accuracy is near 0 on real music
and ranks nothing there; on short melodies it is the score.

Source: note F1 without offsets as in Bay, Ehmann & Downie 2009, "Evaluation of multiple-F0
estimation and tracking systems", ISMIR, with a tolerance of 0 grid ticks.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Integer


def note_f1(
    reference: Int[np.ndarray, "note 2"], estimate: Int[np.ndarray, "estimated_note 2"]
) -> float:
    r"""F1 of the notes of one window, matched on (onset, pitch).

    .. math:: F_1 = 2\,|R \cap E| / (|R| + |E|)

    Args:
        reference: Onset in ticks and pitch of every note of the data.
        estimate: The same of the reconstruction.

    Returns:
        A value in [0, 1]; 1 if both are empty.
    """
    n_notes = len(reference) + len(estimate)
    if n_notes == 0:
        return 1.0
    notes = np.concatenate([reference, estimate])
    _, which = np.unique(notes, axis=0, return_inverse=True)
    ours = np.bincount(which[: len(reference)], minlength=n_notes)
    theirs = np.bincount(which[len(reference) :], minlength=n_notes)
    return 2.0 * float(np.minimum(ours, theirs).sum()) / n_notes


def note_f1_scores(
    references: Sequence[Int[np.ndarray, "_ 2"]], estimates: Sequence[Int[np.ndarray, "_ 2"]]
) -> Float[np.ndarray, " sample"]:
    """F1 of every window: what an interval over pieces is made from.

    Raises:
        ValueError: If the numbers of windows differ, or there is none.
    """
    if not references or len(references) != len(estimates):
        raise ValueError(
            "references must pair with estimates, one or more windows, "
            f"got {len(references)} with {len(estimates)}."
        )
    return np.array([note_f1(r, e) for r, e in zip(references, estimates, strict=True)])


def reconstruction_score(
    references: Sequence[Int[np.ndarray, "_ 2"]], estimates: Sequence[Int[np.ndarray, "_ 2"]]
) -> float:
    """Mean note F1 over windows, in [0, 1]; the reconstruction must be free-running.

    Raises:
        ValueError: If the numbers of windows differ, or there is none.
    """
    return float(note_f1_scores(references, estimates).mean())


def token_accuracy(
    predictions: Integer[np.ndarray, "batch token"],
    tokens: Integer[np.ndarray, "batch token"],
    valid: Bool[np.ndarray, "batch token"],
) -> float:
    """Share of the real tokens that are predicted.

    Args:
        predictions: The likeliest token at every place.
        tokens: The true ones.
        valid: True for a real token, False for padding.

    Returns:
        A value in [0, 1].

    Raises:
        ValueError: If no token is real.
    """
    if not valid.any():
        raise ValueError("valid must mark at least one token, got none.")
    return float((predictions == tokens)[valid].mean())


def sequence_accuracy(
    predictions: Integer[np.ndarray, "batch token"],
    tokens: Integer[np.ndarray, "batch token"],
    valid: Bool[np.ndarray, "batch token"],
) -> float:
    """Share of the sequences in which every real token is predicted.

    Args:
        predictions: The likeliest token at every place.
        tokens: The true ones.
        valid: True for a real token, False for padding; a sequence without any does not count.

    Returns:
        A value in [0, 1].

    Raises:
        ValueError: If no token is real.
    """
    if not valid.any():
        raise ValueError("valid must mark at least one token, got none.")
    right = ((predictions == tokens) | ~valid).all(axis=1)
    return float(right[valid.any(axis=1)].mean())
