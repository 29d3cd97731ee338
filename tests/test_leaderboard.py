import csv
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurl import cli, files
from aurl.errors import ConfigError, SweepError
from aurl.files import write_json, write_text, write_yaml
from aurl.metrics.pareto import non_dominated_fronts
from aurl.reporting.export import trial_at_rank
from aurl.reporting.leaderboard import write_leaderboard
from aurl.search.ranking import (
    SCORE,
    Status,
    TrialStatus,
    counts,
    finalists,
    lower_bound,
    ranked,
    read_runs,
    read_trials,
)
from aurl.search.rows import record, status_record
from tests.fake_sweep import fake_sweep


def trial(
    name: str,
    objectives: tuple[float, ...] = (0.5, 0.5, 0.5),
    *,
    score: float | None = None,
    status: Status = "completed",
    reason: str = "",
    params: Mapping[str, Any] | None = None,
) -> TrialStatus:
    names = ("val/kl_health", "val/disentanglement", "val/reconstruction_score")
    metrics: dict[str, float] = dict(zip(names, objectives, strict=False))
    metrics |= {} if score is None else {"val/score": score}
    return TrialStatus(
        trial=name, status=status, reason=reason, params=params or {}, metrics=metrics
    )


def order(*trials: TrialStatus) -> list[str]:
    return [place.trial.trial for place in ranked(trials)]


@pytest.mark.parametrize(
    ("values", "fronts"),
    [
        pytest.param([[1.0, 1.0], [0.0, 0.0]], [0, 1], id="greater_is_better"),
        pytest.param([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]], [0, 0, 0], id="trade_offs"),
        pytest.param([[0.9, 0.1], [0.9, 0.2]], [1, 0], id="better_in_one_equal_in_the_other"),
        pytest.param([[0.4, 0.4], [0.4, 0.4], [0.3, 0.4]], [0, 0, 1], id="equal_trials"),
        pytest.param([[0.1, 0.1], [0.3, 0.3], [0.2, 0.2]], [2, 0, 1], id="a_chain"),
        pytest.param([[0.0, 0.0]], [0], id="one_trial"),
    ],
)
def test_fronts_of_known_trials(values: list[list[float]], fronts: list[int]) -> None:
    assert non_dominated_fronts(np.array(values)).tolist() == fronts


def test_fronts_of_no_trials_are_empty() -> None:
    assert non_dominated_fronts(np.zeros((0, 3))).shape == (0,)


def test_fronts_match_the_definition_on_random_trials() -> None:
    values = np.random.default_rng(0).integers(0, 5, size=(60, 3)).astype(float)

    def dominated(row: np.ndarray, rivals: np.ndarray) -> bool:
        return any((rival >= row).all() and (rival > row).any() for rival in rivals)

    expected = np.full(len(values), -1)
    number = 0
    while (expected < 0).any():
        rivals = values[expected < 0]
        free = [i for i in np.flatnonzero(expected < 0) if not dominated(values[i], rivals)]
        expected[free] = number
        number += 1
    assert number > 3
    np.testing.assert_array_equal(non_dominated_fronts(values), expected)


def test_pareto_front_comes_first_and_is_ordered_by_score() -> None:
    best_score_behind = trial("t0000", (0.79, 0.79, 0.79), score=0.99)  # a wrong score on purpose
    places = ranked(
        [
            best_score_behind,
            trial("t0001", (0.8, 0.8, 0.8), score=0.8),
            trial("t0002", (0.9, 0.1, 0.9), score=0.43),
        ]
    )
    assert [(place.rank, place.front, place.trial.trial) for place in places] == [
        (1, 0, "t0001"),
        (2, 0, "t0002"),
        (3, 1, "t0000"),
    ]


def test_trials_that_tie_stand_in_the_order_of_their_ids() -> None:
    tied = [trial(name, score=0.5) for name in ("t0002", "t0000", "t0001")]
    assert order(*tied) == ["t0000", "t0001", "t0002"]
    assert [place.rank for place in ranked(tied)] == [1, 2, 3]


def test_trial_that_lacks_an_objective_is_behind_every_trial_that_has_it() -> None:
    lacks = trial("t0000", (1.0, 1.0), score=1.0)
    infeasible = replace(trial("t0003", score=0.5), feasible=False)
    found = [infeasible, lacks, trial("t0001", (0.1, 0.1, 0.1), score=0.1), trial("t0002", ())]
    places = ranked(found)
    assert [place.trial.trial for place in places] == ["t0001", "t0000", "t0002", "t0003"]
    assert [place.front for place in places] == [0, None, None, None]
    assert record(places[1])["reconstruction_score"] is None


def test_trial_without_score_is_last_in_its_front() -> None:
    assert order(trial("t0000"), trial("t0001", score=0.5)) == ["t0001", "t0000"]


def test_trials_that_did_not_complete_are_listed_without_rank_or_score() -> None:
    dazzling = trial("t0000", (1.0, 1.0, 1.0), score=1.0, status="failed", reason="out of memory")
    stopped = trial("t0001", (0.9, 0.9, 0.9), score=0.9, status="stopped", reason="KL is dead")
    places = ranked([dazzling, stopped, trial("t0002", (0.1, 0.1, 0.1), score=0.1)])
    assert [(place.rank, place.trial.trial) for place in places] == [
        (1, "t0002"),
        (None, "t0001"),
        (None, "t0000"),
    ]
    failed = record(places[2])
    assert (failed["score"], failed["kl_health"], failed["front"]) == (None, None, None)
    assert (failed["status"], failed["reason"]) == ("failed", "out of memory")


def test_counts_name_every_status() -> None:
    trials = [trial("t0000"), trial("t0001", status="failed"), trial("t0002", status="failed")]
    assert counts(trials) == {
        "completed": 1,
        "running": 0,
        "paused": 0,
        "stopped": 0,
        "failed": 2,
        "unknown": 0,
    }


def write_status(sweep: Path, name: str, **values: Any) -> None:
    metrics = {"val/kl_health": 0.5, "val/disentanglement": 0.25, "val/reconstruction_score": 1}
    status = {
        "trial": name,
        "status": "completed",
        "reason": "",
        "step": 300,
        "steps": 300,
        "seconds": 12.5,
        "attempts": 1,
        "started": "2025-11-23T00:00:00+00:00",
        "params": {},
        "metrics": {**metrics, "val/score": 0.5},
    }
    write_json(sweep / "trials" / name / "status.json", status | values)


def test_status_is_read_back_whole(tmp_path: Path) -> None:
    write_status(tmp_path, "t0000", params={"optimizer.lr": 0.001})
    (found,) = read_trials(tmp_path)
    assert (found.trial, found.status, found.step, found.steps) == ("t0000", "completed", 300, 300)
    assert (found.seconds, found.attempts) == (12.5, 1)
    assert found.started == "2025-11-23T00:00:00+00:00"
    assert found.params == {"optimizer.lr": 0.001}
    assert found.metrics["val/reconstruction_score"] == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(None, "no status.json", id="absent"),
        pytest.param('{"status": "compl', "status.json cannot be read", id="torn"),
        pytest.param("[]", "status.json cannot be read", id="not_a_mapping"),
        pytest.param("{}", "status.json cannot be read", id="no_status"),
        pytest.param('{"status": "happy"}', "status.json cannot be read", id="unknown_status"),
        pytest.param(
            '{"status": "failed", "step": null}', "status.json cannot be read", id="null"
        ),
        pytest.param(
            '{"status": "failed", "metrics": {"a": "b"}}', "status.json cannot be read", id="text"
        ),
        pytest.param(
            '{"status": "failed", "step": 1e999}', "status.json cannot be read", id="inf"
        ),
        pytest.param(
            '{"status": "failed", "seconds": 2e12}', "status.json cannot be read", id="for_ever"
        ),
        pytest.param(
            '{"status": "failed", "device_seconds": {"gpu": -1.0}}',
            "status.json cannot be read",
            id="less_than_nothing",
        ),
        pytest.param(
            f'{{"status": "failed", "seconds": {10**400}}}',
            "status.json cannot be read",
            id="huge",
        ),
        pytest.param("[" * 100_000, "status.json cannot be read", id="deep"),
    ],
)
def test_trial_without_a_readable_status_is_unknown(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    write_status(tmp_path, "t0000")
    (tmp_path / "trials" / "t0001").mkdir()
    if text is not None:
        write_text(tmp_path / "trials" / "t0001" / "status.json", text)
    trials = read_trials(tmp_path)
    assert [(found.trial, found.status) for found in trials] == [
        ("t0000", "completed"),
        ("t0001", "unknown"),
    ]
    assert trials[1].reason == reason
    assert [place.rank for place in ranked(trials)] == [1, None]


def test_what_a_status_does_not_say_is_nothing(tmp_path: Path) -> None:
    write_text(tmp_path / "trials" / "t0000" / "status.json", '{"status": "running"}')
    assert read_trials(tmp_path) == [TrialStatus(trial="t0000", status="running")]
    (found,) = read_trials(tmp_path)
    assert (found.step, found.steps, found.seconds, found.attempts) == (0, 0, 0.0, 0)


def test_metric_that_is_not_finite_counts_as_missing(tmp_path: Path) -> None:
    metrics = '{"val/kl_health": NaN, "val/score": 0.5}'  # Python writes and reads this as JSON
    write_text(
        tmp_path / "trials" / "t0000" / "status.json",
        f'{{"status": "completed", "metrics": {metrics}}}',
    )
    (found,) = read_trials(tmp_path)
    assert found.metrics == {"val/score": 0.5}


def test_a_parameter_that_no_space_can_have_is_left_out_and_none_takes_a_place(
    tmp_path: Path,
) -> None:
    params = (
        '{"a": 1e999, "b": [1], "c": null, "optimizer.lr": 0.1, "rank": 1, "trial_id": "../x"}'
    )
    write_text(
        tmp_path / "trials" / "t0000" / "status.json",
        f'{{"status": "failed", "params": {params}}}',
    )
    (place,) = write_leaderboard(tmp_path)
    assert place.trial.params == {"optimizer.lr": 0.1, "rank": 1, "trial_id": "../x"}
    for row in (record(place), status_record(place.trial)):
        assert (row["trial_id"], row["optimizer.lr"]) == ("t0000", 0.1)
    assert record(place)["rank"] is None
    header = (tmp_path / "leaderboard.csv").read_text().splitlines()[0].split(",")
    assert len(header) == len(set(header))


@pytest.mark.parametrize(
    "name", ["**", "[", "ünï", "t1\n", "t00000", "t0000.0", "t0000.01", "t٠٠٠٠"]
)
def test_a_folder_of_any_name_is_listed(tmp_path: Path, name: str) -> None:
    write_status(tmp_path, name)
    (tmp_path / "finalists" / "t0000.1").mkdir(parents=True)
    (trial,) = read_trials(tmp_path)
    assert (trial.trial, trial.status) == (name, "unknown"), "a copy of a trial is none"


def test_a_link_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    write_status(tmp_path / "other", "t0000")
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "t0000").symlink_to(tmp_path / "other" / "trials" / "t0000")
    (tmp_path / "trials" / "t0001").mkdir()
    os.mkfifo(tmp_path / "trials" / "t0001" / "status.json")
    found = read_trials(tmp_path)
    assert [trial.reason for trial in found] == [
        "a link, which is not followed",
        "no status.json",
    ]


@pytest.mark.parametrize("constraints", ["3", "{val/kl_nats: 3}", "{1: {at_least: 2}}"])
def test_a_record_whose_constraints_are_none_is_one_line(tmp_path: Path, constraints: str) -> None:
    write_text(tmp_path / "sweep.yaml", f"space: {{constraints: {constraints}}}")
    with pytest.raises(ConfigError, match=r"^constraints(\.\S+)? must be a m\w+"):
        read_trials(tmp_path)


def test_half_written_folders_are_not_trials(tmp_path: Path) -> None:
    write_status(tmp_path, "t0000")
    (tmp_path / "trials" / ".t0001.0a1b2c3d.part").mkdir()
    write_text(tmp_path / "trials" / "notes.txt", "mine")
    assert [found.trial for found in read_trials(tmp_path)] == ["t0000"]


def test_sweep_that_has_not_started_a_trial_is_empty(tmp_path: Path) -> None:
    write_text(tmp_path / "sweep.yaml", "question: What?\n")
    assert read_trials(tmp_path) == []
    assert write_leaderboard(tmp_path) == []
    header = (tmp_path / "leaderboard.csv").read_text()
    assert header == (
        "rank,trial_id,status,score,kl_health,disentanglement,reconstruction_score,"
        "reason,seconds,step,steps,front,feasible,score_low,seed_scores\n"
    )


def test_the_sweeps_of_a_folder_are_listed_the_damaged_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fake_sweep(tmp_path / "first", trials=3)
    write_status(first, "t0001", status="stopped")
    write_json(first / "finalists" / "t0000.1" / "status.json", {"status": "completed"})
    write_text(tmp_path / "later" / "sweep.yaml", "question: Which?\n")
    write_text(tmp_path / "bad" / "sweep.yaml", "a: [")
    write_text(tmp_path / "unasked" / "sweep.yaml", "question:\n")
    write_text(tmp_path / ".hidden" / "sweep.yaml", "question: Which?\n")
    write_text(tmp_path / "else" / "notes.txt", "no sweep")
    assert cli.main(["status", str(tmp_path), "--json"]) == 0
    rows = {row["sweep"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["bad", "first", "later", "unasked"]
    assert rows["unasked"]["question"] == ""
    (best,) = (place.trial for place in ranked(read_trials(first)) if place.rank == 1)
    found = {name: rows["first"][name] for name in ("trials", "completed", "stopped", "best")}
    assert found == {"trials": 3, "completed": 2, "stopped": 1, "best": best.trial}
    assert rows["first"]["score"] == best.metrics["val/score"]
    assert rows["later"]["best"] is rows["later"]["score"] is None
    assert rows["later"]["question"] == "Which?"
    assert "is not valid YAML" in rows["bad"]["problem"]
    assert cli.main(["status", str(tmp_path), "--filter", "trials>0", "--csv"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert (header[:13], row[:8]) == ("sweep,trials,", "first,3,")
    assert cli.main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "2 completed, 1 stopped" in shown
    assert "none yet" in shown
    assert "is not valid" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert cli.main(["status", str(first)]) == 0
    assert "t0000.1" in capsys.readouterr().out, "a sweep's own trials"
    assert cli.main(["status", str(tmp_path), "--filter", "trials>9"]) == 0
    assert capsys.readouterr().out == "No sweep fulfils the filter; there are 4.\n"


def test_a_sweep_of_which_no_trial_completed_has_no_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path / "s" / "sweep.yaml", "question: Which?\n")
    write_status(tmp_path / "s", "t0000", status="stopped", metrics={"val/score": 0.9})
    assert cli.main(["status", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["stopped"], row["best"], row["score"]) == (1, None, None)


def test_the_record_of_a_sweep_is_read_once_for_a_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200 sweeps it is what takes the time."""
    for name in ("first", "second"):
        fake_sweep(tmp_path / name, trials=1)
    read, loaded = list[str](), files._loaded
    monkeypatch.setattr(files, "_loaded", lambda text: read.append(text) or loaded(text))
    assert cli.main(["status", str(tmp_path), "--json"]) == 0
    assert len(read) == 2
    read_runs(tmp_path / "first")
    assert len(read) == 3


def test_status_is_of_the_sweeps_that_are_here_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["status"]) == 2
    assert "SWEEP must be a sweep's folder, got sweeps, which is not" in capsys.readouterr().err
    fake_sweep(tmp_path / "sweeps" / "trials", trials=2)  # --name may be that
    assert cli.main(["status", "--filter", "completed=2", "--csv"]) == 0
    assert "\ntrials,2,2," in capsys.readouterr().out


def test_sweep_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"SWEEP must be a sweep's folder, got .*nowhere, which"):
        read_trials(tmp_path / "nowhere")


def test_folder_that_is_not_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"which has no sweep\.yaml and no trials\. Give the"):
        write_leaderboard(tmp_path)


def test_csv_has_a_row_a_trial_and_a_column_a_parameter(tmp_path: Path) -> None:
    write_status(tmp_path, "t0000", params={"beta.kind": "linear", "latent.top_down": True})
    failed = {"status": "failed", "reason": 'CUDA said "no", twice\nand then nothing', "step": 120}
    write_status(tmp_path, "t0001", params={"beta.kind": "cyclical", "beta.cycles": 4}, **failed)
    places = write_leaderboard(tmp_path)
    with (tmp_path / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [place.rank for place in places] == [1, None]
    assert list(rows[0]) == [
        *("rank", "trial_id", "status", "score", "kl_health", "disentanglement"),
        *("reconstruction_score", "reason", "seconds", "step", "steps", "front"),
        *("feasible", "score_low", "seed_scores"),
        *("beta.kind", "latent.top_down", "beta.cycles"),
    ]
    assert list(rows[0].values()) == [
        *("1", "t0000", "completed", "0.5", "0.5", "0.25"),
        *("1", "", "12.5", "300", "300", "0", "true", "", "", "linear", "true", ""),
    ]
    assert list(rows[1].values()) == [
        *("", "t0001", "failed", "", "", "", "", failed["reason"], "12.5", "120", "300", ""),
        *("", "", ""),
        *("cyclical", "", "4"),
    ]
    status, row = status_record(places[1].trial), record(places[1])
    scores = ("score", "kl_health", "disentanglement", "reconstruction_score")  # it has no rank
    shared = (status.keys() & row.keys()) - {*scores}
    assert {name: status[name] for name in shared} == {name: row[name] for name in shared}


# Feasibility and finalists


def write_space(sweep: Path, **sections: Any) -> None:
    write_yaml(sweep / "sweep.yaml", {"question": "What?", "space": sections})


def write_rerun(sweep: Path, name: str, score: float | None, **values: Any) -> None:
    metrics = {} if score is None else {"val/score": score, "val/kl_health": 0.5}
    status = {"status": "completed", "metrics": metrics, **values}
    write_json(sweep / "finalists" / name / "status.json", status)


def with_score(score: float, health: float = 0.5) -> dict[str, Any]:
    names = ("val/disentanglement", "val/reconstruction_score")
    metrics = {"val/kl_health": health, **dict.fromkeys(names, score), "val/score": score}
    return {"metrics": metrics}


def test_a_trial_that_violates_a_constraint_comes_after_all_that_do_not(tmp_path: Path) -> None:
    write_space(tmp_path, constraints={"val/kl_nats": {"at_least": 5}})
    low = with_score(0.2)
    low["metrics"]["val/kl_nats"] = 6.0
    write_status(tmp_path, "t0000", **with_score(0.9))
    write_status(tmp_path, "t0001", **low)
    write_status(tmp_path, "t0002", **with_score(0.1, health=0.0))
    write_status(tmp_path, "t0003", status="stopped", **with_score(0.99))
    places = ranked(read_trials(tmp_path))
    assert [(p.rank, p.front, p.trial.trial, p.trial.feasible) for p in places] == [
        (1, 0, "t0001", True),
        (2, None, "t0000", False),
        (3, None, "t0002", False),
        (None, None, "t0003", True),
    ]
    rows = [record(place) for place in places]
    assert rows[1]["reason"] == "infeasible: val/kl_nats must be at least 5, got nothing"
    assert rows[2]["reason"] == "collapsed: val/kl_health is 0"
    assert [row["feasible"] for row in rows] == [True, False, False, None]


def test_an_infeasible_trial_dominates_nobody(tmp_path: Path) -> None:
    write_space(tmp_path, constraints={"val/kl_nats": {"at_least": 5}})
    write_status(tmp_path, "t0000", **with_score(0.9))
    fair = with_score(0.2)
    fair["metrics"]["val/kl_nats"] = 6.0
    write_status(tmp_path, "t0001", **fair)
    (best, _) = ranked(read_trials(tmp_path))
    assert (best.trial.trial, best.front) == ("t0001", 0)


def test_the_lower_bound_is_the_mean_less_its_standard_error() -> None:
    # Deviations -0.1, 0 and 0.1: variance 0.01, standard error 0.1 / sqrt(3).
    assert lower_bound([0.4, 0.5, 0.6]) == pytest.approx(0.5 - 0.1 / 3**0.5)
    assert lower_bound([0.3, 0.3, 0.3]) == pytest.approx(0.3)
    assert replace(trial("t0000"), seeds=({SCORE: 0.4},)).score_low is None


def test_finalists_stand_first_by_what_their_score_is_at_least(tmp_path: Path) -> None:
    for name, score in (("t0000", 0.9), ("t0001", 0.8), ("t0002", 0.7), ("t0003", 0.6)):
        write_status(tmp_path, name, **with_score(score))
    for number, score in enumerate((0.8, 0.5, 0.2), start=1):
        write_rerun(tmp_path, f"t0000.{number}", score)
    for number, score in enumerate((0.46, 0.44, 0.45), start=1):
        write_rerun(tmp_path, f"t0001.{number}", score)
    write_rerun(tmp_path, "t0001.3 (copy)", 0.0)
    write_rerun(tmp_path, "t0002.1", 0.9)
    write_rerun(tmp_path, "t0002.2", 0.9)
    write_rerun(tmp_path, "t0002.3", None, status="failed")
    places = ranked(read_trials(tmp_path))
    assert [place.trial.trial for place in places] == ["t0001", "t0000", "t0002", "t0003"]
    rows = {row["trial_id"]: row for row in map(record, places)}
    assert rows["t0000"]["score_low"] == pytest.approx(0.5 - 0.3 / 3**0.5)
    assert rows["t0000"]["seed_scores"] == [0.8, 0.5, 0.2]
    assert rows["t0002"]["score_low"] is None, "one of its seeds failed"
    assert rows["t0002"]["seed_scores"] == [0.9, 0.9, None]
    assert rows["t0003"]["seed_scores"] is None
    assert [row["score"] for row in rows.values()] == [0.8, 0.9, 0.7, 0.6]


def test_a_finalist_that_collapses_with_another_seed_has_no_lower_bound(tmp_path: Path) -> None:
    write_status(tmp_path, "t0000", **with_score(0.9))
    for number in (1, 2, 3):
        write_rerun(tmp_path, f"t0000.{number}", 0.8)
    collapsed = {"val/score": 0.0, "val/kl_health": 0.0}
    write_rerun(tmp_path, "t0000.2", 0.0, metrics=collapsed)
    write_rerun(tmp_path, "t0000.02", 0.8)  # somebody's copy
    (place,) = ranked(read_trials(tmp_path))
    assert place.trial.seed_scores == (0.8, None, 0.8)
    assert place.trial.score_low is None


def test_finalists_are_the_best_by_the_search_alone(tmp_path: Path) -> None:
    for name, score in (("t0000", 0.7), ("t0001", 0.9), ("t0002", 0.8), ("t0003", 0.95)):
        write_status(tmp_path, name, params={"optimizer.lr": score}, **with_score(score))
    write_status(tmp_path, "t0003", **with_score(0.95, health=0.0))
    write_status(tmp_path, "t0004", status="failed", **with_score(0.99))
    again = with_score(0.85)  # the best configuration with another seed
    write_status(tmp_path, "t0005", params={"optimizer.lr": 0.9, "seed": 5}, **again)
    assert [trial.trial for trial in finalists(read_trials(tmp_path), 2)] == ["t0001", "t0002"]
    for number in (1, 2, 3):
        write_rerun(tmp_path, f"t0002.{number}", 0.99)
    assert [trial.trial for trial in finalists(read_trials(tmp_path), 2)] == ["t0001", "t0002"]
    assert [trial.trial for trial in finalists(read_trials(tmp_path), 9)] == [
        "t0001",
        "t0002",
        "t0000",
    ]


def test_a_configuration_is_one_in_whatever_order_its_parameters_stand(tmp_path: Path) -> None:
    for name, params in (("t0000", {"a": 1, "b": 2}), ("t0001", {"b": 2, "a": 1})):
        write_status(tmp_path, name, params=params, **with_score(0.5))
    assert [trial.trial for trial in finalists(read_trials(tmp_path), 2)] == ["t0000"]


def test_a_rank_is_that_of_a_completed_trial(tmp_path: Path) -> None:
    for name, status, score in (("t0000", "failed", 0.9), ("t0001", "completed", 0.2)):
        write_status(tmp_path, name, status=status, metrics={"val/score": score})
    write_status(tmp_path, "t0002", metrics={"val/score": 0.8})
    assert [trial_at_rank(tmp_path, rank).trial for rank in (1, 2)] == ["t0002", "t0001"]
    for rank in (0, 3):
        with pytest.raises(SweepError, match=rf"--rank must be in 1\.\.2, .*, got {rank}\.$"):
            trial_at_rank(tmp_path, rank)
