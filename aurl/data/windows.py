"""A piece cut into windows of a few bars, each as tokens with its musical attributes."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt16

from aurl.data.attributes import ATTRIBUTES, attributes
from aurl.data.piece import Piece, sliced
from aurl.data.vocabulary import Vocabulary
from aurl.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowRequest:
    """A piece on the grid and how to cut it."""

    piece: Piece
    vocabulary: Vocabulary
    n_bars: int
    max_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """The windows of one piece."""

    tokens: UInt16[np.ndarray, " token"]
    lengths: Int[np.ndarray, " window"]
    """Tokens of each window, in the order they lie in ``tokens``."""

    first_bar: Int[np.ndarray, " window"]
    attributes: Float[np.ndarray, "window attribute"]
    n_notes: int
    """In the windows that were kept."""

    n_clipped: int
    """Notes of those windows that sounded on past the end of theirs."""

    not_said: dict[str, int]
    """Notes of the piece that its tokens leave out or change, by how (``Vocabulary.said``)."""

    left_out: dict[str, int]
    """Windows by why they are not here: ``empty``, ``too_long``, ``metre``."""


def first_bars(n_bars_total: int, n_bars: int) -> list[int]:
    """Where windows start: every ``n_bars`` bars, the last one so that the last bar is in it."""
    starts = list(range(0, n_bars_total - n_bars + 1, n_bars))
    if not starts or starts[-1] + n_bars < n_bars_total:
        starts.append(max(n_bars_total - n_bars, 0))
    return starts


def cut(request: WindowRequest) -> Windows:
    """Cut a piece into windows of whole bars that together cover all of it.

    Windows without a note, with more than ``max_tokens`` tokens, or in a metre the vocabulary has
    no word for are left out and counted.
    """
    n_bars = request.n_bars
    piece, not_said = request.vocabulary.said(request.piece)
    left_out: Counter[str] = Counter()
    kept: list[tuple[int, UInt16[np.ndarray, " token"], Piece]] = []
    for first_bar in first_bars(piece.n_bars, n_bars):
        window = sliced(piece, first_bar, n_bars)
        if not len(window.notes):
            left_out["empty"] += 1
            continue
        try:
            tokens = request.vocabulary.encode(window, n_bars)
        except DataError as error:
            left_out[str(error).partition(":")[0]] += 1
            continue
        if len(tokens) > request.max_tokens:
            left_out["too_long"] += 1
        else:
            kept.append((first_bar, tokens, window))
    rows = [attributes(window) for _, _, window in kept]
    return Windows(
        tokens=np.concatenate([np.zeros(0, np.uint16), *(tokens for _, tokens, _ in kept)]),
        lengths=np.asarray([len(tokens) for _, tokens, _ in kept], np.int64),
        first_bar=np.asarray([first_bar for first_bar, _, _ in kept], np.int32),
        attributes=np.asarray(rows, np.float32).reshape(len(rows), len(ATTRIBUTES)),
        n_notes=sum(len(window.notes) for _, _, window in kept),
        n_clipped=sum(_n_clipped(piece, first_bar, n_bars) for first_bar, _, _ in kept),
        not_said=not_said,
        left_out=dict(left_out),
    )


def _n_clipped(piece: Piece, first_bar: int, n_bars: int) -> int:
    lines = piece.bar_lines(first_bar + n_bars)
    start, stop = lines[first_bar], lines[first_bar + n_bars]
    onsets = piece.notes["onset"]
    inside = (onsets >= start) & (onsets < stop)
    return int((inside & (onsets + piece.notes["duration"] > stop)).sum())
