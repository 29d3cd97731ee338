"""The one writer of a sweep's trial folders: status, metrics, events.

It runs in the driver. ``status.json`` is the truth about a trial: a resumed sweep reads it, the
configuration, the rows and the checkpoint.
"""

import contextlib
import logging
import math
import time
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aurl.config import RunConfig
from aurl.drawing.canvas import png
from aurl.errors import ConfigError, DataError, OutageError, SweepError
from aurl.files import read_json, remove_parts, write_json
from aurl.metrics.score import RUNG_SCALE
from aurl.plain import Plain
from aurl.search.copies import Copies
from aurl.search.distributions import Value
from aurl.search.provenance import config_in, of_sweep, provenance, write_config
from aurl.search.ranking import ENDS, FINAL_ID, FINALISTS, TRIAL_ID, UNENDED, End
from aurl.search.shape import Shape
from aurl.training import checkpoint
from aurl.training.look import OF_DIMENSIONS
from aurl.training.messages import WORKERS, Media, Row
from aurl.training.pictures import KL, kl_over_time
from aurl.training.place import keep_at, place_of
from aurl.training.reporters import TrialWriter, open_trial, read_rows, rewind
from aurl.training.store import Remote

_log = logging.getLogger(__name__)


@runtime_checkable
class Display(Protocol):
    """What shows a sweep's progress to a person."""

    def trial_started(self, trial_id: str, params: Mapping[str, Value], step: int) -> None:
        """A trial starts, or goes on from a step."""

    def trial_progress(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """A trial was evaluated."""

    def trial_ended(
        self, trial_id: str, status: str, reason: str, metrics: Mapping[str, float]
    ) -> None:
        """A trial ended."""

    def message(self, text: str) -> None:
        """What a person should know meanwhile."""


def trial_id(number: int) -> str:
    """``t0007`` for trial 7."""
    return f"t{number:04d}"


def trial_number(name: str) -> int:
    """The number in a trial's id."""
    return int(name.removeprefix("t"))


class Recorder:
    """Writes what happens to the trials of one sweep.

    Args:
        folder: The sweep's ``trials`` folder.
        display: Told of everything that is written.
        remote: Where checkpoints are kept, and copies of the trials' folders; None keeps none.
        shape: What each trial holds while it runs.
    """

    def __init__(
        self,
        folder: Path,
        display: Display,
        remote: Remote | None = None,
        shape: Shape = Shape(),  # noqa: B008 - immutable
    ) -> None:
        self._folder = folder
        self._shape = shape
        self._remote = remote
        self._copies = Copies(folder, remote) if remote else None
        self._display = display
        self._writers: dict[str, TrialWriter] = {}
        self._status: dict[str, dict[str, Any]] = {}
        self._since: dict[str, float] = {}
        self._workers: dict[str, float] = {}

    @cached_property
    def _made_by(self) -> Plain:
        """What new trials say of their making."""
        return {**of_sweep(self._folder.parent), **provenance()}

    def propose(self, name: str, params: Mapping[str, Value], config: RunConfig) -> None:
        """Make the folder of a new trial. A configuration that is there stays."""
        folder = self._folder / name
        if not (folder / "config.yaml").exists():
            write_config(folder / "config.yaml", config, self._made_by)
        if self._remote is not None:
            keep_at(
                folder / "checkpoint", self._remote.below(self._folder.name, name, "checkpoint")
            )
        self._status[name] = {
            "trial": name,
            "status": "running",
            "reason": "",
            "step": 0,
            "steps": config.training.steps,
            "seconds": 0.0,
            "device_seconds": {},
            "attempts": 0,
            "rung_scale": RUNG_SCALE,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "params": dict(params),
            "metrics": {},
        }
        self._write(name)
        self._copy(name)

    def tell(self, text: str) -> None:
        """Have a person told what goes on."""
        self._display.message(text)

    def start(self, name: str) -> None:
        """An attempt at a trial begins, from its checkpoint if it has one."""
        folder = self._folder / name
        if name in self._writers:
            self._writers.pop(name).close("running")
        status = self._known(name)
        rewind(folder, _step_to_start_from(folder))
        status |= {"status": "running", "step": 0, "metrics": {}, "reason": ""}
        self._keep_metrics(name, read_rows(folder))
        self._workers.pop(name, None)  # of this attempt, which may have fewer
        if "device_seconds" not in status:  # an older aurl did not say
            status["device_seconds"] = {}
            self._count(name, status["seconds"])
        if self._copies is not None:
            self._copies.forget(name)
        status["attempts"] += 1
        started = datetime.fromisoformat(status["started"]).timestamp()
        self._writers[name] = open_trial(folder, params=status["params"], started=started)
        self._since[name] = time.monotonic() - status["seconds"]
        self._write(name)
        self._display.trial_started(name, status["params"], status["step"])

    def report(self, name: str, rows: Sequence[Row], waited_s: float = 0.0) -> None:
        """Rows of a running trial, which held nothing for some of the seconds before.

        Raises:
            OutageError: If somebody has removed its folder: written now, it would be half a trial.
        """
        if not (self._folder / name / "config.yaml").exists():
            raise OutageError(
                f"{self._folder / name} must stay while its trial runs, and is gone."
            )
        status = self._status[name]
        self._writers[name].log([dict(row) for row in rows])
        self._keep_metrics(name, rows)
        self._write(name, waited_s)
        self._copy(name)
        self._display.trial_progress(name, status["step"], status["metrics"])

    def show(self, name: str, media: Media | None) -> None:
        """Keep the pictures and sounds of a running trial, if it has sent some."""
        if media is not None:
            self._writers[name].show(media.pictures, media.sounds)

    def pause(self, name: str, reason: str) -> None:
        """A trial has given up its slot, and is to be gone on with when the sweep is resumed."""
        self._writers.pop(name).close("running")
        self._status[name] |= {"status": "paused", "reason": reason}
        self._write(name)
        self._copy(name)
        self._display.trial_ended(name, "paused", reason, self._status[name]["metrics"])

    def end(self, name: str, end: End, reason: str) -> dict[str, float]:
        """A trial is over; returns its last metrics.

        Its status says so last of all: what is written about a trial that has ended is complete.
        """
        status = self._known(name)
        if name in self._writers:
            with _drawing(name):
                rates = kl_over_time(read_rows(self._folder / name))
                if rates is not None:
                    self._writers[name].show({KL: png(rates)}, {})
            self._writers.pop(name).close(end)
        status |= {"status": end, "reason": reason}
        self._write(name)
        if self._copies is not None:
            self._copies.forget(name)
        self._copy(name)
        self._display.trial_ended(name, end, reason, status["metrics"])
        return dict(status["metrics"])

    def _known(self, name: str) -> dict[str, Any]:
        """The status of a trial, which an earlier driver may have written last."""
        if name not in self._status:
            self._status[name] = _read_status(self._folder / name / "status.json")
        return self._status[name]

    def _keep_metrics(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        status = self._status[name]
        for row in rows:
            status["step"] = int(row["step"])
            if WORKERS in row:
                self._workers[name] = row[WORKERS]
            if any(key.startswith("val/") for key in row):
                status["metrics"] = {
                    key: value
                    for key, value in row.items()
                    if key != "step"
                    and not key.startswith(OF_DIMENSIONS)
                    and isinstance(value, float)
                    and math.isfinite(value)
                }

    def _copy(self, name: str) -> None:
        if self._copies is not None:
            self._copies.take(name)

    def _write(self, name: str, waited_s: float = 0.0) -> None:
        status = self._status[name]
        if name in self._since:
            seconds = round(time.monotonic() - self._since[name], 3)
            self._count(name, max(0.0, seconds - status["seconds"] - waited_s))
            status["seconds"] = seconds
        write_json(self._folder / name / "status.json", status)

    def _count(self, name: str, seconds: float) -> None:
        """Count what a trial has held for some seconds: GPUs if its workers have some, or CPUs."""
        gpus = self._shape.gpus_per_worker
        workers = self._workers.get(name, self._shape.workers_per_trial)
        held = self._status[name]["device_seconds"]
        kind = "gpu" if gpus else "cpu"
        held[kind] = round(held.get(kind, 0.0) + seconds * workers * (gpus or 1.0), 3)


@contextlib.contextmanager
def _drawing(name: str) -> Generator[None]:
    """A block that ends no sweep: a picture that cannot be drawn is missing, the log says why."""
    try:
        yield
    except OSError:  # a full disk: made again when the sweep is gone on with
        raise
    except Exception:  # noqa: BLE001 - handed on to the log
        _log.exception("the pictures of %s could not be made", name)


def _step_to_start_from(folder: Path) -> int:
    """Step of a trial's checkpoint; what a worker that was killed left half-written is removed.

    A damaged one, as a power cut may leave it, is thrown away; so is one that the trial's rows do
    not reach, with which its curve would have a gap.
    """
    place = place_of(folder / "checkpoint")
    if isinstance(place, Remote):
        place.tidy()
    else:
        remove_parts(place)
    try:
        step = checkpoint.step_of(place)
        if _rows_reach(folder, step):
            return step
        _log.warning("%s: its checkpoint is of step %d, its rows end before.", folder, step)
    except DataError as error:
        _log.warning("%s", error)
    _log.warning("The trial starts over.")
    checkpoint.remove(place)
    return 0


def _rows_reach(folder: Path, step: int) -> bool:
    """Whether no row is missing until ``step``, at which there may be none."""
    last = max((row["step"] for row in read_rows(folder)), default=0)
    if step <= last:
        return True
    config = config_in(folder)
    every = (config.training.log_every, config.evaluation.every)
    return step < config.training.steps and all(step // each * each <= last for each in every)


def statuses(folder: Path) -> dict[str, dict[str, Any]]:
    """What each trial's ``status.json`` says, by the trials' names."""
    paths = [each / "status.json" for each in trial_folders(folder)]
    return {path.parent.name: _read_status(path) for path in paths if path.exists()}


def unended(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The trials that are still to do, by what :func:`statuses` found."""
    return [name for name, status in found.items() if status["status"] in UNENDED]


def _read_status(path: Path) -> dict[str, Any]:
    """A status as this module writes it.

    Raises:
        SweepError: If it is another, of which no sweep can be told.
    """
    try:
        status: dict[str, Any] = read_json(path)
        metrics: Mapping[str, Any] = status["metrics"]
        finite = all(math.isfinite(value) for value in metrics.values())
        known = (*UNENDED, *ENDS)
        whole = finite and status["status"] in known and isinstance(status["params"], dict)
        times = [status["seconds"], *status.get("device_seconds", {}).values()]
        whole &= all(isinstance(each, float | int) for each in times)
        whole &= type(status["attempts"]) is int
        datetime.fromisoformat(status["started"])
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        whole, status = False, {}
    if not whole:
        raise SweepError(
            f"{path} is damaged: it does not say how its trial is. Bring back a whole one, or "
            "begin a sweep of another --name with --warm-start and this folder."
        )
    return status


def trial_folders(folder: Path) -> list[Path]:
    """The folders that bear a trial's name; the others, and what they hold, are not ours.

    Raises:
        SweepError: If one is a link, which may lead to where a sweep must not write.
    """
    names = FINAL_ID if folder.name == FINALISTS else TRIAL_ID
    found = sorted(path for path in folder.glob("t*") if names.fullmatch(path.name))
    for path in found:
        if path.is_symlink():
            raise SweepError(f"{path} must be a trial's own folder, got a link. Remove it.")
    return [path for path in found if path.is_dir()]
