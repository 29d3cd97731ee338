"""Early stopping, without Ray's actors: who is stopped, where, and by whom it is measured."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import FIFOScheduler

from aurl.files import append_lines, write_json
from aurl.metrics.score import RUNG_SCALE
from aurl.search.scheduling import (
    Brackets,
    Referee,
    bracket_graces,
    bracket_shares,
    scheduler_of,
)
from aurl.search.settings import SchedulerConfig, StopperConfig
from aurl.search.slot import scalars
from aurl.search.space import Space
from aurl.search.space_file import space_of
from aurl.search.stopper import HealthStopper, Verdict
from aurl.search.wishes import PAUSE, PAUSED, REASON, STOP
from aurl.training.evaluate import target_rate_nats
from aurl.training.messages import Task
from aurl.training.reporters import METRICS_FILE
from tests.tiny import small_config, tiny_corpus


def space(steps: int = 200, **scheduler: Any) -> Space:
    return space_of(
        {
            "question": "Which?",
            "budget": {"trials": 4, "steps_per_trial": steps},
            "scheduler": scheduler,
        },
        overrides={},
    )


def decisions(
    space: Space, scores: list[float], *, every: int, numbers: list[int] | None = None
) -> list[int]:
    """The step at which each of some trials, one after another, is stopped or has come through."""
    scheduler: Any = scheduler_of(space)
    steps = space.budget.steps_per_trial
    ends: list[int] = []
    for index, score in enumerate(scores):
        number = numbers[index] if numbers else index
        trial = SimpleNamespace(trial_id=f"t{number:04d}")
        scheduler.on_trial_add(None, trial)
        step, verdict, result = 0, FIFOScheduler.CONTINUE, scalars({"step": 0}, steps)
        while step < steps and verdict == FIFOScheduler.CONTINUE:
            step = min(step + every, steps)
            result = scalars({"step": step, "val/rung_score": score}, steps)
            verdict = scheduler.on_trial_result(None, trial, result)
        ends.append(step)
        scheduler.on_trial_complete(None, trial, result)
    return ends


@pytest.mark.parametrize(
    ("grace", "every", "scores", "ends"),
    [
        pytest.param(0.5, 50, [0.5, 0.1, 0.6], [200, 100, 200], id="worse_stops_at_its_rung"),
        pytest.param(0.25, 50, [0.5, 0.1, 0.6], [200, 50, 200], id="less_grace_stops_earlier"),
        pytest.param(0.5, 200, [0.5, 0.1, 0.0], [200, 200, 200], id="one_report_stops_nobody"),
        pytest.param(0.5, 199, [0.5, 0.1, 0.6], [200, 199, 200], id="reports_between_rungs"),
        pytest.param(1.0, 199, [0.5, 0.1, 0.0], [200, 200, 200], id="full_grace_stops_nobody"),
        pytest.param(0.5, 50, [0.0, 0.0, 0.0], [200, 200, 200], id="a_tie_goes_on"),
    ],
)
def test_a_trial_that_is_behind_is_stopped_and_never_at_its_last_step(
    grace: float, every: int, scores: list[float], ends: list[int]
) -> None:
    assert decisions(space(grace=grace), scores, every=every) == ends


@pytest.mark.parametrize(("factor", "end"), [(2, 200), (4, 100)])
def test_one_in_so_many_goes_on_at_a_rung(factor: int, end: int) -> None:
    ends = decisions(space(grace=0.5, reduction_factor=factor), [0.1, 0.4, 0.3], every=50)
    assert ends == [200, 200, end]  # the third is in the better half, not in the best quarter


def test_without_a_scheduler_nothing_is_stopped() -> None:
    assert scheduler_of(space(name="none")) is None


def test_a_sweep_of_one_step_has_a_scheduler() -> None:
    assert decisions(space(steps=1), [0.5, 0.1], every=1) == [1, 1]


# Hyperband: with a grace of a quarter, brackets of 1/4, 1/2 and all of the way


HYPERBAND: dict[str, Any] = {"name": "hyperband", "grace": 0.25, "reduction_factor": 2}


@pytest.mark.parametrize(
    ("grace", "factor", "graces", "shares"),
    [
        pytest.param(0.25, 2, [0.25, 0.5, 1.0], [4, 3, 3], id="quarter"),
        pytest.param(1 / 81, 3, None, [81, 34, 15, 8, 5], id="the_paper's"),
        pytest.param(0.4, 2, [0.4, 0.8, 1.0], [4, 3, 3], id="the_last_is_cut"),
        pytest.param(1.0, 2, [1.0], [1], id="nothing_to_stop"),
    ],
)
def test_brackets_grow_in_grace_and_shrink_in_number(
    grace: float, factor: int, graces: list[float] | None, shares: list[int]
) -> None:
    config = SchedulerConfig(name="hyperband", grace=grace, reduction_factor=factor)
    assert bracket_shares(config) == shares
    assert len(bracket_graces(config)) == len(shares)
    assert graces is None or bracket_graces(config) == pytest.approx(graces)


def test_a_trial_is_held_against_those_of_its_bracket_and_stops_at_its_rung() -> None:
    # Numbers 0 and 1 are in the first bracket, 4 and 5 in the second, 7 and 8 in the last.
    numbers = [0, 4, 7, 1, 5, 8]
    scores = [0.5, 0.4, 0.3, 0.1, 0.1, 0.1]
    ends = decisions(space(**HYPERBAND), scores, every=50, numbers=numbers)
    assert ends == [200, 200, 200, 50, 100, 200]


def test_a_resumed_trial_is_in_the_bracket_that_it_was_in() -> None:
    made = [scheduler_of(space(**HYPERBAND)) for _ in range(2)]
    first, again = (each for each in made if isinstance(each, Brackets))
    found = [first.bracket_of(number) for number in range(20)]
    assert Counter(found) == {0: 8, 1: 6, 2: 6}
    assert found == [again.bracket_of(number) for number in range(20)]


# The referee: the health stopper first, then the others


def report(step: int, kl: float, steps: int = 200) -> dict[str, Any]:
    row = {"step": step, "val/kl_nats": kl, "val/live_dimensions": float(kl > 0.5)}
    rows = ({"step": step, "objective/beta_settled": 1.0}, {**row, "val/rung_score": 0.5})
    return {**scalars(rows[-1], steps), "rows": rows}


def judged(
    stopper: HealthStopper | None,
    kl: list[float],
    trials: Path = Path("trials"),
    steps: int = 200,
    noted: int = 0,
) -> tuple[int, Verdict]:
    """The step a trial came to, and why no further; until ``noted`` it only noted its rows."""
    referee = Referee(scheduler_of(space()), stopper, tiny_corpus(), trials)
    folder = Path("trials/t0001/checkpoint")
    task = Task(checkpoint_folder=folder, config=small_config(training__steps=steps))
    trial: Any = SimpleNamespace(trial_id="tune-1", config={"task": task})
    referee.on_trial_add(None, trial)
    referee.begin("t0001", [], steps)
    last: dict[str, Any] = {}
    for index, value in enumerate(kl, start=1):
        last = report(20 * index, value, steps)
        if last["step"] <= noted:
            last["rung"] = 0
        if referee.on_trial_result(None, trial, last) == FIFOScheduler.STOP:
            break
    return last["step"], referee.verdict("tune-1", last)


def test_the_referee_stops_a_dead_trial_and_says_why() -> None:
    step, verdict = judged(HealthStopper(StopperConfig(), 200), [0.01] * 10)
    assert step == 80
    assert verdict.end == "stopped"
    assert verdict.reason.startswith("health: no live dimension at steps 60 to 80")


def test_the_referee_holds_the_rate_against_the_target_of_the_corpus() -> None:
    target = target_rate_nats(small_config().evaluation, tiny_corpus())
    for share, step in ((0.9, 80), (1.1, 200)):
        assert judged(HealthStopper(StopperConfig(), 200), [share * target / 16] * 10)[0] == step


@pytest.mark.parametrize("scheduler", [{"grace": 0.5}, HYPERBAND], ids=["asha", "hyperband"])
def test_a_resumed_sweep_holds_trials_against_those_of_before(
    tmp_path: Path, scheduler: dict[str, Any]
) -> None:
    referee = Referee(scheduler_of(space(**scheduler)), None, tiny_corpus(), tmp_path)
    steps = range(20, 200, 20)
    of_before = {"t0000": 0.5, "t0001": 0.6, "t0002": 0.1}
    for name, score in of_before.items():
        measured = ({"train/kl_nats": 1.0}, {"val/rung_score": score})
        rows = [{"step": step, **each} for step in steps for each in measured]
        write_json(tmp_path / name / "status.json", {"rung_scale": RUNG_SCALE})
        append_lines(tmp_path / name / METRICS_FILE, rows)
        referee.remember(name, 200)

    def decided(name: str, score: float, step: int) -> str:
        task = Task(checkpoint_folder=Path("trials") / name / "checkpoint", config=small_config())
        trial: Any = SimpleNamespace(trial_id=f"tune-of-{name}", config={"task": task})
        referee.on_trial_add(None, trial)
        result = scalars({"step": step, "val/rung_score": score}, 200)
        return referee.on_trial_result(None, trial, result)

    write_json(tmp_path / "t0003" / PAUSE, {})
    assert decided("t0003", 0.2, 100) == FIFOScheduler.STOP
    ended = referee.verdict("tune-of-t0003", {"step": 100, "rung_score": 0.2})
    name = scheduler.get("name", "asha")
    assert ended.reason.startswith(f"{name}:"), "a pause would have spared it its rung"
    assert decided("t0010", 0.7, 100) == FIFOScheduler.CONTINUE
    assert decided("t0002", 0.1, 100) == FIFOScheduler.CONTINUE, "that was decided before"


@pytest.mark.parametrize("said", [{}, {"rung_scale": RUNG_SCALE - 1}], ids=["before", "older"])
def test_nobody_is_held_against_rung_scores_of_another_scale(
    tmp_path: Path, said: dict[str, int]
) -> None:
    referee = Referee(scheduler_of(space(grace=0.5)), None, tiny_corpus(), tmp_path)
    for name in ("t0000", "t0001"):
        write_json(tmp_path / name / "status.json", said)
        append_lines(
            tmp_path / name / METRICS_FILE, [{"step": 100, "val/rung_score": 0.9}]
        )  # of which 0.2 is behind
        referee.remember(name, 200)
    task = Task(checkpoint_folder=Path("trials/t0002/checkpoint"), config=small_config())
    trial: Any = SimpleNamespace(trial_id="tune", config={"task": task})
    referee.on_trial_add(None, trial)
    result = scalars({"step": 100, "val/rung_score": 0.2}, 200)
    assert referee.on_trial_result(None, trial, result) == FIFOScheduler.CONTINUE


def test_where_nothing_is_compared_no_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "t0000" / METRICS_FILE).mkdir(parents=True)  # reading it would fail
    write_json(tmp_path / "t0000" / "status.json", {"rung_scale": RUNG_SCALE})
    Referee(None, HealthStopper(StopperConfig(), 200), tiny_corpus(), tmp_path).remember(
        "t0000", 200
    )
    compares = Referee(scheduler_of(space()), None, tiny_corpus(), tmp_path)
    with pytest.raises(IsADirectoryError):
        compares.remember("t0000", 200)


def test_a_trial_that_is_behind_has_its_scheduler_for_its_reason() -> None:
    step, verdict = judged(None, [0.01] * 10)
    assert step == 200
    assert verdict.reason.startswith("asha: a rung score of 0.500 at step 200 was not among")
    referee = Referee(scheduler_of(space(**HYPERBAND)), None, tiny_corpus(), Path("trials"))
    reason = referee.verdict("tune-1", {"rung_score": 0.5, "step": 200}).reason
    assert reason.startswith("hyperband: a rung score of 0.500 at step 200 was not among")
    assert reason.endswith(" that far in its bracket")


def test_a_trial_is_stopped_when_somebody_asks_but_not_at_its_last_step(tmp_path: Path) -> None:
    (tmp_path / "t0001").mkdir()
    (tmp_path / "t0001" / STOP).write_text("{}")
    step, verdict = judged(None, [5.0] * 10, tmp_path, steps=200)
    assert (step, verdict) == (20, Verdict("stopped", REASON))
    assert judged(None, [5.0] * 10, tmp_path, steps=20)[1].reason != REASON


def test_a_trial_is_paused_where_its_checkpoint_will_be_of_what_it_has_reported(
    tmp_path: Path,
) -> None:
    (tmp_path / "t0001").mkdir()
    (tmp_path / "t0001" / PAUSE).write_text("{}")
    assert judged(None, [5.0] * 10, tmp_path) == (20, Verdict("paused", PAUSED))
    assert judged(None, [5.0] * 10, tmp_path, steps=20)[1].reason != PAUSED
    assert judged(None, [5.0] * 10, tmp_path, noted=60)[0] == 80
