"""The same music twice: exact copies, near copies, and a split that keeps near copies together.

A piece that is in the training split under another name, or in another key, makes every held-out
number look better than it is.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int

from aurl.data.piece import Piece
from aurl.errors import DataError

OPENING = 16
"""Melodic steps of an opening. Of the bundled files 11.3 % share one with another file, and 7.6 %
in the same rhythm. Rhythm is left out: one tune is written in 2/4 here and in 2/2 there."""

SPLITS = ("train", "val", "test")
SHARES = (0.70, 0.15, 0.15)


def content_key(piece: Piece) -> str:
    """A hash of what is played (onset, duration, pitch, instrument), however loud and fast."""
    fields = ("onset", "duration", "pitch", "program", "is_drum")
    digest = hashlib.sha256()
    for field in fields:
        digest.update(np.ascontiguousarray(piece.notes[field]).tobytes())
    return digest.hexdigest()


def opening_key(piece: Piece) -> str:
    """A hash of the opening, the same in every key and at every speed.

    The steps between the highest notes of the first :data:`OPENING` + 1 onsets, drums left out
    where there is anything else; all of a shorter piece.
    """
    notes = piece.notes[~piece.notes["is_drum"]]
    notes = notes if len(notes) else piece.notes
    onsets, first = np.unique(notes["onset"], return_index=True)
    highest = np.maximum.reduceat(notes["pitch"].astype(np.int64), first)
    steps = np.diff(highest[: OPENING + 1])
    return hashlib.sha256(f"{min(len(onsets), OPENING + 1)}:{steps.tolist()}".encode()).hexdigest()


def grouped(pieces: Sequence[Piece], by: Literal["opening", "content"] = "opening") -> list[str]:
    """The group of each piece: pieces of one opening are in one group.

    Args:
        pieces: In any order.
        by: What names a group, and so decides its split. The opening does not change with the
            pieces that share it, however many they are. The smallest content hash of them is the
            smaller the more they are: nine groups of ten are in train where each piece is there
            in two keys, all but one in a million where in twelve.

    Returns:
        For each piece the hash that names its group; names and order of the files have no say.
    """
    openings = [opening_key(piece) for piece in pieces]
    if by == "opening":
        return openings
    members: dict[str, list[str]] = defaultdict(list)
    for piece, opening in zip(pieces, openings, strict=True):
        members[opening].append(content_key(piece))
    return [min(members[opening]) for opening in openings]


def split_of_groups(groups: Sequence[str]) -> Int[np.ndarray, " piece"]:
    """The split of each piece by the hash of its group: 0 train, 1 val, 2 test.

    A group's hash is a number in [0, 1), and its place among :data:`SHARES` is its split: other
    pieces have no say. Only where that leaves a split without any group (small folders), it gets,
    from the split with the most groups, the one whose hash is nearest to the middle of its share.

    Raises:
        DataError: If there are fewer than three groups.
    """
    place = {group: int(group[:13], 16) / 16**13 for group in sorted(set(groups))}
    if len(place) < len(SPLITS):
        raise DataError(
            f"train, val and test need at least {len(SPLITS)} different pieces, "
            f"got {len(place)} (pieces with one opening count as one). Add more music."
        )
    edges = np.cumsum(SHARES)[:-1]
    split = {group: int(np.searchsorted(edges, at, side="right")) for group, at in place.items()}
    middles = np.cumsum(SHARES) - np.asarray(SHARES) / 2
    for empty in range(len(SPLITS)):
        counts = np.bincount(list(split.values()), minlength=len(SPLITS))
        if counts[empty] == 0:
            donors = [group for group in place if split[group] == int(counts.argmax())]
            nearest = min(donors, key=lambda group: abs(place[group] - middles[empty]))
            split[nearest] = empty
    return np.asarray([split[group] for group in groups], np.int8)
