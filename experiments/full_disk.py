"""Fill the disk under a sweep at every size, make room, go on, and look for what was lost.

    sudo PYTHONPATH=. python experiments/full_disk.py --every 16

The sweep is that of tests/test_killed.py: real but for Ray and the training. Its folder is a tmpfs
of so many KiB, which takes root to mount; each run has a larger one, until the sweep fits.
"""

import argparse
import logging
import subprocess
import tempfile
import warnings
from pathlib import Path

import optuna

from aurl.errors import AurlError
from experiments.disturbed import mount
from tests import test_killed as sweep


def main() -> None:
    """Try every size; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=16, help="KiB from one size to the next")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("aurl").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _, wanted = sweep.undisturbed(root)
        size, fits = args.every, False
        while not fits:
            fits = tried(root, size, wanted)
            size += args.every


def tried(root: Path, size: int, wanted: list[dict[str, object]]) -> bool:
    """Run the sweep on a disk of a size, and again with room; whether it fitted at once."""
    place = root / f"of {size} KiB"
    place.mkdir()
    mount(place, f"size={size}k")
    said = ""
    try:
        sweep.drive(place, "s", root)
    except (AurlError, OSError) as error:
        said = str(error)
    ended = {path.name for path, each in sweep.trials(place / "s") if each["status"] != "running"}
    mount(place, "remount", "size=64m")
    sweep.drive(place, "s", root)
    wrong = sweep.what_is_wrong(place / "s", wanted, ended)
    why = said.replace(f"{place}/", "") or "it fits"
    print(f"{size} KiB, {len(ended)} ended: {why} {wrong or 'nothing lost'}", flush=True)
    subprocess.run(["umount", "--lazy", place], check=True)
    return not said


if __name__ == "__main__":
    main()
