"""Where a process's output goes while it has a log, and afterwards; by a process of its own."""

import fcntl
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from aurl.errors import SweepError
from aurl.search import journal

CODE = """
import logging
import sys
from pathlib import Path

from aurl.errors import SweepError
from aurl.search.journal import journal, last_words

log = Path(sys.argv[1])
print("before")
with journal(log):
    print("within")
    print("wrong", file=sys.stderr)
    logging.getLogger().warning("logged")
    last_words("why")
    try:
        with journal(log):
            print("twice")
    except SweepError as error:
        print(error)
print("after")
logging.getLogger().warning("unlogged")
last_words("end")
"""


def test_a_log_takes_all_that_is_printed_while_it_is_held_and_by_one_alone(tmp_path: Path) -> None:
    log = tmp_path / "sweep.log"
    log.write_text("of an earlier attempt\n")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(log)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "before\nafter\n"
    assert done.stderr == "why\nunlogged\nend\n"
    first, *others = log.read_text().splitlines()
    assert first == "of an earlier attempt"
    held = f"{tmp_path} must be left to one process, and another one is running it. Wait for it, "
    assert sorted(others) == sorted(
        ["within", "wrong", "logged", "why", held + "or end it first."]
    )


@pytest.mark.parametrize("how", [fcntl.flock, fcntl.lockf])  # lockf: as for a client of NFS
def test_a_log_that_another_holds_in_either_way_is_left_to_it(tmp_path: Path, how: Any) -> None:
    path = tmp_path / "sweep.log"
    with path.open("ab") as other:
        how(other, fcntl.LOCK_EX)
        assert journal.is_held(path)
        how(other, fcntl.LOCK_EX)  # POSIX's went as this process closed the file
        with pytest.raises(SweepError, match="another one is running it"), journal.owned(path):
            pytest.fail("two have it")
    with journal.owned(path):
        assert journal.is_held(path)
    assert not journal.is_held(path)


@pytest.mark.parametrize("kind", ["fuse.juicefs", "ext4"])
def test_a_lock_that_fuse_would_not_free_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path, mounts = tmp_path / "sweep.log", tmp_path / "mountinfo"
    path.touch()
    device = path.stat().st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    mounts.write_text(f"36 35 {place} / /mnt rw,noatime shared:1 - {kind} /dev/x rw\n")
    monkeypatch.setattr(journal, "MOUNTS", mounts)
    is_fuse = kind.startswith("fuse")
    refused = pytest.raises(SweepError, match="another one is running it")
    with path.open("ab") as left:
        fcntl.lockf(left, fcntl.LOCK_EX)
        assert journal.is_held(path) != is_fuse
        fcntl.lockf(left, fcntl.LOCK_EX)
        with nullcontext() if is_fuse else refused, journal.owned(path):
            pass


def test_a_kernel_without_such_locks_is_no_reason_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(fcntl, "fcntl", unknown)
    with journal.owned(tmp_path / "sweep.log"):
        assert journal.is_held(tmp_path / "sweep.log")
    assert not journal.is_held(tmp_path / "sweep.log")
