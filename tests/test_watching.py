"""A sweep that is watched: what is drawn as its folder changes, and when the watch is over."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from aurl import cli, listings
from aurl.files import read_json, read_yaml, write_json, write_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.reporting.findings import read_findings
from aurl.reporting.intent import intent_of
from aurl.reporting.watching import watch
from aurl.search import ranking
from aurl.search.ranking import read_about
from aurl.search.wishes import PAUSED

MEASURED = ("val/score", *OBJECTIVES)


def sweep_of(folder: Path, trials: int = 2, **asked: Any) -> Path:
    budget = {"trials": trials, "steps_per_trial": 8}
    searched = {"question": "?", "scientific": {"optimizer.lr": {"uniform": [0.1, 0.2]}}}
    write_yaml(folder / "sweep.yaml", {"space": {**searched, "budget": budget, **asked}})
    return folder


def write(folder: Path, name: str, status: str, step: int, reason: str = "") -> None:
    metrics = dict.fromkeys(MEASURED, 0.5) | {"val/kl_health": 0.25}
    metrics = metrics if status == "completed" or step == 6 else {}
    values = {"status": status, "step": step, "steps": 8, "reason": reason, "metrics": metrics}
    kind = "finalists" if "." in name else "trials"
    write_json(folder / kind / name / "status.json", {**values, "params": {"lr": 0.1}})


def watched(folder: Path, events: list[Callable[[], None]], *, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=100, height=20, force_terminal=terminal)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        events.pop(0)()

    watch(folder, console, pause_s=3.0, wait=wait)
    assert set(waits) <= {3.0}
    return stream.getvalue()


def story(folder: Path) -> list[Callable[[], None]]:
    return [
        lambda: write(folder, "t0000", "running", 4),
        lambda: write(folder, "t0000", "stopped", 4, "asha: [not] among the best"),
        lambda: write(folder, "t0001", "completed", 8),
    ]


def test_a_terminal_has_a_table_that_follows_the_folder(tmp_path: Path) -> None:
    events = story(sweep_of(tmp_path))
    text = watched(tmp_path, events, terminal=True)
    assert not events  # it went on until both had ended, and no longer
    assert text.index("4/8") < text.index("asha: [not] among the best")
    assert "2 trials: 1 completed, 1 stopped; best t0001" in " ".join(text.split())
    assert "last news 0:00:0" in text
    assert "goes on" not in " ".join(text.split()).rpartition("best t0001")[2]  # it has ended


def test_anything_else_has_a_line_for_each_piece_of_news(tmp_path: Path) -> None:
    first, *others = story(sweep_of(tmp_path))
    events = [first, lambda: write(tmp_path, "t0000", "running", 6), *others]
    lines = watched(tmp_path, events, terminal=False).splitlines()
    assert [line.split("] ", 1)[1] for line in lines] == [
        "t0000 started: lr=0.1",
        "t0000 step 6/8: score 0.500 kl_health 0.250 disentanglement 0.500 reconstruction 0.500",
        "t0000 stopped (asha: [not] among the best): no scores [1/2 runs]",
        "t0001 started: lr=0.1",
        "t0001 completed: score 0.500 kl_health 0.250 disentanglement 0.500 reconstruction 0.500 "
        "[2/2 runs]",
    ]


@pytest.mark.parametrize(
    "given", [{"budget.steps_per_trial": 6}, {"budget": {"steps_per_trial": 6}}]
)
def test_steps_are_of_as_many_as_the_command_line_asked_for(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    about = read_yaml(sweep_of(tmp_path, trials=1) / "sweep.yaml")
    write_yaml(tmp_path / "sweep.yaml", {**about, "overrides": given})
    write(tmp_path, "t0000", "running", 6)
    text = watched(tmp_path, [lambda: write(tmp_path, "t0000", "completed", 6)], terminal=False)
    assert " t0000 step 6/6: " in text


def test_a_watch_of_a_sweep_whose_plan_is_damaged_makes_up_none(tmp_path: Path) -> None:
    for space in (None, {"budget": {"trials": 0}}, {"budget": {"trials": "two"}}):
        write_yaml(tmp_path / "sweep.yaml", {"space": space})
        assert intent_of(read_about(tmp_path)).trials is None

    def begin() -> None:
        write(tmp_path, "t0000", "stopped", 4)
        write(tmp_path, "t0001", "running", 6)

    def end() -> None:
        write(tmp_path, "t0001", "completed", 8)
        write(tmp_path, "t0001.1", "completed", 8)

    events = [begin, end]
    lines = watched(tmp_path, events, terminal=False).splitlines()
    assert not events, "over when what there is has ended"
    assert lines[1].endswith("t0000 stopped: no scores [1 runs]")
    assert " t0001 step 6: score " in lines[3]


@pytest.mark.parametrize("terminal", [True, False])
def test_finalists_are_trials_to_watch_too(
    tmp_path: Path, terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    events = story(sweep_of(tmp_path, seeds={"finalists": 2}))  # one completes: three runs
    events += [
        lambda: write(tmp_path, "t0001.1", "completed", 8),
        lambda: write(tmp_path, "t0001.2", "failed", 2, "no space"),
        lambda: write(tmp_path, "t0001.3", "running", 4),
        lambda: write(tmp_path, "t0001.3", "completed", 8),
    ]
    text = watched(tmp_path, events, terminal=terminal)
    assert not events
    assert "t0001.3" in text
    if (
        not terminal
    ):  # two trials, and three runs of each of two finalists at most, as `aurl sweep`
        assert text.rstrip().endswith("[5/8 runs]")
    assert cli.main(["status", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "t0001.2 failed 2/8" in shown
    found = "2 trials: 1 completed, 1 stopped; best t0001; 3 runs of finalists: 2 completed, 1"
    assert found in shown


def test_a_run_of_a_finalist_is_not_one_of_the_trials_that_are_planned(tmp_path: Path) -> None:
    sweep_of(tmp_path, trials=3)  # more than when the finalists were chosen
    for name in ("t0000", "t0001", "t0001.1"):
        write(tmp_path, name, "completed", 8)
    events = [lambda: write(tmp_path, "t0002", "completed", 8)]
    watched(tmp_path, events, terminal=False)
    assert not events


def test_runs_of_those_who_were_finalists_before_are_not_those_of_finalists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_of(tmp_path, seeds={"finalists": 1})  # of two trials, when it had one
    for name in ("t0000", "t0000.1", "t0000.2", "t0000.3", "t0001"):
        write(tmp_path, name, "completed", 8)
    better = read_json(tmp_path / "trials/t0001/status.json")
    better["metrics"] = dict.fromkeys(MEASURED, 0.6)
    write_json(tmp_path / "trials/t0001/status.json", {**better, "params": {"lr": 0.2}})
    assert read_findings(tmp_path).is_running
    about = read_yaml(tmp_path / "sweep.yaml")
    write_yaml(tmp_path / "sweep.yaml", {**about, "workers_per_trial": 1, "gpus_per_worker": 0})
    assert cli.main(["status", str(tmp_path)]) == 0
    assert "Go on with it: aurl resume" in capsys.readouterr().out
    events = [
        lambda: write(tmp_path, "t0001.1", "completed", 8),
        lambda: write(tmp_path, "t0001.2", "completed", 8),
        lambda: write(tmp_path, "t0001.3", "completed", 8),
    ]
    watched(tmp_path, events, terminal=False)
    assert not events
    assert not read_findings(tmp_path).is_running


def test_a_watch_does_not_wait_for_what_is_paused(tmp_path: Path) -> None:
    assert intent_of(read_about(sweep_of(tmp_path, trials=1))).trials == 1
    sweep_of(tmp_path, seeds={"finalists": 5})
    events = [
        lambda: write(tmp_path, "t0000", "running", 4),
        lambda: write(tmp_path, "t0000", "completed", 8),
        lambda: write(tmp_path, "t0001", "paused", 4, PAUSED),  # finalists are not known
    ]
    lines = watched(tmp_path, events, terminal=False).splitlines()
    assert not events
    assert lines[-1].endswith("t0001 paused (--resume goes on with it): no scores [1/8 runs]")


def test_a_folder_that_is_no_trial_is_not_waited_for(tmp_path: Path) -> None:
    (sweep_of(tmp_path) / "trials" / "notes").mkdir(parents=True)
    events = story(tmp_path)
    watched(tmp_path, events, terminal=False)
    assert not events


def test_running_trials_are_shown_first_where_there_is_no_room_for_all(tmp_path: Path) -> None:
    sweep_of(tmp_path, trials=40)
    for number in range(39):
        write(tmp_path, f"t{number:04d}", "running" if number == 3 else "stopped", 4)

    def end() -> None:
        for number in (3, 39):
            write(tmp_path, f"t{number:04d}", "stopped", 4)

    os.utime(tmp_path / "trials/t0000/status.json", (0, 0))
    text = watched(tmp_path, [end], terminal=True)
    first, _, since = " ".join(text.split()).partition("last news ")
    assert since.split()[0].startswith("0:0")
    assert first.index("t0003") < first.index("t0038")
    assert "t0001" not in first
    assert "27 more not shown" in first


def test_a_watch_stands_alone_and_ctrl_c_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(listings.time, "sleep", interrupt)
    write(sweep_of(tmp_path), "t0000", "running", 4)
    assert cli.main(["status", str(tmp_path), "--watch"]) == 0
    assert "t0000 started" in capsys.readouterr().out
    for other in ("--json", "--csv", "--filter=step>1", "--sort=step", "--reverse"):
        assert cli.main(["status", str(tmp_path), "--watch", other]) == 2
        assert "--watch must stand alone" in capsys.readouterr().err
    assert cli.main(["status", str(tmp_path), "--watch", "inf"]) == 2
    assert "--watch must be <= 86400 seconds, got inf." in capsys.readouterr().err
    assert cli.main(["status", str(tmp_path), "--watch", "0"]) == 2
    assert "--watch must be > 0 seconds, got 0.0." in capsys.readouterr().err


def test_status_and_leaderboard_are_filtered_sorted_and_written_as_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(sweep_of(tmp_path), "t0000", "completed", 8)
    write(tmp_path, "t0001", "failed", 2, "[Errno 28] no space")
    write(tmp_path, "t0002", "stopped", 4, "asha: too low")
    words = ["--filter", "status!=completed", "--sort", "step", "--reverse", "--csv"]
    assert cli.main(["status", str(tmp_path), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[:3] for line in lines] == [
        ["trial_id", "status", "step"],
        ["t0002", "stopped", "4"],
        ["t0001", "failed", "2"],
    ]
    assert lines[0].endswith("reconstruction_score,lr")
    assert cli.main(["leaderboard", str(tmp_path), "--csv", "--filter", "score>0.4"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["trial_id"] == "t0000"
    for name, kl in (("t0000", 2.0), ("t0002", 7.0)):
        path = tmp_path / "trials" / name / "status.json"
        status = read_json(path)
        write_json(path, {**status, "metrics": {**status["metrics"], "val/kl_nats": kl}})
    by_kl = ["--csv", "--filter", "val/kl_nats>5"]
    assert cli.main(["status", str(tmp_path), *by_kl]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("t0002,stopped")
    assert cli.main(["leaderboard", str(tmp_path), *by_kl]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1, "it is stopped, which is not scored"
    monitor = ["leaderboard", str(tmp_path), "--sort", "height"]
    assert cli.main(monitor) == 2
    assert "--sort must name one column, got height" in capsys.readouterr().err
    assert cli.main(["leaderboard", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "t0001 - - - - failed: [Errno 28] no space" in shown


GO_ON = "go on with it: aurl resume SWEEP --max-concurrent 2"


@pytest.mark.parametrize(
    ("statuses", "silent_s", "said"),
    [
        (["completed"], 0.0, GO_ON[0].upper() + GO_ON[1:]),
        (["completed", "paused"], 0.0, GO_ON[0].upper() + GO_ON[1:]),
        (["completed", "completed"], 4000.0, ""),
        (["completed", "running"], 200.0, ""),
        (["completed", "running"], 400.0, "No news for 0:06:40; if it does not run any more, "),
    ],
    ids=["begun", "paused", "ended", "runs", "killed"],
)
def test_a_sweep_that_seems_to_run_no_more_says_how_to_go_on(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    statuses: list[str],
    silent_s: float,
    said: str,
) -> None:
    sweep = sweep_of(tmp_path)
    about = read_yaml(sweep / "sweep.yaml")
    how = {"workers_per_trial": 1, "gpus_per_worker": 0.0, "given": {"max_concurrent": 2}}
    write_yaml(sweep / "sweep.yaml", {**about, **how})
    now = time.time()
    monkeypatch.setattr(ranking, "time", SimpleNamespace(time=lambda: now))
    then = now - silent_s
    for number, status in enumerate(statuses):
        write(sweep, f"t{number:04d}", status, 8)
        os.utime(sweep / "trials" / f"t{number:04d}" / "status.json", (then, then))
    assert cli.main(["status", str(sweep)]) == 0
    shown = capsys.readouterr().out.replace(str(sweep), "SWEEP").splitlines()
    lines = [line for line in shown if "go on with" in line.lower()]
    assert len(lines) == bool(said)
    assert all(line.startswith(said) and line.endswith(GO_ON[1:]) for line in lines)
    write_yaml(sweep / "sweep.yaml", about)
    assert cli.main(["status", str(sweep)]) == 0
    assert "go on with" not in capsys.readouterr().out.lower(), "its record is damaged"
