"""Stopping or pausing a running sweep or a trial of it from elsewhere, by a file in its folder."""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurl import cli
from aurl.errors import SweepError
from aurl.search.journal import is_held, owned
from aurl.search.wishes import PAUSE, REASON, STOP, ask, is_asked, is_over


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A folder with a trial that runs, one that is over, and a finalist's run."""
    folder = tmp_path / "s"
    statuses = {"trials/t0000": "running", "trials/t0001": "completed"}
    for name, status in {**statuses, "finalists/t0001.2": "running"}.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "status.json").write_text(json.dumps({"status": status}))
    (folder / "sweep.yaml").write_text("question: Which?\n")
    return folder


@pytest.mark.parametrize("trial", ["trials/t0000", "finalists/t0001.2"])
@pytest.mark.parametrize(("wish", "other"), [(STOP, PAUSE), (PAUSE, STOP)])
def test_a_wish_stands_in_the_folder_of_the_trial_and_nowhere_else(
    sweep: Path, trial: str, wish: str, other: str
) -> None:
    before = set(sweep.rglob("*"))
    ask(sweep, Path(trial).name, wish)
    assert is_asked(sweep / trial, wish)
    assert not is_asked(sweep / trial, other)
    assert set(sweep.rglob("*")) - before == {sweep / trial / wish}


@pytest.fixture
def driven(sweep: Path) -> Iterator[Path]:
    """The same, and a driver that has it."""
    with owned(sweep / "sweep.log"):
        yield sweep


@pytest.mark.parametrize("wish", [STOP, PAUSE])
def test_a_wish_about_a_sweep_stands_in_its_folder_and_nowhere_else(
    driven: Path, wish: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = driven
    before = set(sweep.rglob("*"))
    assert not is_over(sweep)
    command = {STOP: "stop", PAUSE: "pause"}[wish]
    assert cli.main([command, str(sweep)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    said = {
        STOP: f"{sweep} is asked to end: 2 trials will come to an end, and no other begins.",
        PAUSE: f"{sweep} is asked to pause: 2 trials will at the next report, no other begins.",
    }
    assert first == said[wish]
    assert f"aurl resume {sweep} goes on with" in second
    assert set(sweep.rglob("*")) - before == {sweep / wish}
    assert is_over(sweep)
    other = {STOP: "pause", PAUSE: "stop"}[wish]
    assert cli.main([other, str(sweep)]) == 0  # what was asked last holds, as it says
    assert set(sweep.rglob("*")) - before == {sweep / f"{other}.json"}


@pytest.mark.parametrize("command", ["stop", "pause"])
def test_a_sweep_of_which_nothing_runs_is_not_ended(
    sweep: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("trials/t0000", "finalists/t0001.2"):
        (sweep / name / "status.json").write_text('{"status": "paused"}')
    before = set(sweep.rglob("*"))
    assert cli.main([command, str(sweep)]) == 2
    why = f"SWEEP must be running, got {sweep}, none of whose trials is. Let it be."
    assert capsys.readouterr() == ("", f"aurl: {why}\n")
    assert cli.main([command, str(sweep / "nowhere")]) == 2
    assert "SWEEP must be a sweep's folder" in capsys.readouterr().err
    assert set(sweep.rglob("*")) == before


def test_what_cannot_be_stopped_is_said_in_one_line(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "trials" / "t0008").mkdir()
    (sweep / "trials" / "t0008" / "status.json").write_text("[]")
    (sweep / "trials" / "t0010").mkdir()
    (sweep / "trials" / "t0010" / "status.json").write_text('{"status": "paused"}')
    (sweep / "trials" / "t0009").symlink_to(sweep / "trials" / "t0000")
    before = set(sweep.rglob("*"))
    for trial, message in (
        ("t0008", "TRIAL must be running, got t0008, which is damaged."),
        ("t0009", "TRIAL must be a trial of"),
        ("t0007", f"TRIAL must be a trial of {sweep}, got 't0007'."),
        ("../trials/t0000", "TRIAL must be a trial of"),
        ("t0001", "TRIAL must be running, got t0001, which is completed."),
    ):
        for command in ("stop", "pause"):
            assert cli.main([command, str(sweep), trial]) == 2
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1)
            assert err.startswith(f"aurl: {message}")
    with pytest.raises(SweepError, match="must be running, got t0010, which is paused"):
        ask(sweep, "t0010", PAUSE)
    with pytest.raises(SweepError, match="which is not there"):
        ask(sweep / "nowhere", "t0000", STOP)
    assert set(sweep.rglob("*")) == before
    ask(sweep, "t0010", STOP)  # it is given up: the first that it does once it goes on
    assert is_asked(sweep / "trials" / "t0010", STOP)


def test_the_command_says_when_it_takes_effect(
    driven: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = driven
    assert cli.main(["stop", str(sweep), "t0000"]) == 0
    assert capsys.readouterr().out.startswith("t0000 is asked to stop: it will at its next report")
    assert cli.main(["pause", str(sweep), "t0000"]) == 0
    assert capsys.readouterr().out == (
        "t0000 is asked to pause: it will at its next report, and goes on when the sweep is "
        "resumed.\n"
    )
    assert REASON == "asked by user"


@pytest.mark.parametrize(
    ("words", "asked", "later"),
    [
        (("stop",), "SWEEP is asked to end", "forgets this"),
        (("pause",), "SWEEP is asked to pause", "forgets this"),
        (("stop", "t0000"), "t0000 is asked to stop", "stops it then"),
        (("pause", "t0000"), "t0000 is asked to pause", "forgets this"),
    ],
)
@pytest.mark.parametrize("log", [True, False])
def test_where_no_driver_seems_to_be_the_command_says_so(
    sweep: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    asked: str,
    later: str,
    log: bool,
) -> None:
    """As after SIGKILL; a driver may still be where this machine knows of no lock."""
    if log:
        (sweep / "sweep.log").touch()
    before = set(sweep.rglob("*"))
    command, *trial = words
    assert cli.main([command, str(sweep), *trial]) == 0
    assert capsys.readouterr().out.replace(str(sweep), "SWEEP") == (
        f"{asked}, but no process holds SWEEP/sweep.log, so the sweep seems to run no more. aurl "
        f"resume SWEEP goes on with it, and {later}.\n"
    )
    (wish,) = set(sweep.rglob("*")) - before
    assert wish.name == f"{command}.json"


def test_a_log_of_somebody_else_may_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "sweep.log").touch()
    assert not is_held(tmp_path / "sweep.log")
    with (tmp_path / "sweep.log").open("ab") as log:
        fcntl.lockf(log, fcntl.LOCK_EX)  # as for a client of NFS, where the folder is served
        assert is_held(tmp_path / "sweep.log")
    assert not is_held(tmp_path / "sweep.log")
    monkeypatch.setattr(Path, "open", refused)
    assert is_held(tmp_path / "sweep.log"), "nobody can say"


def test_a_disk_that_keeps_no_locks_is_not_taken_for_a_driver_that_is_gone(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    (sweep / "sweep.log").touch()
    monkeypatch.setattr(fcntl, "flock", refused)
    assert cli.main(["stop", str(sweep)]) == 0
    assert "is asked to end: 2 trials will" in capsys.readouterr().out
