"""Where in their ranges trials are, and which ranges they are at the end of."""

from typing import Any

import pytest

from aurl.files import read_yaml
from aurl.reporting.boundaries import Placed, Range, ranges_of
from aurl.search.ranking import TrialStatus
from aurl.search.space import Space
from aurl.search.space_file import space_of
from tests.fake_sweep import QUICK

SEARCHED: dict[str, Any] = {
    "objective.beta.schedule": {"choice": ["constant", "linear"]},
    "objective.beta.value": {"log_uniform": [0.01, 1.0]},
    "objective.beta.warmup": {
        "uniform": [0.1, 1.0],
        "when": {"objective.beta.schedule": "linear"},
    },
    "latent.levels.global.dim": {"int_uniform": [8, 32], "step": 8},
    "training.batch_size": {"int_uniform": [16, 256], "log": True},
    "latent.levels.local.dim": {"choice": [8, 0, 4]},
    "latent.levels.fine.dim": {"choice": [0, 4]},
    "latent.levels.local.span": {"choice": [1, 2, 4, "sequence"]},
}


def space() -> Space:
    return space_of({**read_yaml(QUICK), "scientific": SEARCHED}, overrides={})


def found(*params: dict[str, Any]) -> dict[str, Range]:
    trials = [
        TrialStatus(trial=f"t{number}", status="completed", params=each)
        for number, each in enumerate(params)
    ]
    return {each.parameter.key: each for each in ranges_of(space(), trials)}


@pytest.mark.parametrize(
    ("key", "value", "place", "end"),
    [
        ("objective.beta.value", 0.01, 0.0, "low"),
        ("objective.beta.value", 0.1, 0.5, ""),
        ("objective.beta.value", 0.8, 0.9515, "high"),
        ("objective.beta.value", 0.75, 0.9375, ""),
        ("latent.levels.global.dim", 32, 1.0, "high"),
        ("latent.levels.global.dim", 24, 2 / 3, ""),
        ("training.batch_size", 64, 0.5, ""),
        ("latent.levels.local.dim", 0, 0.0, "low"),
        ("latent.levels.local.dim", 4, 0.5, ""),
        ("latent.levels.local.dim", 8, 1.0, "high"),
    ],
)
def test_a_value_is_placed_in_its_range(key: str, value: float, place: float, end: str) -> None:
    one = found({key: value})[key]
    assert one.placed[0].place == pytest.approx(place, abs=1e-4)
    assert one.end == end
    assert one.sharing == (1 if end else 0)


def test_a_range_goes_from_its_lowest_value_to_its_highest() -> None:
    values = {"latent.levels.global.dim": 16, "latent.levels.local.dim": 4}
    ends = {key: (each.low, each.high) for key, each in found(values).items()}
    assert ends == {"latent.levels.global.dim": (8, 32), "latent.levels.local.dim": (0, 8)}


@pytest.mark.parametrize(
    ("place", "end"), [(0.05, "low"), (0.051, ""), (0.949, ""), (0.95, "high")]
)
def test_one_part_in_twenty_of_a_range_is_its_end(place: float, end: str) -> None:
    assert Placed(trial="t0000", value=1.0, place=place).end == end


def test_choices_without_order_or_middle_have_no_ends() -> None:
    assert found({"objective.beta.schedule": "constant", "latent.levels.fine.dim": 4}) == {}
    assert found({"latent.levels.local.span": "sequence"}, {"latent.levels.local.span": 2}) == {}


def test_a_conditional_parameter_is_of_the_trials_that_have_it() -> None:
    linear = {"objective.beta.schedule": "linear", "objective.beta.warmup": 1.0}
    other = {"objective.beta.schedule": "constant", "objective.beta.warmup": 0.1}
    more = ({**linear, "objective.beta.warmup": value} for value in (0.99, 0.1))
    one = found(other, linear, *more)["objective.beta.warmup"]
    assert [each.trial for each in one.placed] == ["t1", "t2", "t3"]
    assert (one.end, one.sharing) == ("high", 2)


def test_a_value_that_the_space_does_not_hold_is_left_out() -> None:
    assert found({"objective.beta.value": 7.0, "latent.levels.local.dim": 5}) == {}
