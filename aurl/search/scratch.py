"""Folders for what Ray writes and nobody reads back, removed even if their process was killed.

Each holds a file that its process keeps locked. Nothing can tidy up after SIGKILL but the next
process: a folder whose lock is free has no owner left.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

PREFIX = "aurl-"
LOCK = "owner.lock"
LONGEST = 29
"""Bytes of a path below which Ray's sockets have names that the kernel takes, of 107 bytes."""


@contextlib.contextmanager
def scratch_folder(*, for_sockets: bool = False) -> Generator[str]:
    """A temporary folder for the block; those whose owners were killed are removed first.

    Args:
        for_sockets: Ray's are in it: it is below ``/tmp`` where ``TMPDIR`` is too long for them.
    """
    place = tempfile.gettempdir()
    if for_sockets and len(os.fsencode(place)) > LONGEST:
        place = "/tmp"
    _remove_orphans(Path(place))
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=place)
    made = Path(folder) / f".{LOCK}"
    try:
        with made.open("w") as lock:  # no process that is started inherits it
            fcntl.flock(lock, fcntl.LOCK_EX)
            made.rename(Path(folder) / LOCK)  # locked from the moment that it can be found
            try:
                yield folder
            finally:
                _remove(Path(folder))
    finally:
        _remove_empty(Path(folder))


def _remove_orphans(place: Path) -> None:
    for path in place.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError):  # its owner lives, or it is another user's
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path.parent)
            finally:
                os.close(lock)
            _remove_empty(path.parent)
    for path in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if _was_made_again(path):
                shutil.rmtree(path, ignore_errors=True)


def _remove_empty(folder: Path) -> None:
    """Remove what NFS kept of a folder, under another name, as long as its lock was open."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _was_made_again(path: Path) -> bool:
    """Whether Ray, which was still starting or ending, made a folder anew that was removed."""
    names = [each.name for each in path.iterdir()]
    is_ours = not path.is_symlink() and path.stat().st_uid == os.getuid()
    return is_ours and bool(names) and all(name.startswith("session_") for name in names)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last: by it, what a process still writes is found again."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink()
        if [path.name for path in folder.iterdir()] == [LOCK]:
            shutil.rmtree(folder)
