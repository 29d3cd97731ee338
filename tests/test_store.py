"""Checkpoints at a URI: whole or absent, tried again after a fault, and no secret in the URI."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import fs
from torch import nn

from aurl.errors import ConfigError, DataError, StorageError, SweepError
from aurl.files import write_json
from aurl.search.gang import task_for
from aurl.search.recorder import Recorder
from aurl.training import checkpoint, place, store
from aurl.training.loop import Run, Trainer, train
from aurl.training.store import PAUSES_S, Remote, storage_at
from aurl.training.workers import Workers
from tests.test_recorder import NAME, PARAMS, ROWS, Display
from tests.tiny import small_config, tiny_corpus

DATA = b"0123456789"


class Moody(fs.FileSystemHandler):
    """A disk of this machine, as pyarrow lets Python write one, that fails as it is told to."""

    def __init__(self, fails: Callable[[str], bool]) -> None:
        self._disk = fs.LocalFileSystem()
        self._fails = fails
        self.acts: list[str] = []

    def _act(self, what: str) -> fs.LocalFileSystem:
        self.acts.append(what)
        if self._fails(what):
            raise OSError(f"the network is down at {what}")
        return self._disk

    def get_type_name(self) -> str:
        return "moody"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return self._act("look").get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return self._act("list").get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        self._act("mkdir").create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        raise NotImplementedError

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        self._act("delete").delete_file(path)

    def move(self, src: str, dest: str) -> None:
        self._act("move").move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def open_input_stream(self, path: str) -> Any:
        return self._act("read").open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        return self._act("read").open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        torn = self._fails("tear")
        stream = self._act("write").open_output_stream(path)
        return Torn(stream) if torn else stream

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError


def Torn(stream: Any) -> Any:  # noqa: N802
    """Takes half of what it is given, and says nothing."""
    stream.write(DATA[:5])
    stream.close()
    return fs.LocalFileSystem().open_output_stream("/dev/null")


Mood = Callable[[Callable[[str], bool]], Moody]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes time."""
    made: list[float] = []
    monkeypatch.setattr(store.time, "sleep", made.append)
    return made


@pytest.fixture
def mood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mood:
    """Makes every URI lead to a moody disk."""

    def make(fails: Callable[[str], bool]) -> Moody:
        handler = Moody(fails)
        opened = fs.PyFileSystem(handler), str(tmp_path / "far")
        monkeypatch.setattr(store, "filesystem_of", lambda uri: opened)
        return handler

    return make


def times(count: int, what: str) -> Callable[[str], bool]:
    """Fails the first so many times that something is done."""
    left = [count]

    def fails(act: str) -> bool:
        left[0] -= act == what
        return act == what and left[0] >= 0

    return fails


def at(folder: Path) -> Remote:
    return storage_at(folder.absolute().as_uri())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_what_is_written_is_read_replaced_and_removed(tmp_path: Path) -> None:
    remote = at(tmp_path).below("my sweep", "t0001")
    assert remote.read("a") is None
    remote.write("a", DATA)
    remote.write("a", DATA * 2)
    assert remote.read("a") == DATA * 2
    assert (tmp_path / "my sweep" / "t0001" / "a").read_bytes() == DATA * 2
    remote.remove("a")
    remote.remove("a")
    assert names(tmp_path) == []


def test_names_go_before_the_options_of_a_uri() -> None:
    remote = Remote("s3://bucket/folder/?region=eu-west-1").below("a b", "c")
    assert remote.uri == "s3://bucket/folder/a%20b/c?region=eu-west-1"


def test_a_folder_is_made_where_it_is_missed_and_not_for_every_file(
    tmp_path: Path, mood: Mood, waits: list[float]
) -> None:
    handler = mood(lambda given: False)
    for name in ("a", "b"):
        Remote("far").write(name, DATA)
    assert handler.acts.count("mkdir") == 1
    shutil.rmtree(tmp_path / "far")  # a store that has lost it
    Remote("far").write("c", DATA)
    assert handler.acts.count("mkdir") == 2
    assert (names(tmp_path), waits) == (["c"], [])


def test_a_folder_that_is_lost_while_a_file_is_written_is_made_again(
    tmp_path: Path, mood: Mood, waits: list[float]
) -> None:
    left = [1]

    def loses(act: str) -> bool:
        if act == "move" and left:
            left.pop()
            shutil.rmtree(tmp_path / "far")
        return False

    mood(loses)
    Remote("far").write("a", DATA)
    assert (tmp_path / "far" / "a").read_bytes() == DATA
    assert waits == [PAUSES_S[0]]


def test_no_folder_is_made_in_a_store_that_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Objects(Moody):
        """As S3: a file is written whether or not there is a folder."""

        def open_output_stream(self, path: str, metadata: Any) -> Any:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            return super().open_output_stream(path, metadata)

    handler = Objects(lambda act: False)
    opened = fs.PyFileSystem(handler), str(tmp_path / "sweeps" / "mine")
    monkeypatch.setattr(store, "filesystem_of", lambda uri: opened)
    Remote("far").write("a", DATA)
    assert Remote("far").read("a") == DATA
    assert "mkdir" not in handler.acts


@pytest.mark.parametrize("act", ["mkdir", "write", "look", "move"])
def test_a_fault_that_passes_is_waited_for(
    tmp_path: Path, mood: Mood, waits: list[float], act: str
) -> None:
    mood(times(len(PAUSES_S), act))
    Remote("far").write("a", DATA)
    assert Remote("far").read("a") == DATA
    assert waits == list(PAUSES_S)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("act", ["write", "tear", "look", "move"])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, mood: Mood, waits: list[float], act: str
) -> None:
    mood(lambda given: False)
    Remote("far").write("a", b"before")
    mood(lambda given: given == act)
    with pytest.raises(StorageError, match=r"^far: a cannot be written: .*\.$"):
        Remote("far").write("a", DATA)
    assert waits == list(PAUSES_S)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "far" / "a").read_bytes() == b"before"


@pytest.mark.parametrize("act", ["write", "move", "read"])
def test_a_store_that_gives_no_answer_is_not_waited_for_for_ever(
    tmp_path: Path, mood: Mood, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def stands_still(given: str) -> bool:
        if given == act:
            hangs.set()
            goes_on.wait(30.0)
        return False

    mood(lambda given: False)
    Remote("far").write("a", b"before")
    monkeypatch.setattr(store, "PATIENCE_S", 0.2)
    handler = mood(stands_still)
    what = "read" if act == "read" else "written"
    with pytest.raises(
        StorageError, match=rf"^far: a cannot be {what}: there is no answer within"
    ):
        Remote("far").read("a") if act == "read" else Remote("far").write("a", DATA)
    assert hangs.is_set()
    assert handler.acts.count(act) == 1, "it is not asked twice"
    assert (tmp_path / "far" / "a").read_bytes() == b"before"
    goes_on.set()


SILENT = """
import socket, sys
from aurl import cli
from aurl.training import store

store.PATIENCE_S = 0.5
server = socket.create_server(("127.0.0.1", 0))
options = f"endpoint_override=127.0.0.1:{server.getsockname()[1]}&scheme=http&region=x"

def asks(args):
    print("asked")
    store.Remote(f"s3://bucket/folder?{options}").write("a", b"0")

cli.sweep = asks
sys.exit(cli.main(["sweep", "space.yaml"]))
"""


def test_a_process_ends_though_a_store_still_owes_it_an_answer() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    ended = subprocess.run(
        [sys.executable, "-c", SILENT],
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "asked\n")
    assert ended.stderr.startswith("aurl: s3://bucket/folder?")
    assert ended.stderr.count("\n") == 1
    assert ": a cannot be written: there is no answer within" in ended.stderr


def test_what_is_large_is_given_longer(mood: Mood, monkeypatch: pytest.MonkeyPatch) -> None:
    mood(lambda given: bool(time.sleep(0.5)) if given in ("write", "read") else False)
    monkeypatch.setattr(store, "PATIENCE_S", 0.2)
    monkeypatch.setattr(store, "SLOWEST_BYTES_S", 10)
    Remote("far").write("a", DATA)
    assert Remote("far").read("a") == DATA


@pytest.mark.usefixtures("waits")
def test_what_a_killed_writer_left_is_tidied_away_and_nothing_else(
    tmp_path: Path, mood: Mood
) -> None:
    mood(lambda given: given == "move" or given == "delete")
    with pytest.raises(StorageError):
        Remote("far").write("a", DATA)
    mood(lambda given: False)
    Remote("far").write("a", DATA)
    assert len(names(tmp_path)) == 1 + 1 + len(PAUSES_S)
    Remote("far").tidy()
    assert names(tmp_path) == ["a"]
    Remote("far").below("not there").tidy()


def test_files_are_listed_in_all_folders_and_tidied_here_or_everywhere(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("a", "z.part", ".x.part", "inner/b", "inner/.y.part"):
        (tmp_path / name).write_bytes(b"123")
    at(tmp_path).tidy()
    there = dict.fromkeys(("a", "z.part", "inner/b", "inner/.y.part"), 3)
    assert at(tmp_path).files() == there
    at(tmp_path).tidy(everywhere=True)
    assert at(tmp_path).files() == {name: 3 for name in there if name != "inner/.y.part"}
    assert at(tmp_path).folders() == ["inner"]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("act", ["mkdir", "write", "move", "read", "delete"])
def test_a_place_is_tried_before_a_sweep(mood: Mood, act: str) -> None:
    mood(lambda given: given == act)
    with pytest.raises(SweepError, match=r"^--storage must be a place .*the network is down"):
        Remote("far").probe()


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    at(tmp_path).probe()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://AKIA0:TOPSECRET@bucket/x", "no credentials .* got one with a name or password"),
        ("s3://bucket/x?region=eu&secret_key=TOPSECRET", "got one with secret_key"),
        ("abfs://files@account/x?sas_token=TOPSECRET", "no credentials"),
        ("/mnt/TOPSECRET/../x", "must be a URI, got '/mnt"),
        ("folder", "must be a URI, got 'folder'"),
        ("ftp://host/folder", "must be a URI, got 'ftp"),
        ("file:///mnt/x#part", "must be a URI"),
        ("s3://[::1", "no credentials .* got one with a name or password, or no address"),
        ("s3://AKIA0:TOPSECRET/x", "no credentials .* or no address"),
        ("s3://AKIA0%3ATOPSECRET%40bucket/x", "no credentials .* got one with a name or password"),
        ("s3://b/x?endpoint_override=http://me:TOPSECRET@host", "got one with a name or password"),
        ("s3://b/x;secret_key=TOPSECRET?region=eu", "got one with what may be one"),
        ("s3://b/x&token=TOPSECRET", "got one with what may be one"),
        (
            "abfs://c:TOPSECRET@a.dfs.core.windows.net/x",
            "got one with a name or password",
        ),
        (
            "abfs://secret@a.dfs.core.windows.net.example.org/x",
            "got one with a name or password",
        ),
        ("mock:///x", "must be a place that lasts, got 'mock:///x'"),
    ],
)
def test_a_uri_that_is_none_or_holds_a_secret_is_refused_in_one_line(
    uri: str, message: str
) -> None:
    with pytest.raises(SweepError, match=message) as caught:
        storage_at(uri)
    assert "\n" not in str(caught.value)
    assert "credentials" not in str(caught.value) or "TOPSECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "abfs://sweeps@account.dfs.core.windows.net/mine",
        "s3://bucket/a@b/key=3?region=eu-west-1&endpoint_override=localhost:9000&scheme=http",
        "file:///home/me@work/token=3",
    ],
)
def test_a_uri_that_holds_no_secret_is_taken(uri: str) -> None:
    assert storage_at(uri).below("a", "b").uri.partition("?")[0].endswith("/a/b")


def test_a_run_whose_checkpoint_is_elsewhere_resumes_bitwise(tmp_path: Path) -> None:
    def rows(remote: Remote, stop_at: int) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []

        def report(given: Any) -> bool:
            seen.extend(dict(row) for row in given if "train/kl_nats" in row)
            return given[-1]["step"] < stop_at

        run = Run(config=small_config(), corpus=tiny_corpus(), checkpoint_folder=remote)
        train(run, workers=Workers(), report=report)
        return seen

    whole, cut = at(tmp_path / "whole"), at(tmp_path / "cut")
    assert rows(cut, 4) + rows(cut, 99) == rows(whole, 99)
    assert checkpoint.step_of(cut) == checkpoint.step_of(whole) == 8
    files = [tmp_path / each / checkpoint.FILE_NAME for each in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    model = Trainer(
        Run(config=small_config(), corpus=tiny_corpus(), checkpoint_folder=at(tmp_path / "new")),
        Workers(),
    ).model
    checkpoint.load_run_weights(whole, model)
    with pytest.raises(DataError, match=r"new/checkpoint\.safetensors .* it is not there"):
        checkpoint.load_run_weights(at(tmp_path / "new"), model)


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_damaged_checkpoint_elsewhere_is_refused_in_one_line(tmp_path: Path, keep: int) -> None:
    model = nn.Linear(2, 2)
    remote, optimizer = at(tmp_path), torch.optim.AdamW(model.parameters())
    checkpoint.save(remote, step=3, model=model, optimizer=optimizer)
    assert checkpoint.step_of(remote) == 3
    path = tmp_path / checkpoint.FILE_NAME
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="is not a checkpoint"):
        checkpoint.step_of(remote)
    with pytest.raises(DataError, match="cannot be read as model weights"):
        checkpoint.restore(remote, model=model, optimizer=optimizer)


def test_a_trial_says_where_its_checkpoint_is_and_starts_from_there(tmp_path: Path) -> None:
    far = at(tmp_path / "far")
    trials = tmp_path / "s" / "trials"
    made = Recorder(trials, Display(), far)
    made.propose(NAME, PARAMS, small_config())
    task = task_for(trials / NAME, small_config())
    assert task.checkpoint_folder == trials / NAME / "checkpoint"
    assert task.remote == far.below("trials", NAME, "checkpoint")
    assert place.place_of(task.checkpoint_folder) == task.remote
    assert task.remote is not None
    made.start(NAME)
    made.report(NAME, ROWS)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    for step, kept in ((4, 4), (8, 0)):  # the rows reach step 4 only
        checkpoint.save(task.remote, step=step, model=model, optimizer=optimizer)
        made.start(NAME)
        assert checkpoint.step_of(task.remote) == kept
    made.end(NAME, "failed", "the test is over")


def test_a_pointer_is_not_trusted(tmp_path: Path) -> None:
    write_json(tmp_path / place.POINTER, {"uri": "s3://key:secret@bucket/x"})
    with pytest.raises(SweepError, match="no credentials"):
        place.place_of(tmp_path)
    (tmp_path / place.POINTER).write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        place.place_of(tmp_path)
    for text in ("[]", "{}", '{"uri": 3}'):
        (tmp_path / place.POINTER).write_text(text)
        with pytest.raises(ConfigError, match=r"storage\.json must hold a uri\. It is damaged\."):
            place.place_of(tmp_path)
