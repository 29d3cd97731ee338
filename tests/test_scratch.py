"""Folders that nobody reads back: gone with their process, even if that was killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from aurl.search.scratch import LOCK, LONGEST, scratch_folder

OWNER = """
from aurl.search.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_scratch_folder_is_gone_after_its_block(tmp_path: Path) -> None:
    with scratch_folder() as folder:
        (Path(folder) / "deep" / "er").mkdir(parents=True)
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_removed_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def while_somebody_writes(place: str, *, ignore_errors: bool = False) -> None:
        for path in sorted(Path(place).rglob("*"), reverse=True):
            if path.name not in ("session", "busy"):
                path.unlink()

    monkeypatch.setattr(shutil, "rmtree", while_somebody_writes)
    with scratch_folder() as folder:
        (Path(folder) / "session").mkdir()
        (Path(folder) / "session" / "busy").touch()
        (Path(folder) / "session" / "idle").touch()
        (Path(folder) / "session_latest").symlink_to(Path(folder) / "session")
    assert [path.name for path in (Path(folder) / "session").iterdir()] == ["busy"]
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as other:
        assert list(tmp_path.iterdir()) == [Path(other)]


@pytest.mark.parametrize("owner", ["lives", "was killed"])
def test_a_folder_that_nfs_keeps_while_its_lock_is_open_goes_once_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    def kept(place: Path) -> None:
        (place / LOCK).unlink()
        raise OSError(39, "Directory not empty")

    if owner == "was killed":
        (tmp_path / "aurl-0123").mkdir()
        (tmp_path / "aurl-0123" / LOCK).touch()
    monkeypatch.setattr(shutil, "rmtree", kept)
    with scratch_folder() as folder:
        assert list(tmp_path.iterdir()) == [Path(folder)]
    assert not list(tmp_path.iterdir())


SOCKET = "session_2026-11-27_23-43-31_186563_4194304/sockets/plasma_store"
"""Of Ray's, with the highest number that a process has."""


def test_rays_sockets_have_names_that_the_kernel_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with scratch_folder(for_sockets=True) as folder, scratch_folder() as other:
        assert len(f"{folder}/{SOCKET}") <= 107
        assert Path(other).parent == long
    assert not Path(folder).exists()
    assert len(f"{'y' * LONGEST}/{Path(folder).name}/{SOCKET}") == 107, "no sooner than it must"


def test_what_a_killed_process_left_is_removed_and_what_lives_is_not(tmp_path: Path) -> None:
    owners = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        for _ in range(2)
    ]
    folders = [Path(owner.stdout.readline().strip()) for owner in owners if owner.stdout]
    (tmp_path / "aurl-of-somebody-else").mkdir()
    (tmp_path / "aurl-late" / "session_2026" / "logs").mkdir(parents=True)  # after the removal
    owners[0].send_signal(signal.SIGKILL)
    owners[0].communicate()
    assert all(folder.is_dir() for folder in folders)
    with scratch_folder():
        assert [folder.is_dir() for folder in folders] == [False, True]
    owners[1].communicate("\n")
    assert [path.name for path in tmp_path.iterdir()] == ["aurl-of-somebody-else"]
