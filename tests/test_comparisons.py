"""What a sweep says to its question, value by value."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import stdtrit

from aurl.metrics.score import OBJECTIVES
from aurl.reporting.comparisons import (
    MOST_SAID,
    MOST_VALUES,
    Comparison,
    least_difference,
    said,
    spoiled,
)
from aurl.reporting.conclusions import answer, caveats, findings_record
from aurl.reporting.figures import seed_figure, slice_figures
from aurl.reporting.findings import read_findings
from aurl.reporting.page import Page
from aurl.reporting.page_trials import values
from aurl.search.ranking import SCORE, finalists, read_trials
from tests.browser import Page as BrowserPage
from tests.fake_sweep import fake_sweep, write_status

NO_SEEDS: dict[str, list[float]] = {name: [] for name in (SCORE, *OBJECTIVES)}
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
        {
            "value": "mixture",
            "completed": 3,
            "stopped": 1,
            "best": "t0002",
            "median_score": 0.4,
            "trained_again": None,
            "over_seeds": NO_SEEDS,
        },
    )
    nothing = {"best": None, "median_score": None, "trained_again": None, "over_seeds": NO_SEEDS}
    assert record["values"][3] == {"value": "spline", **nothing}


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


# The best of each value, trained again with other seeds


SEEDED = {"compare": KIND, "seeds": {"finalists": 1, "runs": 3}}


def seeded(sweep: Path, trial: int, *scores: float | None) -> None:
    """Runs of a trial with other seeds; one without a score has failed.

    KL health is as the score, disentanglement half of it, reconstruction a tenth.
    """
    for number, score in enumerate(scores, start=1):
        status = "failed" if score is None else "completed"
        kept: dict[str, float] = {}
        if score is not None:
            parts = (score, score / 2, score / 10)
            kept = {SCORE: score, **dict(zip(OBJECTIVES, parts, strict=True))}
        name = f"t{trial:04}.{number}"
        write_status(sweep, name, "finalists", status=status, metrics=kept)


def searched(folder: Path, **sections: Any) -> Path:
    """Two trials of each of three values of the prior, and one of the fourth that was stopped."""
    sweep = sweep_of(folder, **{**SEEDED, **sections})
    for number, score in enumerate((0.5, 0.6, 0.4, 0.3, 0.1, 0.2, None)):
        kind = ("standard", "mixture", "planar", "spline")[number // 2]
        ended(sweep, number, score, prior__kind=kind, top_down=number % 2 == 0)
    return sweep


def test_the_best_of_each_value_are_finalists_where_values_are_compared(tmp_path: Path) -> None:
    sweep = searched(tmp_path)
    space = read_findings(sweep).space
    assert space is not None
    chosen = finalists(read_trials(sweep), 1, space.compared)
    assert [each.trial for each in chosen] == ["t0001", "t0002", "t0005"], "the best first"
    assert [each.trial for each in finalists(read_trials(sweep), 1)] == ["t0001"]
    two = finalists(read_trials(sweep), 2, space.compared)
    assert [each.trial for each in two] == ["t0001", "t0000", "t0002", "t0003", "t0005", "t0004"]
    names = [f"{trial}.{number}" for trial in ("t0001", "t0002", "t0005") for number in (1, 2, 3)]
    assert read_findings(sweep).planned_reruns == set(names)
    assert space.n_runs == 9 + 4 * 3, "if each value has one"
    few = replace(space, budget=replace(space.budget, trials=2))
    assert few.n_runs == 2 + 2 * 3
    assert replace(space, compared=None).n_runs == 9 + 3


def test_of_a_value_that_is_compared_the_best_score_is_the_finalist(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, **SEEDED)
    for number, score in enumerate((0.1, 0.3, 0.5)):
        ended(sweep, number, score, prior__kind="planar" if number == 2 else "mixture")
    metrics = {**dict.fromkeys(OBJECTIVES, 0.1), OBJECTIVES[0]: 0.9, SCORE: 0.1}
    params = {KIND: "mixture", "latent.top_down": True}
    write_status(sweep, "t0000", metrics=metrics, params=params)  # on the front, for its KL health
    space = read_findings(sweep).space
    assert space is not None
    again = [trial.trial for trial in finalists(read_trials(sweep), 1, space.compared)]
    assert again == ["t0002", "t0001"]
    assert [trial.trial for trial in finalists(read_trials(sweep), 2)] == ["t0002", "t0000"]


def test_values_that_are_equal_to_python_have_finalists_of_their_own(tmp_path: Path) -> None:
    asked = {"latent.top_down": {"choice": [False, True]}}
    sweep = sweep_of(tmp_path, scientific=asked, **{**SEEDED, "compare": "latent.top_down"})
    ended(sweep, 0, 0.5, top_down=True)
    ended(sweep, 1, 0.4, top_down=False)
    space = read_findings(sweep).space
    assert space is not None
    assert len(finalists(read_trials(sweep), 1, space.compared)) == 2


def test_a_trial_of_no_value_is_no_finalist_of_one(tmp_path: Path) -> None:
    sweep = sweep_of(
        tmp_path, scientific={SIZE: {"choice": [8, 16]}}, **{**SEEDED, "compare": SIZE}
    )
    for number, size in enumerate((8, 8.0, 16, 12, None)):
        score = 0.1 * (number + 1)
        kept = dict.fromkeys((*OBJECTIVES, SCORE), score)
        params = {SIZE: size, "objective.beta.value": score}
        write_status(sweep, f"t{number:04}", metrics=kept, params=params)
    space = read_findings(sweep).space
    assert space is not None
    again = [trial.trial for trial in finalists(read_trials(sweep), 1, space.compared)]
    assert again == ["t0002", "t0001"], "12 is none of them, and 8.0 is 8"


def test_seeds_say_which_values_are_told_apart(tmp_path: Path) -> None:
    sweep = searched(tmp_path)
    for trial, scores in {
        1: (0.50, 0.52, 0.54),
        2: (0.50, 0.51, 0.55),
        5: (0.1, 0.12, 0.14),
    }.items():
        seeded(sweep, trial, *scores)
    found = compared(sweep)[KIND]
    # Variances 0.0004, 0.0007 and 0.0004; q of three groups and six degrees of freedom is 4.339.
    apart = 4.339 * math.sqrt(0.0005 / 3)
    assert found.told_from == pytest.approx(apart, rel=1e-3)
    first, second, also, third = said([found])
    assert first.startswith(f"By {KIND}, the best score of those completed: standard 0.600")
    assert second == (
        "With 3 other seeds, of each value the best that was trained again has in the mean: "
        "standard 0.520 (t0001), mixture 0.520 (t0002), planar 0.120 (t0005); no mean is known of "
        "spline. Means more than 0.056 apart are told apart (Tukey, 95 %): standard is better "
        "than planar; mixture cannot be told from standard."
    )
    assert (
        also == "These trials also differ in latent.top_down: a value may owe its place to that."
    )
    assert third == (
        "In the mean over these seeds, "
        "kl_health standard 0.520, mixture 0.520, planar 0.120 (told apart by more than 0.056); "
        "disentanglement standard 0.260, mixture 0.260, planar 0.060 (told apart by more than "
        "0.028); "
        "reconstruction standard 0.052, mixture 0.052, planar 0.012 (told apart by more than "
        "0.006). "
        "Each by a test of its own."
    )
    assert [second, also, third] == answer(read_findings(sweep))[2:5]
    only = f"Only the best of each {KIND} is trained with other seeds (3 each); every other"
    assert any(line.startswith(only) for line in caveats(read_findings(sweep)))
    figure = seed_figure(read_findings(sweep))
    assert figure is not None
    drawn = figure.drawing.document()
    assert [drawn.count(f'class="{role}"') for role in ("best", "front", "other")] == [4, 4, 4]
    html = values(found)
    again = html.index(">trained again<")
    assert html.index(">score<") < again < html.index(">mean over other seeds<")
    assert again < html.index(">kl_health<"), "it is seen without scrolling"
    assert "<td>0.520 ± 0.012</td>" in html
    assert "<td>0.520</td><td>0.260</td><td>0.052</td>" in html, "objectives over seeds"
    assert html.count("<td>-</td>" * 12) == 1, "spline was not trained again"
    record = findings_record(read_findings(sweep))["comparisons"][0]
    assert record["told_from"] == found.told_from
    assert record["values"][0]["over_seeds"][SCORE] == [0.50, 0.52, 0.54]
    assert record["values"][0]["over_seeds"][OBJECTIVES[2]] == pytest.approx([0.05, 0.052, 0.054])
    assert record["values"][0]["trained_again"] == "t0001"


@pytest.mark.browser
def test_a_dot_of_another_seed_says_its_own_score(page: BrowserPage, tmp_path: Path) -> None:
    sweep = searched(tmp_path)
    for trial in (1, 2, 5):
        seeded(sweep, trial, 0.45, 0.46, 0.47)  # 0.6, 0.4 and 0.2 in the search
    (tmp_path / "page.html").write_text(Page(read_findings(sweep), []).html(), encoding="utf-8")
    page.open((tmp_path / "page.html").as_uri())
    rest = """(circle => {
        circle.dispatchEvent(new PointerEvent("pointermove", {bubbles: true}));
        return document.getElementById("tip").textContent.split("\\n")[0]; })"""
    dots = "[...document.querySelectorAll('#values circle[data-trial]')]"
    assert page.js(f"{dots}.map({rest})") == [
        f"{trial} with another seed, score {score}"
        for trial in ("t0001", "t0002", "t0005")
        for score in ("0.450", "0.460", "0.470")
    ]
    front = "document.querySelector('#front circle[data-trial=t0001]')"
    assert page.js(f"{rest}({front})") == "t0001: rank 1, score 0.600"
    assert page.errors == []


def test_an_objective_that_too_few_runs_have_is_left_out_of_the_means(tmp_path: Path) -> None:
    sweep = searched(tmp_path)
    for trial in (1, 2):
        seeded(sweep, trial, 0.4, 0.5, 0.6)
    lacking = {SCORE: 0.4, OBJECTIVES[0]: 0.4, OBJECTIVES[1]: 0.2}
    write_status(sweep, "t0001.1", "finalists", status="completed", metrics=lacking)
    _, _, _, third = said([compared(sweep)[KIND]])
    assert third == (
        "In the mean over these seeds, kl_health standard 0.500, mixture 0.500 (told apart by "
        "more than 0.227); disentanglement standard 0.250, mixture 0.250 (told apart by more than "
        "0.113). Each by a test of its own."
    )


def test_values_are_drawn_with_their_whole_names(tmp_path: Path) -> None:
    space = Path(__file__).parents[1] / "search_spaces" / "beta_schedules.yaml"
    budget = {"trials": 42, "steps_per_trial": 360}
    sweep = fake_sweep(tmp_path, trials=0, space=space, changes={"budget": budget})
    names = ("target_kl", "target_reconstruction", "exponential")
    for number, name in enumerate(names):
        metrics = dict.fromkeys((*OBJECTIVES, SCORE), 0.5)
        params = {"objective.beta.schedule": name}
        write_status(sweep, f"t{number:04}", params=params, metrics=metrics)
        seeded(sweep, number, 0.4, 0.5, 0.6)
    figure = seed_figure(read_findings(sweep))
    assert figure is not None
    drawn = figure.drawing.document()
    order = sorted(names, key=lambda name: drawn.index(f">{name}<"))
    assert order == ["exponential", "target_kl", "target_reconstruction"], "as the space has them"
    (sliced,) = slice_figures(read_findings(sweep), SCORE)
    assert all(f">{name}<" in sliced.drawing.document() for name in names)


def test_a_slice_of_long_names_has_each_trial_in_the_line_of_its_own(tmp_path: Path) -> None:
    names = ["the_first_name", "the_second_name", "c"]
    sweep = sweep_of(tmp_path, scientific={"arm": {"variants": names}})
    for number, (name, score) in enumerate(zip(names, (0.2, 0.4, 0.3), strict=True)):
        metrics = dict.fromkeys((*OBJECTIVES, SCORE), score)
        write_status(sweep, f"t{number:04}", params={"arm": name}, metrics=metrics)
    (sliced,) = slice_figures(read_findings(sweep), SCORE)
    dot = r'data-trial="(\w+)" cx="([\d.]+)"'
    found = re.findall(rf">(the_\w+|c)</text>|{dot}", sliced.drawing.document())
    assert [name or trial for name, trial, _ in found] == [
        *("the_first_name", "t0000", "the_second_name", "t0001", "c", "t0002"),
    ]
    first, second, third = (float(x) for _, _, x in found if x)
    assert first < third < second, "by score, from left to right"


def test_of_several_finalists_of_a_value_the_seeds_do_not_choose_one(tmp_path: Path) -> None:
    sweep = searched(tmp_path)
    seeded(sweep, 1, 0.5, 0.5, 0.5)  # 0.6 in the search
    seeded(sweep, 0, 0.8, 0.8, 0.8)  # 0.5 there, and first on the leaderboard now
    seeded(sweep, 2, 0.4, 0.4, 0.4)
    standard, *_ = compared(sweep)[KIND].values
    assert standard.again is not None
    assert (standard.again.trial.trial, standard.again.rank) == ("t0001", 2)


def test_a_finalist_that_another_seed_spoils_is_not_passed_over_for_one_that_it_spared(
    tmp_path: Path,
) -> None:
    sweep = searched(tmp_path)
    for trial in (0, 2, 5):
        seeded(sweep, trial, 0.5, 0.5, 0.4)
    seeded(sweep, 1, 0.6, None, 0.6)  # the best of its value, before t0000
    found = compared(sweep)[KIND]
    assert [tried.value for tried in found.by_seeds] == ["mixture", "planar"]
    assert "; no mean is known of standard, spline. " in said([found])[1]
    findings = read_findings(sweep)
    assert findings.ranked[0].trial.trial == "t0000"
    line = (
        "t0001 has 0.600 in the search, and stands behind: of its 3 runs with other seeds 2 have "
        "a score."
    )
    assert [each for each in answer(findings) if "stands behind" in each] == [line]
    seeded(sweep, 1, 0.6, 0.6, 0.6)
    assert spoiled(read_findings(sweep).places) == []


def test_an_infeasible_trial_does_not_speak_for_its_value(tmp_path: Path) -> None:
    sweep = searched(tmp_path, constraints={SCORE: {"at_least": 0.3}})
    for trial in (1, 2, 5):  # as if the constraint had come later
        seeded(sweep, trial, 0.4, 0.5, 0.6)
    found = compared(sweep)[KIND]
    assert [tried.value for tried in found.by_seeds] == ["standard", "mixture"], "planar has 0.2"


def test_of_seeds_that_are_not_all_there_nothing_is_said(tmp_path: Path) -> None:
    sweep = searched(tmp_path)
    seeded(sweep, 1, 0.5, 0.5, 0.5)
    seeded(sweep, 2, 0.5, 0.5, None)
    assert len(said([compared(sweep)[KIND]])) == 1, "one value alone has all of its seeds"
    seeded(sweep, 5, 0.1, 0.1, 0.1)
    found = compared(sweep)[KIND]
    assert [tried.value for tried in found.by_seeds] == ["standard", "planar"]
    told = said([found])[1]
    assert "planar 0.100 (t0005); no mean is known of mixture, spline. Means more than 0" in told
    assert told.endswith("standard is better than planar.")
    seeded(sweep, 5, 0.1, 0.1, 0.1, 0.1)
    assert compared(sweep)[KIND].told_from is None, "three seeds and four"
    assert seed_figure(read_findings(sweep)) is None
    uncompared = searched(tmp_path / "other", compare=None)
    for trial in (1, 2):
        seeded(uncompared, trial, 0.5, 0.5, 0.5)
    assert len(said([compared(uncompared)[KIND]])) == 1, "finalists there are of no value each"


def test_two_groups_are_told_apart_as_by_students_t() -> None:
    # Of two groups, Tukey's test is the t test of equal variances: q = t * sqrt(2).
    rng = np.random.default_rng(0)
    for size in (2, 3, 5):
        groups = rng.normal(size=(2, size))
        pooled = groups.var(axis=1, ddof=1).mean()
        expected = stdtrit(2 * (size - 1), 0.975) * math.sqrt(2 * pooled / size)
        assert least_difference(groups.tolist()) == pytest.approx(expected, rel=1e-6)
    assert least_difference([[0.1, 0.2]]) is None
    assert least_difference([[0.1], [0.2]]) is None
    assert least_difference([]) is None


def test_a_compared_choice_is_shown_however_many_values_it_has(tmp_path: Path) -> None:
    many = list(range(1, MOST_VALUES + 2))
    asked = {SIZE: {"choice": many}, "latent.top_down": {"choice": [False, True]}}
    assert list(compared(sweep_of(tmp_path / "a", scientific=asked))) == ["latent.top_down"]
    named = sweep_of(tmp_path / "b", scientific=asked, compare=SIZE)
    assert list(compared(named)) == [SIZE, "latent.top_down"]
