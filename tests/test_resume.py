"""Whole sweeps through ``run_sweep.py``: what they leave, and what a kill does not take."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from aurl.data.corpus import save
from tests.processes import alive, descendants, title, until
from tests.tiny import tiny_corpus

ROOT = Path(__file__).parents[1]
TRIALS = 4
SPACE = f"""
question: Does a tiny sweep on random notes end?
base:
  model: {{d_model: 16, n_heads: 2, encoder_layers: 3, decoder_layers: 2}}
  latent:
    levels:
      - {{name: global, dim: 4, span: sequence}}
      - {{name: local, dim: 3, span: 1}}
  training: {{batch_size: 8, log_every: 2}}
  evaluation: {{every: 10, windows: 16, final_windows: 24, reconstructions: 4}}
scientific:
  objective.beta.schedule: {{choice: [constant, linear]}}
  objective.beta.value: {{log_uniform: [0.05, 1.0]}}
  objective.beta.warmup: {{uniform: [0.1, 0.5], when: {{objective.beta.schedule: linear}}}}
budget: {{trials: {TRIALS}, steps_per_trial: 120}}
sampler: {{name: tpe, seed: 0, startup_trials: 3}}
scheduler: {{name: none}}
stopper: {{name: none}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    save(tiny_corpus(), tmp_path / "tiny")
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def started(place: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "run_sweep.py"), "space.yaml", "--data", "tiny"]
    return subprocess.Popen(
        [*command, "--name", "s", *words],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def statuses(place: Path) -> dict[str, dict[str, Any]]:
    files = sorted((place / "sweeps" / "s" / "trials").glob("t*/status.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in files}


def ended(place: Path) -> set[str]:
    return {name for name, status in statuses(place).items() if status["status"] != "running"}


def contents(place: Path, names: set[str]) -> dict[str, bytes]:
    trials = place / "sweeps" / "s" / "trials"
    kept = ("status.json", "metrics.jsonl", "config.yaml", "checkpoint/checkpoint.safetensors")
    return {f"{n}/{file}": (trials / n / file).read_bytes() for n in names for file in kept}


def one_ended_and_another_under_way(place: Path) -> bool:
    running = [s for s in statuses(place).values() if s["status"] == "running" and s["step"] >= 10]
    return bool(ended(place)) and bool(running)


def check_finished(place: Path, output: str) -> None:
    sweep = place / "sweeps" / "s"
    assert len(statuses(place)) == TRIALS
    assert {status["status"] for status in statuses(place).values()} == {"completed"}
    for name in statuses(place):
        lines = (sweep / "trials" / name / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        train = [json.loads(line)["step"] for line in lines if "train/kl_nats" in line]
        assert steps == sorted(steps)
        assert train == list(range(2, 121, 2)), name
    storage = JournalStorage(JournalFileBackend(str(sweep / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    states = [trial.state.name for trial in study.trials if trial.state.name != "FAIL"]
    assert states == ["COMPLETE"] * TRIALS
    with (sweep / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["rank"]) for row in rows) == [1, 2, 3, 4]
    exported = {path.name for path in (sweep / "best").iterdir()}
    assert exported == {
        "README.md",
        "config.yaml",
        "metrics.json",
        "model.safetensors",
        "reconstructions.mid",
        "samples.mid",
        "vocabulary.json",
    }
    assert not [path for path in sweep.rglob("*") if path.name.endswith((".part", ".old"))]
    assert "best t0" in output
    for chatter in ("(pid=", "WARNING", "Traceback", "raylet", "ray::"):
        assert chatter not in output


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_killed_sweep_resumes_and_keeps_every_finished_trial(place: Path) -> None:
    first = started(place)
    until(lambda: one_ended_and_another_under_way(place), 240, "a finished and a running trial")
    # Ray's own two agents stay for a minute; what could still write must not.
    below = {pid for pid in descendants(first.pid) if not title(pid).endswith("Agent")}
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    finished = ended(place)
    before = contents(place, finished)
    assert 1 <= len(finished) < TRIALS
    until(lambda: not alive(below), 60, "the end of the killed driver's processes")
    second = started(place, "--resume")
    output, _ = second.communicate()
    assert second.returncode == 0, output
    assert contents(place, finished) == before
    check_finished(place, output)
    third = started(place)
    output, _ = third.communicate()
    assert third.returncode == 2
    assert output.count("\n") == 1
    assert "Add --resume to go on with it" in output
