"""What a machine says of the results folder; machines that really differ: ``test_hosts.py``."""

from pathlib import Path
from threading import Timer

import pytest

from aurl.search import probe
from aurl.search.probe import seen_within
from aurl.training import store
from aurl.training.store import Remote

use = probe._use
attempt = probe._try


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SEEN_S", 0.2)
    monkeypatch.setattr(store, "PAUSES_S", (0.0,))


def test_a_machine_that_shares_the_folder_reads_and_writes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SEEN_S", 60.0)
    Timer(0.1, (tmp_path / "driver").write_text, ("word",)).start()  # a network shows it late
    assert use(tmp_path, "word", "me") == ""
    assert seen_within(tmp_path / "me", "word", 0.0) == ""


def test_a_machine_says_what_it_cannot_do(tmp_path: Path) -> None:
    assert use(tmp_path / "no", "word", "me") == (
        "does not see there what this machine wrote (No such file or directory)"
    )
    (tmp_path / "driver").write_text("a word of another sweep")
    assert "(something else is there)" in use(tmp_path, "word", "me")
    (tmp_path / "driver").write_text("word")
    (tmp_path / "me").mkdir()
    assert use(tmp_path, "word", "me") == "cannot write there (Is a directory)"


def test_a_machine_says_why_it_cannot_write_at_a_storage(tmp_path: Path) -> None:
    assert attempt(Remote(tmp_path.as_uri())) == ""
    assert not list(tmp_path.iterdir())
    (tmp_path / "taken").write_text("a file")
    assert attempt(Remote((tmp_path / "taken").as_uri())).startswith("--storage must be a place")
