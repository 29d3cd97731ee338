"""One Ray Train worker of a warm gang: takes trial after trial and trains each.

The worker lives through many trials. It asks the gang's mailbox for the next task, trains it with
:func:`aurl.training.loop.train`, and posts what it measured. A task begins from the task alone:
nothing of the trial before is read.
"""

import contextlib
import fcntl
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Sequence, Set
from functools import partial
from typing import Any, cast

import ray
import torch
from ray._private.state import state as ray_state
from ray.train.torch import TorchConfig, get_device
from torch import distributed

from aurl.data.corpus import Corpus
from aurl.errors import ConfigError, StorageError
from aurl.training.look import Look
from aurl.training.loop import DivergedError, Run, train
from aurl.training.messages import Event, Media, Row, Task
from aurl.training.pictures import media_of
from aurl.training.workers import Workers, gpu_fault

_log = logging.getLogger(__name__)
_SEEN_S = 10.0
"""For a network file system to show a worker the folder that the driver has just made."""

_TOLD_S = 60.0
"""For the first worker to tell that the storage is out of reach, if it is so from there too."""

_DRAINS_S = 5.0
"""Between two looks, and two checkpoints while it lasts: spot machines are given 30 s and more."""

_SIOCGIFADDR = 0x8915  # linux/sockios.h: the address of a network interface


def use_rays_network() -> None:
    """Have gloo speak on the network that Ray speaks on, unless ``GLOO_SOCKET_IFNAME`` says where.

    Left alone, gloo takes what the machine's name resolves to, which on many is 127.0.1.1: no
    other machine reaches it there.
    """
    name = _interface_of(ray.util.get_node_ip_address())
    if name:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def _interface_of(address: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return ""


class _Backend(TorchConfig().backend_cls):  # pyrefly: ignore[invalid-inheritance]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:  # noqa: ANN401
        worker_group.execute(use_rays_network)
        super().on_start(worker_group, backend_config)


class OnRaysNetwork(TorchConfig):
    """How workers find each other: on the network that Ray itself uses."""

    @property
    def backend_cls(self) -> type[_Backend]:  # pyrefly: ignore[bad-override]
        """The rendezvous; see :class:`ray.train.backend.Backend`."""
        return _Backend


class Drains:
    """Whether Ray drains a machine of this gang: the cloud takes it away, or somebody does.

    Args:
        machines: Ray's names of the machines of this gang.
    """

    def __init__(self, machines: Set[str]) -> None:
        self._machines = machines
        self._due = threading.Event()

    def watch(self) -> None:
        """Look every few seconds, in a thread: no step waits for the answer."""
        threading.Thread(target=self._watch, name="drains", daemon=True).start()

    def _watch(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # the head is out of reach: so is the mailbox
                self.look()
            time.sleep(_DRAINS_S)

    def look(self) -> None:
        """Ask Ray which machines it drains."""
        if self._machines & ray_state.get_draining_nodes().keys():
            self._due.set()

    def tell(self, mailbox: Any, rows: Sequence[Row]) -> bool:  # noqa: ANN401
        """While one is drained, every few seconds: tell ``rows``, for a checkpoint to follow."""
        if not self._due.is_set():
            return False
        self._due.clear()
        ray.get(mailbox.note.remote(Event(rows=tuple(rows), noted=True)))
        return True


def serve(settings: dict[str, Any]) -> None:
    """Train every task of the mailbox until it closes; runs in each worker of a gang.

    Args:
        settings: ``mailbox``, an actor handle, and ``corpus``, an object reference.
    """
    torch.set_num_threads(1)
    device = get_device()
    if device.type == "cuda":
        if fault := gpu_fault():  # on a machine that has joined; others were asked before
            raise RuntimeError(f"{socket.gethostname()}: {fault}")
        torch.cuda.set_device(device)
    mailbox = settings["mailbox"]
    corpus = cast("Corpus", ray.get(settings["corpus"]))
    workers = Workers.of_this_process(device)
    drains = Drains(_machines(workers))
    if workers.rank == 0:
        drains.watch()
    number = 0
    while True:
        task = cast("Task | None", ray.get(mailbox.next_task.remote(number)))
        if task is None:
            return
        number += 1
        ended = _train_one(task, corpus, mailbox, workers, drains)
        if workers.rank == 0:
            ray.get(mailbox.post.remote(number, ended))
        workers.release()


def _train_one(
    task: Task,
    corpus: Corpus,
    mailbox: Any,  # noqa: ANN401
    workers: Workers,
    drains: Drains,
) -> Event:
    """Train one task; returns how it ended.

    A failure that only one of several workers may have seen is raised: it ends the gang, and with
    it the collective calls that the others wait in. So is one that leaves the device broken. One
    of the storage is told at once by the first worker: it ends the sweep.
    """
    made: list[Media | None] = []

    def show(look: Look) -> None:
        made.append(_drawn(look))

    def report(rows: Sequence[Row]) -> bool:
        go_on = True
        if workers.rank == 0:
            event = Event(rows=tuple(rows), media=made.pop() if made else None)
            go_on = bool(ray.get(mailbox.report.remote(event)))
        return _from_first_worker(go_on, workers)

    run = Run(
        config=task.config,
        corpus=corpus,
        checkpoint_folder=task.remote or task.checkpoint_folder,
        show=show if workers.rank == 0 else None,
        note=partial(drains.tell, mailbox),
    )
    try:
        _await_folder(task)
        train(run, workers=workers, report=report)
    except (DivergedError, ConfigError) as error:  # raised by every worker alike
        return Event(ended=True, failure=f"{type(error).__name__}: {error}")
    except StorageError as error:
        return _out_of_reach(error, workers)
    except Exception as error:
        if workers.size > 1 or isinstance(error, torch.AcceleratorError):
            raise
        _log.exception("the trial failed")
        return Event(ended=True, failure=f"{type(error).__name__}: {error}".splitlines()[0])
    return Event(ended=True)


def _drawn(look: Look) -> Media | None:
    """None if it cannot be: no trial ends for a picture, and the log says why it is missing."""
    try:
        return media_of(look)
    except Exception:  # noqa: BLE001 - handed on to the log
        _log.exception("the pictures could not be made")
        return None


def _out_of_reach(error: StorageError, workers: Workers) -> Event:
    """How a task ended whose storage this worker does not reach.

    Only the first is heard. If it does reach it, it waits for the others in their next step.
    """
    if workers.rank > 0:
        time.sleep(_TOLD_S)
        raise error
    return Event(ended=True, failure=str(error), outage=True)


def _machines(workers: Workers) -> set[str]:
    own = ray.get_runtime_context().get_node_id()
    found = [own] * workers.size
    if workers.size > 1:
        distributed.all_gather_object(found, own)
    return set(found)


def _await_folder(task: Task) -> None:
    """The driver made a trial's folder: a worker that does not see it must not make its own.

    One whose checkpoints go elsewhere needs none.

    Raises:
        FileNotFoundError: If it is not there.
    """
    started, folder = time.monotonic(), task.checkpoint_folder.parent
    while task.remote is None and not folder.is_dir():
        if time.monotonic() - started > _SEEN_S:
            raise FileNotFoundError(
                f"{socket.gethostname()} does not see {folder}. --out must be a folder that every "
                "machine of the cluster reads and writes."
            )
        time.sleep(0.1)


def _from_first_worker(answer: bool, workers: Workers) -> bool:
    if workers.size == 1:
        return answer
    value = torch.tensor(float(answer), device=workers.device)
    distributed.broadcast(value, src=0)
    return bool(value.item())
