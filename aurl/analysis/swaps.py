r"""Level swaps: the code of one piece with a part of another's, and which of the two is heard.

The *receiver* gives its code, the *donor* a level of its own in place of the receiver's, or one
slot of that level. Attributes are read from what three codes decode to, the receiver's, the
donor's and the swapped one, so that no error of reconstruction is taken for an effect. Of an
attribute in which receiver and donor differ, the result *follows* the donor where it is nearer to
it, and *stays* where it is nearer to the receiver; it may do neither.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.data.piece import Piece, sliced
from aurl.errors import ConfigError
from aurl.metrics.bootstrap import Interval, mean_interval, score_intervals
from aurl.model.latents import LatentLayout, Level

LEAST_CASES = 30
"""Pairs that differ in an attribute from which on anything is said of it."""


def part_of(
    layout: LatentLayout, name: str, slot: int | None = None
) -> Bool[np.ndarray, " coordinate"]:
    """Where in the latent vector a level stands, or one of its slots.

    Raises:
        ConfigError: If there is no such level or slot.
    """
    level = level_of(layout, name)
    part = np.zeros(layout.size, np.bool_)
    if slot is None:
        part[level.start : level.start + level.size] = True
        return part
    if not 0 <= slot < level.n_slots:
        raise ConfigError(f"slot must be in 0..{level.n_slots - 1} of {name}, got {slot}.")
    start = level.start + slot * level.dim
    part[start : start + level.dim] = True
    return part


def level_of(layout: LatentLayout, name: str) -> Level:
    """The level of that name.

    Raises:
        ConfigError: If there is none.
    """
    for level in layout.levels:
        if level.name == name:
            return level
    names = ", ".join(level.name for level in layout.levels)
    raise ConfigError(f"level must be one of {names}, got {name!r}.")


def swapped(
    receiver: Float[np.ndarray, "pair coordinate"],
    donor: Float[np.ndarray, "pair coordinate"],
    part: Bool[np.ndarray, " coordinate"],
) -> Float[np.ndarray, "pair coordinate"]:
    """The receiver's codes with a part of the donor's."""
    return np.where(part, donor, receiver)


@dataclass(frozen=True, kw_only=True, eq=False)
class Swaps:
    """Whom each result goes with, attribute by attribute."""

    cases: Bool[np.ndarray, "pair attribute"]
    """Where receiver and donor both show the attribute and differ in it."""

    followed: Bool[np.ndarray, "pair attribute"]
    """Cases in which the result is nearer to the donor."""

    stayed: Bool[np.ndarray, "pair attribute"]
    """Cases in which the result is nearer to the receiver."""


def compared(
    receiver: Float[np.ndarray, "pair attribute"],
    donor: Float[np.ndarray, "pair attribute"],
    result: Float[np.ndarray, "pair attribute"],
    categorical: Bool[np.ndarray, " attribute"],
) -> Swaps:
    """Hold what is heard after a swap against what was heard before it.

    Args:
        receiver: Attributes of what the receivers' own codes decode to; NaN where not shown.
        donor: The same of the donors'.
        result: The same of the swapped codes.
        categorical: Attributes whose values are equal or not; those have distance 0 or 1.
    """

    def distance(other: np.ndarray) -> np.ndarray:
        return np.where(categorical, result != other, np.abs(result - other))

    cases = np.isfinite(receiver) & np.isfinite(donor) & (receiver != donor)
    heard = cases & np.isfinite(result)
    to_donor, to_receiver = distance(donor), distance(receiver)
    return Swaps(
        cases=cases,
        followed=heard & (to_donor < to_receiver),
        stayed=heard & (to_receiver < to_donor),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Of the pairs that differ in one attribute, how many follow and how many stay."""

    attribute: str
    cases: int
    followed: Interval
    stayed: Interval


def shares(
    swaps: Swaps, names: Sequence[str], pieces: Int[np.ndarray, " pair"]
) -> dict[str, Share]:
    """How often each attribute goes with the donor, with 95 % intervals over receiving pieces.

    Donors are not resampled beside them, so a few donors that many receivers share would make the
    intervals narrow.

    Returns:
        By attribute; those with fewer than :data:`LEAST_CASES`, or in one piece only, are left
        out.
    """
    found: dict[str, Share] = {}
    for column, name in enumerate(names):
        own = swaps.cases[:, column]
        if own.sum() < LEAST_CASES or len(np.unique(pieces[own])) < 2:
            continue
        followed, stayed = (
            mean_interval(each[own, column].astype(np.float64), pieces[own], within=(0.0, 1.0))
            for each in (swaps.followed, swaps.stayed)
        )
        found[name] = Share(attribute=name, cases=int(own.sum()), followed=followed, stayed=stayed)
    return found


def separation(first: Swaps, second: Swaps, pieces: Int[np.ndarray, " pair"]) -> Interval | None:
    r"""How far two parts of the code differ in what they carry, in [0, 1].

    .. math:: \frac1{|A|} \sum_{a \in A} \bigl|
        P(\text{follows} \mid \text{first, a}) - P(\text{follows} \mid \text{second, a}) \bigr|

    over the attributes with :data:`LEAST_CASES`. 1 if each attribute is all in one of the two
    parts, 0 if both carry each alike. Then chance adds to it, 0.6 to 0.9 over the root of the
    cases with two pairs a piece, 1.0 to 1.5 with ten that are somewhat alike, and the interval
    leaves 0 out in a fifth of such measurements, not in a twentieth.

    Args:
        first: Swaps of one part, between the same pairs as the second.
        second: Swaps of the other part.
        pieces: The receiving piece of each pair.

    Returns:
        None if no attribute has enough cases or there is one piece only.

    Source:
        Own.
    """
    columns = np.flatnonzero(first.cases.sum(axis=0) >= LEAST_CASES)
    if not len(columns) or len(np.unique(pieces)) < 2:
        return None

    def score(rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, " score"]:
        cases = np.maximum(first.cases[rows][:, columns].sum(axis=0), 1)
        each = [swaps.followed[rows][:, columns].sum(axis=0) for swaps in (first, second)]
        return np.abs((each[0] - each[1]) / cases).mean(keepdims=True)

    (interval,) = score_intervals(score, pieces)
    return interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Locality:
    """How much a swap of one slot changes, bar by bar."""

    inside: Interval
    """In the bars that the slot covers at least in part."""

    outside: Interval
    """In the other bars."""


def bar_distances(
    before: Sequence[Piece], after: Sequence[Piece], n_bars: int
) -> Float[np.ndarray, "pair bar"]:
    """Share of the notes of either piece, bar by bar, that the other has not, in [0, 1].

    Notes count where they begin, and are the same if their onset, length, pitch and instrument
    are. 0 for two empty bars.

    Source:
        Jaccard 1901: the distance of two sets.
    """

    def distance(first: Piece, second: Piece, bar: int) -> float:
        a, b = _notes(first, bar), _notes(second, bar)
        return len(a ^ b) / max(len(a | b), 1)

    pairs = zip(before, after, strict=True)
    found = [[distance(*pair, bar) for bar in range(n_bars)] for pair in pairs]
    return np.asarray(found, np.float64).reshape(len(before), n_bars)


def locality(
    change: Float[np.ndarray, "pair bar"],
    covered: Bool[np.ndarray, " bar"],
    pieces: Int[np.ndarray, " pair"],
) -> Locality:
    """How far the effect of a slot keeps to its span, with intervals over receiving pieces.

    Args:
        change: What changes in each bar: :func:`bar_distances`, or 1 where anything does.
        covered: Bars of the slot's span.
        pieces: The receiving piece of each pair.

    Raises:
        ValueError: If the slot covers all bars or none, or there are fewer than two pieces.
    """
    if covered.all() or not covered.any():
        raise ValueError(f"covered must be some bars and not all, got {covered.tolist()}.")
    inside, outside = (
        mean_interval(change[:, bars].mean(axis=1), pieces, within=(0.0, 1.0))
        for bars in (covered, ~covered)
    )
    return Locality(inside=inside, outside=outside)


def _notes(piece: Piece, bar: int) -> Set[tuple[int, ...]]:
    notes = sliced(piece, bar, 1).notes
    return set(notes[["onset", "duration", "pitch", "program", "is_drum"]].tolist())
