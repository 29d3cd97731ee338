"""What a sweep shows of itself as a whole, in TensorBoard on its own run: its space, its front.

The picture of the Pareto front is in its folder, too.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aurl.drawing.canvas import png
from aurl.drawing.front import Trials, pareto_front
from aurl.metrics.pareto import non_dominated_fronts
from aurl.metrics.score import OBJECTIVES
from aurl.search.constraints import Bounds, violation
from aurl.search.distributions import Choice
from aurl.search.space import Space
from aurl.training.reporters import Domain, Interval, Options, show_on_sweep, sweep_picture

_log = logging.getLogger(__name__)

TAG = "pareto_front"

GROWTH = 1.05
"""How many times more trials than in the last picture make a new one worth its time and bytes."""


class FrontPicture:
    """The completed trials of a sweep, drawn anew as they become more.

    Args:
        sweep: The sweep's folder.
        constraints: Of its space; what is infeasible is drawn, and is on no front.
    """

    def __init__(self, sweep: Path, constraints: Mapping[str, Bounds]) -> None:
        self._sweep = sweep
        self._constraints = constraints
        self._trials: dict[str, list[float]] = {}
        self._feasible: set[str] = set()
        self._completed = 0
        self._drawn = 0

    @property
    def is_due(self) -> bool:
        """Whether enough trials are new: each at first, one in twenty later."""
        return len(self._trials) >= max(self._drawn + 1, GROWTH * self._drawn)

    def add(self, trial: str, metrics: Mapping[str, float]) -> None:
        """A trial completed; one without all the objectives is counted, and not drawn."""
        self._completed += 1
        values = [metrics.get(name, math.nan) for name in OBJECTIVES]
        if np.isfinite(values).all():
            self._trials[trial] = values
            if not violation(metrics, self._constraints)[1]:
                self._feasible.add(trial)

    def draw(self, *, even_if_drawn: bool = True) -> None:
        """Draw the trials that are there; a picture that fails ends no sweep.

        Args:
            even_if_drawn: False does nothing if the folder's picture is this one.
        """
        if not self._trials:
            return
        self._drawn = len(self._trials)
        values = np.array(list(self._trials.values()))
        on_front = np.array([name in self._feasible for name in self._trials])
        on_front[on_front] = non_dominated_fronts(values[on_front]) == 0
        trials = Trials(
            names=list(self._trials),
            objectives=[name.removeprefix("val/") for name in OBJECTIVES],
            values=values,
            on_front=on_front,
        )
        title = f"{on_front.sum()} of {self._completed} completed trials are on the Pareto front"
        try:
            picture = pareto_front(trials, title=title)
            path = sweep_picture(self._sweep, TAG)
            if not even_if_drawn and path.exists() and path.read_bytes() == png(picture):
                return
            show_on_sweep(self._sweep, TAG, picture, step=len(values))
        except Exception:  # noqa: BLE001 - handed on to the log
            _log.exception("the picture of the Pareto front could not be made")


def domains(space: Space) -> dict[str, Domain]:
    """What TensorBoard is told of each searched parameter; of several ranges, what spans them."""
    found: dict[str, Domain] = {}
    for parameter in space.parameters:
        match parameter.distribution, found.get(parameter.key):
            case Choice(options), Options(before):
                found[parameter.key] = Options(tuple(dict.fromkeys((*before, *options))))
            case Choice(options), _:
                found[parameter.key] = Options(options)
            case given, Interval(low, high):
                found[parameter.key] = Interval(min(low, given.low), max(high, given.high))
            case given, _:
                found[parameter.key] = Interval(given.low, given.high)
    return found


def conditional(space: Space) -> set[str]:
    """Searched parameters that not every trial has; several ranges are taken for all cases."""
    ranges: dict[str, list[bool]] = {}
    for parameter in space.parameters:
        ranges.setdefault(parameter.key, []).append(bool(parameter.when))
    return {key for key, found in ranges.items() if found == [True]}
