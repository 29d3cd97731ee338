"""What a sweep writes of its trials: one status at a time, and never more than was kept."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aurl.errors import ConfigError, OutageError, SweepError
from aurl.files import read_json, read_lines, read_yaml, write_json, write_yaml
from aurl.metrics.score import RUNG_SCALE
from aurl.search.distributions import Value
from aurl.search.provenance import config_in, provenance, read_config
from aurl.search.ranking import End, read_trials
from aurl.search.recorder import Recorder, statuses, trial_id, trial_number
from aurl.search.shape import Shape
from aurl.training import checkpoint
from aurl.training.messages import WORKERS
from aurl.training.reporters import TrialWriter
from tests.tiny import small_config

NAME = "t0003"
PARAMS: dict[str, Value] = {"optimizer.lr": 0.01, "objective.beta.schedule": "linear"}


class Display:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def trial_started(self, trial_id: str, params: Mapping[str, Value], step: int) -> None:
        self.told.append(("started", trial_id, dict(params), step))

    def trial_progress(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None:
        self.told.append(("progress", trial_id, step, dict(metrics)))

    def trial_ended(
        self, trial_id: str, status: str, reason: str, metrics: Mapping[str, float]
    ) -> None:
        self.told.append(("ended", trial_id, status, reason, dict(metrics)))

    def message(self, text: str) -> None:
        self.told.append(("message", text))


OPEN: list[Recorder] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Ends what a test left running: its files are open."""
    yield
    while OPEN:
        OPEN.pop().end(NAME, "failed", "the test is over")


def recorder(folder: Path, display: Display | None = None) -> Recorder:
    return Recorder(folder, display or Display())


def begin(made: Recorder) -> Recorder:
    OPEN.append(made)
    made.start(NAME)
    return made


def started(folder: Path, **changes: Any) -> Recorder:
    made = recorder(folder)
    made.propose(NAME, PARAMS, small_config(**changes))
    return begin(made)


def status(folder: Path) -> dict[str, Any]:
    return read_json(folder / NAME / "status.json")


def steps_logged(folder: Path) -> list[int]:
    return [row["step"] for row in read_lines(folder / NAME / "metrics.jsonl")]


def save_checkpoint(folder: Path, step: int) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoint.save(folder / NAME / "checkpoint", step=step, model=model, optimizer=optimizer)


ROWS: list[dict[str, float]] = [
    {"step": 2, "train/objective_nats": 5.0},
    {"step": 4, "train/objective_nats": 4.0},
    {"step": 4, "val/kl_nats": 0.5, "val/active_units": 3.0},
]
LATER: list[dict[str, float]] = [
    {"step": 6, "train/objective_nats": 3.0},
    {"step": 8, "val/kl_nats": 0.7, "val/active_units": 4.0},
]


def test_a_trial_whose_folder_was_removed_is_not_written_on(tmp_path: Path) -> None:
    made = recorder(tmp_path / "trials")
    made.propose(NAME, PARAMS, small_config())
    begin(made)
    shutil.rmtree(tmp_path / "trials" / NAME)
    with pytest.raises(OutageError, match=f"trials/{NAME} must stay while its trial runs, and is"):
        made.report(NAME, ROWS)
    assert not (tmp_path / "trials" / NAME).exists()


def test_a_run_of_a_newer_aurl_is_said_in_one_line(tmp_path: Path) -> None:
    recorder(tmp_path).propose(NAME, PARAMS, small_config())
    path = tmp_path / NAME / "config.yaml"
    path.write_text(f"{path.read_text()}newer: 3\n")
    words = rf"{NAME}/config\.yaml must be a run of this version of aurl: newer is not a setting"
    with pytest.raises(ConfigError, match=words):
        config_in(tmp_path / NAME)


@pytest.mark.parametrize("key", ["status", "started", "seconds", "attempts", "params", "metrics"])
def test_a_status_that_lacks_what_a_resume_needs_is_damaged(tmp_path: Path, key: str) -> None:
    recorder(tmp_path).propose(NAME, PARAMS, small_config())
    path = tmp_path / NAME / "status.json"
    path.write_text(json.dumps({k: x for k, x in read_json(path).items() if k != key}))
    with pytest.raises(SweepError, match=r"status\.json is damaged"):
        statuses(tmp_path)
    with pytest.raises(SweepError, match=r"status\.json is damaged"):
        recorder(tmp_path).start(NAME)  # as `aurl train` does of its run
    path.write_text(json.dumps({**read_json(path), key: "odd"}))
    with pytest.raises(SweepError, match=r"status\.json is damaged"):
        statuses(tmp_path)


@pytest.mark.parametrize("number", [0, 7, 123, 12345])
def test_a_trial_is_named_by_its_number(number: int) -> None:
    assert trial_number(trial_id(number)) == number


def test_a_proposed_trial_is_a_folder_that_can_be_resumed(tmp_path: Path) -> None:
    recorder(tmp_path).propose(NAME, PARAMS, small_config())
    written = status(tmp_path)
    assert (written["status"], written["attempts"], written["step"]) == ("running", 0, 0)
    assert (written["params"], written["steps"]) == (PARAMS, 8)
    assert written["rung_scale"] == RUNG_SCALE
    assert read_yaml(tmp_path / NAME / "config.yaml")["training"]["steps"] == 8
    begin(recorder(tmp_path))  # by another process, which knows the folder alone
    assert status(tmp_path)["attempts"] == 1


def test_a_trial_says_what_it_was_made_by(tmp_path: Path) -> None:
    about = {"space_sha256": "0", "seeds": {"sampler": 3}, "commands": ["aurl"]}
    write_yaml(tmp_path / "sweep.yaml", about)
    recorder(tmp_path / "trials").propose(NAME, PARAMS, small_config())
    config, made_by = read_config(tmp_path / "trials" / NAME / "config.yaml")
    assert config == small_config()
    assert made_by == {"sweep": tmp_path.name, **about, **provenance()}


def test_a_configuration_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "config.yaml").write_text("made_by: {preset: base}\n")
    recorder(tmp_path).propose(NAME, {}, small_config())
    assert read_yaml(tmp_path / NAME / "config.yaml") == {"made_by": {"preset": "base"}}


@pytest.mark.parametrize("end", ["completed", "stopped", "failed"])
def test_status_goes_from_running_to_its_end(tmp_path: Path, end: End) -> None:
    made = started(tmp_path)
    assert status(tmp_path)["status"] == "running"
    made.report(NAME, ROWS)
    running = status(tmp_path)
    assert (running["status"], running["step"], running["attempts"]) == ("running", 4, 1)
    assert running["metrics"] == {"val/kl_nats": 0.5, "val/active_units": 3.0}
    metrics = made.end(NAME, end, "why")
    ended = status(tmp_path)
    assert (ended["status"], ended["reason"], ended["step"]) == (end, "why", 4)
    assert ended["metrics"] == metrics == running["metrics"]
    assert ended["seconds"] >= running["seconds"] >= 0.0


def test_training_rows_move_the_step_and_leave_the_metrics(tmp_path: Path) -> None:
    made = started(tmp_path)
    made.report(NAME, ROWS)
    made.report(NAME, LATER[:1])
    assert (status(tmp_path)["step"], status(tmp_path)["metrics"]["val/kl_nats"]) == (6, 0.5)


def test_metrics_hold_what_is_finite_and_nothing_else(tmp_path: Path) -> None:
    made = started(tmp_path)
    row = {"step": 4, "val/kl_nats": math.nan, "val/score": math.inf, "val/mig_rank32": 0.25}
    made.report(NAME, [row])
    assert status(tmp_path)["metrics"] == {"val/mig_rank32": 0.25}
    (logged,) = read_lines(tmp_path / NAME / "metrics.jsonl")
    assert logged["non_finite"] == ["val/kl_nats", "val/score"]


def test_a_new_attempt_forgets_what_its_checkpoint_does_not_hold(tmp_path: Path) -> None:
    made = started(tmp_path)
    made.report(NAME, ROWS)
    save_checkpoint(tmp_path, 4)
    made.report(NAME, LATER)
    assert steps_logged(tmp_path) == [2, 4, 4, 6, 8]
    made.start(NAME)
    again = status(tmp_path)
    assert steps_logged(tmp_path) == [2, 4, 4]
    assert (again["step"], again["attempts"], again["status"]) == (4, 2, "running")
    assert again["metrics"] == {"val/kl_nats": 0.5, "val/active_units": 3.0}
    made.report(NAME, LATER)
    assert steps_logged(tmp_path) == [2, 4, 4, 6, 8]
    assert status(tmp_path)["metrics"]["val/kl_nats"] == 0.7


def test_a_trial_counts_what_its_workers_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    trials = tmp_path / "trials"
    made = recorder(trials)
    attempts = [  # the share of a GPU, and how many of two workers the rows tell of
        (0.75, 2.0, {"gpu": 3.0 + 2 * 0.75 * 10}),
        (1.0, 1.0, {"gpu": 18.0 + 10 + 10}),
        (0.0, 1.0, {"gpu": 38.0, "cpu": 10 + 10}),
    ]
    for index, (gpus, workers, wanted) in enumerate(attempts):
        now += 30.0  # before it begins
        shape = Shape(workers_per_trial=2, gpus_per_worker=gpus)
        made = Recorder(trials, Display(), shape=shape)
        OPEN.append(made)
        if index == 0:
            made.propose(NAME, PARAMS, small_config())
            old = status(trials) | {"seconds": 2.0}
            del old["device_seconds"]
            write_json(trials / NAME / "status.json", old)  # as of an aurl that did not say
            made = Recorder(trials, Display(), shape=shape)
            OPEN.append(made)
        made.start(NAME)
        if index:
            now += 10.0 + 90.0
        made.report(NAME, [{**ROWS[-1], WORKERS: workers}], waited_s=90.0 if index else 0.1)
        now += 10.0
        made.end(NAME, "failed", "so far")
        assert status(trials)["device_seconds"] == pytest.approx(wanted)
        write_json(trials / NAME / "status.json", {**status(trials), "trial": "t0099"})  # moved
    assert status(trials)["seconds"] == 52.0 + 2 * 90.0, "it did not hold what it waited for"
    begin(made)
    now += 10.0
    made.end(NAME, "failed", "so far")
    held = status(trials)["device_seconds"]
    assert held["cpu"] == 20.0 + 2 * 10.0, "a new attempt may have all its workers"
    write_json(trials / NAME / "status.json", {**status(trials), "device_seconds": {"gpu": "x"}})
    with pytest.raises(SweepError, match=r"status\.json is damaged"):
        statuses(trials)
    assert read_trials(tmp_path)[0].reason == "status.json cannot be read"


def test_a_new_attempt_without_a_checkpoint_starts_from_nothing(tmp_path: Path) -> None:
    made = started(tmp_path)
    made.report(NAME, ROWS)
    made.start(NAME)
    again = status(tmp_path)
    assert (again["step"], again["metrics"], again["attempts"]) == (0, {}, 2)
    assert steps_logged(tmp_path) == []


def test_a_damaged_checkpoint_costs_the_trial_its_progress_and_nothing_more(
    tmp_path: Path,
) -> None:
    made = started(tmp_path)
    made.report(NAME, ROWS)
    save_checkpoint(tmp_path, 4)
    (tmp_path / NAME / "checkpoint" / checkpoint.FILE_NAME).write_bytes(b"")  # a power cut
    begin(recorder(tmp_path))
    assert (status(tmp_path)["step"], steps_logged(tmp_path)) == (0, [])
    assert list((tmp_path / NAME / "checkpoint").iterdir()) == []


def test_a_resumed_trial_keeps_its_start_and_adds_up_its_seconds(tmp_path: Path) -> None:
    made = started(tmp_path)
    made.report(NAME, ROWS)
    before = status(tmp_path)
    later = begin(recorder(tmp_path))
    later.end(NAME, "completed", "")
    after = status(tmp_path)
    assert after["started"] == before["started"]
    assert after["seconds"] >= before["seconds"]


def test_a_trial_can_end_before_it_started(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    made.propose(NAME, PARAMS, small_config())
    assert made.end(NAME, "failed", "no room") == {}
    assert (status(tmp_path)["status"], status(tmp_path)["reason"]) == ("failed", "no room")
    recorder(tmp_path).end(NAME, "failed", "no room again")  # by a driver that resumes
    assert (status(tmp_path)["reason"], status(tmp_path)["params"]) == ("no room again", PARAMS)


def test_the_display_is_told_what_is_written(tmp_path: Path) -> None:
    display = Display()
    made = recorder(tmp_path, display)
    made.propose(NAME, PARAMS, small_config())
    begin(made)
    made.report(NAME, ROWS)
    save_checkpoint(tmp_path, 4)
    made.start(NAME)
    made.end(NAME, "stopped", "asha")
    metrics = {"val/kl_nats": 0.5, "val/active_units": 3.0}
    assert display.told == [
        ("started", NAME, PARAMS, 0),
        ("progress", NAME, 4, metrics),
        ("started", NAME, PARAMS, 4),
        ("ended", NAME, "stopped", "asha", metrics),
    ]


def test_a_trial_leaves_no_temporary_file(tmp_path: Path) -> None:
    made = started(tmp_path)
    made.report(NAME, ROWS)
    save_checkpoint(tmp_path, 4)
    (tmp_path / NAME / "checkpoint" / f".{checkpoint.FILE_NAME}.0a.part").touch()  # killed
    made.start(NAME)
    made.end(NAME, "completed", "")
    names = {path.name.split(".")[0] for path in (tmp_path / NAME).rglob("*")}
    assert names == {"config", "status", "metrics", "events", "checkpoint"}


RATED: list[dict[str, float]] = [
    {"step": 4, "val/kl_nats": 0.5, "dimension/rate_nats/a/0": 0.25},
    {"step": 8, "val/kl_nats": 0.7, "dimension/rate_nats/a/0": 0.75},
]


@pytest.mark.parametrize("end", ["completed", "stopped", "failed"])
def test_however_a_trial_ends_its_kl_is_drawn(tmp_path: Path, end: End) -> None:
    made = started(tmp_path)
    made.report(NAME, RATED)
    assert status(tmp_path)["metrics"] == {"val/kl_nats": 0.7}  # rates are left to the rows
    made.end(NAME, end, "why")
    (path,) = (tmp_path / NAME / "pictures").iterdir()
    assert path.name == "latent_kl_by_dimension.png"


def test_a_trial_that_was_never_evaluated_has_no_picture(tmp_path: Path) -> None:
    made = started(tmp_path)
    made.report(NAME, ROWS[:2])
    made.end(NAME, "failed", "why")
    assert not (tmp_path / NAME / "pictures").exists()


def test_rates_that_cannot_be_drawn_end_no_sweep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(rows: object) -> None:
        raise ValueError(rows)

    made = started(tmp_path)
    made.report(NAME, ROWS)
    monkeypatch.setattr("aurl.search.recorder.kl_over_time", fails)
    result = made.end(NAME, "completed", "")
    assert f"the pictures of {NAME} could not be made" in caplog.text
    assert status(tmp_path)["status"] == "completed"
    assert result == {"val/kl_nats": 0.5, "val/active_units": 3.0}


@pytest.mark.parametrize(
    ("step", "steps", "is_kept"),
    [(4, 8, True), (5, 8, True), (6, 8, False), (5, 5, False), (8, 8, False)],
)
def test_a_checkpoint_between_two_rows_is_kept_and_one_beyond_the_next_is_not(
    tmp_path: Path, step: int, steps: int, is_kept: bool
) -> None:
    made = started(tmp_path, training__steps=steps)
    made.report(NAME, ROWS)  # to step 4; there is a row every 2 steps, and one of the last
    save_checkpoint(tmp_path, step)
    made.start(NAME)
    assert steps_logged(tmp_path) == ([2, 4, 4] if is_kept else [])
    assert checkpoint.step_of(tmp_path / NAME / "checkpoint") == (step if is_kept else 0)


def test_a_checkpoint_that_the_rows_do_not_reach_is_thrown_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = started(tmp_path)
    made.report(NAME, ROWS)
    save_checkpoint(tmp_path, 8)  # of a step whose rows a power cut took
    begin(recorder(tmp_path))
    assert (status(tmp_path)["step"], steps_logged(tmp_path)) == (0, [])
    assert list((tmp_path / NAME / "checkpoint").iterdir()) == []
    assert "its checkpoint is of step 8, its rows end before" in caplog.text


def test_a_trial_has_not_ended_before_all_of_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = started(tmp_path)
    made.report(NAME, RATED)
    written: list[str] = []
    really_close = TrialWriter.close

    def close(writer: TrialWriter, end: End) -> None:
        written.append(status(tmp_path)["status"])
        really_close(writer, end)

    monkeypatch.setattr(TrialWriter, "close", close)
    made.end(NAME, "completed", "")
    assert written == ["running"]
    assert (tmp_path / NAME / "pictures" / "latent_kl_by_dimension.png").exists()
    assert status(tmp_path)["status"] == "completed"
