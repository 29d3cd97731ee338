"""Importances of a sweep whose scores follow from two parameters that are known."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from aurl.errors import SweepError
from aurl.metrics.score import OBJECTIVES
from aurl.search import importance
from aurl.search.importance import FRONT, LEAST_TRIALS, importances
from aurl.search.ranking import SCORE
from tests.fake_sweep import fake_sweep

HEALTH, _, RECONSTRUCTION = OBJECTIVES


def test_what_decides_a_score_is_found(tmp_path: Path) -> None:
    journal = fake_sweep(tmp_path, trials=24) / "study.journal"
    before = journal.read_bytes()
    found = {each.target: each for each in importances(journal)}
    assert list(found) == [FRONT, SCORE, *OBJECTIVES]
    assert next(iter(found[HEALTH].shares)) == "objective.beta.value"
    assert next(iter(found[RECONSTRUCTION].shares)) == "latent.levels.global.dim"
    assert found[RECONSTRUCTION].shares["latent.levels.global.dim"] > 0.9
    for each in found.values():
        assert sum(each.shares.values()) == pytest.approx(1.0)
        assert list(each.shares.values()) == sorted(each.shares.values(), reverse=True)
        assert each.trials == 24
    conditional = "objective.beta.warmup"
    assert conditional in found[FRONT].shares
    assert conditional not in found[SCORE].shares
    assert journal.read_bytes() == before
    assert importances(journal)[1] == found[SCORE]


def test_of_many_trials_the_forest_is_given_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = fake_sweep(tmp_path, trials=24) / "study.journal"
    monkeypatch.setattr(importance, "TREES", 8)  # enough to find what decides it
    whole = {each.target: each for each in importances(journal)}
    monkeypatch.setattr(importance, "MOST_FANOVA", 16)
    found = {each.target: each for each in importances(journal)}
    assert found[FRONT] == whole[FRONT]
    assert all(found[target].shares != whole[target].shares for target in (SCORE, *OBJECTIVES))
    assert [each.trials for each in found.values()] == [24, 16, 16, 16, 16]
    assert next(iter(found[HEALTH].shares)) == "objective.beta.value"


def test_of_few_trials_nothing_is_said(tmp_path: Path) -> None:
    journal = fake_sweep(tmp_path, trials=LEAST_TRIALS - 1) / "study.journal"
    assert importances(journal) == []


@pytest.mark.parametrize(
    ("share", "sizes", "targets"),
    [(0.125, 3, [FRONT, HEALTH]), (0.0, 3, []), (0.125, 1, [])],
    ids=["what differs", "no score differs", "one parameter alone differs"],
)
def test_of_what_is_the_same_in_every_trial_nothing_is_said(
    tmp_path: Path, share: float, sizes: int, targets: list[str]
) -> None:
    journal = tmp_path / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(
        storage=storage, directions=[StudyDirection.MAXIMIZE] * len(OBJECTIVES)
    )
    ranges: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(0.0, 1.0),
        "size": IntDistribution(0, 2),
    }
    ranges["heads"] = CategoricalDistribution([4])
    for index in range(LEAST_TRIALS):
        params = {"lr": index / 8, "size": index % sizes, "heads": 4}
        values = (share * index, 0.0, 0.5)
        study.add_trial(create_trial(params=params, distributions=ranges, values=values))
    study.add_trial(create_trial(state=TrialState.FAIL))
    found = [(each.target, each.trials, sorted(each.shares)) for each in importances(journal)]
    assert found == [(target, LEAST_TRIALS, ["lr", "size"]) for target in targets]


def test_what_had_one_value_takes_no_share_from_the_others(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(
        storage=storage, directions=[StudyDirection.MAXIMIZE] * len(OBJECTIVES)
    )
    for index in range(16):
        params = {"lr": index / 16, "size": index % 3}
        ranges: dict[str, BaseDistribution] = {
            "lr": FloatDistribution(0.0, 1.0),
            "size": IntDistribution(0, 2),
        }
        if index in (3, 14, 15):  # a parameter that not every trial has, and that had one value
            params, ranges = {**params, "cycles": 4}, {**ranges, "cycles": IntDistribution(2, 5)}
        values = (index / 16, 0.5, 0.5)
        study.add_trial(create_trial(params=params, distributions=ranges, values=values))
    found = {each.target: each.shares for each in importances(journal)}
    assert sorted(found[FRONT]) == ["lr", "size"]
    for shares in found.values():
        assert sum(shares.values()) == pytest.approx(1.0)


def test_a_torn_last_line_of_a_sweep_that_runs_is_passed_over(tmp_path: Path) -> None:
    journal = fake_sweep(tmp_path, trials=5) / "study.journal"
    whole = journal.read_text(encoding="utf-8")
    journal.write_text(whole + '{"op_code": 6, "tri', encoding="utf-8")
    assert importances(journal)[0].trials == 5


@pytest.mark.parametrize("text", ["not JSON\n" * 3, "[1, 2]\n[3]\n", "{}\n{}\n", ""])
def test_a_journal_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SweepError, match=r"must be a sweep's journal, got a damaged file\.$"):
        importances(path)
    path.unlink()
    with pytest.raises(SweepError, match=r"it is not there\.$"):
        importances(path)
    assert not path.exists()
