"""The health stopper on made-up rows: who is stopped, when, why, and who is spared."""

import math
from typing import Any

import pytest

from aurl.search.settings import StopperConfig
from aurl.search.stopper import HealthStopper, Verdict

STEPS, EVERY, TARGET = 1000, 100, 13.4
NAME = "t0003"


def rows(
    step: int, kl: float, *, live: float | None = None, settled: bool = True, gate: float = 0.0
) -> list[dict[str, Any]]:
    """What a trial reports at an evaluation; by default its dimensions live if the KL is there."""
    skip = {"train/encoder_skip_gate": gate} if gate else {}
    return [
        {"step": step, "objective/beta_settled": float(settled), **skip},
        {
            "step": step,
            "val/kl_nats": kl,
            "val/live_dimensions": float(kl >= 0.5) if live is None else live,
            "val/negative_elbo_nats": 60.0,
            "val/disentanglement": 0.0,
        },
    ]


def stop(
    reports: list[list[dict[str, Any]]], **settings: Any
) -> tuple[int, Verdict] | tuple[None, None]:
    """Step and verdict of the first report that ends the trial."""
    stopper = HealthStopper(StopperConfig(**settings), STEPS)
    stopper.begin(NAME, [])
    for report in reports:
        if verdict := stopper.judge(NAME, report, TARGET):
            return report[-1]["step"], verdict
    return None, None


def course(*kl: float, **more: Any) -> list[list[dict[str, Any]]]:
    return [rows(EVERY * (index + 1), value, **more) for index, value in enumerate(kl)]


FLAT_DEAD = [0.01] * 10


def test_a_dead_trial_is_stopped_once_two_evaluations_after_the_grace_agree() -> None:
    step, verdict = stop(course(*FLAT_DEAD))
    assert step == 400, "300 is the first evaluation after a quarter of 1000 steps"
    assert verdict == Verdict(
        "stopped", "health: no live dimension at steps 300 to 400, KL 0.01 nats"
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"grace": 0.5}, 600), ({"patience": 4}, 600), ({"patience": 1}, 300), ({"grace": 0.0}, 200)],
)
def test_grace_and_patience_put_the_stop_off(settings: dict[str, Any], expected: int) -> None:
    step, _ = stop(course(*FLAT_DEAD), **settings)
    assert step == expected


def test_nobody_is_stopped_at_the_last_step() -> None:
    assert stop(course(*FLAT_DEAD), grace=0.9) == (None, None)


def test_no_verdict_before_beta_has_settled_or_while_the_skip_is_open() -> None:
    late = course(*FLAT_DEAD[:6], settled=False) + course(*FLAT_DEAD)[6:]
    assert stop(late)[0] == 800
    assert stop(course(*FLAT_DEAD, settled=False)) == (None, None)
    assert stop(course(*FLAT_DEAD, gate=0.3)) == (None, None)
    assert stop([report[1:] for report in course(*FLAT_DEAD)]) == (None, None)  # nothing says so


def test_a_controller_that_loses_its_target_takes_the_verdict_back() -> None:
    reports = course(*FLAT_DEAD)
    for index in (3, 5, 7):
        reports[index] = rows(EVERY * (index + 1), 0.01, settled=False)
    assert stop(reports)[0] is None


def test_a_kl_that_rises_fast_enough_is_spared_and_one_that_does_not_is_not() -> None:
    doubling = [0.01 * 2.0**index for index in range(10)]  # at 1000: 5 nats
    assert stop(course(*doubling)) == (None, None)
    creeping = [0.01 * 1.1**index for index in range(10)]  # at 1000: 0.02 nats
    assert stop(course(*creeping))[0] == 400
    for end, expected in ((0.8, 400), (0.9, None)):  # nats at 1000, where 0.84 is enough
        assert stop(course(*[end * 1.5**index for index in range(-9, 1)]))[0] == expected


def test_a_rate_far_below_the_target_is_hopeless_though_a_dimension_lives() -> None:
    step, verdict = stop(course(*[0.6] * 10))
    assert step == 400
    assert verdict is not None
    assert verdict.reason == (
        "health: a KL of 0.6 nats is below 0.838 at steps 300 to 400, and not on its way"
    )
    assert stop(course(*[0.9] * 10)) == (None, None), "13.4 / 16 is 0.84"
    assert stop(course(*[0.9] * 10), rate_factor=10.0)[0] == 400
    assert stop(course(*[0.9] * 3, *[0.6] * 7))[0] == 500, "one evaluation is not enough"


def test_a_rate_far_above_the_target_is_hopeless_unless_it_falls() -> None:
    step, verdict = stop(course(*[500.0] * 10))
    assert step == 400
    assert verdict is not None
    assert "a KL of 500 nats is above 214 at steps 300 to 400" in verdict.reason
    assert stop(course(*[200.0] * 10)) == (None, None)
    assert stop(course(*[200.0] * 3, *[500.0] * 7))[0] == 500
    assert stop(course(*[2000.0 * 0.7**index for index in range(10)])) == (None, None)


def test_what_is_measured_as_healthy_is_never_stopped() -> None:
    """Totals of docs/log.md, the useful ones far from the target included."""
    for kl in (2.6, 7.4, 12.2, 20.4, 43.5, 84.4):
        assert stop(course(*[kl] * 10)) == (None, None), kl


@pytest.mark.parametrize("tag", ["val/kl_nats", "val/negative_elbo_nats"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_fails_at_once(tag: str, value: float) -> None:
    report = rows(100, 5.0, settled=False)
    report[-1][tag] = value
    step, verdict = stop([report])
    assert step == 100
    assert verdict == Verdict("failed", f"health: {tag} is not finite at step 100")


def test_a_resumed_trial_is_judged_with_what_it_left() -> None:
    stopper = HealthStopper(StopperConfig(), STEPS)
    left = [row for report in course(*FLAT_DEAD[:3]) for row in report]
    stopper.begin(NAME, left)
    verdict = stopper.judge(NAME, rows(400, 0.01), TARGET)
    assert verdict is not None
    stopper.begin(NAME, left[:2])  # another attempt, from an earlier checkpoint
    assert stopper.judge(NAME, rows(400, 0.01), TARGET) is None
    assert stopper.judge(NAME, rows(500, 0.01), TARGET) is not None


def test_trials_are_judged_apart() -> None:
    stopper = HealthStopper(StopperConfig(), STEPS)
    for report in course(*FLAT_DEAD[:3]):
        assert stopper.judge("t0001", report, TARGET) is None
    assert stopper.judge("t0002", rows(400, 0.01), TARGET) is None
    assert stopper.judge("t0001", rows(400, 0.01), TARGET) is not None
