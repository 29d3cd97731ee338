"""How often a trial is tried, by Tune's own trials and what Tune does with their failures."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial

from aurl.search.gang import ATTEMPTS
from aurl.search.tries import Tries

LOST = RayActorError(error_msg="the slot is dead")
TAKEN = RayActorError(error_msg="its machine is dead", preempted=True)
"""What Ray says of a machine that goes after the time that it was given."""


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setattr(Trial, "local_path", None)  # it writes no file of an error
    return Trial("trainable", stub=True, max_failures=ATTEMPTS - 1)


def begin(tries: Tries, trial: Trial, slot: str) -> None:
    actor: Any = SimpleNamespace(_actor_id=slot)
    trial.temporary_state.ray_actor = actor
    tries.begin(trial)


def recovers(tries: Tries, trial: Trial, error: RayActorError) -> bool:
    """What Tune does with an error of a trial that runs."""
    trial.handle_error(error)
    if trial.should_recover():
        tries.wait(trial)
        return True
    return tries.are_left(trial)


def test_a_trial_that_loses_its_slots_is_tried_three_times(trial: Trial) -> None:
    tries = Tries()
    found: list[bool] = []
    for slot in "abc":
        begin(tries, trial, slot)
        found.append(recovers(tries, trial, LOST))
    assert found == [True, True, False]


@pytest.mark.parametrize("error", [LOST, TAKEN], ids=["before_its_time", "after_its_time"])
def test_machines_that_were_drained_cost_no_try_and_give_none(
    trial: Trial, error: RayActorError
) -> None:
    tries = Tries()
    begin(tries, trial, "first")
    assert recovers(tries, trial, LOST)
    for slot in "abcd":
        begin(tries, trial, slot)
        assert trial.run_metadata.num_failures == 1
        tries.note_drain(trial)
        tries.note_drain(trial)
        assert recovers(tries, trial, error)
    begin(tries, trial, "last")
    assert trial.run_metadata.num_failures == 1
    assert recovers(tries, trial, LOST)
    begin(tries, trial, "very last")
    assert not recovers(tries, trial, LOST)


def test_a_drain_spares_the_trials_too_that_the_slot_takes_later(trial: Trial) -> None:
    tries = Tries()
    other = Trial("trainable", stub=True, max_failures=ATTEMPTS - 1)
    begin(tries, other, "a")
    tries.note_drain(other)
    begin(tries, trial, "a")
    assert recovers(tries, trial, LOST)
    begin(tries, trial, "b")
    assert trial.run_metadata.num_failures == 0


def test_a_slot_that_dies_as_it_takes_a_trial_is_one_try(trial: Trial) -> None:
    """Tune counts the slot, has the trial wait, and counts the call to it, too."""
    tries = Tries()
    begin(tries, trial, "a")
    assert recovers(tries, trial, LOST)
    assert recovers(tries, trial, LOST), "by its slot"
    trial.handle_error(LOST)
    assert tries.are_left(trial), "by the call, as it waits"
    assert trial.run_metadata.num_failures == 2
