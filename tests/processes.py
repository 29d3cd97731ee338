"""Processes as the kernel knows them: what runs below one, how it is called, what it holds."""

import os
import time
from collections.abc import Callable
from pathlib import Path

PROC = Path("/proc")
SLOT = "ResourceTrainable"


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``, without those that are dead and not yet buried."""
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        parent = _parent(folder)
        if parent is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return sorted(found)


def title(pid: int) -> str:
    """How a process calls itself; empty if it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def workers_of_ray(pid: int | None = None) -> set[int]:
    """The Ray Train workers below ``pid`` (this process): its gangs' processes."""
    below = descendants(os.getpid() if pid is None else pid)
    return {process for process in below if title(process).startswith("ray::RayTrainWorker")}


def slots_of_ray(pid: int) -> set[int]:
    """The trial slots below ``pid``."""
    return {process for process in descendants(pid) if _actor(process) == SLOT}


def actors_of_ray(pid: int) -> set[str]:
    """The classes of the Ray actors below ``pid``, as their processes call themselves."""
    names = set(map(_actor, descendants(pid)))
    return {name for name in names if name not in ("", "IDLE") and not name.endswith("Agent")}


def _actor(pid: int) -> str:
    """The class of a Ray actor; empty of any other process.

    A trial slot has another name between two calls of Tune's than in one.
    """
    start, ray, rest = title(pid).partition("ray::")
    name = rest.partition(".")[0].strip() if ray and not start else ""
    return SLOT if name == "TrialSlot" else name


def alive(pids: set[int] | list[int]) -> set[int]:
    """Those of ``pids`` that still run."""
    return {pid for pid in pids if _parent(PROC / str(pid)) is not None}


def resident_mib(pid: int) -> float:
    """Proportional memory of a process and all below it: what is shared is counted once."""
    total = 0
    for process in [pid, *descendants(pid)]:
        try:
            lines = (PROC / str(process) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition; returns the seconds it took, or fails saying ``what`` is missing."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.02)
    return time.monotonic() - started


def _parent(folder: Path) -> int | None:
    try:
        state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(parent)
