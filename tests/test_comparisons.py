"""What a sweep says to its question, value by value."""

from pathlib import Path
from typing import Any

from aurl.metrics.score import OBJECTIVES
from aurl.reporting.comparisons import MOST_SAID, MOST_VALUES, Comparison, said
from aurl.reporting.conclusions import answer, findings_record
from aurl.reporting.findings import read_findings
from aurl.reporting.page_trials import values
from aurl.search.ranking import SCORE
from tests.fake_sweep import fake_sweep, write_status

KIND, LAYERS, SIZE = "latent.prior.kind", "latent.prior.layers", "latent.levels.global.dim"
ASKED = {
    KIND: {"choice": ["standard", "mixture", "planar", "spline"]},
    LAYERS: {"int_uniform": [1, 3], "when": {KIND: ["planar", "spline"]}},
    SIZE: {"int_uniform": [1, MOST_VALUES + 1]},
    "objective.beta.value": {"uniform": [0.1, 1.0]},
    "latent.top_down": {"choice": [False, True]},
}
TUNED = {"objective.free_bits.threshold": {"choice": [0.0, 0.5]}}


def sweep_of(folder: Path, **sections: Any) -> Path:
    budget = {"trials": 9, "steps_per_trial": 360}
    changes = {"scientific": ASKED, "nuisance": TUNED, "base": {}, "budget": budget, **sections}
    return fake_sweep(folder, trials=0, changes=changes)


def ended(sweep: Path, number: int, score: float | None, **values: Any) -> None:
    """A trial with a value of the prior; one without a score was stopped."""
    kept = {} if score is None else dict.fromkeys((*OBJECTIVES, SCORE), score)
    params = {f"latent.{name.replace('__', '.')}": value for name, value in values.items()}
    status = "completed" if kept else "stopped"
    write_status(sweep, f"t{number:04}", status=status, metrics=kept, params=params)


def compared(sweep: Path) -> dict[str, Comparison]:
    return {each.parameter.name: each for each in read_findings(sweep).comparisons}


def test_a_value_is_judged_by_the_best_trial_that_has_it(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    kinds = ["standard", "mixture", "mixture", "mixture", "mixture", "planar", "planar"]
    for number, (kind, score) in enumerate(
        zip(kinds, (0.3, 0.2, 0.6, 0.4, None, 0.1, None), strict=True)
    ):
        layers = {"prior__layers": 2} if kind == "planar" else {}
        ended(sweep, number, score, prior__kind=kind, **layers)
    found = compared(sweep)
    assert list(found) == [KIND, LAYERS, "latent.top_down"], "no nuisance, none of many values"
    told = [
        (each.value, each.best and each.best.trial.trial, each.median, dict(each.counts))
        for each in found[KIND].values
    ]
    assert told == [
        ("standard", "t0000", 0.3, {"completed": 1}),
        ("mixture", "t0002", 0.4, {"completed": 3, "stopped": 1}),
        ("planar", "t0005", 0.1, {"completed": 1, "stopped": 1}),
        ("spline", None, None, {}),
    ]
    assert [len(each.places) for each in found[LAYERS].values] == [0, 2, 0]
    line = (
        f"By {KIND}, the best score of those completed: mixture 0.600 (t0002, of 3), "
        "standard 0.300 (t0000, of 1), planar 0.100 (t0005, of 1); none completed with spline."
    )
    assert said(list(found.values())) == [line], "no trial has top_down, and not all have layers"
    findings = read_findings(sweep)
    assert answer(findings)[1] == line
    record = findings_record(findings)["comparisons"][0]
    assert (record["parameter"], record["values"][1]) == (
        KIND,
        {"value": "mixture", "completed": 3, "stopped": 1, "best": "t0002", "median_score": 0.4},
    )
    assert record["values"][3] == {"value": "spline", "best": None, "median_score": None}


def test_of_a_value_the_best_score_counts_and_not_the_first_on_the_leaderboard(
    tmp_path: Path,
) -> None:
    sweep = sweep_of(tmp_path)
    for number, score in enumerate((0.1, 0.3, 0.5)):
        ended(sweep, number, score, prior__kind="planar" if number == 2 else "mixture")
    metrics = {**dict.fromkeys(OBJECTIVES, 0.1), OBJECTIVES[0]: 0.9, SCORE: 0.1}
    params = {KIND: "mixture"}
    write_status(sweep, "t0000", metrics=metrics, params=params)  # on the front, for its KL health
    found = compared(sweep)[KIND]
    assert [(each.best and each.best.trial.trial) for each in found.values] == [
        None,
        "t0001",
        "t0002",
        None,
    ]
    assert "planar 0.500 (t0002, of 1), mixture 0.300 (t0001, of 2)" in said([found])[0]


def test_values_that_are_equal_to_python_are_not_to_a_question(tmp_path: Path) -> None:
    asked = {"latent.top_down": {"choice": [False, True]}, SIZE: {"choice": [1, 2]}}
    sweep = sweep_of(tmp_path, scientific=asked)
    ended(sweep, 0, 0.5, top_down=True, levels__global__dim=1)
    ended(sweep, 1, None, top_down=False, levels__global__dim=2)
    found = compared(sweep)
    assert [[p.trial.trial for p in v.places] for v in found["latent.top_down"].values] == [
        ["t0001"],
        ["t0000"],
    ]
    assert said(list(found.values())) == [
        "By latent.top_down, the best score of those completed: True 0.500 (t0000, of 1); "
        "none completed with False (of 1).",
        f"By {SIZE}, the best score of those completed: 1 0.500 (t0000, of 1); none "
        "completed with 2 (of 1).",
    ]
    other = sweep_of(tmp_path / "other", scientific=asked, compare=SIZE)
    assert list(compared(other)) == [SIZE, "latent.top_down"], "what is compared comes first"
    assert said([found[SIZE]] * 9) == said([found[SIZE]]) * MOST_SAID


def test_a_best_that_violates_a_constraint_is_marked(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, constraints={SCORE: {"at_least": 0.5}})
    ended(sweep, 0, 0.4, prior__kind="standard")
    ended(sweep, 1, 0.6, prior__kind="mixture")
    found = compared(sweep)[KIND]
    assert (
        "mixture 0.600 (t0001, of 1), standard 0.400 (t0000, of 1, infeasible)" in said([found])[0]
    )
    html = values(found)
    assert "<td>1*</td><td>0.600</td>" in html
    assert "<td>2!</td><td>0.400</td>" in html
    assert html.count("<tr>") == 1 + 4
    assert "<td>spline</td><td>0</td><td>-</td>" in html


def test_a_question_about_no_value_has_no_comparison(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, scientific={}, nuisance=ASKED)
    ended(sweep, 0, 0.4, prior__kind="standard")
    assert compared(sweep) == {}
    assert len(answer(read_findings(sweep))) == 2
