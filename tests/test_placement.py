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

    def placed(self, bundles: list[dict[str, float]], **_: str) -> Placed:
        size = len(bundles)
        self.asked.append(size)

        def is_there() -> bool:
            self.waits += 1
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


@pytest.mark.parametrize(
    ("room", "size", "asked"),
    [(4, 4, [4]), (3, 2, [4, 2]), (1, 1, [4, 2, 1])],
    ids=["the_most", "half", "one"],
)
def test_fewer_workers_are_asked_for_where_the_most_find_no_room(
    monkeypatch: pytest.MonkeyPatch, room: int, size: int, asked: list[int]
) -> None:
    machines = Machines(room)
    shape = Shape(workers_per_trial=4, workers_at_least=1)
    assert reserved(monkeypatch, machines, shape, threading.Event()) == size
    assert machines.asked == asked
    assert machines.removed == asked[:-1], "what is not used is given back"


def test_room_for_all_workers_or_none_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(4, looks=500)
    assert reserved(monkeypatch, machines, Shape(workers_per_trial=4), threading.Event()) == 4
    assert machines.asked == [4]


@pytest.mark.parametrize(("least", "room"), [(None, 0), (1, 4)], ids=["none", "just_found"])
def test_who_leaves_asks_for_no_room_any_more(
    monkeypatch: pytest.MonkeyPatch, least: int | None, room: int
) -> None:
    machines, leave = Machines(room), threading.Event()
    leave.set()
    shape = Shape(workers_per_trial=4, workers_at_least=least)
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
