"""The one owner of how aurl reads and writes files: YAML, JSON, JSON lines, whole or absent.

Every write goes to a temporary name in the same folder and is renamed into place, so that a
reader, or a resumed run, never sees half a file; it is on the disk before it has its name, so
that a power cut leaves no empty file either.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from aurl.errors import ConfigError

MOST_ENTRIES = 1_000_000
"""Of a YAML file: far more than any that is meant."""

_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What reading YAML raises: of a number of 5,000 digits, or of 5,000 brackets, something else."""


@contextlib.contextmanager
def atomic(path: Path) -> Generator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends well.

    Works for a file and for a folder; on an exception nothing of it stays behind.

    Raises:
        IsADirectoryError: If ``path`` has no name to put anything in place of, as ``.`` or ``/``.
        FileExistsError: If a device or a pipe has its place: root would end ``/dev/null``.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            stale = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            path.rename(stale)
            temporary.rename(path)
            if stale.is_symlink():  # what it leads to is not ours to remove
                stale.unlink()
            else:
                shutil.rmtree(stale, ignore_errors=True)
        else:
            if temporary.is_file():
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105 - Path.replace is the same call
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """:func:`atomic` with the folder made; halves that killed processes left of it are removed.

    A half that is being made is locked: what cannot be locked is not touched.
    """
    with contextlib.ExitStack() as held, atomic(path) as temporary:  # held until it is in place
        name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
        for other in path.parent.iterdir():
            if name.fullmatch(other.name) and other.is_dir():
                with contextlib.suppress(OSError), _locked(other):
                    shutil.rmtree(other)  # which follows no link
        temporary.mkdir()
        with contextlib.suppress(OSError):  # a file system without locks: nobody removes it
            held.enter_context(_locked(temporary))
        yield temporary


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None]:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)


def is_free(path: Path) -> bool:
    """Whether a folder can be made at ``path``: nothing is there, or one that is empty."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def remove_parts(folder: Path) -> None:
    """Remove below ``folder`` what a process that was killed left half-made by :func:`atomic`."""
    for pattern in (".*.part", ".*.old"):
        for path in folder.rglob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all.

    A name of a file may hold bytes that are no text: what UTF-8 does not have is written escaped.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data``, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write ``value`` as indented JSON; NaN and infinity are refused, as JSON has neither."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Raises:
        ConfigError: If it is missing or is not JSON.
    """
    try:
        return json.loads(_text(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as YAML in its own key order."""
    write_text(path, yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=99))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping, safely.

    Raises:
        ConfigError: If the file is missing, is not YAML, says a key twice, or does not hold a
            mapping.
    """
    try:
        value = _loaded(_text(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a YAML file: it is not UTF-8 text.") from error
    except _NOT_YAML as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {reason}.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, got {type(value).__name__}.")
    return value


def parse_settings(words: Sequence[str], given_as: str = "--set") -> dict[str, Any]:
    """The values of words such as ``key=value``, by key.

    Raises:
        ConfigError: Of a word that is none, by what it was ``given_as``.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"{given_as} must be KEY=VALUE, got {word!r}.")
        values[key] = parse_value(text, given_as)
    return values


def parse_value(text: str, given_as: str = "--set") -> Any:  # noqa: ANN401
    """Read one value as YAML reads it, for ``--set key=value``."""
    try:
        return _loaded(text)
    except _NOT_YAML as error:
        raise ConfigError(f"{given_as} value must be YAML, got {text[:80]!r}.") from error


class _Loader(yaml.SafeLoader):
    """Safe, and strict: of a key that stands twice, YAML's last would win without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, Any]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value} stands twice", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number that a message can show: in base 16, Python reads longer ones too."""
        value = super().construct_yaml_int(node)
        str(value)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _loaded(text: str) -> Any:  # noqa: ANN401
    """What a text of one YAML document says."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_size(node: yaml.Node, known: dict[int, int]) -> int:
    """Entries of a node with all that its aliases repeat, of which a few lines can make billions.

    Raises:
        yaml.YAMLError: If there are too many, or one holds itself.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_ENTRIES  # for an alias to a node that is not done
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_check_size(part, known) for part in parts)
    if known[id(node)] >= MOST_ENTRIES:
        raise yaml.MarkedYAMLError(
            problem=f"it repeats itself to over {MOST_ENTRIES} entries",
            problem_mark=node.start_mark,
        )
    return known[id(node)]


def append_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a JSON-lines file in one write, which is on the disk when this returns.

    A crash can leave a torn last line; :func:`read_lines` passes over it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; a missing file is empty, and a torn last line is left out.

    Raises:
        ConfigError: If another line is no JSON object.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    try:
        for line in _text(path).splitlines(keepends=True):
            if line.endswith("\n"):
                rows.append(_object(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged: row {len(rows) + 1} is no JSON object.") from error
    return rows


def _text(path: Path) -> str:
    """The text of a file; a pipe that nobody writes to has none, and is not waited for."""
    with open(path, encoding="utf-8", opener=_opened_at_once) as file:
        return file.read()


def _opened_at_once(path: str, flags: int) -> int:
    opened = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(opened, True)
    return opened


def _object(line: str) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise TypeError("it is no object")
    return cast("dict[str, Any]", row)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
