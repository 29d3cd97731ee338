"""The picture of the Pareto front: which trials are in it, and that it harms nothing."""

import math
from pathlib import Path
from typing import Any

import pytest

from aurl.drawing.front import Trials
from aurl.files import read_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.search import front
from aurl.search.constraints import Bounds
from aurl.search.front import FrontPicture, conditional, domains
from aurl.search.space_file import space_of
from aurl.training.reporters import Interval, Options, write_experiment
from tests.fake_sweep import QUICK


def scored(*values: float) -> dict[str, float]:
    return dict(zip(OBJECTIVES, values, strict=True))


def test_completed_trials_are_drawn_with_their_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Trials, str]] = []
    draw = front.pareto_front

    def noted(trials: Trials, *, title: str) -> Any:
        drawn.append((trials, title))
        return draw(trials, title=title)

    monkeypatch.setattr(front, "pareto_front", noted)
    picture = FrontPicture(tmp_path, {OBJECTIVES[2]: Bounds(at_most=0.9)})
    picture.draw()
    assert not drawn
    picture.add("t0000", scored(0.1, 0.9, 0.5))
    picture.add("t0001", scored(0.1, 0.8, 0.5))
    picture.add("t0002", scored(0.9, math.nan, 0.5))
    picture.add("t0003", {"val/kl_nats": 1.0})
    picture.add("t0004", scored(0.0, 1.0, 0.5))  # collapsed
    picture.draw()
    picture.add("t0005", scored(0.1, 0.9, 1.0))  # infeasible
    picture.draw()
    assert drawn[0][1] == "1 of 5 completed trials are on the Pareto front"
    trials, title = drawn[1]
    assert list(trials.names) == ["t0000", "t0001", "t0004", "t0005"]
    assert trials.on_front.tolist() == [True, False, False, False]
    assert title == "1 of 6 completed trials are on the Pareto front"
    assert (tmp_path / "pareto_front.png").exists()


def test_a_front_that_cannot_be_drawn_ends_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(front, "show_on_sweep", fails)
    picture = FrontPicture(tmp_path, {})
    picture.add("t0000", scored(0.1, 0.9, 0.5))
    picture.draw()
    assert "the picture of the Pareto front could not be made" in caplog.text


def test_a_long_sweep_draws_its_front_for_one_in_twenty_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(front, "show_on_sweep", lambda *_, step: drawn.append(step))
    monkeypatch.setattr(front, "pareto_front", lambda *_, **__: None)
    picture = FrontPicture(tmp_path, {})
    assert not picture.is_due
    for number in range(1000):
        picture.add(f"t{number:04d}", scored(0.1, 0.9, 0.5))
        if picture.is_due:
            picture.draw()
    assert drawn[:21] == list(range(1, 22))
    assert drawn[-1] > 950
    assert len(drawn) < 110


def test_a_key_of_several_ranges_spans_them_and_is_of_every_trial() -> None:
    schedule, value = "objective.beta.schedule", "objective.beta.value"
    ranges = [
        {"uniform": [0.1, 0.5], "when": {schedule: "linear"}},
        {"uniform": [0.2, 2.0], "when": {schedule: "constant"}},
    ]
    searched: dict[str, Any] = {
        schedule: {"choice": ["constant", "linear"]},
        value: ranges,
        "objective.beta.warmup": {"uniform": [0.1, 1.0], "when": {schedule: "linear"}},
        "optimizer.lr": {"log_uniform": [0.001, 0.01]},
        "model.n_heads": [
            {"choice": [1, 2], "when": {schedule: "linear"}},
            {"choice": [2, 4], "when": {schedule: "constant"}},
        ],
    }
    space = space_of({**read_yaml(QUICK), "scientific": searched, "nuisance": {}}, overrides={})
    found = domains(space)
    assert found[schedule] == Options(("constant", "linear"))
    assert found[value] == Interval(0.1, 2.0)
    assert found["model.n_heads"] == Options((1, 2, 4))
    assert conditional(space) == {"objective.beta.warmup"}


def test_a_front_that_is_drawn_is_not_drawn_again_unless_it_has_changed(tmp_path: Path) -> None:
    write_experiment(tmp_path, {}, [])
    picture = FrontPicture(tmp_path, {})
    picture.add("t0000", scored(0.1, 0.9, 0.5))
    picture.draw()

    def written() -> list[bytes]:
        return [path.read_bytes() for path in sorted(tmp_path.iterdir())]

    before = written()
    picture.draw(even_if_drawn=False)
    assert written() == before
    picture.add("t0001", scored(0.2, 0.3, 0.5))
    picture.draw(even_if_drawn=False)
    assert [a != b for a, b in zip(written(), before, strict=True)] == [True, True]
