"""Copies at ``--storage`` of what a sweep cannot lose with its driver's machine.

Beside the checkpoints stand ``sweep.yaml``, archives of each trial's folder, and the study's
journal in pieces, each from the byte that its name says. A trial's archives have numbers and never
change. One holds *all* of the folder when the trial is proposed, at the first report of an attempt
and when it ends; in between, at each report, one holds what is *new*. A sweep whose folder is gone
is made of them again.
"""

import io
import os
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from aurl.errors import SweepError
from aurl.files import atomic_folder
from aurl.search.ranking import ABOUT, FINALISTS, JOURNAL, RUN_ID
from aurl.training.reporters import METRICS_FILE
from aurl.training.store import Remote

_PIECE = re.compile(rf"{re.escape(JOURNAL)}\.(\d{{12}})")
_ARCHIVE = re.compile(rf"(trials|{FINALISTS})/({RUN_ID.pattern})/(\d{{6}})\.(?:all|new)\.zip")
_MEMBER = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*")
"""A file of a trial's folder, or of a folder in it: no name leads elsewhere."""

_NO_ARCHIVE = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError)
"""What Python raises of an archive that is damaged."""

_GROWS = re.compile(rf"{re.escape(METRICS_FILE)}|events\.out\.tfevents\.\d+")
"""A file that an attempt only appends to: what is new of it is its end."""


class Copies:
    """Copies the trials of one folder, and the journal beside it.

    Args:
        folder: The sweep's ``trials`` folder, or that of its finalists.
        remote: The sweep's place at the storage.

    Raises:
        SweepError: If there is more at the storage than here.
    """

    def __init__(self, folder: Path, remote: Remote) -> None:
        self._folder = folder
        self._remote = remote
        self._journal = folder.parent / JOURNAL
        remote.tidy(everywhere=True)
        there = remote.files()
        self._copied = _end_of(there)
        self._count = {
            own: int(names[-1].partition(".")[0]) + 1
            for (kind, own), names in _archives(there).items()
            if kind == folder.name
        }
        self._seen: dict[str, dict[str, os.stat_result]] = {}
        here = self._journal.stat().st_size if self._journal.exists() else 0
        if here < self._copied:
            raise SweepError(
                f"--resume must be given the newest state of a sweep: {folder.parent} is older "
                f"than its copy at {remote.uri}. Move that folder away, and the copy is used."
            )

    def forget(self, name: str) -> None:
        """Have the next copy of a trial be of all: its files may have been made anew, or it ends.

        A trial that has ended is read from one archive then, whatever was reported before.
        """
        self._seen.pop(name, None)

    def take(self, name: str) -> None:
        """Copy what is new in a trial's folder, and in the journal.

        Raises:
            StorageError: If the storage does not take it.
        """
        before = self._seen.get(name)
        packed, now = _packed(self._folder / name, before or {})
        number = self._count.get(name, 0)
        kind = "all" if before is None else "new"
        self._remote.below(self._folder.name, name).write(f"{number:06d}.{kind}.zip", packed)
        self._count[name] = number + 1
        self._seen[name] = now
        self._copy_journal()

    def _copy_journal(self) -> None:
        if not self._journal.exists():
            return
        with self._journal.open("rb") as file:
            file.seek(self._copied)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        if whole:
            self._remote.write(f"{JOURNAL}.{self._copied:012d}", whole)
            self._copied += len(whole)


def copy_about(folder: Path, remote: Remote) -> None:
    """Copy ``sweep.yaml``.

    Raises:
        StorageError: If the storage does not take it.
    """
    remote.write(ABOUT, (folder / ABOUT).read_bytes())


def restored(folder: Path, storage: Remote) -> bool:
    """Make a sweep's folder of its copies below a storage; whether there were any.

    Raises:
        SweepError: If several sweeps there have its name.
        StorageError: If the storage cannot be read.
    """
    name = re.compile(re.escape(folder.name) + r"-[0-9a-f]{8}")
    places = [storage.below(each) for each in storage.folders() if name.fullmatch(each)]
    found = [place for place in places if place.read(ABOUT) is not None]
    if len(found) > 1:
        names = ", ".join(place.uri for place in found)
        raise SweepError(
            f"--resume must find one sweep of that name at --storage, got {len(found)}: {names}. "
            f"Move away all but one, or put the right one's {ABOUT} into {folder}."
        )
    for place in found:
        with atomic_folder(folder) as made:
            _restore(place, made)
            if (folder / ABOUT).exists():  # another was quicker, and may run it
                raise SweepError(
                    f"{folder} must be left to one process, and another one has just made it of "
                    "its copies. Wait for it, or end it first."
                )
    return bool(found)


def _packed(
    folder: Path, before: dict[str, os.stat_result]
) -> tuple[bytes, dict[str, os.stat_result]]:
    """An archive of what is new since ``before``, and how the files are now."""
    packed, now = io.BytesIO(), dict[str, os.stat_result]()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder).as_posix()
            if not path.is_file() or not _MEMBER.fullmatch(inside):
                continue
            now[inside] = path.stat()
            was = before.get(inside)
            if was is None or _differs(was, now[inside]):
                begin = was.st_size if was is not None and _GROWS.fullmatch(inside) else 0
                archive.writestr(inside, path.read_bytes()[begin:])
    return packed.getvalue(), now


def _differs(was: os.stat_result, now: os.stat_result) -> bool:
    """Whether a file was written to, or another was moved into its place."""
    return (was.st_ino, was.st_size, was.st_mtime_ns) != (now.st_ino, now.st_size, now.st_mtime_ns)


def _restore(place: Remote, folder: Path) -> None:
    (folder / ABOUT).write_bytes(place.read(ABOUT) or b"")
    names = sorted(place.files())
    with (folder / JOURNAL).open("wb") as journal:
        for name in names:
            if _PIECE.fullmatch(name):
                journal.write(place.read(name) or b"")
    for (kind, own), archives in _archives(names).items():
        there = place.below(kind, own)
        begin = max((i for i, name in enumerate(archives) if name.endswith(".all.zip")), default=0)
        for name in archives[begin:]:
            try:
                _unpack(there.read(name) or b"", folder / kind / own)
            except _NO_ARCHIVE as error:
                raise SweepError(
                    f"{there.uri}: {name} is damaged. Remove what is there of {own}: its trial is "
                    "lost then, but the sweep is not."
                ) from error


def _unpack(packed: bytes, folder: Path) -> None:
    """Write the files of an archive; the end of a file that grows is appended."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for name in archive.namelist():
            if _MEMBER.fullmatch(name):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab" if _GROWS.fullmatch(name) else "wb") as file:
                    file.write(archive.read(name))


def _archives(names: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Names of the archives of each trial, by its folder and its own name, the first one first."""
    found = defaultdict[tuple[str, str], list[str]](list)
    for name in sorted(names):
        if match := _ARCHIVE.fullmatch(name):
            found[match[1], match[2]].append(name.rpartition("/")[2])
    return found


def _end_of(files: dict[str, int]) -> int:
    """Bytes of a journal that have been copied."""
    pieces = {name: size for name, size in files.items() if _PIECE.fullmatch(name)}
    return max((int(name[-12:]) + size for name, size in pieces.items()), default=0)
