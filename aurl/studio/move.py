"""A move: everything that is set on the page, from which its music follows.

The page keeps what is set, and sends all of it: the server remembers nothing, so undo is the
page's alone, and the same move is the same music in any tab.
"""

import json
import math
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeAlias

from aurl.errors import ConfigError
from aurl.plain import build

Part: TypeAlias = Literal["path", "first", "last", "mean"]
"""Where a level's code comes from: the path between both pieces, one of them, or the mean of all
music, which says nothing."""

MOST_WINDOWS = 8
MOST_SEED = 2**31 - 1
LARGEST = 3.0
"""Standard deviations that a slider or a fader may be moved by."""

HOTTEST = 1.5

Code: TypeAlias = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """What is set on the page.

    Raises:
        ConfigError: If a value is out of range.
    """

    first: tuple[Code, ...]
    """The code of each window of the first piece."""

    last: tuple[Code, ...]
    """Of the last piece, as many."""

    at: float = 0.0
    """Place on the path between them: 0 is the first, 1 the last."""

    levels: tuple[Part, ...] = ()
    """Of each level of the model, in its order."""

    sliders: tuple[float, ...] = ()
    """How far each slider is moved, in standard deviations of its dimension."""

    faders: tuple[float, ...] = ()
    """How far each attribute is moved, in standard deviations of the codes."""

    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.first) <= MOST_WINDOWS:
            raise ConfigError(f"first must have 1..{MOST_WINDOWS} windows, got {len(self.first)}.")
        if len(self.last) != len(self.first):
            raise ConfigError(
                f"last must have as many windows as first, {len(self.first)}, "
                f"got {len(self.last)}."
            )
        _check_range("at", (self.at,), 0.0, 1.0)
        _check_range("temperature", (self.temperature,), 0.0, HOTTEST)
        _check_range("sliders", self.sliders, -LARGEST, LARGEST)
        _check_range("faders", self.faders, -LARGEST, LARGEST)
        if not 0 <= self.seed <= MOST_SEED:
            raise ConfigError(f"seed must be in 0..{MOST_SEED}, got {self.seed}.")


def parsed(text: bytes) -> Move:
    """A move from the JSON of the page.

    Raises:
        ConfigError: If it is not a move.
    """
    try:
        values = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"a move must be JSON, got what is not: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"a move must be a mapping, got {type(values).__name__}.")
    return build(Move, values)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _check_range(name: str, values: tuple[float, ...], low: float, high: float) -> None:
    for value in values:
        if not (low <= value <= high and math.isfinite(value)):
            raise ConfigError(f"{name} must be in {low:g}..{high:g}, got {value:g}.")
