"""Room for trials on a cluster whose machines come and go while a sweep runs."""

import logging
import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

from aurl.errors import OutageError
from aurl.search.cluster import held, most_slots
from aurl.search.placement import free_orphans
from aurl.search.shape import Shape

_log = logging.getLogger(__name__)
PATIENCE_S = 600.0
"""How long a sweep waits for a machine when none is left that holds a trial."""

GROWING_PATIENCE_S = 3600.0
"""The same on a cluster that starts machines: they take minutes to boot, and may be sold out."""

SILENCE_S = 20.0
"""How long a sweep waits for a machine without a word."""

_LOOK_S = 2.0


class _Pace:
    """Looks at the cluster every few seconds, however often one is asked."""

    def __init__(self) -> None:
        self._looked = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time; then this is a look."""
        now = time.monotonic()
        is_due = now - self._looked > _LOOK_S
        if is_due:
            self._looked = now
        return is_due


class Room(ConcurrencyLimiter):
    """Lets Tune ask for as many trials at a time as the cluster holds, also when it has grown.

    What a machine held that is gone is not taken back: the trials that it lost wait, and begin
    again when a machine joins or another slot is free.

    Args:
        searcher: Gives one trial after another.
        shape: What a trial needs.
        slots: Trials at a time when the sweep starts.
        most: Trials at a time, however far the cluster grows.
    """

    def __init__(self, searcher: Searcher, shape: Shape, *, slots: int, most: int) -> None:
        super().__init__(searcher, max_concurrent=slots)
        self._shape = shape
        self._most = most
        self._pace = _Pace()

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - or the text FINISHED
        """See Ray; None as long as there is no room."""
        if self.max_concurrent < self._most and self._pace.is_due():
            fitting = min(held(self._shape), most_slots(self._shape, self._most))
            self.max_concurrent = max(self.max_concurrent, fitting)
        return super().suggest(trial_id)


class Orphans(tune.Callback):
    """Frees what slots that were killed have left, so that those in their place have room."""

    def __init__(self) -> None:
        self._pace = _Pace()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ANN401
        """See Ray: called often, whatever the trials do."""
        self.look()

    def look(self) -> None:
        """Free what has been left since the last look, if that is some seconds ago."""
        if self._pace.is_due() and (found := free_orphans()):
            _log.warning("freed what %d slots held that have died", found)


class Patience(tune.Callback):
    """Ends a sweep whose cluster has not held a single trial for a while: it would wait for ever.

    Args:
        shape: What a trial needs.
        tell: Shows a line to a person; told once each time that the cluster holds none.
    """

    def __init__(self, shape: Shape, tell: Callable[[str], None]) -> None:
        self._shape = shape
        self._tell = tell
        self._told = False
        self._pace = _Pace()
        self._held = time.monotonic()
        if shape.grow_to is None:
            self._most_s, self._why = PATIENCE_S, "machines are gone."
        else:
            self._most_s = GROWING_PATIENCE_S
            self._why = (
                "`RAY_AUTH_MODE=token ray status` on its head says why none was started, such as "
                "a quota of 0."
            )

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ANN401
        """See Ray: called often, whatever the trials do."""
        self.look()

    def look(self) -> None:
        """See whether the cluster holds a trial, if the last look is some seconds ago.

        Raises:
            OutageError: If the cluster has held no trial for so long.
        """
        if not self._pace.is_due():
            return
        now = time.monotonic()
        if held(self._shape):
            self._held, self._told = now, False
        elif now - self._held > self._most_s:
            raise OutageError(
                f"the cluster must hold {self._shape.sizes[-1]} workers, and has not for "
                f"{self._most_s / 60:g} minutes: {self._why}"
            )
        elif now - self._held > SILENCE_S and not self._told:
            self._told = True
            self._tell(
                f"no machine of the cluster holds a trial: waiting for one, {self._most_s / 60:g} "
                "minutes at most"
            )

    def __getstate__(self) -> dict[str, object]:
        return {}  # Tune pickles its callbacks beside its own files, which nobody reads back
