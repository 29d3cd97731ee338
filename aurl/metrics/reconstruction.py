r"""Reconstruction: how much of a piece comes back through its code.

Notes are matched as a multiset of (onset, pitch): no tolerance, because both sides are on the same
grid, and a note played twice must come back twice. Whole-sequence accuracy is near 0 on real music
and ranks nothing there; on short melodies it is the score.

Source: note F1 without offsets as in Bay, Ehmann & Downie 2009, "Evaluation of multiple-F0
estimation and tracking systems", ISMIR, with a tolerance of 0 grid ticks.
"""

import numpy as np
from jaxtyping import Int


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
