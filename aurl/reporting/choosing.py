"""Which rows of a table are shown, and in which order: ``--filter`` and ``--sort``."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from aurl.errors import ConfigError
from aurl.files import parse_value

Row: TypeAlias = Mapping[str, Any]
"""A flat row; None, or no entry at all, is a value that it does not have."""

ItemT = TypeVar("ItemT")

_CONDITION = re.compile(r"\s*([^\s=!<>~]+)\s*(<=|>=|!=|==?|<|>|~)\s*(.*?)\s*")
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def chosen(
    items: Sequence[ItemT],
    row_of: Callable[[ItemT], Row],
    conditions: Sequence[str] = (),
    *,
    sort: str = "",
    reverse: bool = False,
) -> list[ItemT]:
    """The items whose rows fulfil every condition, in the order that is asked for.

    Args:
        items: What a table shows.
        row_of: What its columns hold, as a flat row.
        conditions: Such as ``score>0.5``, ``status!=failed`` or ``reason~nan``: a column, one of
            ``= != < <= > >= ~`` and a value. ``~`` holds where the value is part of the text,
            whatever the case. A row without the value fails all but ``!=``.
        sort: A column, lowest first; rows without the value come last. By default the order they
            have.
        reverse: Highest first.

    Raises:
        ConfigError: If a condition cannot be read, no column has the name, or a number is compared
            with text.
    """
    if reverse and not sort:
        raise ConfigError("--reverse must come with --sort, got it alone. Name a column.")
    kept = [(row_of(item), item) for item in items]
    columns = list(dict.fromkeys(column for row, _ in kept for column in row))
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise ConfigError(
                "--filter must be a column, one of = != < <= > >= ~, and a value, "
                f"got {condition!r}."
            )
        name, sign, text = match.groups()
        sign = sign.replace("==", "=")
        column = column_of(columns, name, "--filter")
        kept = [pair for pair in kept if _holds(pair[0].get(column), sign, text)]
    if sort:
        column = column_of(columns, sort, "--sort")
        there = [pair for pair in kept if pair[0].get(column) is not None]
        numeric = all(isinstance(row[column], int | float) for row, _ in there)
        there.sort(
            key=lambda pair: pair[0][column] if numeric else str(pair[0][column]),
            reverse=reverse,
        )
        kept = there + [pair for pair in kept if pair[0].get(column) is None]
    return [item for _, item in kept]


def column_of(columns: Sequence[str], name: str, option: str) -> str:
    """The column of that name, or the only one that ends so: ``value`` for ``beta.value``.

    Metrics have a slash in their names, and are too many to be told of.

    Raises:
        ConfigError: If there is none, or several.
    """
    if name in columns or not columns:
        return name
    found = [column for column in columns if column.endswith(f".{name}")]
    found = found or [column for column in columns if column == f"val/{name}"]
    if len(found) != 1:
        short = [column for column in columns if "/" not in column]
        more = ", and metrics, such as val/kl_nats" if len(short) < len(columns) else ""
        among = ", ".join(found or short) + ("" if found else more)
        raise ConfigError(f"{option} must name one column, got {name}. There are: {among}.")
    return found[0]


def as_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Rows as CSV: an empty cell is a value that is not there; what is not text is JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(row.get(name)) for name in columns} for row in rows)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _holds(value: Any, sign: str, text: str) -> bool:  # noqa: ANN401
    if sign == "~":
        return value is not None and text.lower() in str(value).lower()
    if sign in ("=", "!="):
        return (value is not None and _is_same(value, text)) == (sign == "=")
    wanted = _number(text)
    if wanted is None:
        raise ConfigError(f"--filter {sign} must be followed by a number, got {text!r}.")
    return isinstance(value, int | float) and _ORDERS[sign](value, wanted)


def _is_same(value: Any, text: str) -> bool:  # noqa: ANN401
    if str(value) == text or value == _number(text):
        return True
    try:
        return value == parse_value(text)
    except ConfigError:  # such as [Errno 28], which is the start of no list
        return False


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
