"""Every configuration of a search space, one after another: what sampler ``grid`` proposes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from aurl.errors import ConfigError
from aurl.search.distributions import Value, in_words, values_of
from aurl.search.parameter import Parameter

MOST = 10_000
"""Configurations of a grid at most: each proposal goes through all of them."""


def cells(parameters: Iterable[Parameter]) -> Iterator[dict[str, Value]]:
    """The values of each configuration by key, those of the last parameter changing fastest.

    Raises:
        ConfigError: At the first one that has a parameter of real numbers.
    """
    found: Iterator[dict[str, Value]] = iter([{}])
    for parameter in parameters:
        found = _with_each_value(found, parameter)
    return found


def n_cells(parameters: Iterable[Parameter]) -> int:
    """How many configurations a grid has.

    Raises:
        ConfigError: If it has none, for a parameter of real numbers, or more than :data:`MOST`.
    """
    count = sum(1 for _ in islice(cells(parameters), MOST + 1))
    if count > MOST:
        raise ConfigError(
            f"sampler.name must be another than grid for more than {MOST} configurations, got "
            "grid. List fewer values."
        )
    return count


def _with_each_value(
    found: Iterable[dict[str, Value]], parameter: Parameter
) -> Iterator[dict[str, Value]]:
    for chosen in found:
        if not parameter.exists(chosen):
            yield chosen
            continue
        for value in _values(parameter):
            yield {**chosen, parameter.key: value}


def _values(parameter: Parameter) -> Sequence[Value]:
    found = values_of(parameter.distribution)
    if not found:
        raise ConfigError(
            f"{parameter.key} must be a choice, or whole numbers, for sampler grid, got "
            f"{in_words(parameter.distribution)}. List values, as in choice: [0.1, 0.3], or name "
            "another sampler."
        )
    return found
