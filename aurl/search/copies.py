"""Copies at ``--storage`` of what a sweep cannot lose with its driver's machine.

Beside the checkpoints stand ``sweep.yaml``, each trial's folder as one archive, written anew at
each of its reports, and the study's journal in pieces, each from the byte that its name says. A
sweep whose folder is gone is made of them again.
"""

import io
import re
import zipfile
from pathlib import Path

from aurl.errors import SweepError
from aurl.files import atomic
from aurl.search.ranking import FINALISTS
from aurl.search.wishes import NAME
from aurl.training.checkpoint import FILE_NAME
from aurl.training.store import Remote

ABOUT = "sweep.yaml"
JOURNAL = "study.journal"
ARCHIVE = "folder.zip"
_PIECE = re.compile(r"study\.journal\.(\d{12})")
_TRIAL = re.compile(rf"(trials|{FINALISTS})/({NAME.pattern})/{re.escape(ARCHIVE)}")
_MEMBER = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*")
"""A file of a trial's folder, or of a folder in it: no name leads elsewhere."""


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
        self._copied = _end_of(remote)
        here = self._journal.stat().st_size if self._journal.exists() else 0
        if here < self._copied:
            raise SweepError(
                f"--resume must be given the newest state of a sweep: {folder.parent} is older "
                f"than its copy at {remote.uri}. Move that folder away, and the copy is used."
            )

    def take(self, name: str) -> None:
        """Copy a trial's folder as it is now, but for a checkpoint, and the journal so far.

        Raises:
            StorageError: If the storage does not take it.
        """
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted((self._folder / name).rglob("*")):
                inside = path.relative_to(self._folder / name).as_posix()
                if path.is_file() and path.name != FILE_NAME and _MEMBER.fullmatch(inside):
                    archive.write(path, inside)
        self._remote.below(self._folder.name, name).write(ARCHIVE, packed.getvalue())
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
        with atomic(folder) as made:
            _restore(place, made)
    return bool(found)


def _restore(place: Remote, folder: Path) -> None:
    folder.mkdir()
    (folder / ABOUT).write_bytes(place.read(ABOUT) or b"")
    names = sorted(place.files())
    with (folder / JOURNAL).open("wb") as journal:
        for name in names:
            if _PIECE.fullmatch(name):
                journal.write(place.read(name) or b"")
    for name in names:
        if trial := _TRIAL.fullmatch(name):
            kind, own = trial.group(1, 2)
            packed = place.below(kind, own).read(ARCHIVE) or b""
            _unpack(packed, folder / kind / own)


def _unpack(packed: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for name in archive.namelist():
            if _MEMBER.fullmatch(name):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))


def _end_of(remote: Remote) -> int:
    """Bytes of a journal that have been copied."""
    pieces = {name: size for name, size in remote.files().items() if _PIECE.fullmatch(name)}
    return max((int(name[-12:]) + size for name, size in pieces.items()), default=0)
