"""The warm gang: one Ray Train worker group that lives through many trials.

Starting a Ray Train run costs many seconds; a trial slot therefore starts one and streams trial
after trial through it. A *mailbox* actor carries tasks to the workers and their events back. After
each report the first worker waits for the verdict, so that a stop takes effect at that step.

A trial slot imports this, and nothing in it needs torch: each second and megabyte of a slot counts
once for every trial that runs at the same time.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray import train
from ray.exceptions import RayActorError, RayError
from ray.train.constants import _get_ray_train_session_dir
from ray.util.placement_group import PlacementGroup, remove_placement_group

from aurl.errors import SweepError
from aurl.search.mailbox import Mailbox
from aurl.search.placement import given, has_room_for_more, reserve
from aurl.search.shape import Shape
from aurl.search.trainer import GangTrainer
from aurl.training.messages import Event, Task
from aurl.training.place import place_of
from aurl.training.store import Remote

if TYPE_CHECKING:
    from aurl.data.corpus import Corpus

ATTEMPTS = 3
"""Times a trial is tried whose workers die; an exception in training is not tried again."""

_POLL_S = 0.5
_LEAVE_S = 20.0
"""For Ray Train to free what the workers of a gang held."""

_IN_VAIN = 20
"""Times as long until the next look, after a gang that was assembled anew has got no larger."""


@dataclass(frozen=True, kw_only=True)
class GangSettings:
    """What every gang of a sweep has in common."""

    shape: Shape
    """Ray Train workers that share each batch, and the GPUs of each."""

    corpus: "list[ray.ObjectRef[Corpus]]"
    """The corpus in Ray's object store (in a list, so that it is passed as a reference)."""

    look_s: float = 30.0
    """Between two looks whether more workers would find room."""


class MachineTakenError(SweepError):
    """A machine of the gang is gone after Ray had said that it would be."""


class LostError(SweepError):
    """A gang is gone, of which its owner hears from afar.

    Args:
        message: What it died of.
        was_taken: Whether it is for a :class:`MachineTakenError`.
    """

    def __init__(self, message: str, *, was_taken: bool) -> None:
        super().__init__(message)
        self.was_taken = was_taken


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


def _beside(kind: type, *, at_a_time: int) -> Any:  # noqa: ANN401 - Ray's
    """What starts an actor on this process's machine, which answers so many calls at a time."""
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    actor: Any = ray.remote(kind)
    return actor.options(
        num_cpus=0,
        max_concurrency=at_a_time,
        label_selector=here,
        scheduling_strategy="DEFAULT",  # not in the room of workers, which has its own machines
    )


class Gang:
    """A running worker group and its mailbox, seen from the actor that owns it.

    Where there may be fewer workers, it starts with as many as there is room for, and is
    assembled anew when there is room for more: before a task, or at a report, from whose
    checkpoint the task goes on.

    Args:
        settings: Size and music.
        name: For Ray's logs.
    """

    def __init__(self, settings: GangSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._given = given(settings.shape)
        self._has_begun = False
        self._unheard: Event | None = None
        self._size, self._waited_s = 0, 0.0
        self._assemble()

    def _assemble(self) -> None:
        self._mailbox = _beside(Mailbox, at_a_time=64).remote()
        self._is_leaving = False
        self._before, self._size = self._size, 0
        self._looked = time.monotonic()
        self._leave = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(self._leave,), daemon=True)
        self._thread.start()

    def _assemble_anew(self) -> None:
        self.close()
        self._assemble()

    def _run(self, leave: threading.Event) -> None:
        began = time.monotonic()
        try:
            room = self._given or reserve(self._settings.shape, leave=leave)
            self._waited_s += time.monotonic() - began
            if room is None:
                return
            try:
                self._size = room.bundle_count
                self._train(room)
            finally:
                if room is not self._given:
                    remove_placement_group(room)
        except Exception as error:  # noqa: BLE001 - handed to the owner by next_event
            if leave is self._leave:  # else it is of workers that were not waited for any longer
                self._error = error

    def _train(self, room: PlacementGroup) -> None:
        settings = self._settings
        trainer = GangTrainer(
            serve,
            train_loop_config={"mailbox": self._mailbox, "corpus": settings.corpus[0]},
            scaling_config=train.ScalingConfig(
                num_workers=room.bundle_count,
                use_gpu=settings.shape.gpus_per_worker > 0,
                resources_per_worker=settings.shape.worker,
            ),
            backend_config=_backend(room.bundle_count),
            run_config=train.RunConfig(
                name=self._name,
                storage_path=_get_ray_train_session_dir(),  # of this machine; nothing reads it
                # Tune tries a trial again, on a new gang: Train must not, also not where a machine
                # was taken away, for workers that begin anew know nothing of the mailbox's tasks.
                # Where they died as they started, it has ended the mailbox.
                failure_config=train.FailureConfig(  # pyrefly: ignore[bad-argument-type]
                    max_failures=0,
                    max_preemption_failures=0,  # pyrefly: ignore[unexpected-keyword]
                    controller_failure_limit=0,  # pyrefly: ignore[unexpected-keyword]
                ),
            ),
        )
        trainer.room = room
        trainer.fit()

    def submit(self, task: Task) -> None:
        """Start a task; the one before must have ended."""
        if self._may_grow():
            self._assemble_anew()
        self._task, self._step, self._has_begun = task, 0, True
        self._reply(self._mailbox.submit.remote(task))

    def answer(self, *, go_on: bool) -> None:
        """Let the workers go on after a report, or stop their task."""
        is_last = self._step >= self._task.config.training.steps
        grows = go_on and not is_last and self._may_grow()
        self._reply(self._mailbox.answer.remote(go_on and not grows))
        if grows:
            self._grow()

    def _may_grow(self) -> bool:
        now = time.monotonic()
        times = _IN_VAIN if self._size <= self._before else 1
        # On a machine that is drained it would find no room again, and works there to the end.
        if self._is_leaving or now - self._looked < times * self._settings.look_s:
            return False
        self._looked = now
        return has_room_for_more(self._settings.shape, self._size)

    def _grow(self) -> None:
        """Go on with the task, which was told to stop, in a larger group."""
        while not (event := self.next_event()).ended:
            pass
        if event.failure:
            self._unheard = event
            return
        self._assemble_anew()
        self._reply(self._mailbox.submit.remote(self._task))

    def next_event(self) -> Event:
        """Wait for the next event of the task.

        Raises:
            MachineTakenError: If the worker group died after a machine of it was drained.
            SweepError: If it died otherwise.
        """
        if self._unheard is not None:
            event, self._unheard = self._unheard, None
            return event
        while True:
            event: Event | None = self._reply(self._mailbox.next_event.remote(_POLL_S))
            if event is not None:
                self._is_leaving |= event.noted
                self._step = event.rows[-1]["step"] if event.rows else self._step
                waited, self._waited_s = round(self._waited_s, 1), 0.0
                return replace(event, waited_s=waited)
            if not self._thread.is_alive():
                raise self._death()

    def close(self) -> None:
        """Send the workers home and wait for Ray Train to free what they held."""
        self._leave.set()
        with contextlib.suppress(RayActorError):  # they died, and it with them
            ray.get(self._mailbox.close.remote())
        if self._has_begun or self._given is None:
            self._thread.join(_LEAVE_S)
        # Else Tune has found another slot for the trial that this one was to begin with, and takes
        # the room away, in which the workers may only be starting.

    def _reply(self, call: Any) -> Any:  # noqa: ANN401 - a reference, and what it is to
        """What the mailbox answers, which lives as long as the workers."""
        try:
            return ray.get(call)
        except RayActorError as error:
            self._thread.join(_LEAVE_S)
            raise self._death() from error

    def _death(self) -> Exception:
        kind = MachineTakenError if self._is_leaving else SweepError
        return kind(f"the workers died: {_cause(self._error).rstrip('.')}.")


class RemoteGang:
    """A gang in an actor of its own, for a process that is none; see :class:`Gang`.

    Its methods raise :class:`LostError` if it is gone.

    Args:
        settings: Size and music.
        name: For Ray's logs.
        meanwhile: Called each second in which there is no answer.
    """

    def __init__(
        self, settings: GangSettings, name: str, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        # Two calls at a time: it may be closed while the next event is waited for.
        self._gang = _beside(Gang, at_a_time=2).remote(settings, name)
        self._meanwhile = meanwhile

    def submit(self, task: Task) -> None:
        """See :class:`Gang`."""
        self._answer(self._gang.submit.remote(task))

    def answer(self, *, go_on: bool) -> None:
        """See :class:`Gang`."""
        self._answer(self._gang.answer.remote(go_on=go_on))

    def next_event(self) -> Event:
        """See :class:`Gang`."""
        return self._answer(self._gang.next_event.remote())

    def close(self) -> None:
        """See :class:`Gang`."""
        with contextlib.suppress(RayActorError):  # it is dead
            ray.get(self._gang.close.remote())

    def _answer(self, reply: Any) -> Any:  # noqa: ANN401 - a reference, and what it is to
        while not ray.wait([reply], timeout=1.0)[0]:
            self._meanwhile()
        try:
            return ray.get(reply)
        except RayError as error:
            cause = getattr(error, "cause", error)
            was_taken = isinstance(cause, MachineTakenError)
            raise LostError(last_line(cause), was_taken=was_taken) from error


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
