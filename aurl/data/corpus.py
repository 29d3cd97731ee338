"""A corpus on disk: windows of music as tokens, whole, checked, and cut into splits by piece.

A corpus is a folder of flat arrays (``tokens.npy``, ``offsets.npy`` …) and a ``manifest.json``
with their hashes, the vocabulary, where each piece came from, and the summary of its making.
Loading maps the arrays into memory and compares the hashes: what trains is what was prepared.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Integer

from aurl.data.duplicates import SPLITS
from aurl.data.piece import Piece, sliced
from aurl.data.vocabularies import vocabulary_from
from aurl.data.vocabulary import Vocabulary
from aurl.errors import AurlError, ConfigError, DataError
from aurl.files import atomic, read_json, write_json
from aurl.plain import printable

SCHEMA = 1
MANIFEST = "manifest.json"
ARRAYS = {
    "tokens": np.dtype("<u2"),
    "offsets": np.dtype("<i8"),
    "piece": np.dtype("<i4"),
    "first_bar": np.dtype("<i4"),
    "split": np.dtype("i1"),
    "attributes": np.dtype("<f4"),
}
TARGET_RATE_NATS_PER_BAR = 6.7
"""Of music as it is found; docs/decisions/0003 argues for it."""

Split: TypeAlias = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Windows of ``n_bars`` bars; two corpora are the same if their fingerprints are."""

    vocabulary: Vocabulary
    n_bars: int
    tokens: Integer[np.ndarray, " token"]
    """All windows one after another."""

    offsets: Int[np.ndarray, " boundary"]
    """Window ``i`` is ``tokens[offsets[i] : offsets[i + 1]]``."""

    piece: Int[np.ndarray, " window"]
    """Index into ``piece_names``, where pieces have names."""

    first_bar: Int[np.ndarray, " window"]
    split: Int[np.ndarray, " window"]
    """0 train, 1 val, 2 test; all windows of a piece are in one."""

    attributes: Float[np.ndarray, "window attribute"]
    attribute_names: tuple[str, ...]
    piece_names: tuple[str, ...]
    name: str = ""
    licence: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain data: ``origin``, ``pieces`` and ``summary`` of :mod:`aurl.data.prepare`."""

    fingerprint: str = ""
    """SHA-256 of the content; computed where it is not given."""

    factor_entropy_nats: float | None = None
    """Of what the music was constructed from, in nats a window; None for music as it is found.
    Where it is given, the attributes are the factors of the construction, classes from 0 on."""

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _fingerprint(self, array_hashes(self)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def window(self, index: int) -> Integer[np.ndarray, " token"]:
        """The tokens of one window, START to END."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def music(self, windows: Int[np.ndarray, " some"]) -> list[Piece]:
        """What some windows say, each with all its bars, silent ones at its end too."""
        said = (self.vocabulary.decode(self.window(index)) for index in windows.tolist())
        return [sliced(piece, 0, self.n_bars) for piece in said]

    def indices(self, split: Split) -> Int[np.ndarray, " window"]:
        """The windows of a split, ascending."""
        return np.flatnonzero(self.split == SPLITS.index(split)).astype(np.int64)

    @property
    def is_constructed(self) -> bool:
        """Whether the factors behind the music are known."""
        return self.factor_entropy_nats is not None

    @property
    def target_rate_nats(self) -> float:
        """What a code should say of a window: its factors; of found music, what is argued for."""
        if self.factor_entropy_nats is not None:
            return self.factor_entropy_nats
        return TARGET_RATE_NATS_PER_BAR * self.n_bars

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest window."""
        return int(np.diff(self.offsets).max(initial=0))

    @property
    def mean_tokens(self) -> float:
        """Tokens of a window on average."""
        return len(self.tokens) / max(len(self), 1)


def save(corpus: Corpus, folder: Path) -> None:
    """Write a corpus to a folder, whole or not at all; a corpus that is there is replaced."""
    with atomic(folder) as temporary:
        temporary.mkdir()
        for name in ARRAYS:
            np.save(temporary / f"{name}.npy", getattr(corpus, name), allow_pickle=False)
        write_json(
            temporary / MANIFEST,
            {
                "schema": SCHEMA,
                "name": corpus.name,
                "licence": corpus.licence,
                "fingerprint": corpus.fingerprint,
                "n_bars": corpus.n_bars,
                "vocabulary": corpus.vocabulary.to_dict(),
                "attribute_names": list(corpus.attribute_names),
                "piece_names": list(corpus.piece_names),
                "arrays": array_hashes(corpus),
                **corpus.details,
            },
        )


def load(folder: Path) -> Corpus:
    """Map a corpus into memory and check that it is what was saved.

    Raises:
        DataError: In one line, if the folder is missing, is not a corpus, is of another version of
            aurl, or a file in it has changed.
    """
    manifest = read_manifest(folder)
    try:
        corpus = _mapped(folder, manifest)
        _check_hashes(corpus, manifest)
    except (OSError, EOFError, ValueError, LookupError, TypeError, AurlError) as error:
        reason = printable(str(error)).rstrip(".")
        raise DataError(
            f"{printable(str(folder))} is damaged: {reason}. Prepare it again."
        ) from error
    return corpus


def _check_hashes(corpus: Corpus, manifest: Mapping[str, Any]) -> None:
    hashes = array_hashes(corpus)
    for name in ARRAYS:
        if hashes[name] != manifest["arrays"][name]:
            raise ValueError(f"{name}.npy is not what was saved there")
    if _fingerprint(corpus, hashes) != corpus.fingerprint:
        raise ValueError(f"{MANIFEST} is not what was saved there")


def _mapped(folder: Path, manifest: Mapping[str, Any]) -> Corpus:
    known = {"schema", "name", "licence", "fingerprint", "n_bars", "vocabulary"}
    known |= {"attribute_names", "piece_names", "arrays"}
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    for name, dtype in ARRAYS.items():
        if arrays[name].dtype != dtype:
            raise ValueError(f"{name}.npy holds {arrays[name].dtype}, not {dtype}")
    described = manifest["vocabulary"]
    if not isinstance(described, dict):
        raise TypeError(f"vocabulary must be a mapping, got {described!r}")
    return Corpus(
        **arrays,
        vocabulary=vocabulary_from(described),
        n_bars=manifest["n_bars"],
        fingerprint=manifest["fingerprint"],
        attribute_names=tuple(manifest["attribute_names"]),
        piece_names=tuple(manifest["piece_names"]),
        name=manifest["name"],
        licence=manifest["licence"],
        details={key: value for key, value in manifest.items() if key not in known},
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a corpus.

    Raises:
        DataError: If there is none, or it is of another version.
    """
    shown = printable(str(folder))
    if not (folder / MANIFEST).is_file():
        moved = "If it was moved, say where by --data, or put a link in its place. "
        what = "is not a corpus. " if folder.exists() else f"does not exist. {moved}"
        raise DataError(
            f"{shown} {what}Make one from a folder of MIDI: aurl prepare MIDI_DIR --out DATA."
        )
    try:
        manifest = read_json(folder / MANIFEST)
    except ConfigError as error:
        raise DataError(f"{shown} is damaged: {error}") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{shown} must be a corpus of schema {SCHEMA}, got {schema}.")
    return manifest


def code_version() -> str:
    """A hash of the code that makes corpora: the modules of this folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def array_hashes(corpus: Corpus) -> dict[str, str]:
    """SHA-256 of each array's values."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(getattr(corpus, name)).data).hexdigest()
        for name in ARRAYS
    }


def _fingerprint(corpus: Corpus, hashes: Mapping[str, str]) -> str:
    facts = (
        SCHEMA,
        corpus.n_bars,
        corpus.vocabulary.to_dict(),
        corpus.attribute_names,
        corpus.piece_names,
        hashes,
    )
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
