"""Where a trial's numbers go: ``metrics.jsonl``, and the TensorBoard event files made from it.

``metrics.jsonl`` is the truth. :func:`open_trial` writes one event file from the rows that are
there and empties the trial's earlier ones, so that a resumed trial shows neither a stale nor a
double point, even in a TensorBoard that was open all the while.

``tensorboard --logdir SWEEP`` lists the run ``.``, which holds the sweep's search space, and one
run ``trials/<id>`` for each trial. The HParams page needs three records: the space at the root
(:func:`write_experiment`), a session start in each trial (:func:`open_trial`) and a session end
(:meth:`TrialWriter.close`). A parameter that a trial does not have is simply absent in it.
"""

import itertools
import json
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, assert_never, final

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from aurl.drawing.canvas import Picture, write_png
from aurl.errors import ConfigError
from aurl.files import append_lines, atomic, read_lines, write_bytes
from aurl.training.media import layout_summary, picture_summary, sound_summary

METRICS_FILE = "metrics.jsonl"
PICTURES = "pictures"
"""Folder of a trial's pictures as PNG files."""

NON_FINITE = "non_finite"
"""Key of a row's list of the metrics that were NaN or infinite, which JSON cannot hold."""

Status: TypeAlias = Literal["running", "completed", "stopped", "failed"]
Row: TypeAlias = Mapping[str, float | list[str]]
"""One logged step: ``step``, named numbers, and perhaps ``non_finite``."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Every number from ``low`` to ``high``: TensorBoard has one kind for whole and real ones."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Options:
    """A closed list of values; they may be of several types."""

    values: tuple[object, ...]


Domain: TypeAlias = Interval | Options
"""What TensorBoard is told of the values that a searched parameter can take."""


def write_experiment(
    sweep: Path,
    domains: Mapping[str, Domain],
    metrics: Sequence[str],
    *,
    conditional: Collection[str] = (),
) -> None:
    """Declare the search space to TensorBoard's HParams page, in the sweep's root folder.

    The layout of the Custom Scalars page is written there, too.

    Writing it again, as a resumed sweep does, replaces what was there.

    Args:
        sweep: The sweep's folder, which is the log folder that TensorBoard is given.
        domains: Every searched parameter, the conditional ones too, by its dotted key.
        metrics: Tags of the scalars that become columns, in the order of the columns.
        conditional: Parameters that not every trial has. TensorBoard shows five at first, and in
            its parallel coordinates only trials that have all it shows: these come last.
    """
    infos = [_hparam_info(name, domain) for name, domain in domains.items()]
    for info in infos:
        info.differs = info.name not in conditional  # it sorts by this, then by name
    experiment = api_pb2.Experiment(
        hparam_infos=infos,
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=tag)
            for tag in metrics
        ],
        time_created_secs=time.time(),
    )
    _empty_events(sweep)
    events = _EventFile(sweep)
    events.add(_hparams_summary(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)))
    events.add(layout_summary())
    events.close()


def show_on_sweep(sweep: Path, tag: str, picture: Picture, *, step: int) -> None:
    """Add a picture to the sweep's own run and to its folder, where the last one is kept.

    It goes on with the event file of :func:`write_experiment`, if there is one: a new one would
    make an open TensorBoard forget the search space.
    """
    encoded = write_png(picture, sweep_picture(sweep, tag))
    paths = _event_paths(sweep)
    if paths:
        with paths[-1].open("ab") as file:
            shown = picture_summary(tag, encoded)
            event = Event(wall_time=time.time(), step=step, summary=shown)
            RecordWriter(file).write(event.SerializeToString())


def sweep_picture(sweep: Path, tag: str) -> Path:
    """Where a sweep's folder holds a picture of its own."""
    return sweep / f"{tag}.png"


def open_trial(folder: Path, *, params: Mapping[str, object], started: float) -> "TrialWriter":
    """Start or resume writing a trial's numbers; its folder's name is its id.

    The rows that ``metrics.jsonl`` already holds are shown again, each at the time at which it was
    first written, with the pictures and sounds that were made up to the last of them. Call
    :func:`rewind` before resuming from a checkpoint. The Text page shows the folder's
    ``config.yaml``, if it is there.

    Args:
        folder: The trial's folder, ``SWEEP/trials/<id>``.
        params: Values of the searched parameters that this trial has, by dotted key. One that is
            None is left out; one that is not a number, a string or a bool is shown as JSON.
        started: When the trial first started, in seconds since 1970.
    """
    rows = read_rows(folder)
    _keep_rows(folder, rows)  # without a torn last line, which the next row would run into
    last = rows[-1]["step"] if rows else -1
    times, shown = _wall_times(folder), _pictures_and_sounds(folder, last)
    _empty_events(folder)
    events = _EventFile(folder)
    values = {name: _shown(value) for name, value in params.items() if value is not None}
    events.add(hparams_pb(values, trial_id=folder.name, start_time_secs=started))
    config = folder / "config.yaml"
    if config.exists():
        events.add(text_pb("config", f"```yaml\n{config.read_text(encoding='utf-8')}\n```"))
    for row in rows:
        events.add(_scalars(row), step=row["step"], wall_time=times.get(row["step"]))
    for event in shown:
        events.add(event.summary, step=event.step, wall_time=event.wall_time)
    events.flush()
    return TrialWriter(folder / METRICS_FILE, events, last_step=last)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The logged steps of a trial's folder.

    Raises:
        ConfigError: If one is no row of a trial.
    """
    rows = read_lines(folder / METRICS_FILE)
    for number, row in enumerate(rows, start=1):
        values = (value for name, value in row.items() if name != NON_FINITE)
        is_whole = type(row.get("step")) is int and isinstance(row.get(NON_FINITE, []), list)
        if not is_whole or not all(isinstance(value, int | float) for value in values):
            raise ConfigError(
                f"{folder / METRICS_FILE} is damaged: row {number} is no row of a trial, with "
                "a step and numbers. Take it out."
            )
    return rows


def rewind(folder: Path, step: int) -> None:
    """Forget what a trial logged after ``step``, before it resumes from the checkpoint made there.

    Drops the later rows of ``metrics.jsonl`` and a torn last line; :func:`open_trial` then makes
    the event file from the rows that are left.

    Args:
        folder: The trial's folder.
        step: The last step that is kept; -1 starts over.
    """
    rows = read_rows(folder)
    _keep_rows(folder, [row for row in rows if row["step"] <= step])


@final
class TrialWriter:
    """The open ``metrics.jsonl`` and event file of one trial, made by :func:`open_trial`."""

    def __init__(self, path: Path, events: "_EventFile", *, last_step: int) -> None:
        self._path = path
        self._events = events
        self._step = last_step

    def log(self, rows: Sequence[Row]) -> None:
        """Append rows to both files; a reader sees them when this returns.

        A value that is not finite is left out of ``metrics.jsonl`` and its name goes into the
        row's ``non_finite``; TensorBoard shows it as NaN.

        Raises:
            ValueError: If a row goes back in steps, which means that :func:`rewind` was forgotten.
        """
        cleaned = [_cleaned(row) for row in rows]
        steps = [self._step, *(row["step"] for row in cleaned)]
        for before, after in itertools.pairwise(steps):
            if after < before:
                raise ValueError(
                    f"step must not go back, got {after} after {before}. "
                    "Rewind the trial's folder to its checkpoint first."
                )
        append_lines(self._path, cleaned)
        for row in cleaned:
            self._events.add(_scalars(row), step=row["step"])
        self._events.flush()
        self._step = int(steps[-1])

    def show(self, pictures: Mapping[str, bytes], sounds: Mapping[str, bytes]) -> None:
        """Add pictures and sounds by their tags, at the last step that was logged.

        A picture is also a file in the trial's folder: ``a/b`` is ``pictures/a_b.png``.

        Args:
            pictures: PNG files.
            sounds: WAV files.
        """
        step = max(self._step, 0)
        for tag, png in pictures.items():
            write_bytes(self._path.parent / PICTURES / f"{tag.replace('/', '_')}.png", png)
            self._events.add(picture_summary(tag, png), step=step)
        for tag, wav in sounds.items():
            self._events.add(sound_summary(tag, wav), step=step)
        self._events.flush()

    def close(self, status: Status) -> None:
        """End the session: FAILURE for ``failed``, SUCCESS for ``completed`` and ``stopped``.

        ``running`` leaves the session open, for a trial that is to be resumed. Use ``failed`` only
        when no attempt is left: a TensorBoard that is open keeps the first end that it read.
        """
        if status != "running":
            code = api_pb2.STATUS_FAILURE if status == "failed" else api_pb2.STATUS_SUCCESS
            end = SessionEndInfo(status=code, end_time_secs=time.time())
            data = HParamsPluginData(session_end_info=end)
            self._events.add(_hparams_summary(metadata.SESSION_END_INFO_TAG, data))
        self._events.close()


@final
class _EventFile:
    """One event file, written at once by this thread (TensorBoard's own writer queues)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _next_event_path(folder).open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # A second START in a run makes an open TensorBoard forget what it has read of the run.
        restart = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=0, session_log=restart))
        self.flush()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())

    def add(self, summary: Summary, *, step: int = 0, wall_time: float | None = None) -> None:
        wall_time = time.time() if wall_time is None else wall_time
        self._write(Event(wall_time=wall_time, step=step, summary=summary))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _event_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("events.out.tfevents.*"))


def _next_event_path(folder: Path) -> Path:
    """A name for a new event file.

    Readers take a folder's files in the order of their names: a later one sorts later, also on a
    machine whose clock is behind that of the one before.
    """
    numbers = (path.name.rpartition(".")[2] for path in _event_paths(folder))
    earlier = (int(number) for number in numbers if number.isdecimal())
    return folder / f"events.out.tfevents.{max(time.time_ns(), 1 + max(earlier, default=0))}"


def _empty_events(folder: Path) -> None:
    """Empty the event files; without them, a TensorBoard that reads them would stop there."""
    for path in _event_paths(folder):
        path.write_bytes(b"")


def _wall_times(folder: Path) -> dict[int, float]:
    """When each step was first logged, from the event files that are there, whole or torn."""
    times: dict[int, float] = {}
    for event in _events(folder):
        if any(value.HasField("simple_value") for value in event.summary.value):
            times.setdefault(event.step, event.wall_time)
    return times


def _pictures_and_sounds(folder: Path, last_step: int) -> list[Event]:
    """What was shown beside curves up to a step, each once."""
    found: dict[tuple[str, int], Event] = {}
    for event in _events(folder):
        for value in event.summary.value:
            if event.step <= last_step and (value.HasField("image") or value.HasField("audio")):
                found[value.tag, event.step] = event
    return list(found.values())


def _events(folder: Path) -> Iterator[Event]:
    for path in _event_paths(folder):
        yield from LegacyEventFileLoader(str(path)).Load()


def _keep_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    with atomic(folder / METRICS_FILE) as temporary:
        append_lines(temporary, rows)


def _cleaned(row: Row) -> dict[str, Any]:
    finite: dict[str, Any] = {}
    non_finite: list[str] = []
    for name, value in row.items():
        if isinstance(value, list):
            non_finite.extend(value)
        elif name == "step":
            finite[name] = int(value)
        elif math.isfinite(value):
            finite[name] = float(value)
        else:
            non_finite.append(name)
    return finite | ({NON_FINITE: non_finite} if non_finite else {})


def _scalars(row: Mapping[str, Any]) -> Summary:
    shown = {name: value for name, value in row.items() if name not in ("step", NON_FINITE)}
    shown |= dict.fromkeys(row.get(NON_FINITE, ()), math.nan)
    return Summary(value=[Summary.Value(tag=tag, simple_value=x) for tag, x in shown.items()])


def _hparams_summary(tag: str, data: HParamsPluginData) -> Summary:
    about = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def _shown(value: object) -> bool | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value)


def _hparam_info(name: str, domain: Domain) -> api_pb2.HParamInfo:
    match domain:
        case Interval(low, high):
            info = api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_FLOAT64)
            info.domain_interval.min_value = low
            info.domain_interval.max_value = high
            return info
        case Options(values):
            shown = [_shown(value) for value in values if value is not None]
            info = api_pb2.HParamInfo(name=name, type=_data_type(shown))
            info.domain_discrete.extend(shown)
            return info
    assert_never(domain)


def _data_type(values: Sequence[bool | float | str]) -> int:
    """TensorBoard's type of a list of options; a mixed list counts as strings, as in its own."""
    if values and all(isinstance(value, bool) for value in values):
        return api_pb2.DATA_TYPE_BOOL
    if any(isinstance(value, bool | str) for value in values):
        return api_pb2.DATA_TYPE_STRING
    return api_pb2.DATA_TYPE_FLOAT64
