"""Ray Train's trainer for a gang: in the slot's own process, in room that is reserved."""

import asyncio
from dataclasses import dataclass
from typing import Any

from ray import train
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, worker_group
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    DefaultPlacementGroupHandle,
)
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup


class _Unscaled(FixedScalingPolicy):
    """So many workers, and nobody is told of them.

    Ray Train tells an actor what it would like to have. The placement group of a gang says the
    same to Ray's autoscaler, and that actor is 110 MB, and waited for before the first step.
    """

    def after_controller_start(self, train_run_context: Any) -> None:  # noqa: ANN401
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class GangTrainer(DataParallelTrainer):
    """A trainer without the processes that a gang has no use for.

    Ray Train's controller is a process of its own, to outlive the one that asked for it. A gang
    ends with its slot, and the controller runs in that: an import of Ray Train and 200 MB less for
    each slot. The slot is an actor, as Ray Train's workers are told which one their controller is.

    One callback's actor cleans up after trials whose driver was killed: a gang's driver outlives
    its trials and closes the gang itself, and that actor needs Ray's dashboard to judge by. The
    others hand out shards of Ray Datasets, of which there are none. One more actor is for workers
    that report to Ray Train: those of a gang meet at its mailbox, which stands there and ends with
    them. Each costs over 100 MB a gang. Should Ray rename one of these, or how a controller is
    run, its actors come back.
    """

    UNUSED = ("PlacementGroupCleanerCallback", "DatasetsCallback")
    room: PlacementGroup
    """What its workers are put into."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [c for c in callbacks if type(c).__name__ not in self.UNUSED]

    def _initialize_and_run_controller(self, **given: Any) -> train.Result:  # noqa: ANN401
        given["scaling_policy"] = _Unscaled(self.scaling_config)  # pyrefly: ignore[bad-argument-type]
        mailbox = (self.train_loop_config or {})["mailbox"]
        vars(worker_group)["SynchronizationActor"] = _Meeting(mailbox)  # of this slot alone
        return asyncio.run(_controlled(given, self.room))


@dataclass(frozen=True)
class _Meeting:
    """What Ray Train makes an actor of, and there is one."""

    actor: Any

    def options(self, **_: Any) -> "_Meeting":  # noqa: ANN401
        return self

    def remote(self, **_: Any) -> Any:  # noqa: ANN401
        return self.actor


class _Kept(DefaultPlacementGroupHandle):
    """Room that is freed by who has reserved it: a slot may stand there itself."""

    def shutdown(self) -> None:
        pass


def _workers_in(room: PlacementGroup) -> type[WorkerGroup]:
    """Ray Train's worker group, in room that is there already."""

    class Workers(WorkerGroup):
        def _create_placement_group(  # pyrefly: ignore[bad-override]
            self,
            *_: Any,  # noqa: ANN401
        ) -> DefaultPlacementGroupHandle:
            return _Kept(room)

    return Workers


async def _controlled(given: dict[str, Any], room: PlacementGroup) -> train.Result:
    controller = TrainController(**given)
    controller.worker_group_cls = _workers_in(room)
    await controller.run()
    return controller.get_result()
