import json
import math
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata

from aurl.audio import RATE, wav
from aurl.drawing.canvas import png
from aurl.errors import ConfigError
from aurl.files import append_lines, read_lines, write_text
from aurl.training.media import LAYOUT
from aurl.training.reporters import (
    Interval,
    Options,
    TrialWriter,
    open_trial,
    read_rows,
    rewind,
    show_on_sweep,
    write_experiment,
)

PARAMS = {"objective.beta.value": 0.3, "latent.prior": "flow"}


def trial(tmp_path: Path) -> Path:
    return tmp_path / "trials" / "t0003"


def opened(folder: Path) -> TrialWriter:
    return open_trial(folder, params=PARAMS, started=1000.0)


def reader(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in events.Scalars(tag)]


def full_event_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("events.*") if path.stat().st_size > 0]


def hparams_content(folder: Path, tag: str) -> bytes:
    return reader(folder).SummaryMetadata(tag).plugin_data.content


def test_rows_are_in_both_files_while_the_trial_is_open(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    writer = opened(folder)
    writer.log([{"step": 10, "train/kl_nats": 5.0}, {"step": 20, "train/kl_nats": 4.0}])
    writer.log([{"step": 20, "val/kl_nats": 4.5}])
    events = reader(folder)
    writer.close("completed")
    assert read_lines(folder / "metrics.jsonl") == [
        {"step": 10, "train/kl_nats": 5.0},
        {"step": 20, "train/kl_nats": 4.0},
        {"step": 20, "val/kl_nats": 4.5},
    ]
    assert points(events, "train/kl_nats") == [(10, 5.0), (20, 4.0)]
    assert points(events, "val/kl_nats") == [(20, 4.5)]


def test_non_finite_values_are_named_in_the_row_and_nan_in_tensorboard(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    writer = opened(folder)
    writer.log([{"step": 1, "a": math.nan, "b": math.inf, "c": 2.0}])
    writer.log([{"step": 2, "c": 3.0, "non_finite": ["a"]}])  # cleaned by the worker already
    writer.close("running")
    assert read_lines(folder / "metrics.jsonl") == [
        {"step": 1, "c": 2.0, "non_finite": ["a", "b"]},
        {"step": 2, "c": 3.0, "non_finite": ["a"]},
    ]
    events = reader(folder)
    assert [point.step for point in events.Scalars("a")] == [1, 2]
    assert all(math.isnan(point.value) for point in events.Scalars("a"))
    assert points(events, "c") == [(1, 2.0), (2, 3.0)]


def test_logging_no_rows_changes_nothing(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    writer = opened(folder)
    writer.log([])
    writer.log([{"step": 0, "a": 1.0}])
    writer.close("stopped")
    assert read_lines(folder / "metrics.jsonl") == [{"step": 0, "a": 1.0}]


def test_a_step_that_goes_back_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    append_lines(folder / "metrics.jsonl", [{"step": 20, "a": 1.0}])
    writer = opened(folder)
    with pytest.raises(ValueError, match=r"step must not go back, got 10 after 20\. Rewind the"):
        writer.log([{"step": 10, "a": 2.0}])
    with pytest.raises(ValueError, match=r"got 25 after 30"):
        writer.log([{"step": 30, "a": 2.0}, {"step": 25, "a": 2.0}])
    writer.close("failed")
    assert read_lines(folder / "metrics.jsonl") == [{"step": 20, "a": 1.0}]
    assert points(reader(folder), "a") == [(20, 1.0)]


def test_rewind_drops_the_rows_after_the_checkpoint_and_a_torn_line(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    rows = [{"step": 10, "a": 1.0}, {"step": 20, "a": 2.0}, {"step": 30, "a": 3.0}]
    append_lines(folder / "metrics.jsonl", rows)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "a"')
    rewind(folder, 20)
    assert read_lines(folder / "metrics.jsonl") == rows[:2]
    assert (folder / "metrics.jsonl").read_text().endswith("}\n")
    rewind(folder, -1)
    assert read_lines(folder / "metrics.jsonl") == []


@pytest.mark.parametrize("row", ['{"a": 1.0}', '{"step": true}', '{"step": 2, "a": null}'])
def test_a_row_of_no_step_or_of_no_numbers_is_named(tmp_path: Path, row: str) -> None:
    folder = trial(tmp_path)
    append_lines(folder / "metrics.jsonl", [{"step": 1}])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl is damaged: row 2 is no row of a"):
        read_rows(folder)


def test_rewind_of_a_trial_without_rows_leaves_an_empty_log(tmp_path: Path) -> None:
    rewind(trial(tmp_path), 10)
    assert read_lines(trial(tmp_path) / "metrics.jsonl") == []


def test_a_torn_last_line_does_not_spoil_the_next_row(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    write_text(folder / "metrics.jsonl", '{"step": 1, "a": 1.0}\n{"step": 2, "a')
    writer = opened(folder)
    writer.log([{"step": 2, "a": 2.0}])
    writer.close("completed")
    assert read_lines(folder / "metrics.jsonl") == [{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0}]


def logged_to_step_30(folder: Path) -> None:
    writer = opened(folder)
    for step in (10, 20, 30):
        writer.log([{"step": step, "a": float(step)}])
    writer.close("running")


@pytest.mark.parametrize("clock_s", [0, -3600], ids=["", "clock_set_back"])
@pytest.mark.parametrize("was_open", [True, False], ids=["tensorboard_open", "tensorboard_new"])
def test_resumed_trial_shows_no_stale_and_no_double_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, was_open: bool, clock_s: int
) -> None:
    folder = trial(tmp_path)
    logged_to_step_30(folder)
    events = reader(folder) if was_open else None
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + clock_s * 10**9)
    rewind(folder, 20)
    writer = opened(folder)
    writer.log([{"step": 30, "a": -30.0}, {"step": 40, "a": -40.0}])
    writer.close("completed")
    expected = [(10, 10.0), (20, 20.0), (30, -30.0), (40, -40.0)]
    assert points(events.Reload() if events else reader(folder), "a") == expected


def test_resumed_trial_has_one_event_file_and_keeps_the_times_of_its_points(
    tmp_path: Path,
) -> None:
    folder = trial(tmp_path)
    logged_to_step_30(folder)
    before = {point.step: point.wall_time for point in reader(folder).Scalars("a")}
    torn = next(folder.glob("events.*"))
    os.truncate(torn, torn.stat().st_size - 5)  # what a power cut leaves: step 30 is half there
    opened(folder).close("running")
    after = {point.step: point.wall_time for point in reader(folder).Scalars("a")}
    assert len(full_event_files(folder)) == 1
    assert {step: after[step] for step in (10, 20)} == {step: before[step] for step in (10, 20)}
    assert after[30] > before[30]


def test_session_start_holds_the_parameters_the_trial_has(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    params = {"f": 0.5, "i": 4, "s": "flow", "b": True, "none": None, "list": [16, "two"]}
    open_trial(folder, params=params, started=1000.0).close("running")
    content = hparams_content(folder, metadata.SESSION_START_INFO_TAG)
    start = metadata.parse_session_start_info_plugin_data(content)
    values = {name: getattr(v, str(v.WhichOneof("kind"))) for name, v in start.hparams.items()}
    assert values == {"f": 0.5, "i": 4.0, "s": "flow", "b": True, "list": '[16, "two"]'}
    assert (start.group_name, start.start_time_secs) == ("t0003", 1000.0)


@pytest.mark.parametrize(
    ("status", "name"),
    [("completed", "STATUS_SUCCESS"), ("stopped", "STATUS_SUCCESS"), ("failed", "STATUS_FAILURE")],
)
def test_session_end_says_how_the_trial_ended(tmp_path: Path, status: Any, name: str) -> None:
    folder = trial(tmp_path)
    opened(folder).close(status)
    content = hparams_content(folder, metadata.SESSION_END_INFO_TAG)
    end = metadata.parse_session_end_info_plugin_data(content)
    assert f"status: {name}" in str(end)


def test_a_trial_that_is_to_be_resumed_has_no_session_end(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    opened(folder).close("running")
    with pytest.raises(KeyError, match=metadata.SESSION_END_INFO_TAG):
        reader(folder).Tensors(metadata.SESSION_END_INFO_TAG)


def test_text_page_shows_the_resolved_config(tmp_path: Path) -> None:
    folder = trial(tmp_path)
    write_text(folder / "config.yaml", "objective:\n  beta: 0.3\n")
    opened(folder).close("completed")
    (text,) = reader(folder).Tensors("config")
    assert text.tensor_proto.string_val[0] == b"```yaml\nobjective:\n  beta: 0.3\n\n```"


PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
SOUND = np.sin(np.arange(800) / 10)


def test_pictures_and_sounds_are_at_the_last_step_and_pictures_in_the_folder(
    tmp_path: Path,
) -> None:
    folder = trial(tmp_path)
    writer = opened(folder)
    writer.log([{"step": 7, "a": 1.0}])
    writer.show({"latent/kl": png(PICTURE)}, {"music/sample_1": wav(SOUND)})
    writer.close("completed")
    events = reader(folder)
    (image,) = events.Images("latent/kl")
    (audio,) = events.Audio("music/sample_1")
    assert (image.step, image.width, image.height) == (7, 6, 4)
    assert (audio.step, audio.sample_rate, audio.length_frames) == (7, RATE, 800.0)
    assert audio.encoded_audio_string == wav(SOUND)
    (path,) = (folder / "pictures").iterdir()
    assert path.name == "latent_kl.png"
    assert path.read_bytes() == image.encoded_image_string == png(PICTURE)


def test_a_resumed_trial_shows_the_pictures_and_sounds_of_the_steps_it_keeps(
    tmp_path: Path,
) -> None:
    folder = trial(tmp_path)
    writer = opened(folder)
    for step in (4, 8):
        writer.log([{"step": step, "a": 1.0}])
        writer.show({"latent/kl": png(PICTURE + step)}, {"music/sample_1": wav(SOUND)})
    writer.close("running")
    for _ in range(2):
        rewind(folder, 4)
        opened(folder).close("running")
    events = reader(folder)
    (image,) = events.Images("latent/kl")
    (audio,) = events.Audio("music/sample_1")
    assert (image.step, audio.step) == (4, 4)
    assert image.encoded_image_string == png(PICTURE + 4)
    assert audio.encoded_audio_string == wav(SOUND)


def test_every_chart_of_the_layout_finds_a_tag_that_is_emitted(tmp_path: Path) -> None:
    write_experiment(tmp_path, {}, [])
    (stored,) = reader(tmp_path).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(stored.tensor_proto.string_val[0])
    page = (Path(__file__).parents[1] / "docs/metrics.md").read_text(encoding="utf-8")
    listed = [name.replace("<split>", "val") for name in re.findall(r"^\| `(\S+)` \|", page, re.M)]
    shown = {
        tag: chart.title
        for category in layout.category
        for chart in category.chart
        for tag in chart.multiline.tag
    }
    assert len(shown) > 20
    for tag, title in shown.items():
        assert any(re.search(tag, name) for name in listed), (title, tag)
        assert title.startswith("KL") <= ("kl_" in tag), "a rate may be information"


def test_a_picture_of_the_sweep_leaves_its_search_space_in_place(tmp_path: Path) -> None:
    write_experiment(tmp_path, DOMAINS, ["val/score"])
    events = reader(tmp_path)
    for step in (1, 2):
        show_on_sweep(tmp_path, "pareto_front", PICTURE + np.uint8(step), step=step)
    events.Reload()
    assert [image.step for image in events.Images("pareto_front")] == [1, 2]
    metadata.parse_experiment_plugin_data(hparams_content(tmp_path, metadata.EXPERIMENT_TAG))
    assert (tmp_path / "pareto_front.png").read_bytes() == png(PICTURE + np.uint8(2))
    assert len(full_event_files(tmp_path)) == 1


DOMAINS = {
    "objective.beta.value": Interval(0.1, 4.0),
    "objective.beta.cycles": Interval(1, 8),  # conditional: only some trials have it
    "latent.prior": Options(("standard", "flow")),
    "latent.top_down": Options((False, True)),
    "latent.dim": Options((16, 32)),
    "decoder.mixed": Options((0.5, "auto", None, [1, 2])),
}


def test_what_not_every_trial_has_comes_last(tmp_path: Path) -> None:
    write_experiment(tmp_path, DOMAINS, ["val/score"], conditional={"objective.beta.cycles"})
    content = hparams_content(tmp_path, metadata.EXPERIMENT_TAG)
    infos = metadata.parse_experiment_plugin_data(content).hparam_infos
    assert {info.name for info in infos if not info.differs} == {"objective.beta.cycles"}


def test_experiment_declares_every_parameter_with_its_domain(tmp_path: Path) -> None:
    write_experiment(tmp_path, {}, [])
    write_experiment(tmp_path, DOMAINS, ["val/score", "val/kl_health"])  # replaces the first
    content = hparams_content(tmp_path, metadata.EXPERIMENT_TAG)
    experiment = metadata.parse_experiment_plugin_data(content)
    infos = {info.name: info for info in experiment.hparam_infos}
    beta = infos["objective.beta.value"].domain_interval
    assert list(infos) == list(DOMAINS)
    assert (beta.min_value, beta.max_value) == (0.1, 4.0)
    assert list(infos["latent.prior"].domain_discrete) == ["standard", "flow"]
    assert list(infos["latent.top_down"].domain_discrete) == [False, True]
    assert list(infos["decoder.mixed"].domain_discrete) == [0.5, "auto", "[1, 2]"]
    types = {name: re.findall(r"DATA_TYPE_\w+", str(info))[0] for name, info in infos.items()}
    assert types["latent.dim"] == types["objective.beta.cycles"] == "DATA_TYPE_FLOAT64"
    assert types["latent.top_down"] == "DATA_TYPE_BOOL"
    assert types["latent.prior"] == types["decoder.mixed"] == "DATA_TYPE_STRING"
    tags = [info.name.tag for info in experiment.metric_infos]
    assert tags == ["val/score", "val/kl_health"]
    assert len(full_event_files(tmp_path)) == 1


class Server:
    """A real TensorBoard on a free loopback port."""

    def __init__(self, logdir: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        arguments = ["--logdir", str(logdir), "--host", "127.0.0.1", "--port", str(port)]
        arguments += ["--load_fast=false", "--reload_interval=1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def fetch(self, path: str) -> bytes:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self.url + path, timeout=30) as answer:
            return answer.read()

    def ask(self, path: str, body: object = None) -> Any:
        request = urllib.request.Request(self.url + path)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=30) as answer:
            return json.load(answer)

    def wait_for(self, path: str, run: str) -> Any:
        give_up = time.monotonic() + 90.0
        pause = 0.0
        while time.monotonic() < give_up:
            assert self.process.poll() is None, "TensorBoard ended by itself"
            try:
                answer = self.ask(path)
            except urllib.error.URLError:
                answer = ()
            if run in answer:
                return answer
            pause = min(pause + 0.1, 1.0)
            time.sleep(pause)  # the server says in no other way that it has loaded the folder
        raise TimeoutError(f"TensorBoard did not load {run} in 90 s.")


@pytest.fixture
def tensorboard(tmp_path: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(tmp_path, port)
    yield server
    server.process.kill()
    server.process.wait()


def three_trials(sweep: Path) -> None:
    some = {"objective.beta.cycles"}
    write_experiment(sweep, DOMAINS, ["val/kl_health"], conditional=some)
    cycles = {**PARAMS, "objective.beta.cycles": 4}
    trials: list[tuple[str, dict[str, Any], Any]] = [
        ("t0000", PARAMS, "completed"),
        ("t0001", cycles, "failed"),
        ("t0002", PARAMS, "running"),
    ]
    for number, (name, params, status) in enumerate(trials):
        write_text(sweep / "trials" / name / "config.yaml", "objective:\n  beta: 0.3\n")
        writer = open_trial(sweep / "trials" / name, params=params, started=1000.0)
        writer.log([{"step": 5, "val/kl_health": number / 4, "train/kl_nats": math.nan}])
        writer.show({"latent/kl_by_dimension": png(PICTURE)}, {"music/sample_1": wav(SOUND)})
        writer.close(status)
    show_on_sweep(sweep, "pareto_front", PICTURE, step=1)


@pytest.mark.slow
def test_tensorboard_serves_the_sweep(tmp_path: Path, tensorboard: Server) -> None:
    three_trials(tmp_path)
    tensorboard.wait_for("/data/plugin/scalars/tags", "trials/t0002")
    runs = {".", "trials/t0000", "trials/t0001", "trials/t0002"}
    assert set(tensorboard.ask("/data/runs")) == runs
    tags = tensorboard.ask("/data/plugin/scalars/tags")
    assert set(tags["trials/t0001"]) == {"val/kl_health", "train/kl_nats"}
    points = "/data/plugin/scalars/scalars?tag=val%2Fkl_health&run=trials%2Ft0001"
    assert [point[1:] for point in tensorboard.ask(points)] == [[5, 0.25]]

    for plugin, tag in (("images", "latent/kl_by_dimension"), ("audio", "music/sample_1")):
        shown = tensorboard.ask(f"/data/plugin/{plugin}/tags")
        assert set(shown["trials/t0001"]) == {tag}
        where = f"tag={quote(tag, safe='')}&run=trials%2Ft0001&sample=0"
        (entry,) = tensorboard.ask(f"/data/plugin/{plugin}/{plugin}?{where}")
        assert entry["step"] == 5
    front = tensorboard.ask("/data/plugin/images/images?tag=pareto_front&run=.&sample=0")
    assert [each["step"] for each in front] == [1]
    image = f"/data/plugin/images/individualImage?{front[0]['query']}"
    assert tensorboard.fetch(image) == png(PICTURE)
    layout = tensorboard.ask("/data/plugin/custom_scalars/layout")
    assert [category["title"] for category in layout["category"]] == list(LAYOUT)
    curve = "/data/plugin/custom_scalars/scalars?run=trials%2Ft0001&tag=%5Eval%2Fkl_health%24"
    found = tensorboard.ask(curve)
    assert found["regex_valid"]
    assert [point[1:] for point in found["tag_to_events"]["val/kl_health"]] == [[5, 0.25]]
    text = tensorboard.ask("/data/plugin/text/text?run=trials%2Ft0001&tag=config")
    assert "beta: 0.3" in text[0]["text"]

    experiment = tensorboard.ask("/data/plugin/hparams/experiment", {"experimentName": ""})
    names = [info["name"] for info in experiment["hparamInfos"]]
    assert set(names) == set(DOMAINS)
    assert names[-1] == "objective.beta.cycles"  # which few trials have
    assert [info["name"]["tag"] for info in experiment["metricInfos"]] == ["val/kl_health"]

    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    columns = [{"hparam": name} for name in DOMAINS]
    query = {"experimentName": "", "allowedStatuses": statuses, "colParams": columns}
    answer = tensorboard.ask(
        "/data/plugin/hparams/session_groups", query | {"startIndex": 0, "sliceSize": 100}
    )
    groups = {group["name"]: group for group in answer["sessionGroups"]}
    assert {name: group["sessions"][0]["status"] for name, group in groups.items()} == {
        "t0000": "STATUS_SUCCESS",
        "t0001": "STATUS_FAILURE",
        "t0002": "STATUS_UNKNOWN",
    }
    assert groups["t0000"]["hparams"] == PARAMS
    assert groups["t0001"]["hparams"] == {**PARAMS, "objective.beta.cycles": 4.0}
    assert groups["t0001"]["sessions"][0]["name"] == "trials/t0001"
    assert groups["t0001"]["metricValues"][0]["value"] == 0.25
