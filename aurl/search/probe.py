"""Can every machine of a cluster use the folder, or the storage, that results go to, and its GPUs?

A folder that is not shared shows late and badly: a trial's checkpoint lies on one machine's own
disk, and its next attempt, elsewhere, begins anew. So each machine is asked before the start.
"""

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aurl.errors import SweepError
from aurl.search.shape import Shape
from aurl.training.store import Remote

ANSWER_S = 120.0
"""For a machine to start a process and answer; a busy one takes many seconds."""

SEEN_S = 10.0
"""For a network file system to show one machine what another has written."""


def check_storage(folder: Path) -> None:
    """Have every machine of the connected cluster that trains read and write in ``folder``.

    Raises:
        SweepError: If one cannot; it is named.
    """
    # A driver that is killed here leaves what the next one removes: its name ends in .part.
    with tempfile.TemporaryDirectory(prefix=".probe-", suffix=".part", dir=folder) as made:
        place, word = Path(made).absolute(), secrets.token_hex(8)
        (place / "driver").write_text(word)
        place.chmod(0o755)
        asked = [(node, _ask(node, _use, place, word, node["NodeID"])) for node in machines()]
        for node, answer in asked:
            fault = _answer(answer) or _seen_here(node, place, word)
            if fault:
                raise SweepError(
                    "--out must be a folder that every machine of the cluster reads and writes, "
                    f"got {folder.parent}: {name_of(node)} {fault}. "
                    "Mount one folder on all of them, or choose another --out."
                )


def check_remote(remote: Remote) -> None:
    """Have every machine of the connected cluster that trains write at a storage and read there.

    Raises:
        SweepError: If one cannot; it is named.
    """
    for name, fault in _faults([(node, _ask(node, _try, remote)) for node in machines()]):
        raise SweepError(
            "--storage must be a place that every machine of the cluster can write, got "
            f"{remote.uri}: {name} says: {fault} Give all of them the right and the credentials."
        )


def check_gpus(shape: Shape) -> None:
    """Have torch find the GPUs of every machine of the connected cluster, if they are asked for.

    Raises:
        SweepError: If it does not on one; it is named.
    """
    if not shape.gpus_per_worker:
        return
    with_gpus = [node for node in machines() if node["Resources"].get("GPU", 0) > 0]
    # The process that has imported torch ends: as a trial's slot it would be twice as large.
    for name, fault in _faults([(node, _ask(node, _gpus, max_calls=1)) for node in with_gpus]):
        raise SweepError(
            "--gpus-per-worker must be 0 where torch finds no GPU, got "
            f"{shape.gpus_per_worker:g}: {name} says: {fault}. "
            "Install torch for that machine's GPU and driver, or leave --gpus-per-worker out."
        )


def machines() -> list[dict[str, Any]]:
    """The machines of the connected cluster that workers may run on, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def name_of(node: dict[str, Any]) -> str:
    """A machine's name and address, for a person."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def seen_within(path: Path, word: str, seconds: float) -> str:
    """Nothing once ``path`` holds ``word``; after so many seconds, why it does not."""
    started = time.monotonic()
    while True:
        try:
            if path.read_text() == word:
                return ""
            why = "something else is there"
        except OSError as error:
            why = error.strerror or str(error)
        if time.monotonic() - started >= seconds:
            return why
        time.sleep(0.1)


def _ask(node: dict[str, Any], act: Callable[..., str], *given: object, max_calls: int = 0) -> Any:  # noqa: ANN401
    """A reference to what a machine answers, in a process that ends after so many calls."""
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task: Any = ray.remote(max_calls=max_calls)(act)
    return task.options(num_cpus=0, scheduling_strategy=there, max_retries=0).remote(*given)


def _try(remote: Remote) -> str:
    """What a machine does with a storage; returns what is wrong."""
    try:
        remote.probe()
    except SweepError as error:
        return str(error)
    return ""


def _gpus() -> str:
    """What is wrong with a machine's GPUs."""
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):  # Ray hides them from who asks for none
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    from aurl.training.workers import gpu_fault  # with torch

    return gpu_fault()


def _use(place: Path, word: str, name: str) -> str:
    """What a machine does: read what the driver wrote, write as much; returns what is wrong."""
    why = seen_within(place / "driver", word, SEEN_S)
    if why:
        return f"does not see there what this machine wrote ({why})"
    try:
        (place / name).write_text(word)
    except OSError as error:
        return f"cannot write there ({error.strerror})"
    return ""


def _faults(asked: list[tuple[dict[str, Any], Any]]) -> Iterator[tuple[str, str]]:
    """Of machines that were asked, the name of each that has a fault, and the fault."""
    for node, answer in asked:
        if fault := _answer(answer):
            yield name_of(node), fault


def _answer(answer: Any) -> str:  # noqa: ANN401
    try:
        fault: str = ray.get(answer, timeout=ANSWER_S)
    except GetTimeoutError:
        return f"did not answer within {ANSWER_S:g} s"
    except RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"could not be asked ({lines[0].strip() if lines else type(error).__name__})"
    return fault


def _seen_here(node: dict[str, Any], place: Path, word: str) -> str:
    why = seen_within(place / node["NodeID"], word, SEEN_S)
    with contextlib.suppress(OSError):
        (place / node["NodeID"]).unlink()
    return f"writes there what this machine does not see ({why})" if why else ""
