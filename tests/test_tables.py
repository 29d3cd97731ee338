import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from aurl.reporting.progress import Progress
from aurl.reporting.space_tables import parameter_tree, sample_lines, space_record
from aurl.reporting.tables import (
    duration,
    latent_use,
    leaderboard_table,
    number,
    settings,
    short_name,
    status_table,
)
from aurl.search.ranking import SCORE, TrialStatus, ranked
from aurl.search.space_file import space_of

METRICS = {
    "val/kl_health": 0.9,
    "val/disentanglement": 0.25,
    "val/reconstruction_score": 0.6,
    "val/score": 0.513,
}
TRIALS = [
    TrialStatus(
        trial="t0000",
        status="completed",
        step=300,
        steps=300,
        seconds=75.0,
        params={"objective.beta.value": 0.31234},
        metrics=METRICS,
    ),
    TrialStatus(
        trial="t0001", status="completed", step=300, steps=300, metrics={"val/kl_health": 0.95}
    ),
    TrialStatus(
        trial="t0002", status="failed", step=20, steps=300, reason="[Errno 28] no [bold]space"
    ),
    TrialStatus(trial="t0003", status="running", step=150, steps=300, metrics=METRICS),
]


def drawn(table: Table, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(table)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_leaderboard_shows_ranks_pareto_front_and_scores_in_80_columns() -> None:
    behind = replace(TRIALS[0], trial="t0004", metrics=dict.fromkeys(METRICS, 0.1))
    lines = drawn(leaderboard_table(ranked([*TRIALS, behind])))
    assert "rank trial score kl_health disent. recon. parameters" in lines
    assert "1* t0000 0.513 0.900 0.250 0.600 beta.value=0.312" in lines
    assert "2 t0004 0.100 0.100 0.100 0.100 beta.value=0.312" in lines
    assert "3 t0001 - 0.950 - -" in lines


def test_what_a_stranger_wrote_moves_no_cursor() -> None:
    trap = "\x1b]0;mine\x07\x1b[2J\nand"
    trials = [
        TrialStatus(trial=trap, status="failed", reason=trap),
        TrialStatus(trial="t0001", status="completed", metrics=METRICS, params={trap: trap}),
    ]
    for table in (leaderboard_table(ranked(trials), with_unranked=True), status_table(trials)):
        console = Console(file=io.StringIO(), width=300)
        with console.capture() as capture:
            console.print(table)
        assert "\x1b" not in capture.get()
        assert "\\x1b[2J\\nand" in capture.get()


def test_what_a_space_says_moves_no_cursor_either() -> None:
    asked = space_of(
        {
            "question": "\x1b[2J why?",
            "budget": {"trials": 1, "steps_per_trial": 1},
            "fixed": {"latent.levels.global.name": "whole"},
        },
        overrides={},
    )
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(parameter_tree(asked))
        console.print("\n".join(sample_lines([{"a\x1b": "\x1b"}])))
        lines = Progress(console, 1, 1)
        with lines:
            lines.trial_ended("t0000", "failed", "\x1b[2J", {})
    assert "\x1b" not in capture.get()
    assert capture.get().count("\\x1b") == 4


def test_what_a_latent_space_is_worth_is_said_with_its_intervals() -> None:
    use, score = "test/latent_use_nats", "test/reconstruction_score"
    metrics = {use: 12.3456, f"{use}/low": -0.0001, f"{use}/high": 20.0, score: 0.75}
    metrics |= {f"{score}/zero_z": 0.25, f"{score}/gain": 0.5}
    metrics |= {f"{score}/gain/low": 0.4, f"{score}/gain/high": 0.6}
    assert latent_use("t0003", metrics).splitlines() == [
        "t0003 on the test split, with 95 % intervals by piece:",
        "  z shuffled between pieces costs 12.346 [0.000, 20.000] nats a sequence",
        "  reconstruction score from z 0.750, from z = 0 0.250: gain 0.500 [0.400, 0.600]",
    ]


def test_a_parameter_stands_once_below_its_role_and_all_that_it_needs_beside_it() -> None:
    values = {
        "question": "why?",
        "budget": {"trials": 1, "steps_per_trial": 1},
        "scientific": {
            "objective.beta.schedule": {"choice": ["constant", "linear", "sigmoid"]},
            "objective.beta.warmup": {
                "uniform": [0.1, 0.5],
                "when": {"objective.beta.schedule": ["linear", "sigmoid"]},
            },
        },
        "nuisance": {"optimizer.lr": {"log_uniform": [0.001, 0.01]}},
    }
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(parameter_tree(space_of(values, overrides={})))
    lines = capture.get().splitlines()
    assert [line.lstrip("│├└─ ") for line in lines[1:6]] == [
        "scientific",
        "objective.beta.schedule: constant | linear | sigmoid",
        "objective.beta.warmup: 0.1 .. 0.5  if objective.beta.schedule is linear or sigmoid",
        "nuisance",
        "optimizer.lr: 0.001 .. 0.01 by ratio",
    ]
    depths = [len(line) - len(line.lstrip("│├└─ ")) for line in lines[1:6]]
    assert depths == [4, 8, 12, 4, 8], "a condition stands below what decides it"


def test_a_space_says_what_is_held_and_of_which_role_nothing_is() -> None:
    fixed = {"latent.top_down": True, "evaluation.likelihood_windows": None}
    for role, other in (("scientific", "nuisance"), ("nuisance", "scientific")):
        values = {
            "question": "why?",
            "budget": {"trials": 1, "steps_per_trial": 1},
            role: {"objective.beta.value": {"uniform": [0.1, 0.5]}},
            "fixed": fixed,
        }
        space = space_of(values, overrides={})
        assert {**space_record(space), "parameters": []} == {
            "question": "why?",
            "parameters": [],
            "fixed": fixed,
            "compare": None,
            "seeds": None,
        }
        console = Console(file=io.StringIO(), width=100)
        with console.capture() as capture:
            console.print(parameter_tree(space))
        said = [line.lstrip("│├└─ ") for line in capture.get().splitlines()]
        assert said[said.index(role) + 1] == "objective.beta.value: 0.1 .. 0.5"
        assert said[said.index(other) + 1] == "nothing"
        held = said.index("fixed") + 1
        assert said[held : held + 2] == [
            "latent.top_down: True",
            "evaluation.likelihood_windows: nothing",
        ]


def test_draws_are_counted_from_one_and_a_number_has_four_digits() -> None:
    assert sample_lines([{"a": 0.123456, "b": 12345}, {"a": True, "b": "x"}]) == [
        *("sample 1", "  a: 0.1235", "  b: 12345"),
        *("sample 2", "  a: True", "  b: x"),
    ]


def test_a_space_says_of_a_grid_its_size_and_what_is_compared_and_trained_again() -> None:
    size = "training.batch_size"
    values = {
        "question": "why?",
        "budget": {"trials": 2, "steps_per_trial": 9},
        "nuisance": {size: {"choice": [8, 16, 32]}},
        "sampler": {"name": "grid", "groups": True},
        "scheduler": {"name": "none"},
    }
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(parameter_tree(space_of(values, overrides={})))
    assert (
        capture.get()
        .splitlines()[-1]
        .endswith("2 trials of 9 steps, proposed by grid of 3 configurations, stopped by none")
    )
    values["compare"] = size
    said = [f"{size} is compared: each of its values is stopped only by its own"]
    for name in ("grid", "tpe"):
        with console.capture() as capture:
            console.print(
                parameter_tree(space_of(values | {"sampler": {"name": name}}, overrides={}))
            )
        assert capture.get().splitlines()[-1].endswith(said[-1])
        said.append(f"{size} is compared: its values take turns, each stopped only by its own")
    for compare, line in (
        (size, "then the 2 best of each of its values, with 3 other seeds each: 6 runs at most"),
        (None, "then the best, with 3 other seeds each: 3 runs at most"),
    ):
        seeds = {"finalists": 2 if compare else 1, "runs": 3}
        asked = values | {
            "compare": compare,
            "seeds": seeds,
            "budget": {"trials": 2, "steps_per_trial": 9},
        }
        space = space_of(asked, overrides={})
        with console.capture() as capture:
            console.print(parameter_tree(space))
        assert capture.get().splitlines()[-1].endswith(line)
        assert space_record(space)["seeds"] == seeds


def test_leaderboard_counts_the_trials_that_have_no_rank() -> None:
    lines = drawn(leaderboard_table(ranked(TRIALS)))
    assert "4 trials: 2 completed, 1 running, 1 failed; best t0000" in lines
    assert not any("t0002" in line for line in lines)


def test_tables_of_a_sweep_without_trials_say_so() -> None:
    assert "no trials yet" in drawn(leaderboard_table([]))
    assert "no trials yet" in drawn(status_table([]))


def test_status_shows_every_trial_and_reads_no_reason_as_markup() -> None:
    lines = drawn(status_table(TRIALS))
    assert "t0000 completed 300/300 0:01:15 0.513 0.900" in lines
    assert "t0003 running 150/300 0:00:00 0.513 0.900" in lines
    wide = drawn(status_table(TRIALS), width=120)
    assert "t0002 failed 20/300 0:00:00 - - [Errno 28] no [bold]space" in wide


def test_status_has_room_for_reasons_in_80_columns() -> None:
    reason = "NeverSeenBeforeError: it is not finite"
    long = TrialStatus(
        trial="t0001", status="completed", step=20000, steps=20000, seconds=1e6, reason=reason
    )
    lines = drawn(status_table([long]))
    begin = next(index for index, line in enumerate(lines) if line.startswith("t0001"))
    assert lines[begin] == "t0001 completed 20000/20000 277:46:40 - - NeverSeenBeforeErr"
    assert lines[begin + 1 : begin + 3] == ["or: it is not", "finite"], "none of it is cut off"
    short = drawn(status_table([replace(long, step=0, steps=300, seconds=75.0)]))
    assert any("NeverSeenBeforeError: it" in line for line in short)


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({}, ""),
        ({"seed": 3}, "seed=3"),
        ({"objective.beta.value": 0.000123456}, "beta.value=0.000123"),
        ({"a.x.y": 1, "b.x.y": True, "x.y": "no"}, "a.x.y=1 b.x.y=True x.y=no"),
        ({"latent.levels": [16, 8]}, "latent.levels=[16, 8]"),
    ],
    ids=["none", "short_key", "long_key", "keys_that_end_alike", "a_list"],
)
def test_settings_are_short_and_tell_keys_apart(params: dict[str, Any], line: str) -> None:
    assert settings(params) == line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.500"),
        (1, "1.000"),
        (-0.0004, "0.000"),
        (None, "-"),
        (float("nan"), "-"),
        ("high", "-"),
    ],
)
def test_number_shows_finite_numbers_only(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00:00"), (59.6, "0:01:00"), (3723.0, "1:02:03")]
)
def test_duration_is_hours_minutes_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_short_name_is_the_metric_without_its_split() -> None:
    assert short_name("val/reconstruction_score") == "reconstruction"


def test_a_leaderboard_marks_what_is_infeasible_and_shows_the_lower_bound_of_finalists() -> None:
    def trial(name: str, **more: Any) -> TrialStatus:
        return TrialStatus(trial=name, status="completed", metrics=dict(METRICS), **more)

    lines = drawn(leaderboard_table(ranked([trial("t0000"), trial("t0001", feasible=False)])))
    assert "rank trial score kl_health disent. recon. parameters" in lines
    assert "1* t0000 0.513 0.900 0.250 0.600" in lines
    assert "2! t0001 0.513 0.900 0.250 0.600" in lines
    again = trial("t0002", seeds=({SCORE: 0.25},) * 3)
    lines = drawn(leaderboard_table(ranked([trial("t0000"), again])))
    assert "rank trial low score kl_health disent. recon. parameters" in lines
    assert "1* t0002 0.250 0.513 0.900 0.250 0.600" in lines
    assert "2* t0000 - 0.513 0.900 0.250 0.600" in lines
