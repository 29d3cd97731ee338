"""The Pareto front of a sweep as a picture: in its folder, and in TensorBoard on its own run."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aurl.drawing.front import Trials, pareto_front
from aurl.metrics.pareto import non_dominated_fronts
from aurl.metrics.score import OBJECTIVES
from aurl.training.reporters import show_on_sweep

_log = logging.getLogger(__name__)

TAG = "pareto_front"

GROWTH = 1.05
"""How many times more trials than in the last picture make a new one worth its time and bytes."""


class FrontPicture:
    """The completed trials of a sweep, drawn anew as they become more.

    Args:
        sweep: The sweep's folder.
    """

    def __init__(self, sweep: Path) -> None:
        self._sweep = sweep
        self._trials: dict[str, list[float]] = {}
        self._drawn = 0

    @property
    def is_due(self) -> bool:
        """Whether enough trials are new: each at first, one in twenty later."""
        return len(self._trials) >= max(self._drawn + 1, GROWTH * self._drawn)

    def add(self, trial: str, metrics: Mapping[str, float]) -> None:
        """A trial completed; one without all the objectives is left out."""
        values = [metrics.get(name, math.nan) for name in OBJECTIVES]
        if np.isfinite(values).all():
            self._trials[trial] = values

    def draw(self) -> None:
        """Draw the trials that are there; a picture that fails ends no sweep."""
        if not self._trials:
            return
        self._drawn = len(self._trials)
        values = np.array(list(self._trials.values()))
        on_front = non_dominated_fronts(values) == 0
        trials = Trials(
            names=list(self._trials),
            objectives=[name.removeprefix("val/") for name in OBJECTIVES],
            values=values,
            on_front=on_front,
        )
        title = f"{on_front.sum()} of {len(values)} completed trials are on the Pareto front"
        try:
            picture = pareto_front(trials, title=title)
            show_on_sweep(self._sweep, TAG, picture, step=len(values))
        except Exception:  # noqa: BLE001 - handed on to the log
            _log.exception("the picture of the Pareto front could not be made")
