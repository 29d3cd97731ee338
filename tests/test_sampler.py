"""The Optuna study of a sweep: reopened as it was, told the truth, and the same after a resume."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from aurl.errors import OutageError, SweepError
from aurl.metrics.score import OBJECTIVES
from aurl.search.distributions import Value
from aurl.search.ranking import End
from aurl.search.sampler import Proposals, Repeats
from aurl.search.space import Space
from aurl.search.space_file import space_of
from aurl.search.warm_start import Beginning
from tests.tiny import small_config

NAME = "study"
VARIED: Mapping[str, Any] = {
    "optimizer.lr": {"log_uniform": [1e-4, 1e-1]},
    "objective.beta.schedule": {"choice": ["constant", "linear"]},
    "objective.beta.warmup": {
        "uniform": [0.1, 0.5],
        "when": {"objective.beta.schedule": "linear"},
    },
    "latent.levels.fine.dim": {"int_uniform": [1, 8]},
}
SAMPLERS = pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])


def space(sampler: str = "tpe", seed: int = 0) -> Space:
    return space_of(
        {
            "question": "Which?",
            "budget": {"trials": 9, "steps_per_trial": 2},
            "scientific": dict(VARIED),
            "sampler": {"name": sampler, "seed": seed, "startup_trials": 4, "population": 4},
        },
        overrides={},
    )


def opened(folder: Path, sampler: str = "tpe", seed: int = 0) -> Proposals:
    return Proposals(folder / "study.journal", space(sampler, seed), NAME)


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """What somebody else, such as optuna-dashboard, reads from the journal."""
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    return optuna.load_study(study_name=NAME, storage=storage).get_trials()


def states(folder: Path) -> list[TrialState]:
    return [trial.state for trial in trials(folder)]


def scores(*values: float) -> dict[str, float]:
    return dict(zip(OBJECTIVES, values, strict=True))


def worth(params: Mapping[str, Value]) -> dict[str, float]:
    """A made-up result that depends on nothing but the parameters."""
    rate = float(params["optimizer.lr"])
    return scores(rate, 1.0 - rate, int(params["latent.levels.fine.dim"]) / 8)


def ends() -> list[End]:
    return ["completed", "completed", "stopped", "completed", "failed", "completed", "completed"]


def drive(propose: Callable[[], Proposals], count: int = 10) -> list[dict[str, Value]]:
    """Propose and tell ``count`` trials, one after the other; returns what was proposed."""
    made: list[dict[str, Value]] = []
    for index in range(count):
        number, params = propose().propose()
        assert number == index
        made.append(params)
        propose().tell(number, ends()[index % 7], worth(params))
    return made


def test_a_reopened_journal_holds_what_was_proposed_and_told(tmp_path: Path) -> None:
    study = opened(tmp_path)
    made = drive(lambda: study, 7)
    reopened = trials(tmp_path)
    assert [trial.params for trial in reopened] == made
    pruned, failed = TrialState.PRUNED, TrialState.FAIL
    expected = [TrialState.COMPLETE] * 7
    expected[2], expected[4] = pruned, failed
    assert states(tmp_path) == expected
    for trial, params in zip(reopened, made, strict=True):
        if trial.state == TrialState.COMPLETE:
            assert trial.values == list(worth(params).values())
        else:
            assert trial.values is None
    before = (tmp_path / "study.journal").read_bytes()
    opened(tmp_path)
    after = (tmp_path / "study.journal").read_bytes()
    assert after.startswith(before)


def test_the_journal_names_its_objectives_and_their_direction(tmp_path: Path) -> None:
    opened(tmp_path)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study = optuna.load_study(study_name=NAME, storage=storage)
    assert study.metric_names == ["kl_health", "disentanglement", "reconstruction_score"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE"] * 3


@SAMPLERS
def test_a_resumed_sweep_proposes_what_the_uninterrupted_one_would_have(
    tmp_path: Path, sampler: str
) -> None:
    for part in ("whole", "parts"):
        (tmp_path / part).mkdir()
    whole = opened(tmp_path / "whole", sampler)
    uninterrupted = drive(lambda: whole)
    resumed = drive(lambda: opened(tmp_path / "parts", sampler))  # a new driver at each step
    assert resumed == uninterrupted


@SAMPLERS
def test_proposals_depend_on_the_seed(tmp_path: Path, sampler: str) -> None:
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
    first, second = (
        drive(lambda seed=seed: opened(tmp_path / str(seed), sampler, seed), 3) for seed in (0, 1)
    )
    assert first != second


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_proposals_depend_on_what_was_told(tmp_path: Path, sampler: str) -> None:
    made: list[list[dict[str, Value]]] = []
    for sign in (1.0, -1.0):
        folder = tmp_path / str(sign)
        folder.mkdir()
        study = opened(folder, sampler)
        for _ in range(9):
            number, params = study.propose()
            rate = float(params["optimizer.lr"])
            study.tell(number, "completed", scores(sign * rate, sign * rate, sign * rate))
        made.append([trial.params for trial in trials(folder)])
    assert made[0][:4] == made[1][:4], "the first are random"
    assert made[0][4:] != made[1][4:]


@pytest.mark.parametrize("end", ["completed", "stopped", "failed"])
def test_telling_twice_changes_nothing(tmp_path: Path, end: End) -> None:
    study = opened(tmp_path)
    number, _ = study.propose()
    study.tell(number, end, scores(0.1, 0.2, 0.3))
    before = (tmp_path / "study.journal").read_bytes()
    for again in ends():
        study.tell(number, again, scores(0.9, 0.9, 0.9))
    assert (tmp_path / "study.journal").read_bytes() == before


@pytest.mark.parametrize("missing", OBJECTIVES)
def test_a_completed_trial_without_an_objective_has_failed(tmp_path: Path, missing: str) -> None:
    study = opened(tmp_path)
    number, _ = study.propose()
    metrics = scores(0.1, 0.2, 0.3)
    del metrics[missing]
    study.tell(number, "completed", metrics)
    assert states(tmp_path) == [TrialState.FAIL]


def test_an_objective_of_zero_is_a_value(tmp_path: Path) -> None:
    study = opened(tmp_path)
    number, _ = study.propose()
    study.tell(number, "completed", scores(0.0, 0.0, 0.0))
    (trial,) = trials(tmp_path)
    assert trial.values == [0.0, 0.0, 0.0]


def test_proposals_that_never_started_are_failed_and_the_others_left(tmp_path: Path) -> None:
    study = opened(tmp_path)
    for _ in range(4):
        study.propose()
    study.tell(0, "completed", scores(0.1, 0.2, 0.3))
    resumed = opened(tmp_path)
    resumed.fail_unknown({0, 2})
    complete, running, failed = TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL
    assert states(tmp_path) == [complete, failed, running, failed]
    resumed.tell(2, "stopped", {})
    assert resumed.propose()[0] == 4
    resumed.tell(4, "completed", scores(0.1, 0.2, 0.3))
    assert TrialState.RUNNING not in states(tmp_path)


def test_a_journal_that_was_torn_by_a_kill_is_mended(tmp_path: Path) -> None:
    study = opened(tmp_path)
    drive(lambda: study, 2)
    path = tmp_path / "study.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker_id":"x')
    resumed = opened(tmp_path)
    assert resumed.propose()[0] == 2
    resumed.tell(2, "stopped", {})
    opened(tmp_path).propose()
    assert len(trials(tmp_path)) == 4
    assert path.read_bytes().startswith(whole)


def test_a_sweep_whose_folder_was_given_another_name_goes_on(tmp_path: Path) -> None:
    study = opened(tmp_path)
    drive(lambda: study, 2)
    renamed = Proposals(tmp_path / "study.journal", space(), "another")
    renamed.tell(1, "completed", {})
    renamed.fail_unknown({0, 1})
    assert renamed.propose()[0] == 2
    assert len(trials(tmp_path)) == 3


def test_a_study_that_the_dashboard_renames_meanwhile_ends_the_sweep_in_one_line(
    tmp_path: Path,
) -> None:
    study = opened(tmp_path)
    study.propose()
    elsewhere = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    optuna.copy_study(
        from_study_name=NAME, from_storage=elsewhere, to_storage=elsewhere, to_study_name="other"
    )
    optuna.delete_study(study_name=NAME, storage=elsewhere)
    for act in (study.propose, lambda: study.tell(0, "stopped", {})):
        with pytest.raises(OutageError, match=r"study\.journal must keep its study"):
            act()
    opened(tmp_path).tell(0, "stopped", {})


def test_a_journal_that_lacks_trials_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.journal").touch()
    study = opened(tmp_path)
    for act in (lambda: study.tell(1, "completed", {}), lambda: study.fail_unknown({1})):
        with pytest.raises(
            SweepError, match=r"must hold every .* got 0 trials and the .* number 1\. Bring back a"
        ):
            act()


@pytest.mark.parametrize("text", [b"\x80\x05\x95 a pickle", b"{\n", b"[]\n", b'{"op_code": 99}\n'])
def test_what_is_no_journal_is_refused_in_one_line_and_left_as_it_is(
    tmp_path: Path, text: bytes
) -> None:
    (tmp_path / "study.journal").write_bytes(text)
    with pytest.raises(
        SweepError, match=r"study\.journal must be a sweep's journal, got a damaged"
    ):
        opened(tmp_path)
    assert (tmp_path / "study.journal").read_bytes() == text


@pytest.mark.timeout(20)  # Optuna waits 30 s for a lock that nobody holds
def test_a_lock_that_a_killed_driver_held_is_taken_away(tmp_path: Path) -> None:
    opened(tmp_path).propose()
    (tmp_path / "study.journal.lock").symlink_to(tmp_path / "study.journal")
    assert opened(tmp_path).propose()[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.journal"]


def test_optuna_says_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = opened(tmp_path)
    drive(lambda: study, 2)
    assert capfd.readouterr() == ("", "")


def test_a_configuration_that_comes_again_has_another_seed_each_time() -> None:
    config = small_config()
    repeats = Repeats([{"a": 1, "b": 2}])
    again = [repeats.seeded({"b": two, "a": 1}, config).seed for two in (2, 2.0)]
    assert len({config.seed, *again}) == 3
    seeds = [repeats.seeded({"a": yes}, config).seed for yes in (True, 1, True)]
    assert seeds == [config.seed, config.seed, again[0]]
    assert Repeats([{"seed": 0}]).seeded({"seed": 0}, config) == config


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_a_queued_configuration_leaves_out_is_drawn_for_each(tmp_path: Path) -> None:
    study = opened(tmp_path, "random")
    sizes: list[dict[str, Value]] = [{"latent.levels.fine.dim": size} for size in (1, 2, 3)]
    study.begin_with([Beginning(params=size) for size in sizes])
    drawn = [study.propose()[1] for _ in sizes]
    assert [params["latent.levels.fine.dim"] for params in drawn] == [1, 2, 3]
    assert len({params["optimizer.lr"] for params in drawn}) == 3


def test_groups_model_what_exists_together(tmp_path: Path) -> None:
    made: dict[bool, list[dict[str, Value]]] = {}
    for groups in (False, True):
        folder = tmp_path / str(groups)
        folder.mkdir()
        chosen = space()
        chosen = replace(chosen, sampler=replace(chosen.sampler, groups=groups))
        study = Proposals(folder / "study.journal", chosen, NAME)
        made[groups] = drive(lambda study=study: study, 12)
    assert made[False][:4] == made[True][:4], "the first are random"
    assert made[False] != made[True]


def test_a_range_under_another_condition_is_a_parameter_of_its_own(tmp_path: Path) -> None:
    key, choice = "objective.beta.value", "objective.beta.schedule"
    varied = {
        choice: {"choice": ["constant", "cyclical"]},
        key: [
            {"uniform": [0.1, 0.2], "when": {choice: "constant"}},
            {"uniform": [0.5, 0.9], "when": {choice: "cyclical"}},
        ],
    }
    values = {
        "question": "Which?",
        "budget": {"trials": 9, "steps_per_trial": 4},
        "scientific": varied,
        "base": {"objective": {"beta": {"schedule": "constant"}}},
        "sampler": {"startup_trials": 3},
    }
    fixed: dict[str, Any] = {
        "objective.beta.cycles": {"int_uniform": [2, 3], "when": {choice: "cyclical"}}
    }
    fixed["objective.beta.ramp"] = {"choice": [0.5], "when": {choice: "cyclical"}}
    ranged = space_of({**values, "nuisance": fixed}, overrides={})
    study = Proposals(tmp_path / "study.journal", ranged, NAME)
    for _ in range(8):
        number, params = study.propose()
        assert (float(params[key]) > 0.4) == (params[choice] == "cyclical")
        study.tell(number, "completed", scores(float(params[key]), 0.5, 0.5))
    names = {name for trial in trials(tmp_path) for name in trial.params}
    assert {key, f"{key} (2)"} <= names


def constrained() -> Space:
    values = {
        "question": "Which?",
        "budget": {"trials": 9, "steps_per_trial": 2},
        "scientific": dict(VARIED),
        "sampler": {"startup_trials": 4},
        "constraints": {"val/kl_nats": {"at_least": 5.0}},
    }
    return space_of(values, overrides={})


def test_a_trial_that_violates_a_constraint_is_told_by_how_much(tmp_path: Path) -> None:
    study = Proposals(tmp_path / "study.journal", constrained(), NAME)
    told = [
        {**scores(0.9, 0.9, 0.9), "val/kl_nats": 3.0},
        {**scores(0.1, 0.1, 0.1), "val/kl_nats": 6.0},
        {**scores(0.0, 0.9, 0.9), "val/kl_nats": 6.0},
        scores(0.9, 0.9, 0.9),
    ]
    for metrics in told:
        number, _ = study.propose()
        study.tell(number, "completed", metrics)
    stopped, _ = study.propose()
    study.tell(stopped, "stopped", {"val/kl_nats": 0.0})
    found = trials(tmp_path)
    assert [trial.constraints.get("infeasible") for trial in found] == [2.0, 0.0, 1.0, 1.0, None]
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    best = optuna.load_study(study_name=NAME, storage=storage).best_trials
    assert [trial.number for trial in best] == [1], "the best of the feasible"


def test_a_driver_that_was_killed_between_constraint_and_end_tells_the_end(tmp_path: Path) -> None:
    study = Proposals(tmp_path / "study.journal", constrained(), NAME)
    number, _ = study.propose()
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    inside = optuna.load_study(study_name=NAME, storage=storage)
    trial = optuna.trial.Trial(inside, inside.get_trials()[number]._trial_id)  # pyrefly: ignore[protected-access]
    trial.set_constraint("infeasible", 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = Proposals(tmp_path / "study.journal", constrained(), NAME)
        again.tell(number, "completed", {**scores(0.9, 0.9, 0.9), "val/kl_nats": 3.0})
    (told,) = trials(tmp_path)
    assert (told.state, told.constraints) == (TrialState.COMPLETE, {"infeasible": 2.0})


@SAMPLERS
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_driver_killed_while_proposing_changes_no_later_proposal(
    tmp_path: Path, sampler: str
) -> None:
    def proposed(folder: Path, killed_at: int) -> list[dict[str, Value]]:
        folder.mkdir()
        made: list[dict[str, Value]] = []
        for index in range(8):
            study = opened(folder, sampler)
            if index == killed_at:
                study.propose()  # and never started
                study = opened(folder, sampler)
                study.fail_unknown(set())
            number, params = study.propose()
            made.append(params)
            study.tell(number, "completed", worth(params))
        return made

    assert proposed(tmp_path / "killed", 6) == proposed(tmp_path / "calm", -1)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_configuration_that_was_asked_for_is_tried_though_its_driver_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    asked: dict[str, Value] = {
        "optimizer.lr": 0.05,
        "objective.beta.schedule": "constant",
        "latent.levels.fine.dim": 3,
    }
    study = opened(tmp_path)
    study.begin_with([Beginning(params=asked)])
    number, params = study.propose()
    assert (number, params) == (0, asked)
    for _ in range(2):  # killed twice before it is started
        study = opened(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(optuna.Study, "tell", killed)  # when it is queued again already
            with pytest.raises(KeyboardInterrupt):
                study.fail_unknown(set())
        study.fail_unknown(set())
        study.fail_unknown(set())
        assert states(tmp_path).count(TrialState.WAITING) == 1
        number, params = study.propose()
        assert params == asked
    study.tell(number, "completed", worth(params))
    assert {TrialState.WAITING, TrialState.RUNNING}.isdisjoint(states(tmp_path))
