"""The live display of a running sweep: a panel in a terminal, plain lines anywhere else.

It is told what happens and draws it; it decides nothing, and no metric, however odd, makes it
raise. Trials that ended before it was entered (a resumed sweep has some) are counted but not
announced.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aurl.metrics.score import OBJECTIVES
from aurl.plain import printable
from aurl.reporting.tables import duration, number, settings, short_name
from aurl.search.ranking import ENDS, SCORE, UNENDED, read_runs

MAX_RUNNING_SHOWN = 4
LINE_EVERY_S = 0.25
"""Least seconds between two plain lines about results; starts and ends are always written."""


@dataclass(slots=True)
class _Trial:
    status: str = "running"
    step: int = 0
    begun: int = 0  # the first step of this session
    earlier: bool = False  # it ended before this session
    metrics: Mapping[str, object] = field(default_factory=dict[str, object])


@final
class Progress:
    """How far a sweep is, as a context manager.

    Args:
        console: Where to draw; ``console.is_terminal`` decides between a panel and lines.
        total_runs: How many runs the sweep is to have at most: its trials and its finalists with
            other seeds, those that ended earlier included; None if nobody knows.
        steps_per_trial: Optimizer steps of a run that is not stopped; None likewise.
        clock: Seconds from any origin; given in tests.
    """

    def __init__(
        self,
        console: Console,
        total_runs: int | None,
        steps_per_trial: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._total = total_runs
        self._steps = steps_per_trial
        self._clock = clock
        self._trials: dict[str, _Trial] = {}
        self._message = ""
        self._entered: float | None = None
        self._first_start: float | None = None
        self._last_work: float | None = None  # when the work done last grew
        self._last_result = -math.inf
        self._lock = threading.RLock()  # the panel is drawn by a thread of its own
        self._live: Live | None = None

    def __enter__(self) -> "Progress":
        self._entered = self._clock()
        if self._console.is_terminal:
            self._live = Live(
                self,
                console=self._console,
                refresh_per_second=2,
                redirect_stdout=False,  # what Ray prints is for the log, not for above the panel
                redirect_stderr=False,
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._message = ""
            self._live.stop()
            self._live = None

    def announce_ended(self, sweep: Path) -> int:
        """Take note of what has ended of a sweep's folder; returns how many trials.

        The finalists' runs with other seeds are noted, too.
        """
        if not (sweep / "trials").is_dir():
            return 0
        ended = [run for run in read_runs(sweep) if run.status in ENDS]
        for run in ended:
            self.trial_ended(run.trial, run.status, run.reason, run.metrics)
        return sum(not run.is_rerun for run in ended)

    def message(self, text: str) -> None:
        """Say what is going on when no trial is, such as ``starting workers``."""
        with self._lock:
            self._message = text
        if self._live is None:
            self._line(text)

    def trial_started(self, trial_id: str, params: Mapping[str, object], step: int = 0) -> None:
        """A trial starts, or goes on from a step."""
        with self._lock:
            self._first_start = self._clock() if self._first_start is None else self._first_start
            self._message = ""
            before = self._trials.get(trial_id)
            begun = step if before is None else min(step, before.begun)
            self._trials[trial_id] = _Trial(step=step, begun=begun)
        if self._live is None:
            how = f"goes on from step {step}" if step else "started"
            self._line(f"{trial_id} {how}: {settings(params)}".removesuffix(": "))

    def trial_progress(self, trial_id: str, step: int, metrics: Mapping[str, object]) -> None:
        """A trial reached a step; ``metrics`` are its latest, and may be the same as before.

        In plain mode, only new metrics are worth a line.
        """
        with self._lock:
            trial = self._trials.setdefault(trial_id, _Trial())
            news = bool(metrics) and dict(metrics) != trial.metrics
            trial.step, trial.metrics = step, dict(metrics)
            self._last_work = self._clock()
        if news and self._live is None and self._clock() - self._last_result >= LINE_EVERY_S:
            self._last_result = self._clock()
            self._line(f"{trial_id} step {step}{_of(self._steps)}: {_scores(metrics)}")

    def trial_ended(
        self, trial_id: str, status: str, reason: str, metrics: Mapping[str, object]
    ) -> None:
        """A trial completed, or was stopped, paused or failed for a reason."""
        with self._lock:
            trial = self._trials.setdefault(trial_id, _Trial())
            trial.status, trial.metrics = status, dict(metrics)
            trial.earlier = self._entered is None
            self._last_work = self._clock()
            done = self._count(*ENDS)
        why = f" ({reason})" if reason else ""
        so_far = f"{done}{_of(self._total)}"
        self._line(f"{trial_id} {status}{why}: {_scores(metrics)} [{so_far} runs]")

    def __rich__(self) -> Group:
        """The panel as it is now."""
        with self._lock:
            bar = Table.grid(padding=(0, 1), expand=True)
            bar.add_column(ratio=1)
            bar.add_column(no_wrap=True)
            bar.add_row(ProgressBar(total=self._whole(), completed=self._work()), self._counts())
            lines = [self._best(), self._running(), self._times(), self._message]
            return Group(
                bar, *(Text(printable(line), overflow="ellipsis") for line in lines if line)
            )

    def _line(self, text: str) -> None:
        if self._entered is not None:
            stamp = f"[{duration(self._clock() - self._entered)}]"
            self._console.print(
                Text(f"{stamp} {printable(text)}"), soft_wrap=True, highlight=False
            )

    def _count(self, *statuses: str) -> int:
        return sum(trial.status in statuses for trial in self._trials.values())

    def _counts(self) -> str:
        found = [f"{self._count(*ENDS)}{_of(self._total)} runs"]
        found += [f"{n} {name}" for name in (*UNENDED, *ENDS) if (n := self._count(name))]
        return ", ".join(found)

    def _best(self) -> str:
        """The completed trial with the highest score; an infeasible one is not ranked by it."""
        what = "highest score" if self._whole() > 1 else "scores"
        scores = {
            name: score
            for name, trial in self._trials.items()
            if trial.status == "completed"
            and "." not in name  # a finalist's run with another seed is no trial
            and isinstance(score := trial.metrics.get(SCORE), int | float)
            and math.isfinite(score)
        }
        if not scores:
            return f"{what}: none yet"
        best = max(scores, key=lambda name: scores[name])
        return f"{what}: {best}  {_scores(self._trials[best].metrics)}"

    def _running(self) -> str:
        steps = [
            f"{name} {trial.step}{_of(self._steps)}"
            for name, trial in self._trials.items()
            if trial.status == "running"
        ]
        more = ["..."] if len(steps) > MAX_RUNNING_SHOWN else []
        return f"running: {', '.join(steps[:MAX_RUNNING_SHOWN] + more)}" if steps else ""

    def _times(self) -> str:
        elapsed = 0.0 if self._entered is None else self._clock() - self._entered
        left = self._seconds_left()
        return f"elapsed {duration(elapsed)}, left {'?' if left is None else duration(left)}"

    def _whole(self) -> int:
        return max(self._total or 0, len(self._trials), 1)

    def _work(self, *, earlier: bool = True) -> float:
        """Trials' worth of work done: an ended trial is 1, a running one its share of steps."""
        return sum(
            (1.0 if trial.status in ENDS else self._share(trial.step))
            - (0.0 if earlier else self._share(trial.begun))
            for trial in self._trials.values()
            if earlier or not trial.earlier
        )

    def _share(self, step: int) -> float:
        return min(step / (self._steps or math.inf), 1.0)

    def _seconds_left(self) -> float | None:
        """What is left at the rate of this session since its first trial; None while unknown.

        The rate is that of the last news: between two, what is left is less by the time gone by.
        """
        done = self._work(earlier=False)
        if self._first_start is None or self._last_work is None or done == 0.0:
            return None
        left = (self._last_work - self._first_start) * (self._whole() - self._work()) / done
        return max(0.0, left - (self._clock() - self._last_work))


def _of(whole: int | None) -> str:
    return "" if whole is None else f"/{whole}"


def _scores(metrics: Mapping[str, object]) -> str:
    names = [name for name in (SCORE, *OBJECTIVES) if name in metrics]
    shown = [f"{short_name(name)} {number(metrics[name])}" for name in names]
    return " ".join(shown) or "no scores"
