"""A sweep watched from its folder alone, by a process that has nothing to do with it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aurl.errors import AurlError
from aurl.plain import Plain
from aurl.reporting.intent import Intent, intent_of
from aurl.reporting.progress import Progress
from aurl.reporting.tables import duration, status_table
from aurl.search.ranking import ENDS, TrialStatus, read_about, read_runs, silent_s
from aurl.search.record import resuming

AT_REST = (*ENDS, "paused")
"""Statuses of what does not go on by itself."""

LONG_SILENCE_S = 300.0
"""Without news of a trial that runs, before one is told how to go on with its sweep."""

AROUND = 8
"""Lines of a terminal that a table needs beside its rows."""


def watch(sweep: Path, console: Console, *, pause_s: float, wait: Callable[[float], None]) -> None:
    """Show a sweep's trials until all have ended or are paused.

    A terminal has a table that is drawn anew, anything else lines.

    Finalists are trained again with other seeds when the last trial has ended, and shown as well.

    Args:
        sweep: The sweep's folder.
        console: Where to draw; ``console.is_terminal`` decides between a table and lines.
        pause_s: Seconds between two looks.
        wait: Lets that time pass; ``time.sleep``, but for tests.

    Raises:
        SweepError: If the folder is not a sweep's.
    """
    trials, intent = _look(sweep)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                is_over = _is_over(intent, trials)
                table = _table(trials, console.height)
                if not is_over:
                    news = f"last news {duration(silent_s(sweep))} ago"
                    told = f"{table.caption}; {news}; Ctrl-C leaves, the sweep goes on"
                    table.caption = Text(told)
                live.update(table, refresh=True)
                if is_over:
                    return
                wait(pause_s)
                trials, intent = _look(sweep)
    with Progress(console, intent.runs, intent.steps) as lines:
        known: dict[str, TrialStatus] = {}
        while True:
            _tell(lines, known, trials)
            if _is_over(intent, trials):
                return
            wait(pause_s)
            trials, intent = _look(sweep)


def _look(sweep: Path) -> tuple[list[TrialStatus], Intent]:
    about = read_about(sweep)
    return read_runs(sweep, about), intent_of(about)


def _tell(lines: Progress, known: dict[str, TrialStatus], trials: Sequence[TrialStatus]) -> None:
    """What is new of the trials."""
    for trial in trials:
        before = known.get(trial.trial)
        if before is None:
            lines.trial_started(trial.trial, trial.params)
        if trial.status in AT_REST:
            if before is None or before.status not in AT_REST:
                lines.trial_ended(trial.trial, trial.status, trial.reason, trial.metrics)
        elif before is None or before.step != trial.step:
            lines.trial_progress(trial.trial, trial.step, trial.metrics)
        known[trial.trial] = trial


def _table(trials: Sequence[TrialStatus], height: int) -> Table:
    """Running trials first, then the latest that ended, as many as there are lines for."""
    room = max(1, height - AROUND)
    latest = sorted(trials, key=lambda trial: trial.trial, reverse=True)
    shown = sorted(latest, key=lambda trial: trial.status != "running")[:room]
    return status_table(shown, among=trials)


def _is_over(intent: Intent, trials: Sequence[TrialStatus]) -> bool:
    at_rest = {trial.trial: trial for trial in trials if trial.status in AT_REST}
    searched = [trial for trial in at_rest.values() if not trial.is_rerun]
    begun = sum(not trial.is_rerun for trial in trials)
    if len(searched) < (intent.trials or max(1, begun)):
        return False
    if any(trial.status == "paused" for trial in searched):  # the finalists are not known
        return True
    return at_rest.keys() >= intent.reruns(trials) | {run.trial for run in trials if run.is_rerun}


def how_to_go_on(sweep: Path, about: Plain, trials: Sequence[TrialStatus]) -> str:
    """The command that goes on with a sweep that seems to run no more; empty if there is none.

    Args:
        sweep: The sweep's folder.
        about: What ``sweep.yaml`` says.
        trials: All of it, the finalists' runs too.
    """
    is_over = _is_over(intent_of(about), trials)
    if is_over and all(trial.status != "paused" for trial in trials):
        return ""
    silent, is_running = silent_s(sweep), any(trial.status == "running" for trial in trials)
    if is_running and silent < LONG_SILENCE_S:
        return ""
    try:
        command = resuming(sweep, about)
    except AurlError:  # of a record that is damaged, there is no way to go on
        return ""
    news = f"no news for {duration(silent)}; if it does not run any more, " if is_running else ""
    line = f"{news}go on with it: {command}"
    return line[0].upper() + line[1:]
