"""What a sweep begins with: results that hold here too, and what is tried first."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from aurl.config import to_plain
from aurl.errors import ConfigError, SweepError
from aurl.files import write_json, write_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.plain import overridden
from aurl.search.sampler import Proposals
from aurl.search.space import Space
from aurl.search.space_file import space_of
from aurl.search.warm_start import Beginning, read_beginnings

LR, SCHEDULE, WARMUP = "optimizer.lr", "objective.beta.schedule", "objective.beta.warmup"
VARIED: dict[str, Any] = {
    LR: {"log_uniform": [1e-4, 1e-2]},
    SCHEDULE: {"choice": ["constant", "linear"]},
    WARMUP: {"uniform": [0.1, 0.5], "when": {SCHEDULE: "linear"}},
}
GOOD: dict[str, Any] = {LR: 0.001, SCHEDULE: "linear", WARMUP: 0.2}
PLAIN: dict[str, Any] = {LR: 0.002, SCHEDULE: "constant"}


def space(varied: Mapping[str, Any] = VARIED, steps: int = 6) -> Space:
    values = {
        "question": "Which?",
        "budget": {"trials": 4, "steps_per_trial": steps},
        "scientific": dict(varied),
        "sampler": {"startup_trials": 3},
    }
    return space_of(values, overrides={})


def scored(score: float, health: float = 0.5) -> dict[str, float]:
    return {**dict.fromkeys(OBJECTIVES, score), "val/kl_health": health, "val/score": score}


def write_trial(
    sweep: Path, name: str, params: dict[str, Any], made_by: Space, **values: Any
) -> None:
    folder = sweep / "trials" / name
    write_yaml(folder / "config.yaml", to_plain(made_by.config_of(params)))
    status = {"status": "completed", "params": params, "metrics": scored(0.5)}
    write_json(folder / "status.json", status | values)


def earlier(folder: Path, made_by: Space | None = None) -> Path:
    sweep, made_by = folder / "earlier", made_by or space()
    write_trial(sweep, "t0000", GOOD, made_by, metrics=scored(0.6))
    write_trial(sweep, "t0001", PLAIN, made_by, metrics=scored(0.3))
    write_trial(sweep, "t0002", PLAIN, made_by, status="stopped")
    write_trial(sweep, "t0003", PLAIN, made_by, status="failed")
    return sweep


def test_results_of_the_very_same_runs_are_known(tmp_path: Path) -> None:
    assert read_beginnings(earlier(tmp_path), space()) == [
        Beginning(params=GOOD, metrics=scored(0.6)),
        Beginning(params=PLAIN, metrics=scored(0.3)),
    ]


def test_of_runs_that_would_differ_the_front_is_tried(tmp_path: Path) -> None:
    found = read_beginnings(earlier(tmp_path), space(steps=12))
    assert found == [Beginning(params=GOOD)]


def test_a_trial_whose_folder_is_damaged_gives_nothing_and_stops_nothing(tmp_path: Path) -> None:
    sweep = earlier(tmp_path)
    (sweep / "trials" / "t0001" / "config.yaml").unlink()
    assert read_beginnings(sweep, space()) == [Beginning(params=GOOD, metrics=scored(0.6))]
    status = {"status": "completed", "params": {LR: "x", SCHEDULE: 2}, "metrics": scored(0.6)}
    write_json(sweep / "trials" / "t0000" / "status.json", status)
    assert read_beginnings(sweep, space()) == []


def test_what_does_not_lie_in_the_space_is_left_out(tmp_path: Path) -> None:
    narrow = {**VARIED, LR: {"log_uniform": [0.0015, 1e-2]}}
    assert read_beginnings(earlier(tmp_path), space(narrow)) == [
        Beginning(params=PLAIN, metrics=scored(0.3))
    ]


def test_parameters_that_are_searched_no_more_are_left_out(tmp_path: Path) -> None:
    found = read_beginnings(earlier(tmp_path), space({LR: VARIED[LR]}))
    # t0001 has the default schedule, so it is the same run; t0000 is the front, with another.
    assert found == [
        Beginning(params={LR: 0.002}, metrics=scored(0.3)),
        Beginning(params={LR: 0.001}),
    ]
    decay = {"optimizer.weight_decay": {"uniform": [0.0, 0.1]}}
    sometimes = {key: {**values, "when": {SCHEDULE: "linear"}} for key, values in decay.items()}
    always, sometimes = space(VARIED | decay), space(VARIED | sometimes)
    write_trial(tmp_path / "x", "t0000", PLAIN | dict.fromkeys(decay, 0.05), always)
    assert read_beginnings(tmp_path / "x", sometimes) == [Beginning(params=PLAIN)]


def test_what_was_held_and_is_searched_now_has_the_value_that_it_had(tmp_path: Path) -> None:
    clip = {"optimizer.gradient_clip": {"choice": [1, 3]}}
    was = {"optimizer.gradient_clip": 1.0}  # as by default
    sweep, wider = earlier(tmp_path), space(VARIED | clip)
    assert read_beginnings(sweep, wider) == [
        Beginning(params=GOOD | was, metrics=scored(0.6)),
        Beginning(params=PLAIN | was, metrics=scored(0.3)),
    ]
    other = space(VARIED | {"optimizer.gradient_clip": {"choice": [2, 3]}})
    assert read_beginnings(sweep, other) == [Beginning(params=GOOD)], "no run of this space"


def test_a_configuration_that_was_run_twice_is_told_or_tried_once(tmp_path: Path) -> None:
    sweep, again = earlier(tmp_path), overridden(space().base, {"seed": 5})
    seeded = replace(space(), base=again)
    write_trial(sweep, "t0004", GOOD, seeded, metrics={**scored(0.5), OBJECTIVES[1]: 0.7})
    assert read_beginnings(sweep, space()) == [
        Beginning(params=GOOD, metrics=scored(0.6)),
        Beginning(params=PLAIN, metrics=scored(0.3)),
    ]
    assert read_beginnings(sweep, space(steps=12)) == [Beginning(params=GOOD)]
    metrics = {name: x for name, x in scored(0.9).items() if name != OBJECTIVES[1]}
    write_trial(sweep, "t0001", PLAIN, space(), metrics=metrics)  # which Optuna cannot be told
    assert read_beginnings(sweep, space()) == [Beginning(params=GOOD, metrics=scored(0.6))]


def test_a_list_of_configurations_is_read(tmp_path: Path) -> None:
    write_yaml(tmp_path / "first.yaml", {"configurations": [{LR: "1e-3"}, PLAIN, PLAIN]})
    assert read_beginnings(tmp_path / "first.yaml", space()) == [
        Beginning(params={LR: 0.001}),
        Beginning(params=PLAIN),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"^--warm-start must be a sweep's folder or a file with a list of configurations, g"),
        ({"configurations": []}, r"^--warm-start must be a sweep's folder or a file with a list"),
        (
            {"configurations": [3]},
            r"configuration 1 must be a mapping of parameters to values, ",
        ),
        ({"configurations": [PLAIN, {LR: 7.0}]}, r"configuration 2 must lie in the search space"),
        ({"configurations": [{LR: [1]}]}, r"configuration 1 must lie in the search space"),
        (
            {"configurations": [{WARMUP: 0.2}]},
            r"configuration 1 must lie in the search space",
        ),
    ],
)
def test_a_list_that_cannot_be_tried_is_refused(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    write_yaml(tmp_path / "first.yaml", values)
    with pytest.raises(ConfigError, match=message):
        read_beginnings(tmp_path / "first.yaml", space())


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"must be a sweep's folder"):
        read_beginnings(tmp_path, space())


def test_what_is_not_there_is_named_with_the_way_to_go_on_without_it(tmp_path: Path) -> None:
    message = (
        r"^--warm-start must be .*, got .*gone, which is not there\. A sweep that has begun is"
    )
    with pytest.raises(ConfigError, match=message):
        read_beginnings(tmp_path / "gone", space())


def opened(folder: Path) -> Proposals:
    return Proposals(folder / "study.journal", space(), "study")


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    return optuna.load_study(study_name="study", storage=storage).get_trials()


BEGINNINGS = [
    Beginning(params=GOOD, metrics=scored(0.6)),
    Beginning(params=PLAIN, metrics=scored(0.3, health=0.0)),
    Beginning(params={SCHEDULE: "linear"}),
    Beginning(params={LR: 0.005}),
]


def test_results_are_told_and_the_others_tried_first_and_filled_up(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.begin_with(BEGINNINGS)
    made = [study.propose() for _ in range(3)]
    assert [number for number, _ in made] == [2, 3, 4]
    assert made[0][1][SCHEDULE] == "linear"
    assert WARMUP in made[0][1]
    assert made[1][1][LR] == 0.005
    assert made[0][1][LR] != made[1][1][LR]
    found = trials(tmp_path)
    states = [trial.state for trial in found]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING] * 3
    assert found[0].values == [0.5, 0.6, 0.6]
    assert [trial.constraints for trial in found[:2]] == [{"infeasible": 0.0}, {"infeasible": 1.0}]


def test_a_resumed_sweep_begins_once_and_keeps_what_waits(tmp_path: Path) -> None:
    opened(tmp_path).begin_with(BEGINNINGS)
    again = opened(tmp_path)
    again.begin_with(BEGINNINGS)
    again.fail_unknown(set())
    states = [trial.state for trial in trials(tmp_path)]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.WAITING] * 2
    assert again.told(set()) == [GOOD, PLAIN], "whatever --warm-start says now"
    assert again.told({1}) == [GOOD]
    assert again.propose()[0] == 2


def test_a_driver_that_was_killed_while_it_began_begins_again_without_doubles(
    tmp_path: Path,
) -> None:
    study = opened(tmp_path)
    study.begin_with(BEGINNINGS[:3])
    study._study.set_user_attr("began", False)  # pyrefly: ignore[protected-access]
    again = opened(tmp_path)
    again.begin_with(BEGINNINGS)
    assert len(trials(tmp_path)) == 4
