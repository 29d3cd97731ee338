"""Room for the workers of a gang, without Ray."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import ray
from ray.util.placement_group import PlacementGroup

from aurl.search import placement
from aurl.search.shape import Shape


class Placed(PlacementGroup):
    """Room that is there, or not, when it is waited for."""

    def __init__(self, size: int, is_there: Callable[[], bool]) -> None:
        super().__init__(ray.PlacementGroupID.nil(), [{"CPU": 1.0}] * size)
        self._is_there = is_there

    def wait(self, timeout_seconds: float = 30) -> bool:
        return self._is_there()


@dataclass
class Machines:
    """Ray's placement groups, on a cluster with room for some workers."""

    room: int
    looks: int = 0
    """Until there is so much."""

    asked: list[int] = field(default_factory=list[int])
    removed: list[int] = field(default_factory=list[int])
    waits: int = 0

    def placed(self, bundles: list[dict[str, float]], *, strategy: str, name: str) -> Placed:
        size = len(bundles)
        assert (strategy, name[:13]) == ("PACK", "aurl-slot-a1-")
        self.asked.append(size)
        assert bundles == [{"CPU": 1.0, "GPU": 1.0}] * size

        def is_there() -> bool:
            self.waits += 1
            assert self.waits < 1000, "it waits for ever"
            return size <= self.room and self.waits > self.looks

        return Placed(size, is_there)

    def remove(self, group: Placed) -> None:
        self.removed.append(group.bundle_count)


def reserved(
    monkeypatch: pytest.MonkeyPatch, machines: Machines, shape: Shape, leave: threading.Event
) -> int | None:
    """How many workers got room."""
    here = SimpleNamespace(get_actor_id=lambda: "a1")
    monkeypatch.setattr(placement.ray, "get_runtime_context", lambda: here)
    monkeypatch.setattr(placement, "placement_group", machines.placed)
    monkeypatch.setattr(placement, "remove_placement_group", machines.remove)
    found = placement.reserve(shape, leave=leave)
    return None if found is None else found.bundle_count


def test_a_slot_stands_in_the_room_of_its_workers_and_asks_for_nothing_itself() -> None:
    asked = placement.of_slot(Shape(workers_per_trial=2, gpus_per_worker=1.0))
    assert asked.head_bundle_is_empty
    assert asked.bundles == [{"CPU": 1.0, "GPU": 1.0}] * 2
    assert asked.strategy == "PACK"


def test_a_slot_whose_workers_may_become_more_reserves_their_room_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = Placed(2, lambda: True)
    monkeypatch.setattr(placement, "get_current_placement_group", lambda: room)
    one_to_two = Shape(workers_per_trial=2, workers_at_least=1)
    assert placement.of_slot(one_to_two).bundles == [{"node:__internal_head__": 0.001}]
    assert placement.given(one_to_two) is None
    for shape in (Shape(workers_per_trial=2), Shape(workers_per_trial=2, workers_at_least=2)):
        assert placement.given(shape) is room


@pytest.mark.parametrize(
    ("room", "least", "asked"),
    [(4, 1, [4]), (3, 2, [4, 2]), (1, 1, [4, 2, 1])],
    ids=["the_most", "half", "one"],
)
def test_fewer_workers_are_asked_for_where_the_most_find_no_room(
    monkeypatch: pytest.MonkeyPatch, room: int, least: int, asked: list[int]
) -> None:
    machines = Machines(room)
    shape = Shape(workers_per_trial=4, workers_at_least=least, gpus_per_worker=1.0)
    assert reserved(monkeypatch, machines, shape, threading.Event()) == asked[-1]
    assert machines.asked == asked
    assert machines.waits == 10 * len(asked[1:]) + 1, "ten seconds for each that is not there"
    assert machines.removed == asked[:-1], "what is not used is given back"


def test_room_for_all_workers_or_none_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(4, looks=500)
    shape = Shape(workers_per_trial=4, gpus_per_worker=1.0)
    assert reserved(monkeypatch, machines, shape, threading.Event()) == 4
    assert machines.asked == [4]


@pytest.mark.parametrize(("least", "room"), [(None, 0), (1, 4)], ids=["none", "just_found"])
def test_who_leaves_asks_for_no_room_any_more(
    monkeypatch: pytest.MonkeyPatch, least: int | None, room: int
) -> None:
    machines, leave = Machines(room), threading.Event()
    leave.set()
    shape = Shape(workers_per_trial=4, workers_at_least=least, gpus_per_worker=1.0)
    assert reserved(monkeypatch, machines, shape, leave) is None
    assert machines.asked == machines.removed == [4]


@pytest.mark.parametrize(
    ("workers", "free", "answer"),
    [(1, (0,), False), (1, (1,), True), (2, (1, 0), False), (2, (1, 1), True), (4, (9,), False)],
)
def test_there_is_room_for_more_if_the_next_number_of_workers_fits(
    monkeypatch: pytest.MonkeyPatch, workers: int, free: tuple[int, ...], answer: bool
) -> None:
    now = {str(index): {"CPU": float(cpus)} for index, cpus in enumerate(free)}
    monkeypatch.setattr(placement, "available_resources_per_node", lambda: now)
    shape = Shape(workers_per_trial=4, workers_at_least=1)
    assert placement.has_room_for_more(shape, workers) is answer
    assert not placement.has_room_for_more(shape, 0), "it has not begun"
    assert not placement.has_room_for_more(Shape(workers_per_trial=4), 4)


def test_what_dead_slots_held_is_freed_once_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = [("aurl-slot-dead-0a", "CREATED"), ("aurl-slot-dead-0b", "PENDING")]
    kept = [("aurl-slot-dead-0c", "REMOVED"), ("aurl-slot-alive-0d", "CREATED"), ("", "CREATED")]
    groups = [
        {"placement_group_id": f"{index:02x}" * 18, "name": name, "state": state}
        for index, (name, state) in enumerate([*held, *kept])
    ]
    freed: list[str] = []
    monkeypatch.setattr(placement, "placement_group_table", lambda: dict(enumerate(groups)))
    monkeypatch.setattr(placement, "actors", lambda actor: {"State": actor.upper()})
    monkeypatch.setattr(
        placement, "remove_placement_group", lambda group: freed.append(group.id.hex())
    )
    assert placement.free_orphans() == 2
    assert freed == ["00" * 18, "01" * 18]
