"""Who stops a trial early: a person, the health stopper, Tune's asynchronous successive halving.

In a halving, a trial is compared with those that came as far before it, on ``val/rung_score``, at
*rungs*: the step ``scheduler.grace`` of the way, then each ``scheduler.reduction_factor`` times as
far. Hyperband is several of them side by side.
"""

import itertools
import json
import logging
import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from aurl.data.corpus import Corpus
from aurl.files import read_json
from aurl.metrics.score import RUNG_SCALE
from aurl.search.recorder import trial_folders, trial_id, trial_number
from aurl.search.settings import SchedulerConfig
from aurl.search.slot import RUNG, scalars
from aurl.search.space import Space
from aurl.search.stopper import HealthStopper, Verdict
from aurl.search.wishes import PAUSE, PAUSED, REASON, STOP, is_asked
from aurl.training.evaluate import target_rate_nats
from aurl.training.messages import Task
from aurl.training.reporters import read_rows

_log = logging.getLogger(__name__)


def scheduler_of(space: Space, folder: Path = Path()) -> TrialScheduler | None:
    """The scheduler that a space names, for Tune; None if no trial is to be stopped.

    Args:
        space: The space.
        folder: Where each trial has its folder, which says what it has of what is compared.
    """
    if space.scheduler.name == "none":
        return None
    made = partial(_halvings, space.scheduler, space.budget.steps_per_trial)
    return made() if space.compared is None else Apart(folder, space.compared.key, made)


def _halvings(config: SchedulerConfig, steps: int) -> TrialScheduler:
    if config.name == "asha":
        return _asha(config, config.grace, steps)
    graces = bracket_graces(config)
    return Brackets([_asha(config, grace, steps) for grace in graces], config)


def _asha(config: SchedulerConfig, share: float, steps: int) -> TrialScheduler:
    return AsyncHyperBandScheduler(
        time_attr="rung",
        metric="rung_score",
        mode="max",
        grace_period=max(1, round(share * steps)),
        max_t=steps,  # nobody's rung: at its last step a trial has come through
        reduction_factor=config.reduction_factor,
        stop_last_trials=False,
    )


def bracket_graces(config: SchedulerConfig) -> list[float]:
    """The grace of each bracket of Hyperband: the space's, and each time longer, up to 1."""
    graces = [config.grace]
    while graces[-1] < 1.0 - 1e-9:
        graces.append(min(1.0, graces[-1] * config.reduction_factor))
    return graces


def bracket_shares(config: SchedulerConfig) -> list[int]:
    """How many trials in a row go to each bracket, so that each gets about as many steps.

    With s rungs at which a bracket stops, of s_max + 1 brackets: ceil((s_max + 1) / (s + 1) *
    reduction_factor ** s).

    Source:
        Li et al. 2018 (Hyperband), algorithm 1, https://arxiv.org/abs/1603.06560
    """
    most = len(bracket_graces(config)) - 1
    factor = config.reduction_factor
    return [math.ceil((most + 1) / (s + 1) * factor**s) for s in range(most, -1, -1)]


class _Handing(FIFOScheduler):
    """Hands what Tune says of a trial on to another scheduler."""

    def _of(self, trial: Any) -> tuple[Any, Any]:  # noqa: ANN401 - Tune's, as below
        """The scheduler of a trial, and the trial as it is known there."""
        raise NotImplementedError

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ANN401
        """There is a new trial, or an old one again; its id is ours, or becomes it."""
        scheduler, known = self._of(trial)
        scheduler.on_trial_add(tune_controller, known)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ANN401
        """Whether the trial goes on."""
        scheduler, known = self._of(trial)
        return scheduler.on_trial_result(tune_controller, known, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:  # noqa: ANN401
        """The trial came through."""
        scheduler, known = self._of(trial)
        scheduler.on_trial_complete(tune_controller, known, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:  # noqa: ANN401
        """The trial failed."""
        scheduler, known = self._of(trial)
        scheduler.on_trial_remove(tune_controller, known)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler beside its own files, which nobody reads back


class Brackets(_Handing):
    """Hyperband: asynchronous successive halving with more grace in each bracket.

    Tune's own brackets are drawn at random, from a stream that nobody seeds. Here the bracket of a
    trial follows from its number, so a resumed trial is in the bracket that it was in.

    Args:
        brackets: A scheduler for each grace, the least patient first.
        config: How many trials go to each.
    """

    def __init__(self, brackets: list[TrialScheduler], config: SchedulerConfig) -> None:
        super().__init__()
        self._brackets = brackets
        self._ends = list(itertools.accumulate(bracket_shares(config)))

    def bracket_of(self, number: int) -> int:
        """The bracket of a trial."""
        place = number % self._ends[-1]
        return next(index for index, end in enumerate(self._ends) if place < end)

    def _of(self, trial: Any) -> tuple[Any, Any]:  # noqa: ANN401
        return self._brackets[self.bracket_of(trial_number(trial.trial_id))], trial


class Apart(_Handing):
    """Halvings of their own for each value of the parameter that a space compares.

    One that is slow at first, as a flow or a long warm-up is, is not stopped by those of another
    kind: of each value, the best go on. Within its value a trial is known by its place among them,
    by number, so that a resumed one is in the bracket that it was in.

    Args:
        folder: Where each trial has its folder.
        key: The parameter.
        made: Makes such a halving.
    """

    def __init__(self, folder: Path, key: str, made: Callable[[], TrialScheduler]) -> None:
        super().__init__()
        self._folder = folder
        self._halvings = defaultdict[str, TrialScheduler](made)
        self._values: dict[str, str] = {}
        self._numbers: dict[str, list[int]] = {}  # of each value's trials, in order
        self._known: dict[str, tuple[TrialScheduler, Any]] = {}
        self.key = key
        self.example = made()

    def _of(self, trial: Any) -> tuple[Any, Any]:  # noqa: ANN401
        name: str = trial.trial_id
        if name not in self._known:
            if name not in self._values:
                self._look()
            value = self._values[name]
            place = bisect_left(self._numbers[value], trial_number(name))
            self._known[name] = self._halvings[value], SimpleNamespace(trial_id=trial_id(place))
        return self._known[name]

    def _look(self) -> None:
        """Read what the trials that have come since have of what is compared."""
        for folder in trial_folders(self._folder):
            if folder.name not in self._values and (folder / "status.json").exists():
                params = read_json(folder / "status.json").get("params", {})
                value = self._values[folder.name] = json.dumps(params.get(self.key))
                insort(self._numbers.setdefault(value, []), trial_number(folder.name))


class Referee(_Handing):
    """What Tune asks after each report; it remembers why it stopped a trial.

    Args:
        scheduler: Compares a trial with others; None compares nothing.
        stopper: Looks at the trial alone, and first; None looks at nothing.
        corpus: The music, by which the rate to aim at is known.
        folder: Where each trial has its folder, in which somebody may ask for its end.
    """

    def __init__(
        self,
        scheduler: TrialScheduler | None,
        stopper: HealthStopper | None,
        corpus: Corpus,
        folder: Path,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._scheduler = scheduler or FIFOScheduler()
        self._compares = scheduler is not None
        self._stopper = stopper
        self._corpus = corpus
        self._verdicts: dict[str, Verdict] = {}

    def begin(self, name: str, rows: Sequence[Mapping[str, Any]], steps: int) -> None:
        """An attempt at a trial of so many steps begins, with the rows that are kept of it.

        Others are held against these, which its checkpoint holds; it is judged anew after them.
        """
        if self._stopper is not None:
            self._stopper.begin(name, rows)
        if self._compares and rows:
            self._compare_with(name, rows, steps)

    def remember(self, name: str, steps: int) -> None:
        """A trial has ended before the sweep was resumed: others are held against its rows."""
        if self._compares:
            self._compare_with(name, read_rows(self._folder / name), steps)

    def _compare_with(self, name: str, rows: Sequence[Mapping[str, Any]], steps: int) -> None:
        """Hold others against rows, unless these are of another quantity, as an older aurl's."""
        if read_json(self._folder / name / "status.json").get("rung_scale") != RUNG_SCALE:
            _log.warning("%s: its rung scores are of another aurl, nobody is held to them", name)
            return
        trial = SimpleNamespace(trial_id=name)
        scheduler: Any = self._scheduler
        scheduler.on_trial_add(None, trial)
        for row in rows:
            if RUNG in row:
                scheduler.on_trial_result(None, trial, scalars(row, steps))

    def verdict(self, tune_trial_id: str, last: Mapping[str, Any]) -> Verdict:
        """Why a trial was stopped, given its last result."""
        apart = self._scheduler if isinstance(self._scheduler, Apart) else None
        in_brackets = isinstance(apart.example if apart else self._scheduler, Brackets)
        name, where = ("hyperband", " in its bracket") if in_brackets else ("asha", "")
        where += f" with its {apart.key}" if apart else ""
        behind = (
            f"{name}: a rung score of {last['rung_score']:.3f} at step {last['step']} was not "
            f"among the best that had come that far{where}"
        )
        return self._verdicts.get(tune_trial_id, Verdict("stopped", behind))

    def _of(self, trial: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """Trials have our names, the same after a resume: all that schedulers know of one."""
        return self._scheduler, SimpleNamespace(trial_id=trial.config["task"].name)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ANN401
        """Whether the trial goes on, for what it is itself or held against others."""
        verdict = self._judge(trial.config["task"], result)
        if verdict is None or verdict.end == "paused":  # a pause spares no trial its rung
            said = super().on_trial_result(tune_controller, trial, result)
            if verdict is None or said == TrialScheduler.STOP:
                return said
        self._verdicts[trial.trial_id] = verdict
        return TrialScheduler.STOP

    def _judge(self, task: Task, result: Mapping[str, Any]) -> Verdict | None:
        """The verdict on a trial for what it alone is; None lets it go on."""
        folder = self._folder / task.name
        is_last = result["step"] >= task.config.training.steps
        if not is_last and is_asked(folder, STOP):
            return Verdict("stopped", REASON)
        # At a report before the last step, so that its checkpoint is of the rows that it has told.
        if result["rung"] > 0 and any(is_asked(e, PAUSE) for e in (folder, self._folder.parent)):
            return Verdict("paused", PAUSED)
        if self._stopper is None:
            return None
        target = target_rate_nats(task.config.evaluation, self._corpus)
        return self._stopper.judge(task.name, result["rows"], target)
