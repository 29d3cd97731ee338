"""The log file of a sweep: where everything goes that Ray, Optuna and torch print."""

import contextlib
import errno
import fcntl
import io
import logging
import os
import struct
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console

from aurl.errors import SweepError

_FLOCK = "hhqqi4x"
"""Linux's ``struct flock``: kind, where from, start, length, whose."""

MOUNTS = Path("/proc/self/mountinfo")
"""What is mounted: the device, and behind a dash the kind of file system."""

_terminal = [2]
"""Descriptors of standard error: the one that leads to whoever started us comes last."""


@contextlib.contextmanager
def owned(path: Path) -> Generator[None]:
    """Hold the log of a sweep, and with it the sweep, while the block runs.

    Raises:
        SweepError: If another process holds it, or nobody can.
    """
    with path.open("ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _posix(log, fcntl.F_OFD_SETLK, fcntl.F_WRLCK)
        except BlockingIOError as error:
            raise SweepError(
                f"{path.parent} must be left to one process, and another one is running it. "
                "Wait for it, or end it first."
            ) from error
        except OSError as error:  # such as Lustre, if it is mounted so
            raise SweepError(
                f"--out must be on a file system that keeps locks, got {path.parent}: "
                f"{error.strerror}. Choose another; with --storage, only this machine needs it."
            ) from error
        yield


def is_held(path: Path) -> bool:
    """Whether a process holds the log of a sweep, as its driver does; True where nobody can say.

    A file system that keeps each machine's locks apart knows of drivers on this one alone.
    """
    if not path.is_file():
        return False
    try:
        with path.open("rb") as log:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return _posix(log, fcntl.F_OFD_GETLK, fcntl.F_RDLCK) != fcntl.F_UNLCK
    except OSError:
        return True


def _posix(log: BinaryIO, act: int, kind: int) -> int:
    """Take a lock of POSIX's of the whole of an open file, or see what stands in the way of it.

    ``flock``'s do not tell a machine that serves a file by NFS of its clients: theirs are POSIX's
    there. This one belongs to the open file, as those of ``flock`` do, and stands beside it. FUSE
    is left out, which may free such a lock of a process that was killed only with the mount; and a
    kernel that has none is no reason to refuse.

    Args:
        log: The file.
        act: ``fcntl.F_OFD_SETLK`` to take it; ``fcntl.F_OFD_GETLK`` to see.
        kind: ``fcntl.F_WRLCK``, or ``fcntl.F_RDLCK`` for one that stands beside its like.

    Returns:
        If it is to see: the kind of lock in the way, ``fcntl.F_UNLCK`` for none.

    Raises:
        BlockingIOError: If it is to take it, and cannot.
    """
    try:
        device = os.fstat(log.fileno()).st_dev
        place = f" {os.major(device)}:{os.minor(device)} "
        if any(place in each and " - fuse" in each for each in MOUNTS.read_text().splitlines()):
            return fcntl.F_UNLCK
        whole = struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
        found, *_ = struct.unpack(_FLOCK, fcntl.fcntl(log, act, whole))
    except BlockingIOError:
        raise
    except OSError:
        return fcntl.F_UNLCK
    return found


@contextlib.contextmanager
def journal(path: Path) -> Generator[None]:
    """Send this process's standard output and error to ``path`` while the block runs.

    A display that is to be seen meanwhile writes to a copy of the terminal
    (:func:`copy_of_stdout`) made before.

    Raises:
        SweepError: If another process writes to the same log.
    """
    with owned(path):
        sys.stdout.flush()
        sys.stderr.flush()
        saved = os.dup(1), os.dup(2)
        handler = logging.FileHandler(path, encoding="utf-8")
        logging.getLogger().addHandler(handler)
        _terminal.append(saved[1])
        try:
            with path.open("ab") as unlocked:  # what Ray starts inherits it, and may outlive us
                os.dup2(unlocked.fileno(), 1)
                os.dup2(unlocked.fileno(), 2)
            yield
        finally:
            _flush_or_drop()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            _terminal.pop()
            os.close(saved[0])
            os.close(saved[1])
            logging.getLogger().removeHandler(handler)
            with contextlib.suppress(OSError):  # a full disk has been told of before
                handler.close()


def last_words(line: str) -> None:
    """Tell whoever started this process, and the log if there is one, why it ends at once."""
    shown = "\x1b[?25h" if os.isatty(_terminal[-1]) else ""  # the cursor, which a display hides
    os.write(_terminal[-1], f"{shown}{line}\n".encode())
    if len(_terminal) > 1:
        os.write(2, f"{line}\n".encode())


def _flush_or_drop() -> None:
    """Write out what is buffered; where a full disk does not take it, it is for nobody's eyes."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except OSError:
            _to_nowhere(number)
            stream.flush()


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


class _Watched(io.FileIO):
    """Where a sweep is watched. It may be gone before the sweep ends: then nothing is shown."""

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever holds bytes
        try:
            return super().write(data)
        except OSError as error:  # a terminal that was closed, a pipe that nobody reads
            if error.errno not in (errno.EIO, errno.EPIPE):
                raise
            _to_nowhere(self.fileno())
            return super().write(data)


def copy_of_stdout() -> Console:
    """A console on the standard output of now, which :func:`journal` does not take away."""
    stream = io.BufferedWriter(_Watched(os.dup(1), "wb"))
    return Console(file=io.TextIOWrapper(stream, errors="backslashreplace"))
