"""Room for trials while machines come and go; the real thing: ``test_hosts.py``."""

import pickle
from typing import Any

import pytest
from ray.tune.search import Searcher

from aurl.errors import OutageError
from aurl.search import room
from aurl.search.room import Patience, Room
from aurl.search.shape import Shape


class Endless(Searcher):
    """A trial whenever one is asked for."""

    def suggest(self, trial_id: str) -> Any:
        return {"trial": trial_id}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class Machines:
    """What the cluster holds, and the time; both as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, holds: int) -> None:
        self.holds = holds
        self.memory_for = 99
        self.now = 0.0
        monkeypatch.setattr(room, "held", self.held)
        monkeypatch.setattr(room, "most_slots", lambda _, runs: min(self.memory_for, runs))
        monkeypatch.setattr(room.time, "monotonic", lambda: self.now)

    def held(self, shape: Shape) -> int:
        return self.holds


def started(made: Room, names: str) -> str:
    """Those of ``names``, a letter each, that get room."""
    return "".join(name for name in names if made.suggest(name))


def test_a_machine_that_joins_is_used_and_one_that_goes_takes_no_room_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machines = Machines(monkeypatch, 2)
    made = Room(Endless(metric="x", mode="max"), Shape(), slots=2, most=4)
    assert started(made, "abc") == "ab"
    machines.holds, machines.memory_for, machines.now = 3, 2, 5.0
    assert started(made, "cd") == "", "there is no memory for another"
    machines.memory_for, machines.now = 99, 10.0
    assert started(made, "cd") == "c"
    machines.holds, machines.now = 1, 20.0
    made.on_trial_complete("a")
    assert started(made, "de") == "d", "a slot is free"
    machines.holds, machines.now = 99, 30.0
    assert started(made, "efg") == "e", "no more than there are trials"


def test_room_that_is_fixed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, 2)
    made = Room(Endless(metric="x", mode="max"), Shape(), slots=2, most=2)
    machines.holds, machines.now = 8, 10.0
    assert started(made, "abc") == "ab"


@pytest.mark.parametrize(
    ("grow_to", "patience_s", "words"),
    [
        (None, room.PATIENCE_S, "10 minutes: machines are gone"),
        (
            4,
            room.GROWING_PATIENCE_S,
            "60 minutes: `RAY_AUTH_MODE=token ray status` on its head",
        ),
    ],
    ids=["fixed", "growing"],
)
def test_a_cluster_that_holds_nothing_is_waited_for_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, grow_to: int | None, patience_s: float, words: str
) -> None:
    machines = Machines(monkeypatch, 1)
    told = list[str]()
    patience = Patience(
        Shape(workers_per_trial=4, workers_at_least=2, grow_to=grow_to), told.append
    )

    def wait(seconds: float) -> None:
        machines.now += seconds
        patience.on_step_begin(0, [])

    wait(5.0)
    machines.holds = 0
    wait(room.SILENCE_S - 1)
    assert told == []
    wait(patience_s - room.SILENCE_S)
    line = "no machine of the cluster holds a trial: waiting for one, {:g} minutes at most"
    assert told == [line.format(patience_s / 60)]
    machines.holds = 1
    wait(5.0)
    machines.holds = 0
    wait(patience_s - 10)
    wait(9.0)
    assert len(told) == 2, "once each time"
    with pytest.raises(OutageError, match=rf"hold 2 workers, and has not for {words}") as caught:
        wait(5.0)
    assert "--resume" not in str(caught.value), "the command line says how to go on, as it does"


def test_tune_can_pickle_what_tells_a_person() -> None:
    assert pickle.dumps(Patience(Shape(), lambda text: None))


def test_what_killed_slots_held_is_looked_for_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machines = Machines(monkeypatch, 2)
    left = [0, 3, 0]
    monkeypatch.setattr(room, "free_orphans", lambda: left.pop(0))
    orphans = room.Orphans()
    for now in (1.0, 3.0, 4.0, 6.0, 9.0):
        machines.now = now
        orphans.on_step_begin(0, [])
    assert left == []
    assert [record.message for record in caplog.records] == [
        "freed what 3 slots held that have died"
    ]
