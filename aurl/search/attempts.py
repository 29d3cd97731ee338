"""How often a trial is tried: what of Tune's count of its failures is a fault of the trial.

Tune tries a trial again until it has failed so many times. It counts what dies with a machine that
was drained, and counts twice where a slot dies as it is about to take a trial.
"""

from typing import Any

from aurl.search.gang import ATTEMPTS


class Attempts:
    """Corrects Tune's count of each trial, as Tune tells what becomes of it."""

    def __init__(self) -> None:
        self._leaving = set[Any]()  # slots of which a machine is drained
        self._before: dict[str, int] = {}  # failures of their trials before that
        self._waiting = set[str]()  # trials to be tried again, which have not begun

    def begin(self, trial: Any) -> None:  # noqa: ANN401 - Tune's, as below
        """An attempt begins."""
        self._waiting.discard(trial.trial_id)
        if trial.trial_id in self._before:
            trial.run_metadata.num_failures = self._before.pop(trial.trial_id)
        if self._leaving and _slot(trial) in self._leaving:
            self._spare(trial)

    def note_drain(self, trial: Any) -> None:  # noqa: ANN401
        """A machine of the trial is drained: that its slot or its workers die of it is no fault.

        Nor is it one of the trials that the slot takes after this one.
        """
        self._leaving.add(_slot(trial))
        self._spare(trial)

    def wait(self, trial: Any) -> None:  # noqa: ANN401
        """An attempt has failed, and there will be another."""
        self._waiting.add(trial.trial_id)

    def are_left(self, trial: Any) -> bool:  # noqa: ANN401
        """Whether a trial that Tune has given up may be tried again."""
        if trial.trial_id in self._waiting:  # counted as lost by the slot, and by the call of it
            trial.run_metadata.num_failures -= 1
        return trial.should_recover()

    def _spare(self, trial: Any) -> None:  # noqa: ANN401
        """Have no failure of this attempt be the last; none is kept when the next begins."""
        self._before.setdefault(trial.trial_id, trial.run_metadata.num_failures)
        trial.run_metadata.num_failures = -ATTEMPTS


def _slot(trial: Any) -> Any:  # noqa: ANN401
    return trial.temporary_state.ray_actor._actor_id
