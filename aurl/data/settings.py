"""A vocabulary as plain data, and back: strict, because old files must not be misread."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from aurl.errors import DataError

VocabularyT = TypeVar("VocabularyT")


def plain(vocabulary: Any, kind: str) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """The settings of a vocabulary of ``kind``, for ``vocabulary.json``."""
    return {"kind": kind, "version": 1, **asdict(vocabulary)}


def rebuilt(cls: type[VocabularyT], data: Mapping[str, Any]) -> VocabularyT:
    """The vocabulary of this kind that :func:`plain` described.

    Raises:
        DataError: If it is of another version, a key is missing or unknown, or a value has the
            wrong type.
        ConfigError: If a value is out of range.
    """
    if data.get("version") != 1:
        raise DataError(f"vocabulary.version must be 1, got {data.get('version')!r}.")
    declared: Any = cls
    types = {field.name: type(field.default) for field in fields(declared)}
    values = {key: value for key, value in data.items() if key not in ("kind", "version")}
    for key, value in values.items():
        if key not in types:
            close = get_close_matches(key, types, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise DataError(f"vocabulary.{key} is not a setting.{hint}")
        if type(value) is not types[key]:
            raise DataError(
                f"vocabulary.{key} must be of type {types[key].__name__}, got {value!r}."
            )
    if missing := [key for key in types if key not in values]:
        raise DataError(f"vocabulary.{missing[0]} must be given, got nothing.")
    return cls(**values)
