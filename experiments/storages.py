"""Storage that fills up, turns read-only, hangs, or is all that is left: with Ray's processes.

    sudo PYTHONPATH=. python experiments/storages.py --out FOLDER --s3 s3://bucket/folder?...

The sweep of :mod:`experiments.faults`, with the same undisturbed one to be held against; the tmpfs
takes root to mount. *full*: the sweep's folder is a tmpfs that is too small; it gets room, and the
sweep is gone on with. *read-only*: ``--storage`` is a tmpfs that cannot be written from the first
report on, for a while. *file* and *s3*: with ``--storage``, the driver is killed at a random time
once a trial has ended, the sweep's folder is removed, and the sweep gone on with. *frozen*: the
sweep's folder is a disk on which every write stands still for a minute. Behind a link of our own
to the S3 server (``proxy.py``), *slow*: every file takes two seconds more; *hangs*: nothing is
answered for a minute; *gone*: nothing is any more. Without ``--s3``, the cases that need it are
left out.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from aurl.files import append_lines
from experiments.disturbed import (
    PATIENCE_S,
    Disturbed,
    hold_against,
    look_at,
    marked,
    mount,
    undisturbed,
    waited,
)
from experiments.proxy import Link, link_to

FULL_KIB = 2500
READ_ONLY = "read-only"
PAUSE_S = 60.0
"""For which a store or a disk stands still."""

DELAY_S = 2.0


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


def slow(sweep: Disturbed, row: dict[str, Any], link: Link) -> None:
    """A store for which every file takes seconds more."""
    link.delay_s = DELAY_S
    began = time.monotonic()
    sweep.start()
    ended(sweep, row)
    row |= {"seconds": round(time.monotonic() - began), "files that waited": link.delayed}


def hangs(sweep: Disturbed, row: dict[str, Any], link: Link) -> None:
    """A store that does not answer for a minute, once a trial has ended."""
    sweep.start()
    until(sweep, lambda: len(sweep.ended()) > 0)
    with link.standing_still():
        pause(sweep, row)
    ended(sweep, row)


def gone(sweep: Disturbed, row: dict[str, Any], link: Link) -> None:
    """A store that does not answer any more, once a trial has ended."""
    sweep.start()
    until(sweep, lambda: len(sweep.ended()) > 0)
    began = time.monotonic()
    with link.standing_still():
        sweep.wait()
        row["seconds until it ended"] = round(time.monotonic() - began)
    ended(sweep, row)


def frozen(sweep: Disturbed, row: dict[str, Any]) -> None:
    """A disk of the sweep's folder on which every write stands still for a minute.

    As on a network file system whose server is away: a process that writes cannot even be killed.
    """
    image = sweep.place / "frozen.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    sweep.folder.mkdir(parents=True)
    subprocess.run(["mount", "-o", "loop", image, sweep.folder], check=True)
    (sweep.folder / "lost+found").rmdir()
    sweep.start()
    until(sweep, lambda: len(sweep.ended()) > 0)
    subprocess.run(["fsfreeze", "-f", sweep.folder], check=True)
    try:
        pause(sweep, row)
    finally:
        subprocess.run(["fsfreeze", "-u", sweep.folder], check=True)
    ended(sweep, row)


def pause(sweep: Disturbed, row: dict[str, Any]) -> None:
    """Wait while something stands still, and note what the sweep does meanwhile."""

    def steps() -> int:
        return sum(int(status["step"]) for status in sweep.statuses().values())

    before = steps()
    time.sleep(PAUSE_S)
    row |= {"ended in the pause": not sweep.runs(), "steps in the pause": steps() - before}


@contextlib.contextmanager
def link_of(uri: str) -> Generator[tuple[str, Link]]:
    """A URI as that of ``uri``, behind a link to the server that its endpoint names."""
    (server,) = re.findall(r"endpoint_override=([\w.-]+:\d+)", uri)
    host, _, port = server.partition(":")
    with link_to(host, int(port)) as link:
        yield uri.replace(server, f"127.0.0.1:{link.port}"), link


HERE: dict[str, Callable[[Disturbed, dict[str, Any]], None]] = {
    "full": full,
    "frozen": frozen,
    READ_ONLY: read_only,
    "file": lost,
    "s3": lost,
}
LINKED: dict[str, Callable[[Disturbed, dict[str, Any], Link], None]] = {
    "slow": slow,
    "hangs": hangs,
    "gone": gone,
}


def main() -> None:
    """Try each; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("faults"), help="a folder to work in")
    parser.add_argument("--s3", default="", help="URI of a folder that can be written")
    parser.add_argument("--only", nargs="*", help=f"some of {' '.join((*HERE, *LINKED))}")
    parser.add_argument("--slots", type=int, default=2, help="trials of a sweep at a time")
    args = parser.parse_args()
    place = args.out.absolute()
    calm = undisturbed(place, args.slots)
    local = [name for name in HERE if name != "s3"]
    for name in args.only or ([*HERE, *LINKED] if args.s3 else local):
        row: dict[str, Any] = {"case": name}
        sweep = Disturbed(place, f"storage-{name}", slots=args.slots)
        with contextlib.ExitStack() as stack:
            if name in LINKED:
                uri, link = stack.enter_context(link_of(args.s3))
                sweep.options = ("--storage", uri)
                LINKED[name](sweep, row, link)
                link.delay_s = 0.0
            else:
                far = {READ_ONLY: READ_ONLY, "file": "far"}.get(name, "")
                uri = args.s3 if name == "s3" else far and (place / far).as_uri()
                sweep.options = ("--storage", uri) if uri else ()
                HERE[name](sweep, row)
            sweep.start()
            sweep.wait()
        row |= {"exit at last": sweep.driver.returncode if sweep.driver else None}
        row["attempts"] = [status["attempts"] for status in sweep.statuses().values()]
        row["wrong at last"] = hold_against(sweep, calm.folder)
        append_lines(place / "storages.jsonl", [row])
        print(json.dumps(row), flush=True)
        if name in ("full", READ_ONLY, "frozen"):
            mounted = place / READ_ONLY if name == READ_ONLY else sweep.folder
            subprocess.run(["umount", "--lazy", mounted], check=True)


if __name__ == "__main__":
    main()
