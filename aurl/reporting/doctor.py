"""What this machine can do for a sweep, and the command that adds what is missing."""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MIN_FREE_GIB = 2.0
MIN_MEMORY_GIB = 4.0
_PACKAGES = ("torch", "ray", "optuna", "tensorboard", "miditoolkit", "safetensors")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str
    fix: str = ""


def examine(folder: Path) -> list[Finding]:
    """Look at packages, processors, memory, disk and shared memory.

    Args:
        folder: Where sweeps would be written.
    """
    findings = [_package(name) for name in _PACKAGES]
    findings += [_dashboard(), _processors(), _gpus(), _memory(), _disk(folder), _writable(folder)]
    return findings


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed", "pip install -e .")


def _dashboard() -> Finding:
    found = importlib.util.find_spec("aiohttp") is not None
    fix = "" if found else "pip install 'ray[default]'"
    return Finding("ray[default]", found, "installed" if found else "not installed", fix)


def _processors() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding(
        "CPU cores", bool(count), f"{count}; --dry-run says how many trials run at a time"
    )


def _gpus() -> Finding:
    try:
        import torch  # which may be what is missing
    except ImportError:
        return Finding("GPUs", True, "not known without torch")
    if not torch.cuda.is_available():
        return Finding("GPUs", True, "none: trials run on the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Finding("GPUs", True, f"{', '.join(names)}: use --gpus-per-worker 1")


def _memory() -> Finding:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    gib = pages * size / 2**30
    ok = gib >= MIN_MEMORY_GIB
    fix = "" if ok else f"use a machine with at least {MIN_MEMORY_GIB:g} GiB"
    return Finding("memory", ok, f"{gib:.1f} GiB", fix)


def _disk(folder: Path) -> Finding:
    gib = shutil.disk_usage(folder).free / 2**30
    ok = gib >= MIN_FREE_GIB
    fix = "" if ok else "free some space, or use --out on another disk"
    return Finding("free disk", ok, f"{gib:.1f} GiB", fix)


def _writable(folder: Path) -> Finding:
    ok = os.access(folder, os.W_OK)
    return Finding("current folder", ok, "can be written" if ok else "cannot be written")
