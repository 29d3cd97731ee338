"""The vocabularies by name, and one again from what it said of itself."""

from collections.abc import Mapping
from typing import Any

from aurl.data.events import Events
from aurl.data.grid import Grid
from aurl.data.metrical import Metrical
from aurl.data.settings import rebuilt
from aurl.data.vocabulary import Vocabulary
from aurl.errors import DataError

KINDS = {"metrical": Metrical, "grid": Grid, "events": Events}


def vocabulary_from(data: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that its ``to_dict`` described.

    Raises:
        DataError: If its kind or version is not known, a key is missing or unknown, or a value has
            the wrong type.
        ConfigError: If a value is out of range.
    """
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise DataError(f"vocabulary.kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    return rebuilt(KINDS[kind], data)
