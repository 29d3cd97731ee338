"""Room for the workers of a gang: reserved before they start, freed when their slot is dead.

Tune reserves it with that of the slot, which stands where the first worker does and asks for
nothing itself. Where the number of workers may change, the slot reserves it, and stands with the
driver; so does a gang that is not Tune's.
"""

import itertools
import threading
import uuid

import ray
from ray import tune
from ray._private.state import actors, available_resources_per_node
from ray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from aurl.search.shape import Shape

_OF_SLOT = "aurl-slot-"
_LOOK_S = 1
_LOOKS = 10
"""Before fewer workers are asked for."""


def of_slot(shape: Shape) -> tune.PlacementGroupFactory:
    """What Tune reserves for each slot."""
    if shape.is_elastic:
        return tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])
    return tune.PlacementGroupFactory([{}, *[shape.worker] * shape.workers_per_trial])


def given(shape: Shape) -> PlacementGroup | None:
    """The room of all workers of a trial, if this is an actor that Tune has put there."""
    return None if shape.is_elastic else get_current_placement_group()


def reserve(shape: Shape, *, leave: threading.Event) -> PlacementGroup | None:
    """Room for as many workers of a trial as there is room for, waited for if there is none.

    The room says whose it is; see :func:`free_orphans`. Must be called in an actor.

    Args:
        shape: What the trial needs.
        leave: Set when nobody needs the room any more.

    Returns:
        None if nobody does.
    """
    slot = ray.get_runtime_context().get_actor_id()
    while True:
        for size in shape.sizes:
            name = f"{_OF_SLOT}{slot}-{uuid.uuid4().hex[:8]}"
            group = placement_group([shape.worker] * size, strategy="PACK", name=name)
            for _ in range(_LOOKS) if shape.is_elastic else itertools.count():
                is_there = group.wait(_LOOK_S)
                if leave.is_set():
                    break
                if is_there:
                    return group
            remove_placement_group(group)
            if leave.is_set():
                return None


def has_room_for_more(shape: Shape, workers: int) -> bool:
    """Whether a trial that holds so many workers may have more, by what is free just now."""
    more = [size for size in shape.sizes if size > workers]
    if not workers or not more:
        return False
    free = sum(shape.workers_on(each) for each in available_resources_per_node().values())
    return workers + free >= more[-1]


def free_orphans() -> int:
    """Free what the workers of slots held that are dead; returns how many there were.

    Ray keeps the placement group of an actor that was killed as long as the job lasts. The next
    gang would wait for ever for the processors that nobody uses.
    """
    orphans = [
        PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group["placement_group_id"])))
        for group in placement_group_table().values()
        if group["name"].startswith(_OF_SLOT) and group["state"] != "REMOVED"
        if _is_dead(group["name"].removeprefix(_OF_SLOT).partition("-")[0])
    ]
    for each in orphans:
        remove_placement_group(each)
    return len(orphans)


def _is_dead(actor: str) -> bool:
    return actors(actor).get("State") == "DEAD"
