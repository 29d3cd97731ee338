import io
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aurl.reporting.progress import Progress
from aurl.search.journal import copy_of_stdout
from tests.fake_sweep import write_status

GOOD = {
    "val/kl_health": 0.9,
    "val/disentanglement": 0.25,
    "val/reconstruction_score": 0.6,
    "val/score": 0.513,
}
BETTER = GOOD | {"val/kl_health": 0.99, "val/score": 0.6}
SCORES = "score 0.513 kl_health 0.900 disentanglement 0.250 reconstruction 0.600"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def panel(progress: Progress) -> list[str]:
    paper = console()
    paper.print(progress)
    return [line.rstrip() for line in written(paper)]


def plain(trials: int = 4, clock: Callable[[], float] | None = None) -> tuple[Progress, Console]:
    paper = console()
    return Progress(paper, trials, 300, clock=clock or Clock()), paper


def test_each_event_is_one_plain_line_however_long() -> None:
    clock = Clock()
    progress, paper = plain(clock=clock)
    with progress:
        progress.message("starting workers")
        clock.now += 61.0
        progress.trial_started("t0000", {"objective.beta.value": 0.3, "latent.note": "x" * 120})
        progress.trial_progress("t0000", 100, GOOD)
        progress.trial_ended("t0000", "stopped", "[dead] KL", GOOD)
    assert written(paper) == [
        "[0:00:00] starting workers",
        f"[0:01:01] t0000 started: beta.value=0.3 latent.note={'x' * 120}",
        f"[0:01:01] t0000 step 100/300: {SCORES}",
        f"[0:01:01] t0000 stopped ([dead] KL): {SCORES} [1/4 runs]",
    ]


def test_nobody_who_watches_is_no_reason_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(os, "dup", lambda _: writer)
    shown = copy_of_stdout()
    monkeypatch.undo()
    with Progress(shown, 4, 300) as progress:
        progress.message("starting workers")
        assert os.read(reader, 100) == b"[0:00:00] starting workers\n"
        os.close(reader)
        for number in range(4):
            progress.trial_ended(f"t{number:04d}", "completed", "x" * 20_000, GOOD)
    shown.file.close()


def test_result_lines_are_a_few_a_second_and_ends_are_all_there() -> None:
    clock = Clock()
    progress, paper = plain(clock=clock)
    with progress:
        for step in range(100):
            clock.now += 0.01
            progress.trial_progress("t0000", step, {"val/score": step / 100})
        for trial in range(4):
            progress.trial_ended(f"t{trial:04d}", "completed", "", {})
    lines = written(paper)
    assert sum("step" in line for line in lines) == 4
    assert sum("completed: no scores" in line for line in lines) == 4


def test_metrics_that_did_not_change_are_not_written_again() -> None:
    clock = Clock()
    progress, paper = plain(clock=clock)
    with progress:
        for step in (10, 20, 30):
            clock.now += 10.0
            progress.trial_progress("t0000", step, GOOD)
        progress.trial_progress("t0001", 10, {})
    assert [line for line in written(paper) if "step" in line] == [
        f"[0:00:10] t0000 step 10/300: {SCORES}"
    ]


def test_panel_shows_counts_best_running_and_times() -> None:
    clock = Clock()
    progress, _ = plain(6, clock)
    with progress:
        progress.trial_started("t0000", {})
        progress.trial_started("t0001", {})
        clock.now += 60.0
        progress.trial_ended("t0000", "completed", "", GOOD)
        progress.trial_ended("t0002", "completed", "", BETTER)
        progress.trial_ended("t0003", "failed", "out of memory", BETTER | {"val/score": 0.9})
        progress.trial_progress("t0001", 150, BETTER | {"val/score": 0.8})
        bar, best, running, times = panel(progress)
        clock.now += 13.0
        later = panel(progress)[-1]
    assert bar.endswith("3/6 runs, 1 running, 2 completed, 1 failed")
    assert best.startswith("highest score: t0002  score 0.600 kl_health 0.990")
    assert running == "running: t0001 150/300"
    # 3.5 trials' worth in 60 s; 2.5 are left
    assert times == "elapsed 0:01:00, left 0:00:43"
    assert later == "elapsed 0:01:13, left 0:00:30"  # no news is no slower rate


def test_a_panel_of_what_nobody_planned_goes_by_what_has_begun() -> None:
    clock = Clock()
    progress = Progress(console(), None, None, clock=clock)
    with progress:
        progress.trial_started("t0000", {})
        clock.now += 60.0
        progress.trial_ended("t0000", "completed", "", GOOD)
        assert panel(progress)[-1] == "elapsed 0:01:00, left 0:00:00"
        progress.trial_started("t0001", {})
        progress.trial_progress("t0001", 150, BETTER)
        bar, _, running, times = panel(progress)
    assert bar.endswith(" 1 runs, 1 running, 1 completed")
    assert (running, times) == ("running: t0001 150", "elapsed 0:01:00, left 0:01:00")


def test_panel_before_the_first_trial_shows_the_message_and_no_estimate() -> None:
    clock = Clock()
    progress, _ = plain(clock=clock)
    with progress:
        progress.message("starting workers")
        clock.now += 5.0
        _, best, times, message = panel(progress)
        progress.trial_started("t0000", {})
        assert "starting workers" not in panel(progress)
    assert (best, message) == ("highest score: none yet", "starting workers")
    assert times == "elapsed 0:00:05, left ?"


def test_trials_that_ended_earlier_count_but_are_not_announced_and_speed_nothing_up() -> None:
    clock = Clock()
    progress, paper = plain(4, clock)
    for trial in ("t0000", "t0001"):
        progress.trial_ended(trial, "completed", "", GOOD)
    with progress:
        clock.now += 60.0  # workers start
        progress.trial_started("t0002", {})
        clock.now += 30.0
        progress.trial_ended("t0002", "completed", "", GOOD)
        assert panel(progress)[-1] == "elapsed 0:01:30, left 0:00:30"
    assert [line.split()[1] for line in written(paper)] == ["t0002", "t0002"]
    assert written(paper)[-1].endswith("[3/4 runs]")


def test_what_has_ended_of_a_folder_counts_and_so_do_finalists_runs(tmp_path: Path) -> None:
    for name, kind in (("t0000", "trials"), ("t0000.1", "finalists"), ("t0000.2", "finalists")):
        write_status(tmp_path, name, kind, status="completed" if name < "t0000.2" else "running")
    progress, paper = plain(3)
    assert progress.announce_ended(tmp_path) == 1
    with progress:
        progress.trial_ended("t0000.2", "completed", "", GOOD)
    assert written(paper)[-1].endswith("[3/3 runs]")


def test_a_trial_that_goes_on_is_where_it_was_and_earlier_steps_speed_nothing_up() -> None:
    clock = Clock()
    progress, paper = plain(2, clock)
    with progress:
        progress.trial_started("t0000", {}, 150)
        assert panel(progress)[2:] == ["running: t0000 150/300", "elapsed 0:00:00, left ?"]
        clock.now += 30.0
        progress.trial_progress("t0000", 210, {})
        progress.trial_started("t0000", {}, 180)  # its workers died
        progress.trial_progress("t0000", 210, {})
        assert panel(progress)[-1] == "elapsed 0:00:30, left 0:03:15"  # 0.2 of 2; 1.3 are left
        progress.trial_started("t0000", {}, 0)  # its checkpoint was damaged
        progress.trial_progress("t0000", 60, {})
        assert panel(progress)[-1] == "elapsed 0:00:30, left 0:04:30"
    assert written(paper)[0] == "[0:00:00] t0000 goes on from step 150"


def test_trial_that_starts_again_is_running_again() -> None:
    progress, _ = plain()
    with progress:
        progress.trial_ended("t0000", "failed", "worker died", {})
        progress.trial_started("t0000", {})
        assert panel(progress)[0].endswith("0/4 runs, 1 running")


def test_a_run_with_another_seed_is_work_and_not_the_best_trial() -> None:
    clock = Clock()
    progress, _ = plain(1, clock)
    with progress:
        progress.trial_started("t0000", {})
        clock.now += 30.0
        progress.trial_progress("t0000", 900, {})  # of 300
        assert panel(progress)[-1] == "elapsed 0:00:30, left 0:00:00"
        assert panel(progress)[1] == "scores: none yet", "of one run there is no highest"
        progress.trial_ended("t0000", "completed", "", GOOD)
        progress.trial_ended("t0000.1", "completed", "", BETTER)
        _, best, times = panel(progress)
    assert best.startswith("highest score: t0000  score 0.513")
    assert times == "elapsed 0:00:30, left 0:00:00"


def test_many_running_trials_are_cut_to_a_line() -> None:
    progress, _ = plain(9)
    with progress:
        for trial in range(6):
            progress.trial_started(f"t{trial:04d}", {})
        running = panel(progress)[2]
    assert running == "running: t0000 0/300, t0001 0/300, t0002 0/300, t0003 0/300, ..."


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "plain"])
@pytest.mark.parametrize(
    "metrics",
    [
        pytest.param({}, id="none"),
        pytest.param({"val/score": math.nan, "val/kl_health": math.inf}, id="not_finite"),
        pytest.param({"val/score": "high", "val/kl_health": None}, id="not_numbers"),
        pytest.param({"val/kl_health": 0.5}, id="no_score"),
    ],
)
def test_odd_metrics_are_shown_as_missing(metrics: dict[str, Any], *, terminal: bool) -> None:
    progress = Progress(console(terminal=terminal), 0, 0, clock=Clock())
    with progress:
        progress.trial_progress("t0000", 500, metrics)
        progress.trial_ended("t0000", "completed", "", metrics)
        progress.trial_ended("t0001", "vanished", "", metrics)
        assert "highest score: none yet" in panel(progress)


def test_terminal_draws_the_panel_and_writes_the_ends_above_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    paper = console(terminal=True)
    with Progress(paper, 2, 300, clock=Clock()) as progress:
        progress.message("starting workers")
        sys.stdout.write("Configuration for experiment\n")  # as Ray does, for the log
        progress.trial_started("t0000", {"optimizer.lr": 0.1})
        progress.trial_progress("t0000", 100, GOOD)
        progress.trial_ended("t0000", "failed", "out of memory", GOOD)
    text = "\n".join(written(paper))
    assert "[0:00:00] t0000 failed (out of memory)" in text
    assert "1/2 runs, 1 failed" in text
    assert "t0000 started" not in text
    assert "Configuration" not in text
    assert capsys.readouterr().out == "Configuration for experiment\n"
    assert text.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_terminal_is_given_back_when_the_sweep_fails() -> None:
    paper = console(terminal=True)
    with pytest.raises(RuntimeError, match="no workers"), Progress(paper, 2, 300, clock=Clock()):
        raise RuntimeError("no workers")
    assert written(paper)[-1].endswith("\x1b[?25h")
