"""Codes and factors of any framework, from a file of numpy arrays, checked before they are used.

Nothing in the file is ever executed: pickled objects are refused.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.errors import DataError
from aurl.metrics.dimensions import LIVE_THRESHOLD_NATS, carried_nats

LOSSES = ("reconstruction_nats", "reconstruction_shuffled_z_nats")
ARRAYS = (
    *("codes", "mean", "log_var", "factors", "n_train", "groups"),
    *(*LOSSES, "target_rate_nats"),
)
MOST_CLASSES = 256
_MOST_BYTES = 2 * 1024**3  # of an array: a small file can hold an endless one
_LARGEST = 1e100  # of a code: squares and sums of squares stay finite
_LARGEST_LOG_VAR = 200.0
_ROUNDING = 1e-3  # nats below 0 that single precision may make of a sure sample


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """What a decoder makes of the codes, for KL health."""

    own: Float[np.ndarray, " sample"]
    """-log p(x|z) in nats a sample."""

    shuffled: Float[np.ndarray, " sample"]
    """The same with the code of another sample."""

    target_rate_nats: float | None
    """R*, if the file says; else the entropy of the factors."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Codes:
    """Codes with known factors, and which samples train the predictors."""

    codes: Float[np.ndarray, "sample latent"]
    factors: Int[np.ndarray, "sample factor"]

    live: Bool[np.ndarray, " latent"]
    """Codes that count: those that carry 0.05 nats, or all where the file says nothing of it."""

    n_train: int | None
    """The first so many samples train; None if whole groups are drawn."""

    groups: Int[np.ndarray, " sample"] | None
    """Piece of every sample, if the file says."""

    log_var: Float[np.ndarray, "sample latent"] | None
    """Of the posteriors whose means the codes are, if the file has them."""

    losses: Losses | None
    """If the file has them."""

    ignored: tuple[str, ...]
    """Arrays of the file that mean nothing here."""


def read_codes(path: Path) -> Codes:
    """Read the arrays that ``aurl metrics`` scores.

    Args:
        path: A file by ``numpy.savez``: ``codes`` (or ``mean`` and ``log_var``) and ``factors``,
            and, if wanted, ``n_train`` or ``groups``; with ``mean`` and ``log_var``, for KL
            health, also ``reconstruction_nats`` and ``reconstruction_shuffled_z_nats``, and
            ``target_rate_nats``.

    Returns:
        The arrays. Without ``n_train`` and ``groups`` the first two thirds train.

    Raises:
        DataError: If an array is missing, or is not what it should be.
    """
    arrays, ignored = _load(path)
    if "codes" in arrays:
        for name in ("mean", "log_var"):
            if name in arrays:
                raise DataError(
                    f"{path} must hold codes or mean and log_var, got codes and {name}."
                )
        codes, log_var = _real_matrix(path, "codes", arrays["codes"], _LARGEST), None
        live = np.ones(codes.shape[1], dtype=bool)
    else:
        codes, log_var = _posterior(path, arrays)
        live = carried_nats(codes, log_var) >= LIVE_THRESHOLD_NATS
    if "factors" not in arrays:
        raise DataError(f"{path} must hold factors [samples, factors], got {_names(arrays)}.")
    factors = _classes(path, arrays["factors"])
    n_samples = len(codes)
    if len(factors) != n_samples:
        raise DataError(
            f"{path}: factors must have a row for each of the {n_samples} codes, "
            f"got {len(factors)} rows."
        )
    if n_samples < 2:
        raise DataError(f"{path}: codes must have 2 rows at least, got {n_samples}.")
    n_train, groups = arrays.get("n_train"), arrays.get("groups")
    if n_train is not None and groups is not None:
        raise DataError(f"{path} must hold n_train or groups, got both. Leave one out.")
    return Codes(
        codes=codes,
        factors=factors,
        live=live,
        n_train=None if groups is not None else _n_train(path, n_train, n_samples),
        groups=None if groups is None else _groups(path, groups, n_samples),
        log_var=log_var,
        losses=_losses(path, arrays, n_samples),
        ignored=ignored,
    )


def _load(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(
                    f"{path} must hold named arrays, got a single one. Write it with numpy.savez."
                )
            known = {name: _array(path, file, name) for name in file.files if name in ARRAYS}
            return known, tuple(name for name in file.files if name not in ARRAYS)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,  # it is encrypted
        MemoryError,  # its header says that it is larger than any memory
    ) as error:
        raise DataError(
            f"{path} must be a whole file of numeric arrays by numpy.savez, and is not."
        ) from error


def _array(path: Path, file: Any, name: str) -> np.ndarray:  # noqa: ANN401 - numpy's own type
    member = name if name in file.zip.namelist() else f"{name}.npy"
    size = file.zip.getinfo(member).file_size
    if size > _MOST_BYTES:
        raise DataError(
            f"{path}: {name} must be at most {_MOST_BYTES / 1024**3:.0f} GiB, got "
            f"{size / 1024**3:.1f} GiB. Score fewer samples."
        )
    try:
        array = file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: {name} must hold numbers, got Python objects, which are never loaded."
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{path} must be a whole file of numeric arrays by numpy.savez, got another {name}."
        )
    return array


def _posterior(path: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if not {"mean", "log_var"} <= set(arrays):
        raise DataError(f"{path} must hold codes, or mean and log_var, got {_names(arrays)}.")
    mean = _real_matrix(path, "mean", arrays["mean"], _LARGEST)
    log_var = _real_matrix(path, "log_var", arrays["log_var"], _LARGEST_LOG_VAR)
    if mean.shape != log_var.shape:
        raise DataError(
            f"{path}: log_var must have the shape of mean, {mean.shape}, got {log_var.shape}."
        )
    return mean, log_var


def _losses(path: Path, arrays: dict[str, np.ndarray], n_samples: int) -> Losses | None:
    given = [name for name in (*LOSSES, "target_rate_nats") if name in arrays]
    if not given:
        return None
    if not {*LOSSES, "mean"} <= set(arrays):
        raise DataError(
            f"{path} must hold mean, log_var, {' and '.join(LOSSES)} for KL health, got "
            f"{_names(arrays)}."
        )
    for name in LOSSES:
        if arrays[name].shape != (n_samples,):
            raise DataError(
                f"{path}: {name} must be {n_samples} numbers, one a sample, got the shape "
                f"{arrays[name].shape}."
            )
    own, shuffled = (_loss(path, name, arrays[name]) for name in LOSSES)
    target = arrays.get("target_rate_nats")
    return Losses(
        own=own,
        shuffled=shuffled,
        target_rate_nats=None if target is None else _target(path, target),
    )


def _loss(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Negative logarithms of probabilities: KL health takes shares of them, which need a zero."""
    values = _real_matrix(path, name, array[:, None], _LARGEST)[:, 0]
    if values.min() < -_ROUNDING:
        raise DataError(
            f"{path}: {name} must be >= 0, of probabilities, got {values.min():g}. Densities, as "
            f"of continuous data, have no KL health: leave out {' and '.join(LOSSES)}."
        )
    return np.maximum(values, 0.0)


def _target(path: Path, array: np.ndarray) -> float:
    value = _numbers(path, "target_rate_nats", array)
    if value.size != 1 or not 0.0 < value.item() < np.inf:
        raise DataError(f"{path}: target_rate_nats must be one number > 0, got {value.tolist()}.")
    return float(value.item())


def _real_matrix(path: Path, name: str, array: np.ndarray, largest: float) -> np.ndarray:
    values = _numbers(path, name, array).astype(np.float64)
    _check_matrix(path, name, values)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise DataError(
            f"{path}: {name} must be finite, got NaN or infinity in {bad.sum()} of {len(values)} "
            f"rows, the first of them row {bad.argmax()}."
        )
    if np.abs(values).max(initial=0.0) > largest:
        raise DataError(
            f"{path}: {name} must be within ±{largest:g}, got {np.abs(values).max():g}."
        )
    return values


def _classes(path: Path, array: np.ndarray) -> np.ndarray:
    values = _numbers(path, "factors", array)
    _check_matrix(path, "factors", values)
    whole = np.ones(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2.0**53)
    if not whole.all():
        row, column = np.argwhere(~whole)[0].tolist()
        raise DataError(
            f"{path}: factors must be classes, whole numbers, got {values[row, column]} in column "
            f"{column}. Make classes of a continuous factor first, such as eight quantile bins: "
            "np.digitize(x, np.quantile(x, np.arange(1, 8) / 8))."
        )
    factors = values.astype(np.int64)
    for column in range(factors.shape[1]):
        n_classes = np.unique(factors[:, column]).size
        if n_classes > MOST_CLASSES:
            raise DataError(
                f"{path}: factors must have {MOST_CLASSES} classes at most, got {n_classes} in "
                f"column {column}. Put its values into fewer bins first."
            )
    return factors


def _numbers(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        kinds = {"U": "text", "S": "bytes", "c": "complex numbers"}
        got = kinds.get(array.dtype.kind, f"type {array.dtype}")
        raise DataError(f"{path}: {name} must hold real numbers, got {got}.")
    return array


def _check_matrix(path: Path, name: str, array: np.ndarray) -> None:
    if array.ndim != 2:
        shape = f"[samples, {'factors' if name == 'factors' else 'dimensions'}]"
        raise DataError(f"{path}: {name} must have the shape {shape}, got {array.shape}.")
    if 0 in array.shape:
        raise DataError(f"{path}: {name} must not be empty, got the shape {array.shape}.")


def _n_train(path: Path, array: np.ndarray | None, n_samples: int) -> int:
    if array is None:
        return max(1, 2 * n_samples // 3)
    value = _numbers(path, "n_train", array)
    if value.size != 1 or value.item() != np.floor(value.item()):
        raise DataError(f"{path}: n_train must be one whole number, got {value.tolist()}.")
    if not 0 < value.item() < n_samples:
        raise DataError(f"{path}: n_train must be in 1..{n_samples - 1}, got {value.item()}.")
    return int(value.item())


def _groups(path: Path, array: np.ndarray, n_samples: int) -> np.ndarray:
    if array.dtype.kind not in "biuU" or array.shape != (n_samples,):
        raise DataError(
            f"{path}: groups must be {n_samples} whole numbers or names, the piece of every "
            f"sample, got {array.dtype} of shape {array.shape}."
        )
    labels, groups = np.unique(array, return_inverse=True)
    if labels.size < 2:
        raise DataError(f"{path}: groups must name 2 groups at least, got {labels.size}.")
    return groups.astype(np.int64)


def _names(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(arrays) or "none of these"
