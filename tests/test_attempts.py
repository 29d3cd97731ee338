"""How often a trial is tried, by Tune's own trials and what Tune does with their failures."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial

from aurl.search.attempts import Attempts
from aurl.search.gang import ATTEMPTS

LOST = RayActorError(error_msg="the slot is dead")
TAKEN = RayActorError(error_msg="its machine is dead", preempted=True)
"""What Ray says of a machine that goes after the time that it was given."""


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setattr(Trial, "local_path", None)  # it writes no file of an error
    return Trial("trainable", stub=True, max_failures=ATTEMPTS - 1)


def begin(attempts: Attempts, trial: Trial, slot: str) -> None:
    actor: Any = SimpleNamespace(_actor_id=slot)
    trial.temporary_state.ray_actor = actor
    attempts.begin(trial)


def recovers(attempts: Attempts, trial: Trial, error: RayActorError) -> bool:
    """What Tune does with an error of a trial that runs."""
    trial.handle_error(error)
    if trial.should_recover():
        attempts.wait(trial)
        return True
    return attempts.are_left(trial)


def test_a_trial_that_loses_its_slots_is_tried_three_times(trial: Trial) -> None:
    attempts = Attempts()
    found: list[bool] = []
    for slot in "abc":
        begin(attempts, trial, slot)
        found.append(recovers(attempts, trial, LOST))
    assert found == [True, True, False]


@pytest.mark.parametrize("error", [LOST, TAKEN], ids=["before_its_time", "after_its_time"])
def test_machines_that_were_drained_cost_no_try_and_give_none(
    trial: Trial, error: RayActorError
) -> None:
    attempts = Attempts()
    for slot in ("first", "second"):
        begin(attempts, trial, slot)
        assert recovers(attempts, trial, LOST)
    for slot in "abcd":  # each would be the last
        begin(attempts, trial, slot)
        assert trial.run_metadata.num_failures == 2
        attempts.note_drain(trial)
        attempts.note_drain(trial)
        assert recovers(attempts, trial, error)
    begin(attempts, trial, "last")
    assert trial.run_metadata.num_failures == 2
    assert not recovers(attempts, trial, LOST)


def test_a_drain_spares_the_trials_too_that_the_slot_takes_later(trial: Trial) -> None:
    attempts = Attempts()
    other = Trial("trainable", stub=True, max_failures=ATTEMPTS - 1)
    begin(attempts, other, "a")
    attempts.note_drain(other)
    begin(attempts, trial, "a")
    assert recovers(attempts, trial, LOST)
    begin(attempts, trial, "b")
    assert trial.run_metadata.num_failures == 0


def test_a_slot_that_dies_as_it_takes_a_trial_is_one_try(trial: Trial) -> None:
    """Tune counts the slot, has the trial wait, and counts the call to it, too."""
    attempts = Attempts()
    begin(attempts, trial, "a")
    assert recovers(attempts, trial, LOST)
    assert recovers(attempts, trial, LOST), "by its slot"
    trial.handle_error(LOST)
    assert attempts.are_left(trial), "by the call, as it waits"
    assert trial.run_metadata.num_failures == 2
