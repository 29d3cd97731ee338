"""One full-size run: what a killed one left behind, without Ray."""

import io
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from aurl.errors import StorageError, SweepError
from aurl.files import read_json, write_json
from aurl.reporting.progress import Progress
from aurl.search import full_run
from aurl.search.full_run import scaled
from aurl.search.gang import LostError, RemoteGang
from aurl.search.recorder import Recorder
from aurl.search.shape import Shape
from aurl.training.messages import Event, Task
from tests.tiny import small_config, tiny_corpus


def test_a_run_that_goes_on_removes_what_a_killed_one_left_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise SweepError("Ray must start")

    monkeypatch.setattr(full_run, "connected", refused)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    whole = folder / "checkpoint.safetensors"
    whole.touch()
    (folder / ".checkpoint.safetensors.0123abcd.part").touch()
    (folder / ".checkpoint.0123abcd.old" / "below").mkdir(parents=True)
    (tmp_path / "elsewhere" / "kept").mkdir(parents=True)
    (folder / ".link.part").symlink_to(tmp_path / "elsewhere")
    run = full_run.FullRun(
        folder=tmp_path, config=small_config(), corpus=tiny_corpus(), shape=Shape(), address=None
    )
    with pytest.raises(SweepError, match="Ray must start"):
        full_run.run(run, Progress(Console(quiet=True), 1, 8))
    assert [*folder.iterdir()] == [whole]
    assert (tmp_path / "elsewhere" / "kept").is_dir(), "behind a link is nothing of ours"


def test_a_preset_is_wider_deeper_and_longer_with_heads_as_wide_as_before() -> None:
    small = small_config(training__steps=400, model__encoder_layers=1, model__decoder_layers=2)
    large, changes = scaled(small, "large")
    assert changes == {
        "model.d_model": 4 * small.model.d_model,
        "model.n_heads": 4 * small.model.n_heads,
        "model.encoder_layers": 4,
        "model.decoder_layers": 5,
        "optimizer.lr": small.optimizer.lr / 2.0,
        "training.steps": 40_000,
        "evaluation.every": 2_000,
    }
    assert (large.model.decoder_layers, large.seed) == (5, small.seed)
    assert scaled(small, "base")[1]["model.encoder_layers"] == 2
    assert scaled(small, "same") == (small, {})


@pytest.mark.parametrize(
    ("steps", "taken", "attempts"),
    [((0, 0, 0, 0), (), 3), ((0, 0, 4, 4, 4, 4), (), 5), ((4, 4, 4, 4, 4), (0, 1), 5)],
    ids=["three_in_a_row", "a_step_gained", "machines_taken"],
)
def test_a_run_whose_workers_die_is_tried_again_from_its_last_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    steps: tuple[int, ...],
    taken: tuple[int, ...],
    attempts: int,
) -> None:
    begun: list[int] = []
    closed: list[int] = []

    class Lost(RemoteGang):
        """A gang whose workers die at once."""

        def __init__(self, *_: object) -> None:
            pass

        def submit(self, task: Task) -> None:
            pass

        def close(self) -> None:
            closed.append(len(begun))

        def next_event(self) -> Event:
            raise LostError("the workers died: of it.", was_taken=len(begun) - 1 in taken)

    def start(name: str) -> None:
        write_json(tmp_path / "status.json", {"step": steps[len(begun)]})
        begun.append(steps[len(begun)])
        shown.trial_started(name, {})

    monkeypatch.setattr(full_run, "RemoteGang", Lost)
    monkeypatch.setattr(full_run, "shared", lambda _: [])
    run = full_run.FullRun(
        folder=tmp_path, config=small_config(), corpus=tiny_corpus(), shape=Shape(), address=None
    )
    paper = io.StringIO()
    console = Console(file=paper, width=100)
    shown = Progress(console, 1, 8)
    recorder = Recorder(tmp_path.parent, shown)
    monkeypatch.setattr(recorder, "start", start)
    assert full_run._train(run, recorder) == "the workers died: of it"
    assert len(begun) == attempts
    assert closed == [*range(1, attempts + 1)], "each is sent home before the next"
    again = "the workers died: of it. It goes on from its last checkpoint."
    assert [record.getMessage() for record in caplog.records] == [again] * (attempts - 1)
    console.print(shown)
    assert paper.getvalue().splitlines()[-1] == again, "it stays to be seen"


def test_who_interrupts_a_run_is_told_what_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = io.StringIO()

    class Gang(RemoteGang):
        def __init__(self) -> None:
            pass

        def submit(self, task: Task) -> None:
            raise KeyboardInterrupt

        def close(self) -> None:
            assert "interrupted: its workers" in paper.getvalue()

    run = full_run.FullRun(
        folder=tmp_path, config=small_config(), corpus=tiny_corpus(), shape=Shape(), address=None
    )
    with Progress(Console(file=paper), 1, 8) as progress, pytest.raises(KeyboardInterrupt):
        full_run._attempt(run, Recorder(tmp_path.parent, progress), Gang())


@pytest.mark.parametrize(("address", "looks"), [(None, "o"), ("head:6379", "op")])
def test_a_run_records_what_its_gang_reports_and_looks_about_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str | None, looks: str
) -> None:
    now, looked, answers = [100.0], list[str](), list[bool]()
    row = {"step": 2, "train/objective_nats": 5.0}
    told = Event(rows=(row,), waited_s=7.0)
    heard = deque([told, Event(noted=True), Event(ended=True), Event(outage=True, ended=True)])

    class Reporting(RemoteGang):
        def __init__(self, _: object, __: str, meanwhile: Callable[[], None]) -> None:
            self._meanwhile = meanwhile

        def submit(self, task: Task) -> None:
            self._meanwhile()

        def next_event(self) -> Event:
            now[0] += 10.0
            return heard.popleft()

        def answer(self, *, go_on: bool) -> None:
            answers.append(go_on)

        def close(self) -> None:
            pass

    def looker(name: str) -> Callable[..., object]:
        return lambda *_: SimpleNamespace(look=lambda: looked.append(name))

    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(full_run, "RemoteGang", Reporting)
    monkeypatch.setattr(full_run, "Orphans", looker("o"))
    monkeypatch.setattr(full_run, "Patience", looker("p"))
    monkeypatch.setattr(full_run, "connected", lambda _: nullcontext())
    monkeypatch.setattr(full_run, "slots", lambda *_: 1)
    monkeypatch.setattr(full_run, "check_gpus", lambda _: None)
    monkeypatch.setattr(full_run, "left_idle", lambda *_: [])
    monkeypatch.setattr(full_run, "check_storage", lambda _: None)
    monkeypatch.setattr(full_run, "shared", lambda _: [])
    run = full_run.FullRun(
        folder=tmp_path / "run",
        config=small_config(),
        corpus=tiny_corpus(),
        shape=Shape(workers_per_trial=2, gpus_per_worker=1.0),
        address=address,
    )
    display = Progress(Console(quiet=True), 1, 8)
    run.folder.mkdir()
    assert full_run.run(run, display) == {}
    assert looked == [*looks]
    assert answers == [True], "a note is not answered"
    held = read_json(tmp_path / "run" / "status.json")["device_seconds"]
    assert held == {"gpu": 2 * (30.0 - 7.0)}, "it held nothing while it waited"
    with pytest.raises(StorageError):
        full_run._attempt(run, Recorder(tmp_path, display), Reporting(None, "", lambda: None))
