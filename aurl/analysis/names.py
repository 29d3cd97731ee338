"""Names of latent dimensions, found from what each tells about the music.

A code is named after the attribute of whose entropy it tells the largest share, the mutual
information over the entropy, if that is more than codes tell that have nothing to do with the
music: the largest share of any code about any attribute, once attributes are torn from their
windows, is what 99 % of such tearings stay below.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aurl.metrics.disentanglement import torn_rows
from aurl.metrics.mutual_information import mutual_information, rank_bins
from aurl.seeding import numpy_generator

TEARINGS = 100
CONFIDENCE = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class Name:
    """What a code is named after."""

    attribute: str
    share: float
    """Of the attribute's entropy, in [0, 1]."""

    def __str__(self) -> str:
        return f"{self.attribute} {self.share:.2f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """The names of codes, one for each column."""

    names: list[Name | None]
    """None where a code tells no more than chance."""

    floor: float
    """The share that chance tells at most."""


def named(
    codes: Float[np.ndarray, "window coordinate"],
    factors: Int[np.ndarray, "window factor"],
    factor_names: Sequence[str],
    pieces: Int[np.ndarray, " window"],
) -> Names:
    """Name every code.

    Args:
        codes: Posterior means.
        factors: Classes of attributes.
        factor_names: Of the attributes.
        pieces: Piece of each window: attributes are torn off whole pieces at a time, so that the
            likeness of windows within one is no evidence.
    """
    bins = rank_bins(codes, n_bins=32)
    shares = _shares(bins, factors)
    rng = numpy_generator(0, "names")
    largest = [
        _shares(bins, factors[torn_rows(pieces, rng)]).max(initial=0.0) for _ in range(TEARINGS)
    ]
    floor = float(np.quantile(largest, CONFIDENCE, method="higher"))
    names = [
        Name(attribute=factor_names[int(row.argmax())], share=float(row.max()))
        if row.max(initial=0.0) > floor
        else None
        for row in shares
    ]
    return Names(names=names, floor=floor)


def _shares(bins: np.ndarray, factors: np.ndarray) -> Float[np.ndarray, "coordinate factor"]:
    found = mutual_information(bins, factors, corrected=True)
    return found.matrix / np.where(found.entropy > 0.0, found.entropy, 1.0)
