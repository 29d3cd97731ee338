"""The musical context of a window: what a prior may know of it, as classes.

Each of ``key``, ``mode``, ``metre`` and ``tempo`` is a class from 0 on, and one class more stands
for "unknown": a piece without a key signature, a metre that has no word.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.data.attributes import NEAR_CONSTANT
from aurl.data.metrical_layout import METRES, TEMPO_BINS, tempo_value, tempos
from aurl.errors import ConfigError, DataError
from aurl.latent_config import ContextName

CLASSES: Mapping[ContextName, int] = {
    "key": 12,
    "mode": 2,
    "metre": len(METRES),
    "tempo": TEMPO_BINS,
}
"""Classes of each context; the number itself is the class "unknown"."""

_ATTRIBUTES: Mapping[ContextName, str] = {
    "key": "tonic",
    "mode": "mode",
    "metre": "metre",
    "tempo": "tempo",
}
_NOTES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MODES = ("major", "minor")


def context_classes(
    attributes: Float[np.ndarray, "window attribute"],
    attribute_names: Sequence[str],
    names: Sequence[ContextName],
) -> Int[np.ndarray, "window context"]:
    """The class of each context of each window.

    Args:
        attributes: Of the windows.
        attribute_names: Of the columns.
        names: Which contexts.

    Raises:
        DataError: If the corpus does not have an attribute that a context is read from.
    """
    columns: list[Int[np.ndarray, " window"]] = []
    for name in names:
        if _ATTRIBUTES[name] not in attribute_names:
            raise DataError(
                f"latent.context must name what the corpus knows, got {name}: it has no attribute "
                f"{_ATTRIBUTES[name]!r}. Leave it out."
            )
        values = attributes[:, attribute_names.index(_ATTRIBUTES[name])].astype(np.float64)
        if name == "tempo":
            values = np.asarray([tempo_value(bpm) if bpm > 0 else np.nan for bpm in values])
        known = (values >= 0) & (values < CLASSES[name])  # False where it is NaN
        columns.append(np.where(known, values, CLASSES[name]).astype(np.int64))
    return np.stack(columns, axis=1) if columns else np.zeros((len(attributes), 0), np.int64)


def check_context(
    attributes: Float[np.ndarray, "window attribute"],
    attribute_names: Sequence[str],
    names: Sequence[ContextName],
) -> None:
    """Refuse a context that the training windows cannot teach, because it hardly varies in them.

    Args:
        attributes: Of the training windows.
        attribute_names: Of the columns.
        names: Which contexts.

    Raises:
        ConfigError: If nearly all windows have one value.
        DataError: As :func:`context_classes`.
    """
    classes = context_classes(attributes, attribute_names, names)
    for name, column in zip(names, classes.T, strict=True):
        share = np.bincount(column).max() / len(column)
        if share > NEAR_CONSTANT:
            raise ConfigError(
                f"latent.context must name what varies in the music, got {name}: "
                f"{100.0 * share:.1f} % of the training windows have one value. Leave it out."
            )


def shifted(
    name: ContextName, classes: Int[Tensor, " window"], by: Int[Tensor, " window"]
) -> Int[Tensor, " window"]:
    """Classes of windows whose music was moved: keys go round, unknown stays.

    So does a tempo that would leave the vocabulary: no window is moved out of it.
    """
    moved = (classes + by) % CLASSES[name]
    stays = (classes == CLASSES[name]) | ((name != "key") & (moved != classes + by))
    return torch.where(stays, classes, moved)


def in_words(name: ContextName, value: int) -> str:
    """A class as it is written after ``--context``: ``D``, ``minor``, ``6/8``, ``119``."""
    if value == CLASSES[name]:
        return "unknown"
    match name:
        case "key":
            return _NOTES[value]
        case "mode":
            return _MODES[value]
        case "metre":
            return "{}/{}".format(*METRES[value])
        case "tempo":
            return f"{tempos()[value]:.0f}"


def class_in_words(attribute: str, value: float) -> str:
    """A value of an attribute without order: ``6/8`` of ``metre``; a number where it has no name.

    The nine factors of the melodies have none.
    """
    for name, other in _ATTRIBUTES.items():
        if other == attribute:
            return in_words(name, int(value))
    return f"{value:g}"


def parse_context(text: str, names: Sequence[ContextName]) -> dict[ContextName, int]:
    """Read ``key=Dm,metre=6/8`` for a model with the contexts ``names``.

    A key names its tonic and its mode, as in music: ``D`` is major, ``Dm`` minor. A model without
    the context ``mode`` reads only the tonic.

    Raises:
        ConfigError: If a context is not one of the model's, is given twice, or is not readable.
    """
    given: dict[ContextName, int] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or not value:
            raise ConfigError(f"--context must be NAME=VALUE,..., got {part.strip()!r}.")
        found: list[ContextName] = [name for name in names if name == key]
        if not found:
            trained = f"({', '.join(names)})" if names else "(none: latent.context was empty)"
            raise ConfigError(
                f"--context must name what the model was trained with {trained}, got {key}."
            )
        for name, each in _read(found[0], value, names).items():
            if name in given:
                raise ConfigError(f"--context must give {name} once, got it twice in {text!r}.")
            given[name] = each
    return given


def _read(name: ContextName, value: str, names: Sequence[ContextName]) -> dict[ContextName, int]:
    match name:
        case "key":
            return _read_key(value, names)
        case "mode" if value in _MODES:
            return {"mode": _MODES.index(value)}
        case "metre":
            for index, (numerator, denominator) in enumerate(METRES):
                if value == f"{numerator}/{denominator}":
                    return {"metre": index}
        case "tempo" if re.fullmatch(r"\d+(\.\d+)?", value) and float(value) > 0.0:
            return {"tempo": tempo_value(float(value))}
        case _:
            pass
    forms = {"mode": "major or minor", "metre": "such as 6/8", "tempo": "quarters a minute"}
    raise ConfigError(f"--context {name} must be {forms[name]}, got {value!r}.")


def _read_key(value: str, names: Sequence[ContextName]) -> dict[ContextName, int]:
    match = re.fullmatch(r"([A-G])([#b]?)(m?)", value)
    if match is None:
        raise ConfigError(f"--context key must be such as D, Bb or F#m, got {value!r}.")
    letter, accidental, minor = match.groups()
    tonic = (_NOTES.index(letter) + {"": 0, "#": 1, "b": -1}[accidental]) % 12
    if "mode" in names:
        return {"key": tonic, "mode": int(bool(minor))}
    if minor:
        raise ConfigError(
            f"--context key must be a tonic such as D, got {value}: "
            "the model was not trained with the context mode."
        )
    return {"key": tonic}
