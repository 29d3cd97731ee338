"""What somebody asks of a trial or a sweep that runs: a file in its folder that the driver reads.

It is written by another process, on any machine that sees the folder, and needs no Ray. The wish
that a trial be stopped stays where it is, so that a driver that was killed in between finds it
when it resumes. All others hold until then: a resumed sweep goes on with every trial.
"""

from datetime import UTC, datetime
from pathlib import Path

from aurl.errors import SweepError
from aurl.files import read_json, write_json
from aurl.search.ranking import counts, folder_of, read_runs

STOP = "stop.json"
"""In a trial's folder: it is to be stopped at its next report, if paused when it goes on.

In a sweep's: no other trial begins, and those that run come to their end.
"""

PAUSE = "pause.json"
"""In a trial's folder: it is to give up its slot at its next report and wait for ``--resume``.

In a sweep's: so does every trial, and no other begins.
"""

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
    _leave(folder / wish)


def ask_all(sweep: Path, wish: str) -> int:
    """Leave a wish about a whole sweep, in place of another; returns how many trials run.

    Raises:
        SweepError: If there is no such sweep, or none of its trials runs.
    """
    running = counts(read_runs(sweep))["running"]
    if not running:
        raise SweepError(
            f"SWEEP must be running, got {sweep}, none of whose trials is. Let it be."
        )
    _leave(sweep / wish)
    (sweep / (STOP if wish == PAUSE else PAUSE)).unlink(missing_ok=True)
    return running


def is_over(sweep: Path) -> bool:
    """Whether no other trial of a sweep is to begin."""
    return is_asked(sweep, STOP) or is_asked(sweep, PAUSE)


def is_asked(folder: Path, wish: str) -> bool:
    """Whether a trial's folder, or a sweep's, holds a wish."""
    return (folder / wish).exists()


def _leave(wish: Path) -> None:
    write_json(wish, {"asked": datetime.now(UTC).isoformat(timespec="seconds")})
