"""Which trials are stopped early: Tune's asynchronous successive halving, alone or in brackets.

A trial is compared with those that came as far before it, on ``val/rung_score``, at *rungs*: the
step ``scheduler.grace`` of the way, then each ``scheduler.reduction_factor`` times as far.
"""

import itertools
import math
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from aurl.search.recorder import trial_number
from aurl.search.settings import SchedulerConfig
from aurl.search.space import Space


def scheduler_of(space: Space) -> TrialScheduler | None:
    """The scheduler that a space names, for Tune; None if no trial is to be stopped."""
    config, steps = space.scheduler, space.budget.steps_per_trial
    match config.name:
        case "none":
            return None
        case "asha":
            return _asha(config, config.grace, steps)
        case "hyperband":
            graces = bracket_graces(config)
            return Brackets([_asha(config, grace, steps) for grace in graces], config)


def _asha(config: SchedulerConfig, share: float, steps: int) -> TrialScheduler:
    if share >= 1.0:
        return FIFOScheduler()
    grace = max(1, min(steps - 1, round(share * steps)))
    return AsyncHyperBandScheduler(
        time_attr="rung",
        metric="rung_score",
        mode="max",
        grace_period=grace,
        max_t=max(grace, steps - 1),
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


class Brackets(FIFOScheduler):
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
        self._of: dict[str, TrialScheduler] = {}

    def bracket_of(self, number: int) -> int:
        """The bracket of a trial."""
        place = number % self._ends[-1]
        return next(index for index, end in enumerate(self._ends) if place < end)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ANN401
        """Tune has a new trial."""
        name = trial.config["task"].checkpoint_folder.parent.name
        bracket = self._brackets[self.bracket_of(trial_number(name))]
        self._of[trial.trial_id] = bracket
        bracket.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ANN401
        """Whether the trial goes on, as its bracket says."""
        return self._of[trial.trial_id].on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:  # noqa: ANN401
        """The trial came through."""
        self._of.pop(trial.trial_id).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:  # noqa: ANN401
        """The trial failed."""
        self._of.pop(trial.trial_id).on_trial_remove(tune_controller, trial)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler beside its own files, which nobody reads back
