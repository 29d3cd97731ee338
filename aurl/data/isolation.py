"""A function run on each of many items in processes that may hang, grow or die.

What one item does to its process costs that item and nothing else: past its time the process is
killed, past its memory an allocation fails, and a process that is gone is replaced. Workers are
fresh interpreters, not forks, so the caller may have threads,
an open Ray cluster or an unguarded script.
"""

import contextlib
import os
import pickle
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, TypeVar

from aurl.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
START_S = 120.0
"""Seconds an interpreter may take to start and import, on a busy machine."""

SERVE = "import sys; from aurl.data.isolation import serve; serve(int(sys.argv[1]))"
PACKAGE_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one item may cost."""

    seconds: float = 30.0
    memory_bytes: int = 2**30
    """Address space beyond what the process has after its imports."""

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.memory_bytes < 1:
            raise ValueError(f"limits must be > 0, got {self}.")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no result: a reason code and a sentence."""

    reason: str
    detail: str


class Worker:
    """One process and the item it works on."""

    def __init__(self, function: Callable[[Any], Any], limits: Limits) -> None:
        message = pickle.dumps((function, limits.memory_bytes))
        self.limits = limits
        self.connection, theirs = Pipe()
        paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVE, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",  # its threads reserve address space
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the caller's to handle
        )
        theirs.close()
        self.connection.send_bytes(message)
        self.index: int | None = None
        self.is_starting = True
        self.deadline = time.monotonic() + START_S

    def give(self, index: int, item: object) -> None:
        """Start on an item."""
        self.index = index
        self.deadline = time.monotonic() + self.limits.seconds
        self.connection.send(item)

    def outcome(self) -> object:
        """What came back, once the connection is readable; a failure if the process is gone."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            code = self.process.wait()
            return Failure("crashed", f"its process ended with code {code}.")

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


def each_isolated(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    limits: Limits,
) -> Iterator[tuple[int, Result | Failure]]:
    """``(index, result or failure)`` for every item, in the order they finish.

    A :class:`DataError` raised by ``function`` becomes a failure whose reason is the code before
    its first colon; other failures are ``timeout``, ``too_large`` (memory) and ``crashed``.

    Args:
        function: Defined at the top of a module, as it is sent by name.
        items: Picklable.
        workers: Processes at work at one time.
        limits: Of one item.

    Raises:
        RuntimeError: If a process cannot even start.
    """
    waiting = deque(range(len(items)))
    crew: list[Worker] = []
    n_left = len(items)
    try:
        while len(crew) < min(workers, len(items)):
            crew.append(Worker(function, limits))
        while n_left:
            _keep_busy(crew, waiting, items)
            for place, (index, outcome) in _collected(crew):
                if index is not None:
                    n_left -= 1
                    yield index, outcome
                if crew[place].process.poll() is not None and waiting:
                    crew[place].stop()
                    crew[place] = Worker(function, limits)
    finally:
        for worker in crew:
            worker.stop()


def _keep_busy(crew: Sequence[Worker], waiting: deque[int], items: Sequence[Any]) -> None:
    for worker in crew:
        if worker.index is None and not worker.is_starting and waiting:
            index = waiting.popleft()
            # A process that died since is found out, and replaced, when its answer is read.
            with contextlib.suppress(OSError):
                worker.give(index, items[index])


def _collected(crew: list[Worker]) -> list[tuple[int, tuple[int | None, Any]]]:
    """Wait for the next answer or deadline; the answers, by the worker's place."""
    busy = {
        worker.connection: place
        for place, worker in enumerate(crew)
        if worker.index is not None or worker.is_starting
    }
    patience = min(crew[place].deadline for place in busy.values()) - time.monotonic()
    answers: list[tuple[int, tuple[int | None, Any]]] = []
    for connection in wait(list(busy), timeout=max(patience, 0.0)):
        place = busy.pop(connection)  # pyrefly: ignore[bad-argument-type]
        worker = crew[place]
        outcome = worker.outcome()
        if worker.is_starting and isinstance(outcome, Failure):
            raise RuntimeError(f"A worker process cannot start: {outcome.detail}")
        answers.append((place, (worker.index, outcome)))
        worker.index, worker.is_starting = None, False
    for place in busy.values():
        worker = crew[place]
        if time.monotonic() >= worker.deadline:
            if worker.is_starting:
                raise RuntimeError(f"A worker process did not start within {START_S:.0f} s.")
            worker.stop()
            seconds = worker.limits.seconds
            answers.append((place, (worker.index, Failure("timeout", f"over {seconds:g} s."))))
    return answers


def serve(handle: int) -> None:
    """The life of a worker process: a function, then items until the connection closes."""
    connection = Connection(handle)
    function, memory_bytes = connection.recv()
    _limit_memory(memory_bytes)
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(_attempt(function, item))


def _attempt(function: Callable[[Any], Any], item: object) -> object:
    try:
        return function(item)
    except DataError as error:
        reason, _, detail = str(error).partition(": ")
        return Failure(reason, detail)
    except MemoryError:
        return Failure("too_large", "it needs more memory than one file may have.")
    except Exception as error:  # noqa: BLE001 - the process edge: recorded for this item
        return Failure("crashed", f"{type(error).__name__}: {error}"[:300])


def _limit_memory(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return  # not Linux: the time limit stands alone
    limit = pages * resource.getpagesize() + memory_bytes
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or limit <= most:
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
