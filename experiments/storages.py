"""Storage that fills up, turns read-only, hangs, or is all that is left: with Ray's processes.

    sudo PYTHONPATH=. python experiments/storages.py --out FOLDER --s3 s3://bucket/folder?...

The sweep of :mod:`experiments.faults`, with the same undisturbed one to be held against; the tmpfs
takes root to mount. *full*: the sweep's folder is a tmpfs that is too small; it gets room, and the
sweep is gone on with. *read-only*: ``--storage`` is a tmpfs that cannot be written from the first
report on, for a while. *file* and *s3*: with ``--storage``, the driver is killed at a random time
once a trial has ended, the sweep's folder is removed, and the sweep gone on with. *hangs*: the S3
server that ``--pid`` names is stopped for some seconds, then until the sweep ends. Without
``--s3``, *s3* and *hangs* are left out.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from aurl.files import append_lines
from experiments.disturbed import (
    PATIENCE_S,
    SPACE,
    Disturbed,
    hold_against,
    look_at,
    marked,
    waited,
)

FULL_KIB = 2500
READ_ONLY = "read-only"
PAUSE_S = 4.0
"""For which an S3 server hangs and comes back: shorter than a sweep waits."""


def mount(place: Path, *options: str) -> None:
    """Mount a tmpfs, or change the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], check=True)


def reports(sweep: Disturbed) -> bool:
    """Whether a trial has reported."""
    return any(path.stat().st_size for path in sweep.folder.glob("trials/t*/metrics.jsonl"))


def until(sweep: Disturbed, condition: Callable[[], bool]) -> None:
    """Wait while a sweep runs."""
    waited(lambda: condition() or not sweep.runs(), PATIENCE_S)


def ended(sweep: Disturbed, row: dict[str, Any]) -> None:
    """Wait for a sweep's end, and note what it said."""
    sweep.wait()
    assert sweep.driver is not None
    row |= {"exit": sweep.driver.returncode, "said": sweep.last_line()}
    row |= {"ended": len(sweep.ended()), "wrong before": look_at(sweep)}
    waited(lambda: not marked(sweep.place), 60.0)


def full(sweep: Disturbed, row: dict[str, Any]) -> None:
    """A disk that is too small, and has room later."""
    sweep.folder.mkdir(parents=True)
    mount(sweep.folder, f"size={FULL_KIB}k")
    sweep.start()
    ended(sweep, row)
    mount(sweep.folder, "remount", "size=64m")


def read_only(sweep: Disturbed, row: dict[str, Any]) -> None:
    """A storage that cannot be written from the first report on."""
    far = sweep.place / READ_ONLY
    far.mkdir()
    mount(far, "size=64m")
    sweep.start()
    until(sweep, lambda: reports(sweep))
    while subprocess.run(["mount", "-o", "remount,ro", far], check=False).returncode:
        time.sleep(0.01)  # it is busy while a file is open for writing
    ended(sweep, row)
    mount(far, "remount", "rw", "size=64m")


def lost(sweep: Disturbed, row: dict[str, Any]) -> None:
    """A machine that is gone with its disk."""
    sweep.start()
    until(sweep, lambda: len(sweep.ended()) > 0)
    time.sleep(random.uniform(0.0, 4.0))
    os.kill(sweep.pid, signal.SIGKILL)
    ended(sweep, row)
    shutil.rmtree(sweep.folder)


def hangs(sweep: Disturbed, row: dict[str, Any], server: int) -> None:
    """A store that does not answer for a while, and later for good."""
    sweep.start()
    until(sweep, lambda: reports(sweep))
    os.kill(server, signal.SIGSTOP)
    time.sleep(PAUSE_S)
    os.kill(server, signal.SIGCONT)
    until(sweep, lambda: len(sweep.ended()) > 0)
    row["ended after a pause"] = len(sweep.ended())
    os.kill(server, signal.SIGSTOP)
    try:
        ended(sweep, row)
    finally:
        os.kill(server, signal.SIGCONT)


def main() -> None:
    """Try each; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("faults"), help="a folder to work in")
    parser.add_argument("--s3", default="", help="URI of a folder that can be written")
    parser.add_argument("--pid", type=int, help="process of the S3 server")
    parser.add_argument("--only", nargs="*", help="some of full read-only file s3 hangs")
    parser.add_argument("--slots", type=int, default=2, help="trials of a sweep at a time")
    args = parser.parse_args()
    place = args.out.absolute()
    place.mkdir(parents=True, exist_ok=True)
    (place / "space.yaml").write_text(SPACE)
    optuna.logging.disable_default_handler()
    calm = Disturbed(place, "calm", slots=args.slots)
    while not (calm.folder / "best").exists():
        calm.start()
        calm.wait()
    far = (place / "far").as_uri()
    cases: dict[str, tuple[str, Callable[[Disturbed, dict[str, Any]], None]]] = {
        "full": ("", full),
        READ_ONLY: ((place / READ_ONLY).as_uri(), read_only),
        "file": (far, lost),
        **({"s3": (args.s3, lost)} if args.s3 else {}),
        **({"hangs": (args.s3, lambda s, row: hangs(s, row, args.pid))} if args.pid else {}),
    }
    for name in args.only or cases:
        uri, disturb = cases[name]
        options = ("--storage", uri) if uri else ()
        sweep = Disturbed(place, f"storage-{name}", options, slots=args.slots)
        row: dict[str, Any] = {"case": name}
        disturb(sweep, row)
        sweep.start()
        sweep.wait()
        row |= {"exit at last": sweep.driver.returncode if sweep.driver else None}
        row["wrong at last"] = hold_against(sweep, calm.folder)
        append_lines(place / "storages.jsonl", [row])
        print(json.dumps(row), flush=True)
        if name in ("full", READ_ONLY):
            mounted = place / READ_ONLY if uri else sweep.folder
            subprocess.run(["umount", "--lazy", mounted], check=True)


if __name__ == "__main__":
    main()
