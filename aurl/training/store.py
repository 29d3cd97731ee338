"""A folder at a URI: ``s3://``, ``gs://``, ``abfs://``, ``file://``, whatever pyarrow knows.

What is written there is whole or absent, as on a disk: it goes to a name of its own, its size is
looked at, and it is moved into place (an object store copies it there, which is one act, too). An
error may pass, so each act is tried again after a pause, and again after a longer one. A store
that gives no answer at all is waited for, but not for ever: pyarrow itself would.

A URI never holds a secret: it is written into sweep folders and logs. Credentials come from where
each cloud's own programs find them: the environment, a file in the account, the machine's role.
"""

import contextlib
import re
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa
from pyarrow import fs

from aurl.errors import StorageError, SweepError

PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try."""

PATIENCE_S = 180.0
"""For an act to be answered, and ..."""

SLOWEST_BYTES_S = 2**20
"""... longer by what so many bytes a second take."""

HARMLESS = frozenset({"region", "scheme", "endpoint_override", "project_id", "enable_tls"})
"""Options that a URI may have: none of them is a secret."""

_SECRET = re.compile(
    r"(?i)(?:secret|password|passwd|token|credentials?|sig|signature|(?:access|account|api)_?key)"
    r"(?:_?key)?="
)
_CONTAINER = re.compile(r"[a-z0-9-]+@[\w.-]+\.(?:dfs|blob)\.core\.windows\.net")
"""Of Azure: what stands before the ``@`` is no name of a person."""

_EXAMPLES = "Such as s3://bucket/folder?region=eu-west-1, gs://bucket/folder or file:///mnt/folder"
_T = TypeVar("_T")
Opened: TypeAlias = tuple[Any, str]
"""A pyarrow filesystem, which has no types, and a path in it."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A folder at a URI; it need not be there yet."""

    uri: str

    def below(self, *names: str) -> "Remote":
        """A folder below this one."""
        parts = urllib.parse.urlsplit(self.uri)
        path = "/".join([parts.path.rstrip("/"), *(urllib.parse.quote(name) for name in names)])
        return Remote(urllib.parse.urlunsplit(parts._replace(path=path)))

    def write(self, name: str, data: bytes) -> None:
        """Write a file, replacing the one before, whole or not at all.

        Raises:
            StorageError: If it cannot be, not even later.
        """

        def write() -> None:
            system, folder = filesystem_of(self.uri)
            temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.part"
            try:
                with _opened(system, folder, temporary) as stream:
                    stream.write(data)
                _check_size(system, temporary, len(data))
                system.move(temporary, f"{folder}/{name}")
            except OSError:
                with contextlib.suppress(OSError):
                    system.delete_file(temporary)
                raise

        self._patiently(write, f"{name} cannot be written", size=len(data))

    def read(self, name: str) -> bytes | None:
        """What a file holds; None if it is not there.

        Raises:
            StorageError: If that cannot be known, not even later.
        """

        def size() -> int | None:
            system, folder = filesystem_of(self.uri)
            return system.get_file_info(f"{folder}/{name}").size

        def read() -> bytes | None:
            system, folder = filesystem_of(self.uri)
            try:
                with system.open_input_stream(f"{folder}/{name}") as stream:
                    return stream.read()
            except FileNotFoundError:
                return None

        what = f"{name} cannot be read"
        found = self._patiently(size, what)
        return None if found is None else self._patiently(read, what, size=found)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

        def remove() -> None:
            system, folder = filesystem_of(self.uri)
            with contextlib.suppress(FileNotFoundError):
                system.delete_file(f"{folder}/{name}")

        self._patiently(remove, f"{name} cannot be removed")

    def files(self) -> dict[str, int]:
        """Size of each file, here and in all folders below, by its path from here.

        Raises:
            StorageError: If that cannot be known, not even later.
        """
        return {name: size for name, size in self._below(recursive=True) if size is not None}

    def folders(self) -> list[str]:
        """Names of the folders here.

        Raises:
            StorageError: If that cannot be known, not even later.
        """
        return [name for name, size in self._below(recursive=False) if size is None]

    def _below(self, *, recursive: bool) -> list[tuple[str, int | None]]:
        def look() -> list[tuple[str, int | None]]:
            system, folder = filesystem_of(self.uri)
            selector = fs.FileSelector(folder, recursive=recursive, allow_not_found=True)
            return [
                (each.path.removeprefix(folder).lstrip("/"), each.size if each.is_file else None)
                for each in system.get_file_info(selector)
            ]

        return self._patiently(look, "what is there cannot be listed")

    def tidy(self, *, everywhere: bool = False) -> None:
        """Remove what a killed process left half-written, here or also in all folders below."""

        def tidy() -> None:
            system, folder = filesystem_of(self.uri)
            place = fs.FileSelector(folder, allow_not_found=True, recursive=everywhere)
            for each in system.get_file_info(place):
                if each.base_name.startswith(".") and each.base_name.endswith(".part"):
                    system.delete_file(each.path)

        self._patiently(tidy, "what was left half-written cannot be removed")

    def probe(self) -> None:
        """Write something, read it back and remove it.

        Raises:
            SweepError: If that cannot be done.
        """
        name, data = f"probe-{uuid.uuid4().hex[:8]}", uuid.uuid4().bytes
        try:
            self.write(name, data)
            found = self.read(name)
            self.remove(name)
        except (StorageError, pa.ArrowException) as error:
            raise SweepError(f"--storage must be a place that can be written: {error}") from error
        if found != data:
            raise SweepError(
                f"--storage must give back what it was given, and {self.uri} does not."
            )

    def _patiently(self, act: Callable[[], _T], what: str, size: int = 0) -> _T:
        seconds = PATIENCE_S + size / SLOWEST_BYTES_S
        for pause in (*PAUSES_S, None):
            try:
                return _answered(act, seconds)
            except _UnansweredError as error:  # another try would meet the first, once it goes on
                reason = f"there is no answer within {seconds:.0f} s"
                raise StorageError(f"{self.uri}: {what}: {reason}.") from error
            except OSError as error:
                if pause is None:
                    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                    raise StorageError(f"{self.uri}: {what}: {reason.rstrip('.')}.") from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")


class _UnansweredError(Exception):
    """An act is still under way."""


def _answered(act: Callable[[], _T], seconds: float) -> _T:
    """What an act returns or raises; it goes on in its thread if that takes longer.

    Raises:
        _UnansweredError: If there is nothing after ``seconds``.
    """
    done: SimpleQueue[tuple[_T] | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            done.put((act(),))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.put(error)

    thread = threading.Thread(target=run, daemon=True, name="store")
    thread.start()
    try:
        found = done.get(timeout=seconds)
    except BaseException as error:  # Ctrl-C, too
        _unanswered.append(thread)
        if isinstance(error, Empty):
            raise _UnansweredError from None
        raise
    if isinstance(found, BaseException):
        raise found
    return found[0]


_unanswered: list[threading.Thread] = []


def owes_an_answer() -> bool:
    """Whether an act that was given up is still under way.

    A process must then end by :func:`os._exit`: pyarrow's farewell to S3 waits for every answer,
    and without the farewell Arrow's own threads may crash.
    """
    return any(thread.is_alive() for thread in _unanswered)


def _opened(system: Any, folder: str, path: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A stream to a new file in a folder, which is made only where it is missed.

    An object store has no folders, and misses none: there pyarrow would put an empty object for
    each level of it, with every file.
    """
    try:
        return system.open_output_stream(path)
    except FileNotFoundError:
        system.create_dir(folder, recursive=True)
        return system.open_output_stream(path)


def _check_size(system: Any, path: str, size: int) -> None:  # noqa: ANN401 - pyarrow has no types
    arrived = system.get_file_info(path).size
    if arrived != size:
        raise OSError(f"of {size} bytes, {arrived} arrived")


@lru_cache(maxsize=64)
def filesystem_of(uri: str) -> Opened:
    """The filesystem of a URI, and the path in it."""
    system, path = fs.FileSystem.from_uri(uri)
    return system, path.rstrip("/")


def storage_at(uri: str) -> Remote:
    """The folder at a URI that a person, or a file, names.

    Raises:
        SweepError: If it is none, or may hold a secret; the message does not repeat that.
    """
    if what := _may_be_secret(uri):
        raise SweepError(
            f"--storage must hold no credentials and no options but {', '.join(sorted(HARMLESS))},"
            f" got one with {what}. Give credentials as your cloud's own programs take them."
        )
    parts = urllib.parse.urlsplit(uri)
    if not parts.scheme or not (parts.netloc or parts.path.startswith("/")) or parts.fragment:
        raise SweepError(f"--storage must be a URI, got {uri!r}. {_EXAMPLES}.")
    try:
        keeps = filesystem_of(uri)[0].type_name != "mock"
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise SweepError(
            f"--storage must be a URI, got {uri!r}: {reason}. {_EXAMPLES}."
        ) from error
    if not keeps:  # pyarrow's own, for tests
        raise SweepError(f"--storage must be a place that lasts, got {uri!r}. {_EXAMPLES}.")
    return Remote(uri)


def _may_be_secret(uri: str) -> str:
    """What of a URI may be a secret, in words that do not repeat it; nothing if nothing is."""
    try:
        parts = urllib.parse.urlsplit(uri)
        _ = parts.port
    except ValueError:  # no port, or no address: then it may be anything
        return "a name or password, or no address"
    options = {name for name, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)}
    if options - HARMLESS:
        return sorted(options - HARMLESS)[0]
    azure = parts.scheme in ("abfs", "abfss") and _CONTAINER.fullmatch(parts.netloc)
    if "@" in urllib.parse.unquote(parts.query if azure else parts.netloc + parts.query):
        return "a name or password"
    is_here = parts.scheme == "file"  # a folder may be called anything
    return "what may be one" if not is_here and _SECRET.search(urllib.parse.unquote(uri)) else ""
