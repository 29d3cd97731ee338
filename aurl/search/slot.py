"""The trial slot: where Tune runs trials one after the other, on one warm gang."""

from collections.abc import Mapping
from typing import Any

from ray import tune

from aurl.search.gang import Gang, GangSettings
from aurl.training.messages import Task

RUNG = "val/rung_score"


def scalars(row: Mapping[str, float], steps: int) -> dict[str, float]:
    """What trials are compared by: how far one came, and its rung score.

    At its last step a trial has come through: a ``rung`` of 0 is below all that it can be stopped
    at.
    """
    rung = row["step"] if row["step"] < steps else 0
    return {"step": row["step"], "rung": rung, "rung_score": row.get(RUNG, 0.0)}


class TrialSlot(tune.Trainable):
    """A place where Tune runs trials one after the other, on one gang.

    Tune reuses the slot for the next trial (``reset_config``). A result is what one report
    measured, or, with ``done``, how the trial ended; ``noted`` says that a machine is drained.
    """

    def setup(self, config: dict[str, Any], settings: GangSettings | None = None) -> None:
        """Start the gang; Tune calls this once for each process."""
        assert settings is not None
        self._gang = Gang(settings, f"gang-{self.trial_id}")
        self._task: Task | None = config["task"]
        self._waiting = self._busy = False

    def step(self) -> dict[str, Any]:
        """Let the gang go on until its next event."""
        if self._task is not None:
            self._gang.submit(self._task)
            self._steps = self._task.config.training.steps
            self._task, self._busy = None, True
            self._last = scalars({"step": 0}, self._steps)
        elif self._waiting:
            self._gang.answer(go_on=True)
        self._waiting = False
        event = self._gang.next_event()
        if event.ended:
            self._busy = False
            how = {"failure": event.failure, "outage": event.outage}
            return {**self._last, "rows": (), **how, "done": True}
        self._waiting = not event.noted
        if event.noted:  # a rung of 0: nothing to compare
            step = event.rows[-1]["step"] if event.rows else self._last["step"]
            told = {**self._last, "step": step, "rung": 0}
        else:
            told = self._last = scalars(event.rows[-1], self._steps)
        seen = {"rows": event.rows, "media": event.media, "waited_s": event.waited_s}
        seen["noted"] = event.noted
        return {**told, **seen, "failure": ""}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Stop the trial that is running, if one is, and take the next."""
        if self._waiting:
            self._gang.answer(go_on=False)
        while self._busy:
            event = self._gang.next_event()
            self._busy = not event.ended
            if self._busy and not event.noted:
                self._gang.answer(go_on=False)
        self._waiting = False
        self._task = new_config["task"]
        return True

    def cleanup(self) -> None:
        """Send the gang home."""
        self._gang.close()
