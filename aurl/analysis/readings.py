"""What is heard in pieces: attributes read from notes, alike in data and in what is decoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from aurl.data.attributes import ATTRIBUTES, CATEGORICAL, attributes
from aurl.data.corpus import Corpus
from aurl.data.melodies import FACTORS, N_BARS, VOCABULARY, grid_of, read_factors
from aurl.data.piece import Piece

UNWRITTEN = ("tonic", "mode")
"""Attributes of a key signature: no vocabulary has a token for it, so nothing decoded has one."""


@dataclass(frozen=True, kw_only=True)
class Readings:
    """A way to read attributes from pieces."""

    names: tuple[str, ...]
    categorical: Bool[np.ndarray, " attribute"]
    """Whose values are names: they are equal or not, and have no order."""

    read: Callable[[Sequence[Piece]], Float[np.ndarray, "piece attribute"]]
    """The values; NaN where a piece does not show one."""


def readings_of(corpus: Corpus) -> Readings:
    """What can be heard in a corpus's music: the factors it was made from, else its attributes."""
    return factor_readings() if corpus.is_constructed else musical_readings()


def musical_readings() -> Readings:
    """The attributes of :mod:`aurl.data.attributes` that notes and bars tell."""
    names = tuple(name for name in ATTRIBUTES if name not in UNWRITTEN)
    columns = [ATTRIBUTES.index(name) for name in names]

    def read(pieces: Sequence[Piece]) -> Float[np.ndarray, "piece attribute"]:
        rows = [attributes(piece)[columns] for piece in pieces]
        return np.asarray(rows, np.float64).reshape(len(rows), len(names))

    categorical = np.asarray([name in CATEGORICAL for name in names])
    return Readings(names=names, categorical=categorical, read=read)


def factor_readings() -> Readings:
    """The nine factors of the melodies, each a name among its values."""

    def read(pieces: Sequence[Piece]) -> Float[np.ndarray, "piece attribute"]:
        rows = [VOCABULARY.encode(piece, N_BARS).astype(np.int64) for piece in pieces]
        length = 1 + N_BARS * VOCABULARY.steps_per_bar
        factors = read_factors(grid_of(np.asarray(rows, np.int64).reshape(-1, length)))
        return np.where(factors < 0, np.nan, factors.astype(np.float64))

    return Readings(names=tuple(FACTORS), categorical=np.ones(len(FACTORS), np.bool_), read=read)
