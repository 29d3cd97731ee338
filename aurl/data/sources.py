"""The MIDI files of a folder, and the piece that each becomes.

Importing this module costs no torch: the processes that read files start fast.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aurl.data.bars import with_pickup
from aurl.data.clock import clocked
from aurl.data.midi import MAX_BYTES, read_midi_counted
from aurl.data.piece import Piece, quantized
from aurl.errors import DataError
from aurl.plain import printable

SUFFIXES = frozenset({".mid", ".midi", ".kar"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file of a folder of MIDI."""

    path: Path
    name: str
    """Relative to the folder, with ``/``, and safe to print."""

    size: int
    sha256: str
    """Of the bytes; empty where they cannot or need not be read (see :data:`MAX_BYTES`)."""


def found_sources(folder: Path) -> list[Source]:
    """Every MIDI file below ``folder``, by name; links are followed, loops once.

    Raises:
        DataError: If the folder is missing, is not a folder, cannot be read, or holds none.
    """
    shown = printable(str(folder))
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{shown} {what}. Name a folder of MIDI files.")
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}.") from error
    sources = [_source(path, folder) for path in _paths(folder)]
    if not sources:
        raise DataError(f"{shown} holds no file that ends in .mid, .midi or .kar.")
    return sorted(sources, key=lambda source: source.name)


def read_source(path: Path, *, is_timed: bool = False) -> Piece:
    """The piece in a MIDI file as the corpus has it: on the grid, with its pickup found.

    Args:
        path: The file.
        is_timed: On the clock instead, for a vocabulary that counts seconds.

    Raises:
        DataError: As :func:`~aurl.data.midi.read_midi`.
    """
    return read_counted(path, is_timed=is_timed)[0]


def read_counted(path: Path, *, is_timed: bool) -> tuple[Piece, dict[str, int]]:
    """What :func:`read_source` reads, and how many notes it is without, by why.

    ``doubled`` are of the onset, pitch and instrument of another once on the grid, ``unclosed``
    have no end in the file.

    Raises:
        DataError: As :func:`~aurl.data.midi.read_midi`.
    """
    written, n_unclosed = read_midi_counted(path)
    piece = clocked(written) if is_timed else with_pickup(quantized(written))
    return piece, {"doubled": len(written.notes) - len(piece.notes), "unclosed": n_unclosed}


def _paths(folder: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()  # which of two names of one folder is walked must not depend on the disk
        yield from (Path(here, file) for file in files if Path(file).suffix.lower() in SUFFIXES)


def _source(path: Path, folder: Path) -> Source:
    name = printable(path.relative_to(folder).as_posix())
    size, digest = 0, ""
    try:
        status = path.stat()
        size = status.st_size
        if stat.S_ISREG(status.st_mode) and size <= MAX_BYTES:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        pass  # reading it will say why
    return Source(path=path, name=name, size=size, sha256=digest)
