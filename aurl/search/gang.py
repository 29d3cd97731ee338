"""The warm gang: one Ray Train worker group that lives through many trials.

Starting a Ray Train run costs many seconds; a trial slot therefore starts one and streams trial
after trial through it. A *mailbox* actor carries tasks to the workers and their events back. After
each report the first worker waits for the verdict, so that a stop takes effect at that step.

A trial slot imports this, and nothing in it needs torch: each second and megabyte of a slot counts
once for every trial that runs at the same time.
"""

import asyncio
import contextlib
import threading
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray import train
from ray._private.state import actors
from ray.exceptions import RayActorError
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, worker_group
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    DefaultPlacementGroupHandle,
)
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from aurl.errors import SweepError
from aurl.search.mailbox import Mailbox
from aurl.training.messages import Event, Task
from aurl.training.place import place_of
from aurl.training.store import Remote

if TYPE_CHECKING:
    from aurl.data.corpus import Corpus

_POLL_S = 0.5
_LEAVE_S = 20.0
"""For Ray Train to free what the workers of a gang held."""

_OF_SLOT = "aurl-slot-"


@dataclass(frozen=True, kw_only=True)
class GangSettings:
    """What every gang of a sweep has in common."""

    workers: int
    """Ray Train workers that share each batch."""

    gpus_per_worker: float
    """GPUs of each worker; a fraction shares one, 0 computes on the CPU."""

    scratch: str
    """Folder for Ray Train's own files, which nothing reads."""

    corpus: "list[ray.ObjectRef[Corpus]]"
    """The corpus in Ray's object store (in a list, so that it is passed as a reference)."""


class MachineTakenError(RayActorError):
    """A machine of the gang is gone after Ray had said that it would be.

    Tune counts no failure of a trial for an error of Ray's that says so, and tries it again.
    """

    def __init__(self, message: str) -> None:
        super().__init__(error_msg=message, preempted=True)


class _Unscaled(FixedScalingPolicy):
    """So many workers, and nobody is told of them.

    Ray Train tells an actor what it would like to have. The placement group of a gang says the
    same to Ray's autoscaler, and that actor is 110 MB, and waited for before the first step.
    """

    def after_controller_start(self, train_run_context: Any) -> None:  # noqa: ANN401
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class _GangTrainer(DataParallelTrainer):
    """A trainer without the processes that a gang has no use for.

    Ray Train's controller is a process of its own, to outlive the one that asked for it. A gang
    ends with its slot, and the controller runs in that: an import of Ray Train and 200 MB less for
    each slot. A driver, which is no actor, has none to give the workers, and starts one as usual.

    One callback's actor cleans up after trials whose driver was killed: a gang's driver outlives
    its trials and closes the gang itself, and that actor needs Ray's dashboard to judge by. The
    others hand out shards of Ray Datasets, of which there are none. One more actor is for workers
    that report to Ray Train: those of a gang meet at its mailbox, which stands there and ends with
    them. Each costs over 100 MB a gang. Should Ray rename one of these, or how a controller is
    run, its actors come back.
    """

    UNUSED = ("PlacementGroupCleanerCallback", "DatasetsCallback")

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [c for c in callbacks if type(c).__name__ not in self.UNUSED]

    def _initialize_and_run_controller(self, **given: Any) -> train.Result:  # noqa: ANN401
        given["scaling_policy"] = _Unscaled(self.scaling_config)  # pyrefly: ignore[bad-argument-type]
        if ray.get_runtime_context().get_actor_id() is None:
            return super()._initialize_and_run_controller(**given)
        mailbox = (self.train_loop_config or {})["mailbox"]
        vars(worker_group)["SynchronizationActor"] = _Meeting(mailbox)  # of this slot alone
        return asyncio.run(_controlled(given))


@dataclass(frozen=True)
class _Meeting:
    """What Ray Train makes an actor of, and there is one."""

    actor: Any

    def options(self, **_: Any) -> "_Meeting":  # noqa: ANN401
        return self

    def remote(self, **_: Any) -> Any:  # noqa: ANN401
        return self.actor


class _Workers(WorkerGroup):
    """Workers whose placement group says whose they are; see :func:`free_orphans`."""

    def _create_placement_group(
        self,
        scaling_config: train.ScalingConfig,
        worker_group_context: Any,  # noqa: ANN401 - Ray's, which is private
    ) -> DefaultPlacementGroupHandle:
        slot, each = ray.get_runtime_context().get_actor_id(), uuid.uuid4().hex[:8]
        group = placement_group(
            [worker_group_context.resources_per_worker] * worker_group_context.num_workers,
            strategy=worker_group_context.placement_strategy,
            name=f"{_OF_SLOT}{slot}-{each}",
        )
        return DefaultPlacementGroupHandle(group)


class _Controller(TrainController):
    worker_group_cls = _Workers


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


async def _controlled(given: dict[str, Any]) -> train.Result:
    controller = _Controller(**given)
    await controller.run()
    return controller.get_result()


def serve(settings: dict[str, Any]) -> None:
    """What each worker of a gang does; see :func:`aurl.training.ray_worker.serve`."""
    from aurl.training import ray_worker  # with torch, which workers alone need

    ray_worker.serve(settings)


def _backend(workers: int) -> train.BackendConfig:
    """How the workers of a gang find each other; one alone needs nobody."""
    if workers == 1:
        return train.BackendConfig()
    from aurl.training.ray_worker import OnRaysNetwork  # with torch

    return OnRaysNetwork()


class Gang:
    """A running worker group and its mailbox, seen from the process that owns it.

    Args:
        settings: Size and music.
        name: For Ray's logs.
    """

    def __init__(self, settings: GangSettings, name: str) -> None:
        node = ray.get_runtime_context().get_node_id()
        actor: Any = ray.remote(Mailbox)
        self._mailbox = actor.options(
            num_cpus=0, max_concurrency=64, label_selector={"ray.io/node-id": node}
        ).remote()
        resources = {"CPU": 1.0}
        if settings.gpus_per_worker:
            resources["GPU"] = settings.gpus_per_worker
        self._trainer = _GangTrainer(
            serve,
            train_loop_config={"mailbox": self._mailbox, "corpus": settings.corpus[0]},
            scaling_config=train.ScalingConfig(
                num_workers=settings.workers,
                use_gpu=settings.gpus_per_worker > 0,
                resources_per_worker=resources,
            ),
            backend_config=_backend(settings.workers),
            run_config=train.RunConfig(
                name=name,
                storage_path=settings.scratch,
                # Tune tries a trial again, on a new gang: Train must not, also not where a machine
                # was taken away, for workers that begin anew know nothing of the mailbox's tasks.
                failure_config=train.FailureConfig(  # pyrefly: ignore[bad-argument-type]
                    max_failures=0,
                    max_preemption_failures=0,  # pyrefly: ignore[unexpected-keyword]
                    controller_failure_limit=2,  # pyrefly: ignore[unexpected-keyword]
                ),
            ),
        )
        self._error: BaseException | None = None
        self._is_leaving = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # noqa: BLE001 - handed to the owner by next_event
            self._error = error

    def submit(self, task: Task) -> None:
        """Start a task; the one before must have ended."""
        self._reply(self._mailbox.submit.remote(task))

    def answer(self, *, go_on: bool) -> None:
        """Let the workers go on after a report, or stop their task."""
        self._reply(self._mailbox.answer.remote(go_on))

    def next_event(self) -> Event:
        """Wait for the next event of the task.

        Raises:
            MachineTakenError: If the worker group died after a machine of it was drained.
            SweepError: If it died otherwise.
        """
        while True:
            event: Event | None = self._reply(self._mailbox.next_event.remote(_POLL_S))
            if event is not None:
                self._is_leaving |= event.noted
                return event
            if not self._thread.is_alive():
                raise self._death()

    def close(self) -> None:
        """Send the workers home and wait for Ray Train to free what they held."""
        with contextlib.suppress(RayActorError):  # they died, and it with them
            ray.get(self._mailbox.close.remote())
        self._thread.join(_LEAVE_S)

    def _reply(self, call: Any) -> Any:  # noqa: ANN401 - a reference, and what it is to
        """What the mailbox answers, which lives as long as the workers."""
        try:
            return ray.get(call)
        except RayActorError as error:
            self._thread.join(_LEAVE_S)
            raise self._death() from error

    def _death(self) -> Exception:
        kind = MachineTakenError if self._is_leaving else SweepError
        return kind(f"the trial's workers died: {_cause(self._error).rstrip('.')}.")


def shared(corpus: "Corpus") -> "list[ray.ObjectRef[Corpus]]":
    """Put a corpus into Ray's object store, whence workers on every node read it."""
    arrays = ("tokens", "offsets", "piece", "first_bar", "split", "attributes")
    in_memory: dict[str, Any] = {name: np.array(getattr(corpus, name)) for name in arrays}
    return [ray.put(replace(corpus, **in_memory))]


def last_line(error: BaseException | str) -> str:
    """What an error says in the end, without Ray's guesses at why a process died."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(" Some common causes include:")[0] if lines else "no message"


def _cause(error: BaseException | None) -> str:
    """Why the workers of a gang died; of several, the first that Ray Train names."""
    if error is None:
        return "they left without a word"
    first = next(iter(getattr(error, "worker_failures", {}).values()), error)
    cause = getattr(first, "health_check_failure", first)  # one that did not answer any more
    return f"{type(cause).__name__}: {last_line(cause)}"


def task_for(folder: Path, config: Any) -> Task:  # noqa: ANN401
    """The task of training ``config`` with its checkpoints in a trial's folder, or as it says.

    The path is made absolute: workers run in a folder of their own.
    """
    here = folder.absolute() / "checkpoint"
    place = place_of(here)
    remote = place if isinstance(place, Remote) else None
    return Task(config=config, checkpoint_folder=here, remote=remote)
