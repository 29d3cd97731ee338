"""What a sweep comes to, as sentences and sums."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aurl.cli import main
from aurl.files import read_yaml, write_json, write_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.plain import Plain
from aurl.reporting.conclusions import (
    answer,
    caveats,
    costs,
    device,
    endings,
    findings_record,
    held,
)
from aurl.reporting.figures import front_figures, range_figure
from aurl.reporting.findings import Findings, read_findings
from aurl.reporting.page import Page
from aurl.search import space_file
from aurl.search.importance import FRONT, Importance
from aurl.search.ranking import SCORE
from aurl.search.space import Space
from tests.fake_sweep import QUICK, fake_sweep, write_status

ASHA = "asha: a rung score of 0.{} at step 180 was not among the best that had come that far"


def sweep_of(folder: Path, **sections: Any) -> Path:
    return fake_sweep(folder, trials=0, changes={"budget": BUDGET, **sections})


BUDGET = {"trials": 4, "steps_per_trial": 360}


def scored(value: float, **params: Any) -> dict[str, Any]:
    return {"metrics": dict.fromkeys((*OBJECTIVES, SCORE), value), "params": params}


def read(folder: Path) -> Findings:
    return read_findings(folder)


def test_there_is_no_answer_before_a_trial_has_completed(tmp_path: Path) -> None:
    sweep_of(tmp_path)
    assert answer(read(tmp_path)) == [
        "No answer yet: of 4 trials none has completed (none started)."
    ]
    write_status(tmp_path, "t0000", status="running")
    for number in range(1, 4):
        write_status(
            tmp_path, f"t000{number}", status="stopped", params={"objective.beta.value": 0.2}
        )
    assert answer(read(tmp_path)) == [
        "No answer yet: of 4 trials none has completed (1 running, 3 stopped)."
    ]
    write_status(tmp_path, "t0000", status="failed")
    assert answer(read(tmp_path)) == [
        "No answer: of 4 trials none has completed (3 stopped, 1 failed)."
    ]
    assert (read(tmp_path).notes, read(tmp_path).ranges) == ((), [])


def test_the_answer_is_the_best_trial_and_what_it_has_of_the_question(tmp_path: Path) -> None:
    sweep_of(tmp_path, nuisance={"optimizer.lr": {"log_uniform": [0.001, 0.01]}})
    chosen = {"objective.beta.value": 0.2, "optimizer.lr": 0.001}
    write_status(tmp_path, "t0000", **scored(0.25, **chosen))  # at an end, but not the best
    write_status(tmp_path, "t0001", **scored(0.5, **{"objective.beta.value": 0.99}))
    write_status(tmp_path, "t0002", status="failed")
    for figure in front_figures(read(tmp_path)):
        assert 'class="best" data-trial="t0001"' in figure.drawing.document()
    ranges = range_figure(read(tmp_path))
    assert ranges is not None
    flagged = re.findall(r'class="flagged"[^>]*>([^<]+)', ranges.drawing.document())
    assert flagged == ["objective.beta.value"]
    lines = answer(read(tmp_path))
    assert lines == [
        "Best so far is t0001 with beta.value=0.99: score 0.500 (kl_health 0.500, disentanglement "
        "0.500, reconstruction_score 0.500).",
        "1 of 2 completed trials are on the Pareto front; of 4 planned: 2 completed, 1 failed.",
        "objective.beta.value of t0001 is at the end of its range: a better value may lie "
        "outside.",
    ]
    assert caveats(read(tmp_path))[0].startswith("Not all runs have ended; the last news is 0:0")
    for number in (2, 3):
        write_status(tmp_path, f"t000{number}", **scored(0.1, **chosen))
    found = read(tmp_path)
    assert not any("Not all runs have ended" in line for line in caveats(found))
    ends = [(each["low"], each["high"], each["end"]) for each in findings_record(found)["ranges"]]
    assert [end for *_, end in ends] == ["high", "low"]
    assert ends[1][:2] == (0.001, 0.01)
    assert answer(found)[0].startswith("Best is t0001 with ")
    assert [[one.trial for one in each.placed] for each in found.ranges] == [
        ["t0001", "t0000", "t0002"],
        ["t0000", "t0002"],
    ]


def test_the_space_of_a_sweep_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_of(tmp_path, seeds={"finalists": 2})
    made: list[Plain] = []
    make = space_file.space_of

    def counted(values: Plain, *, overrides: Plain) -> Space:
        made.append(values)
        return make(values, overrides=overrides)

    monkeypatch.setattr(space_file, "space_of", counted)
    write_status(tmp_path, "t0000", **scored(0.5))
    assert read(tmp_path).planned_reruns == {"t0000.1", "t0000.2", "t0000.3"}
    assert len(made) == 1


def test_of_many_parameters_the_answer_names_some(tmp_path: Path) -> None:
    sweep_of(tmp_path)
    many = {f"objective.beta.a{index}": index for index in range(9)}
    write_status(tmp_path, "t0000", **scored(0.5, **many))
    write_yaml(tmp_path / "sweep.yaml", {"question": "What?"})
    found = read(tmp_path)
    assert " beta.a5=5 and 3 more: score 0.500" in answer(found)[0]
    assert found.notes == ("sweep.yaml has no search space that can be read: 'space'",)
    write_yaml(tmp_path / "sweep.yaml", {"space": "x", "workers_per_trial": 10**400})
    assert read(tmp_path).notes[0].startswith("sweep.yaml has no search space that can be read")
    assert costs(read(tmp_path))[0].device_hours == 0.025, "as of one worker"
    (tmp_path / "sweep.yaml").unlink()
    assert (
        read(tmp_path).notes[0].endswith("sweep.yaml cannot be read: No such file or directory.")
    )


@pytest.mark.parametrize(
    ("trials", "hint"), [(19, "a hint only, from 19 trials"), (20, "from 20 trials")]
)
def test_of_many_parameters_the_answer_names_those_that_mattered(
    trials: int, hint: str, tmp_path: Path
) -> None:
    sweep_of(tmp_path)
    many = {f"objective.beta.a{index}": index for index in range(9)}
    write_status(tmp_path, "t0000", **scored(0.5, **many))
    write_yaml(tmp_path / "sweep.yaml", {"question": "What?"})
    shares = {"a8": 0.3, "a7 (2)": 0.2, "a1": 0.1, "a2": 0.1, "a3": 0.1, "a4": 0.1, "a5": 0.08}
    shares = {f"objective.beta.{name}": share for name, share in {**shares, "a7": 0.02}.items()}
    mattered = [
        Importance(target=target, evaluator="PED-ANOVA", trials=trials, shares=each)
        for target, each in ((FRONT, shares), (SCORE, {"objective.beta.a6": 0.3}))
    ]
    lines = answer(replace(read(tmp_path), importances=tuple(mattered)))
    named = " ".join(f"beta.a{index}={index}" for index in (1, 2, 3, 4, 7, 8))
    assert f"t0000 with {named} and 3 more: score" in lines[0]
    assert lines[-1] == (
        "What moved the score most is objective.beta.a6: 0.30 of what single parameters explain, "
        f"be it much or next to nothing ({hint})."
    )


def test_an_answer_that_violates_a_constraint_says_so(tmp_path: Path) -> None:
    sweep_of(tmp_path, constraints={SCORE: {"at_least": 0.9}})
    write_status(tmp_path, "t0000", **scored(0.5))
    found = read(tmp_path)
    reason = "infeasible: val/score must be at least 0.9, got 0.5"
    assert answer(found)[1] == f"No completed trial is feasible; t0000 is {reason}."
    assert [(each.status, each.reason) for each in endings(found)] == [("infeasible", reason)]
    for figure in front_figures(found):  # rank 1, and on no front
        assert 'class="first" data-trial="t0000"' in figure.drawing.document()


def test_other_seeds_are_in_the_answer_and_in_the_cost(tmp_path: Path) -> None:
    sweep_of(tmp_path, seeds={"finalists": 1, "runs": 3}, budget={**BUDGET, "trials": 1})
    write_status(tmp_path, "t0000", **scored(0.5), seconds=3600.0)
    for number, score in enumerate((0.4, 0.5, 0.6), 1):
        assert answer(read(tmp_path))[0].startswith("Best so far is t0000"), "with seeds to come"
        values = {"status": "completed", "seconds": 1800.0, **scored(score)}
        write_json(tmp_path / "finalists" / f"t0000.{number}" / "status.json", values)
    found = read(tmp_path)
    assert answer(found)[0].startswith("Best is t0000")
    assert answer(found)[2] == (
        "Trained again with 3 other seeds, t0000 has 0.500 in the mean, less its standard error "
        "0.442."
    )
    # Two workers, each with half a GPU.
    rows = [(each.what, each.runs, each.device_hours) for each in costs(found)]
    assert rows == [("completed", 1, 1.0), ("other seeds", 3, 1.5)]
    assert device(found) == "GPU"
    assert any(
        "Only the best is trained with other seeds (3 each)" in line for line in caveats(found)
    )
    assert not any("leaves out" in line for line in caveats(found))
    about = read_yaml(tmp_path / "sweep.yaml")
    about |= {"gpus_per_worker": 0.0, "overrides": {"objective.beta.value": 0.5}}
    about["warm_start"] = {"from": "first", "told": 3, "tried": 1}
    about["resumed_by"] = [{"aurl": "0.2.0"}]
    assert any("360 steps a trial on tunes: " in line for line in caveats(found))
    about["corpus"] = "damaged"
    others = "The sweep was resumed by other versions than began it: see sweep.yaml."
    assert others not in caveats(found)
    write_yaml(tmp_path / "sweep.yaml", about)
    found = read(tmp_path)
    assert others in caveats(found)
    assert any("360 steps a trial on one corpus: " in line for line in caveats(found))
    assert any("what first had found, 3 results of which count" in line for line in caveats(found))
    assert found.space is not None
    assert "objective.beta.value" not in [each.key for each in found.space.parameters]
    assert (costs(found)[0].device_hours, device(found)) == (2.0, "CPU worker")


def test_a_sweep_that_was_resumed_with_another_share_cost_what_its_runs_held(
    tmp_path: Path,
) -> None:
    sweep_of(tmp_path)  # two workers, each with half a GPU in the end
    write_status(tmp_path, "t0000", seconds=3600.0)  # of an aurl that did not say
    told = {"gpu": 3600.0, "cpu": 60.0}
    write_status(tmp_path, "t0001", seconds=5460.0, device_seconds=told)
    write_status(tmp_path, "t0002", status="failed", seconds=9.0, device_seconds={"cpu": 9.0})
    found = read(tmp_path)
    hours = {each.what: each.device_hours for each in costs(found)}
    assert hours == {"completed": 1.0 + 1.0, "failed": 0.0}
    assert "The cost leaves out 0:01:09 of workers that had no GPU." in caveats(found)
    about = read_yaml(tmp_path / "sweep.yaml") | {"gpus_per_worker": 0.0}
    write_yaml(tmp_path / "sweep.yaml", about)
    found = read(tmp_path)
    assert (device(found), costs(found)[0].device_hours) == ("GPU", 1.0)
    write_status(tmp_path, "t0001", device_seconds={"cpu": 60.0})
    rerun = {"status": "completed", "device_seconds": {"gpu": 60.0, "cpu": 30.0}}
    write_json(tmp_path / "finalists" / "t0000.1" / "status.json", {**rerun, **scored(0.5)})
    found = read(tmp_path)
    assert device(found) == "GPU", "of a finalist's run"
    assert "The cost leaves out 2:01:39 of workers that had no GPU." in caveats(found)


def test_endings_that_differ_in_numbers_only_are_one(tmp_path: Path) -> None:
    sweep_of(tmp_path)
    for number in range(3):
        write_status(tmp_path, f"t000{number}", status="stopped", reason=ASHA.format(number))
    write_status(tmp_path, "t0003", status="failed", reason="OutOfMemoryError: 3 GiB")
    write_status(tmp_path, "t0004", status="running")
    write_status(tmp_path, "t0005", **scored(0.5))
    rows = [(each.status, each.reason, each.trials) for each in endings(read(tmp_path))]
    assert rows == [
        ("stopped", ASHA.format(0), ["t0000", "t0001", "t0002"]),
        ("failed", "OutOfMemoryError: 3 GiB", ["t0003"]),
    ]


def test_a_value_with_which_every_trial_failed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_of(tmp_path)
    big, small = {"kind": "huge\n", "heads": 8, "lr": 0.1}, {"kind": "small", "lr": 0.1}
    for number in range(2):
        write_status(tmp_path, f"t000{number}", status="failed", params=big)
        write_status(tmp_path, f"t001{number}", status="failed", params={"lr": 0.1, "depth": 9})
    write_status(tmp_path, "t0003", status="failed", params={**big, "heads": 4})
    said = r"Each of the 3 trials with kind=huge\n failed."
    assert main(["status", str(tmp_path)]) == 0
    assert said not in capsys.readouterr().out, "all failed"
    write_status(tmp_path, "t0004", status="running", params=big)
    write_status(tmp_path, "t0005", status="stopped", params=small)
    assert findings_record(read(tmp_path))["always_failed"] == [said]
    assert f"<p>{said}</p>" in Page(read(tmp_path), []).html()
    assert main(["status", str(tmp_path), "--filter", "status=stopped"]) == 0
    assert said in capsys.readouterr().out
    write_status(tmp_path, "t0004", status="stopped", params=big)
    assert findings_record(read(tmp_path))["always_failed"] == []


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_what_was_held_and_what_it_means_is_told(tmp_path: Path, sampler: str) -> None:
    changes = {"scientific": {"seed": {"choice": [1, 2]}}, "nuisance": {}}
    changes |= {"fixed": {"training.batch_size": 16}, "sampler": {"name": sampler}}
    sweep_of(tmp_path, **changes)
    write_status(tmp_path, "t0000", status="stopped")
    found = read(tmp_path)
    shown = held(found)
    assert shown["fixed"] == {"training.batch_size": "16"}
    assert shown["base"]["model.d_model"] == str(read_yaml(QUICK)["base"]["model"]["d_model"])
    assert shown["corpus"]["name"] == "tunes"
    told = "\n".join(caveats(found))
    assert "360 steps a trial on tunes" in told
    assert "One training seed a configuration" in told
    assert "Stopped early: 1 trial (scheduler asha, stopper health)" in told
    assert "uneven sample" not in told


def test_a_budget_that_the_command_line_sets_is_shown_as_it_was(tmp_path: Path) -> None:
    sweep_of(tmp_path)
    about = read_yaml(tmp_path / "sweep.yaml")
    assert held(read(tmp_path))["budget"]["steps_per_trial"] == "360"
    set_there = {"budget": {"steps_per_trial": 50}, "sampler.seed": 7}
    write_yaml(tmp_path / "sweep.yaml", {**about, "overrides": set_there})
    shown = held(read(tmp_path))
    assert shown["budget"] == {"trials": "4", "steps_per_trial": "50"}
    assert shown["sampler"]["seed"] == "7"
    assert shown["held on the command line"]["budget.steps_per_trial"] == "50"
    assert any("50 steps a trial on tunes" in line for line in caveats(read(tmp_path)))


def test_values_that_took_turns_are_told_from_values_that_did_not(tmp_path: Path) -> None:
    sweep_of(tmp_path, scientific={"seed": {"choice": [1, 2]}}, nuisance={}, compare="seed")
    for number, seed in enumerate((1, 2, 1)):
        write_status(tmp_path, f"t000{number}", params={"seed": seed})
    turns = "had more chances to be best. Those of seed had as many."
    assert turns in caveats(read(tmp_path))[-1]
    write_status(tmp_path, "t0003", params={"seed": 1})  # somebody has asked for it
    assert turns not in caveats(read(tmp_path))[-1]


@pytest.mark.parametrize("text", ["{}", "question: [1]\nspace: 3\n", "space: {}\n"])
def test_a_record_that_cannot_be_read_is_noted_and_the_rest_is_read(
    text: str, tmp_path: Path
) -> None:
    sweep_of(tmp_path)
    write_status(tmp_path, "t0000", **scored(0.5))
    (tmp_path / "sweep.yaml").write_text(text, encoding="utf-8")
    found = read(tmp_path)
    assert len(found.notes) == 1
    assert found.ranked[0].trial.trial == "t0000"
    assert answer(found)[0].endswith("reconstruction_score 0.500).")
    assert answer(found)[1].endswith("; how many were planned is not on record: 1 completed.")
    write_status(tmp_path, "t0000", status="failed")
    assert answer(read(tmp_path)) == ["No answer: of its trials none has completed (1 failed)."]
    assert costs(found)[0].runs == 1
    assert isinstance(found.question, str)
