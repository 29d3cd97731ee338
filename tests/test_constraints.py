"""Constraints of a space: what they may say, and which completed trials keep to them."""

from typing import Any

import pytest

from aurl.errors import ConfigError
from aurl.search.constraints import Bounds, read_constraints, violation


def test_constraints_are_read_by_metric() -> None:
    read = read_constraints({"val/kl_nats": {"at_least": 3, "at_most": "3e1"}})
    assert read == {"val/kl_nats": Bounds(at_least=3.0, at_most=30.0)}
    assert read_constraints({"val/score": {"at_least": 1, "at_most": 1}})
    assert read_constraints({}) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"kl_nats": {"at_least": 1}},
            r"^constraints\.kl_nats must be a metric such as val/",
        ),
        ({"val/kl_nats": 3}, r"kl_nats must be a mapping such as \{at_least: 0\.2\}, got 3\.$"),
        ({"val/kl_nats": {}}, r"kl_nats must have a finite at_least or at_most, got \{\}\.$"),
        ({"val/kl_nats": {"at_least": float("nan")}}, r"must have a finite at_least or at_most"),
        ({"val/kl_nats": {"at_leats": 1}}, r"at_leats is not a setting\. Did you mean 'at_least'"),
        ({"val/kl_nats": {"at_least": 2, "at_most": 1}}, r"must have at_least <= at_most, got"),
    ],
)
def test_a_constraint_that_makes_no_sense_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_constraints(values)


@pytest.mark.parametrize(
    ("metrics", "excess", "words"),
    [
        ({"val/kl_nats": 3.0, "val/kl_health": 0.5}, 0.0, ""),
        ({"val/kl_nats": 30.0, "val/kl_health": 0.5}, 0.0, ""),
        (
            {"val/kl_nats": 2.5},
            0.5,
            "infeasible: val/kl_nats must be at least 3 and at most 30",
        ),
        ({"val/kl_nats": 34.0}, 4.0, "at most 30, got 34"),
        ({"val/score": 1.0}, 1.0, "at most 30, got nothing"),
        ({"val/kl_nats": 10.0, "val/kl_health": 0.0}, 1.0, "collapsed: val/kl_health is 0"),
        ({"val/kl_nats": 1.0, "val/kl_health": 0.0}, 3.0, "collapsed: val/kl_health is 0"),
    ],
)
def test_a_trial_is_infeasible_by_how_much_it_is_outside(
    metrics: dict[str, float], excess: float, words: str
) -> None:
    found, why = violation(metrics, {"val/kl_nats": Bounds(at_least=3.0, at_most=30.0)})
    assert found == pytest.approx(excess)
    assert words in why
    assert bool(why) == (excess > 0.0)


def test_a_collapsed_trial_is_infeasible_without_any_constraint() -> None:
    assert violation({"val/kl_health": 0.0}, {}) == (1.0, "collapsed: val/kl_health is 0")
    assert violation({"val/kl_health": 1e-9}, {}) == (0.0, "")
