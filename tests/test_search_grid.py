"""Sampler ``grid``: every configuration of a space once, in the file's order, whatever happens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from aurl.errors import ConfigError
from aurl.metrics.score import OBJECTIVES
from aurl.search.distributions import Value
from aurl.search.grid import cells
from aurl.search.sampler import Proposals
from aurl.search.settings import with_trials
from aurl.search.space import Space
from aurl.search.space_file import space_of
from aurl.search.warm_start import Beginning

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SCHEDULE, WARMUP, FINE = "objective.beta.schedule", "objective.beta.warmup", "model.d_model"
VARIED: Mapping[str, Any] = {
    SCHEDULE: {"choice": ["constant", "linear", "sigmoid"]},
    WARMUP: [
        {"choice": [0.1, 0.2], "when": {SCHEDULE: "linear"}},
        {"choice": [0.3], "when": {SCHEDULE: "sigmoid"}},
    ],
    FINE: {"int_uniform": [8, 16], "step": 8},
}
ALL: list[dict[str, Value]] = [
    {SCHEDULE: "constant", FINE: 8},
    {SCHEDULE: "constant", FINE: 16},
    {SCHEDULE: "linear", WARMUP: 0.1, FINE: 8},
    {SCHEDULE: "linear", WARMUP: 0.1, FINE: 16},
    {SCHEDULE: "linear", WARMUP: 0.2, FINE: 8},
    {SCHEDULE: "linear", WARMUP: 0.2, FINE: 16},
    {SCHEDULE: "sigmoid", WARMUP: 0.3, FINE: 8},
    {SCHEDULE: "sigmoid", WARMUP: 0.3, FINE: 16},
]
METRICS = dict.fromkeys(OBJECTIVES, 0.5)


def space(
    varied: Mapping[str, Any] = VARIED, overrides: Mapping[str, Any] | None = None, **budget: Any
) -> Space:
    values = {
        "question": "Which?",
        "base": {"model": {"n_heads": 2}},
        "budget": {"steps_per_trial": 2, **budget},
        "scientific": dict(varied),
        "sampler": {"name": "grid"},
    }
    return space_of(values, overrides=overrides or {})


def opened(folder: Path) -> Proposals:
    return Proposals(folder / "study.journal", space(), "study")


def test_the_last_parameter_changes_fastest_and_conditions_hold() -> None:
    assert list(cells(space().parameters)) == ALL
    whole = space({"latent.levels.fine.dim": {"int_uniform": [1, 4], "log": True}})
    assert [[*cell.values()] for cell in cells(whole.parameters)] == [[1], [2], [3], [4]]
    assert list(cells(())) == [{}]


def test_a_budget_without_trials_is_every_configuration_once() -> None:
    assert space().budget.trials == len(ALL)
    assert space(trials=3).budget.trials == 3
    assert space(trials=30).budget.trials == 30
    assert space(overrides={SCHEDULE: "linear"}).budget.trials == 4
    file: dict[str, Any] = {"question": "Which?", "scientific": {"seed": {"choice": [1, 2, 3]}}}
    file = with_trials({**file, "sampler": {"name": "grid"}}, 2)  # and of --set all the budget
    assert space_of(file, overrides={"budget.steps_per_trial": 9}).budget.trials == 2


def test_a_range_of_real_numbers_is_refused_unless_it_is_held() -> None:
    rate = {"optimizer.lr": {"log_uniform": [1e-4, 1e-2], "when": {SCHEDULE: "sigmoid"}}}
    with pytest.raises(ConfigError) as caught:
        space({**VARIED, **rate})
    assert str(caught.value) == (
        "optimizer.lr must be a choice, or whole numbers, for sampler grid, got 0.0001 .. 0.01 by "
        "ratio. List values, as in choice: [0.1, 0.3], or name another sampler."
    )
    assert space({**VARIED, **rate}, {"optimizer.lr": 0.1}).budget.trials == len(ALL)


@pytest.mark.timeout(5)  # all of them would take years
def test_more_configurations_than_can_be_gone_through_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        space({**VARIED, "seed": {"int_uniform": [0, 2**40]}}, trials=5)
    assert str(caught.value) == (
        "sampler.name must be another than grid for more than 10000 configurations, got grid. "
        "List fewer values."
    )
    assert space({"seed": {"int_uniform": [1, 10_000]}}).budget.trials == 10_000


def test_each_is_proposed_once_by_drivers_that_are_killed_and_then_again(tmp_path: Path) -> None:
    made: list[dict[str, Value]] = []
    known = set[int]()
    study = opened(tmp_path)
    for index in range(10):
        number, params = study.propose()
        made.append(params)
        known.add(number)
        if index % 4 == 3:  # the next driver goes on with this trial, and knows no later one
            study.propose()
            study = opened(tmp_path)
            study.fail_unknown(known)
        else:
            study.tell(number, ("completed", "failed", "stopped")[index % 3], METRICS)
    assert made == [*ALL, *ALL[:2]]


def test_what_is_known_from_the_beginning_is_not_tried_again(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.begin_with([Beginning(params=ALL[index], metrics=METRICS) for index in (0, 2)])
    assert [study.propose()[1] for _ in range(2)] == [ALL[1], ALL[3]]


def test_what_is_queued_goes_first_and_is_filled_up_from_the_grid(tmp_path: Path) -> None:
    study = opened(tmp_path)
    asked: list[dict[str, Value]] = [{FINE: 8}, ALL[4], {SCHEDULE: "linear"}]
    study.begin_with([Beginning(params=params) for params in asked])
    proposed = [study.propose()[1] for _ in range(4)]
    assert proposed == [ALL[0], ALL[4], ALL[2], ALL[1]]
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    elsewhere = optuna.load_study(study_name="study", storage=storage)
    elsewhere.enqueue_trial({SCHEDULE: "linear", WARMUP: 0.2, FINE: 16})
    assert study.propose()[1] == ALL[5]
    elsewhere.enqueue_trial({SCHEDULE: "sigmoid", WARMUP: 0.1})  # as no configuration has it
    assert study.propose()[1] in ALL
