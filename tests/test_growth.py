"""A gang that is assembled anew where there is room for more workers, without Ray."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError
from ray.train.v2._internal.execution.failure_handling import (
    FailureDecision,
    create_failure_policy,
)
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError
from ray.util.placement_group import PlacementGroup

from aurl.errors import SweepError
from aurl.search import gang as gang_module
from aurl.search import placement
from aurl.search.gang import Gang, GangSettings, LostError, MachineTakenError, RemoteGang
from aurl.search.shape import Shape
from aurl.training.messages import Event, Task
from tests.tiny import small_config

STEPS, EVERY = 24, 4
TASK = Task(config=small_config(training__steps=STEPS), checkpoint_folder=Path("checkpoint"))


@dataclass
class Cluster:
    """A gang's workers, wherever they are, and the time."""

    rooms: list[int]
    """Workers that find room each time that the gang is assembled."""

    now: float = 0.0
    waits_s: float = 0.0
    """Until a room is there."""

    failure: str = ""
    """Of the workers when they are told to stop."""

    step: int = 0
    """Of the checkpoint."""

    free: float = 9.0
    looks: int = 0
    """At what is free."""

    lingers: threading.Event | None = None
    """When the workers of the first assembly die that were told to leave."""

    freed: list[int] = field(default_factory=list[int])
    leaves: list[threading.Event] = field(default_factory=list[threading.Event])
    gangs: list[Gang] = field(default_factory=list[Gang])
    boxes: "list[Box]" = field(default_factory=list["Box"])
    trainers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def assembled(self) -> Gang:
        shape = Shape(workers_per_trial=4, workers_at_least=1, gpus_per_worker=1.0)
        corpus = [ray.ObjectRef.nil()]
        self.gangs.append(Gang(GangSettings(shape=shape, corpus=corpus), "gang"))
        return self.gangs[-1]


def called(call: Callable[..., Any]) -> Any:
    """A method of an actor that answers at once."""
    return SimpleNamespace(remote=call)


class Box:
    """The mailbox of one assembly, whose workers report at every fourth step."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.begun, self.closed = threading.Event(), threading.Event()
        self.events = deque[Event]()
        self.tasks: list[Task] = []
        self.verdicts: list[bool] = []
        self.submit, self.answer = called(self._submit), called(self._answer)
        self.next_event, self.close = called(self._next_event), called(self.closed.set)

    def _submit(self, task: Task) -> None:
        self.tasks.append(task)
        self._report()

    def _report(self) -> None:
        self.cluster.step += EVERY
        steps = (self.cluster.step - 1, self.cluster.step)
        self.events.append(Event(rows=tuple({"step": step} for step in steps)))

    def _answer(self, go_on: bool) -> None:
        self.verdicts.append(go_on)
        if go_on and self.cluster.step < STEPS:
            self._report()
        else:
            self.events.append(Event(ended=True, failure=self.cluster.failure))

    def _next_event(self, timeout_s: float) -> Event:
        assert self.begun.wait(5.0)
        return self.events.popleft()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(rooms=[1, 2, 4])

    def box() -> Box:
        made.boxes.append(Box(made))
        return made.boxes[-1]

    def trainer(_: object, **given: Any) -> Any:
        own = given["train_loop_config"]["mailbox"]
        made.trainers.append(given)

        def fit() -> None:
            given["room"] = itself.room.bundle_count
            own.begun.set()
            assert own.closed.wait(5.0)
            if made.lingers is not None and own is made.boxes[0]:
                assert made.lingers.wait(5.0)
                raise RuntimeError("they died as they left")

        itself = SimpleNamespace(fit=fit)
        return itself

    def reserved(_: object, *, leave: threading.Event) -> PlacementGroup:
        made.leaves.append(leave)
        made.now += made.waits_s
        return PlacementGroup(ray.PlacementGroupID.nil(), [{"CPU": 1.0}] * made.rooms.pop(0))

    def available() -> dict[str, dict[str, float]]:
        made.looks += 1
        return {"node": {"CPU": made.free, "GPU": made.free}}

    actor = SimpleNamespace(options=lambda **_: called(box))
    here = SimpleNamespace(get_node_id=lambda: "node")
    fake = SimpleNamespace(
        get=lambda reply: reply, remote=lambda _: actor, get_runtime_context=lambda: here
    )
    monkeypatch.setattr(gang_module, "ray", fake)
    monkeypatch.setattr(gang_module, "GangTrainer", trainer)
    monkeypatch.setattr(gang_module, "_get_ray_train_session_dir", str)
    monkeypatch.setattr(gang_module, "_backend", lambda workers: workers)
    monkeypatch.setattr(gang_module, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(
        gang_module, "remove_placement_group", lambda room: made.freed.append(room.bundle_count)
    )
    monkeypatch.setattr(gang_module, "reserve", reserved)
    monkeypatch.setattr(placement, "available_resources_per_node", available)
    yield made
    for gang in made.gangs:  # its thread would call Ray itself, which starts then
        gang.close()
        assert not vars(gang)["_thread"].is_alive()
    assert all(each.is_set() for each in made.leaves), "nobody waits for room any more"


def heard(gang: Gang, cluster: Cluster, *, seconds: float) -> list[int]:
    """The steps of the reports of a task, each of which takes so many seconds."""
    steps: list[int] = []
    while not (event := gang.next_event()).ended:
        steps.append(int(event.rows[-1]["step"]))
        cluster.now += seconds
        gang.answer(go_on=True)
    return steps


def test_a_gang_goes_on_at_the_report_where_it_found_room_for_more(cluster: Cluster) -> None:
    gang = cluster.assembled()
    gang.submit(TASK)
    assert heard(gang, cluster, seconds=20.0) == [4, 8, 12, 16, 20, 24], "each step once"
    assert [box.verdicts for box in cluster.boxes] == [[True, False], [True, False], [True, True]]
    assert all(box.tasks == [TASK] for box in cluster.boxes)
    assert [box.closed.is_set() for box in cluster.boxes] == [True, True, False]
    assert cluster.freed == [1, 2]
    assert [each["scaling_config"].num_workers for each in cluster.trainers] == [1, 2, 4]
    assert [each["backend_config"] for each in cluster.trainers] == [1, 2, 4]
    assert [each["room"] for each in cluster.trainers] == [1, 2, 4]
    assert all(each["scaling_config"].use_gpu for each in cluster.trainers)
    cluster.now += 1000.0
    gang.submit(TASK)
    assert len(cluster.boxes) == 3, "it has the most"


def test_what_workers_die_of_that_are_not_waited_for_any_longer_is_nothing_to_the_next(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gang_module, "_LEAVE_S", 0.05)
    cluster.lingers = threading.Event()
    gang = cluster.assembled()
    before = vars(gang)["_thread"]
    cluster.now += 1000.0
    gang.submit(TASK)
    cluster.lingers.set()
    before.join(5.0)
    assert not before.is_alive()
    assert vars(gang)["_error"] is None
    monkeypatch.setattr(gang_module, "_LEAVE_S", 5.0)


@pytest.mark.parametrize("go_on", [False, True])
def test_a_gang_whose_task_is_over_takes_more_workers_before_the_next(
    cluster: Cluster, go_on: bool
) -> None:
    gang = cluster.assembled()
    cluster.step = STEPS - EVERY if go_on else 0  # the last report, or one that is told to stop
    gang.submit(TASK)
    gang.next_event()
    cluster.now += 1000.0
    gang.answer(go_on=go_on)
    assert gang.next_event().ended
    assert len(cluster.boxes) == 1
    gang.submit(TASK)
    assert [len(box.tasks) for box in cluster.boxes] == [1, 1]


def test_a_gang_tells_how_long_it_waited_for_room(cluster: Cluster) -> None:
    gang = cluster.assembled()
    gang.submit(TASK)
    waited: list[float] = []
    for now, waits in ((0.0, 0.0), (40.0, 600.0), (50.0, 0.0)):
        waited.append(gang.next_event().waited_s)
        cluster.now += now
        cluster.waits_s = waits
        gang.answer(go_on=True)
    assert waited == [0.0, 0.0, 600.0]
    assert gang.next_event().waited_s == 0.0
    assert len(cluster.boxes) == 3


def test_a_gang_that_waited_for_room_twice_before_its_task_tells_of_both(cluster: Cluster) -> None:
    cluster.waits_s = 50.0
    gang = cluster.assembled()
    assert cluster.boxes[0].begun.wait(5.0)
    cluster.now += 1000.0
    gang.submit(TASK)
    assert gang.next_event().waited_s == 100.0


def test_a_gang_looks_for_room_twice_a_minute_and_not_at_every_report(cluster: Cluster) -> None:
    cluster.free = 0.0
    gang = cluster.assembled()
    gang.submit(TASK)
    assert heard(gang, cluster, seconds=20.0) == [4, 8, 12, 16, 20, 24]
    assert (cluster.looks, len(cluster.boxes)) == (2, 1)


def test_a_failure_while_a_gang_grows_is_heard(cluster: Cluster) -> None:
    gang = cluster.assembled()
    gang.submit(TASK)
    gang.next_event()
    cluster.now, cluster.failure = 1000.0, "the disk is full"
    gang.answer(go_on=True)
    assert gang.next_event().failure == "the disk is full"
    gang.submit(TASK)
    assert not gang.next_event().ended, "it is heard once"
    assert len(cluster.boxes) == 1


def test_a_gang_that_finds_no_more_workers_than_it_had_does_not_look_again_so_soon(
    cluster: Cluster,
) -> None:
    cluster.rooms = [2, 2, 2]
    gang = cluster.assembled()
    gang.submit(TASK)
    assert heard(gang, cluster, seconds=40.0) == [4, 8, 12, 16, 20, 24]
    assert [box.verdicts for box in cluster.boxes] == [[False], [True] * 5]
    cluster.now += 1000.0
    gang.submit(TASK)
    assert len(cluster.boxes) == 3, "but later"


def test_a_gang_of_a_machine_that_is_drained_keeps_its_room(cluster: Cluster) -> None:
    gang = cluster.assembled()
    gang.submit(TASK)
    cluster.boxes[0].events.appendleft(Event(noted=True))
    assert gang.next_event().noted
    gang.next_event()
    cluster.now += 1000.0
    gang.answer(go_on=True)
    assert len(cluster.boxes) == 1


def test_train_does_not_start_workers_again_whose_room_and_mailbox_it_has_ended(
    cluster: Cluster,
) -> None:
    gang = cluster.assembled()
    gang.submit(TASK)
    gang.next_event()
    policy = create_failure_policy(cluster.trainers[0]["run_config"].failure_config)
    for error in (
        ControllerError(WorkerGroupStartupFailedError("a worker died while it started")),
        WorkerGroupError("died", {0: RayActorError()}),
        WorkerGroupError("taken", {0: RayActorError(error_msg="a node is gone", preempted=True)}),
    ):
        assert policy.make_decision(error) == FailureDecision.RAISE, str(error)


@pytest.mark.parametrize(
    ("error", "said", "was_taken"),
    [
        (MachineTakenError("a node is gone."), "a node is gone.", True),
        (
            SweepError("the workers died: of it."),
            "the workers died: of it.",
            False,
        ),
        (None, "The actor is dead.", False),
    ],
    ids=["taken", "died", "itself"],
)
def test_whoever_owns_a_gang_from_afar_hears_of_what_it_died(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, said: str, was_taken: bool
) -> None:
    waits, looks = [[], ["reply"]], []
    raised = (
        RayActorError(error_msg=said)
        if error is None
        else RayTaskError("f", "", error).as_instanceof_cause()
    )

    def get(_: object) -> None:
        raise raised

    here = SimpleNamespace(get_node_id=lambda: "node")
    reply = called(lambda: "reply")
    actor = called(lambda *_: SimpleNamespace(next_event=reply, close=reply))
    fake = SimpleNamespace(
        get=get,
        wait=lambda *_, **__: (waits.pop(0), []),
        remote=lambda _: SimpleNamespace(options=lambda **_: actor),
        get_runtime_context=lambda: here,
    )
    monkeypatch.setattr(gang_module, "ray", fake)
    settings = GangSettings(shape=Shape(), corpus=[ray.ObjectRef.nil()])
    gang = RemoteGang(settings, "gang", lambda: looks.append("meanwhile"))
    with pytest.raises(LostError) as caught:
        gang.next_event()
    assert (str(caught.value), caught.value.was_taken) == (said, was_taken)
    assert looks == ["meanwhile"]
    if error is None:
        gang.close()
