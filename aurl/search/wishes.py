"""What somebody asks of a trial while its sweep runs: a file in its folder that the driver reads.

It is written by another process, on any machine that sees the folder, and needs no Ray. The wish
that it be stopped stays where it is, so that a driver that was killed in between finds it when it
resumes. The wish that it be paused holds until then: a resumed sweep goes on with every trial.
"""

from datetime import UTC, datetime
from pathlib import Path

from aurl.errors import SweepError
from aurl.files import read_json, write_json
from aurl.search.ranking import folder_of

STOP = "stop.json"
"""In a trial's folder: it is to be stopped at its next report, if paused when it goes on."""

PAUSE = "pause.json"
"""In a trial's folder: it is to give up its slot at its next report and wait for ``--resume``."""

REASON = "asked by user"
PAUSED = "--resume goes on with it"
"""Reason of a trial that is paused."""


def ask(sweep: Path, trial: str, wish: str) -> None:
    """Leave a wish about a trial; a finalist's run with another seed is called t0003.1.

    Args:
        sweep: The sweep's folder.
        trial: The trial's name.
        wish: :data:`STOP` or :data:`PAUSE`.

    Raises:
        SweepError: If there is no such sweep or trial, or it does not run.
    """
    folder = folder_of(sweep, trial, "TRIAL")
    found = read_json(folder / "status.json")
    status = found.get("status") if isinstance(found, dict) else "damaged"
    if status != "running" and (status, wish) != ("paused", STOP):
        raise SweepError(f"TRIAL must be running, got {trial}, which is {status}. Let it be.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(folder / wish, {"asked": now})


def is_asked(folder: Path, wish: str) -> bool:
    """Whether a trial's folder holds a wish."""
    return (folder / wish).exists()
