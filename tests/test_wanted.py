"""A configuration that somebody has a sweep try next, from another process than its driver."""

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from aurl import cli
from aurl.errors import ConfigError
from aurl.search import sampler
from aurl.search.journal import owned
from aurl.search.sampler import Proposals
from aurl.search.space import Space
from aurl.search.space_file import space_of
from aurl.search.wishes import STOP
from tests.fake_sweep import fake_sweep, write_status

SCHEDULE, WARMUP, CYCLES = (f"objective.beta.{name}" for name in ("schedule", "warmup", "cycles"))
BETA, FINE, HEADS = "objective.beta.value", "latent.levels.fine.dim", "model.n_heads"
CHANGES: dict[str, Any] = {
    "budget": {"trials": 4, "steps_per_trial": 9},
    "scientific": {
        SCHEDULE: {"choice": ["constant", "linear", "cyclical", "sigmoid"]},
        BETA: {"log_uniform": [0.05, 1.0]},
        WARMUP: {"uniform": [0.1, 0.5], "when": {SCHEDULE: ["linear", "sigmoid"]}},
        CYCLES: {"int_uniform": [2, 4], "when": {SCHEDULE: "cyclical"}},
        "objective.beta.ramp": {"choice": [0.5], "when": {SCHEDULE: "cyclical"}},
    },
    "nuisance": {
        "latent.levels.global.dim": {"choice": [8, 16]},
        FINE: {"int_uniform": [2, 8], "step": 2},
    },
}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of four trials, two of which have completed; no driver has it."""
    return fake_sweep(tmp_path / "s", trials=2, changes=CHANGES)


def searched() -> Space:
    return space_of({"question": "Which?", **CHANGES}, overrides={})


def opened(sweep: Path) -> Proposals:
    return Proposals(sweep / "study.journal", searched(), "s")


def tried(capfd: pytest.CaptureFixture[str], sweep: Path, *words: str) -> str:
    """What the command says of what it has queued."""
    assert cli.main(["try", str(sweep), *words]) == 0
    return capfd.readouterr().out.replace(str(sweep), "SWEEP")


def test_another_process_has_a_running_sweep_try_a_configuration_next(sweep: Path) -> None:
    proposals = opened(sweep)
    words = ["try", str(sweep), f"{BETA}=7e-2", f"{FINE}=8"]
    with owned(sweep / "sweep.log"):
        other = multiprocessing.get_context("fork").Process(target=cli.main, args=(words,))
        other.start()
        other.join()
        assert other.exitcode == 0
        number, params = proposals.propose()
    assert (number, params[BETA], params[FINE]) == (2, 0.07, 8)
    assert params[SCHEDULE] in CHANGES["scientific"][SCHEDULE]["choice"]
    assert proposals.propose()[1][BETA] != 0.07


def test_the_command_says_when_it_is_tried(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (sweep / "trials" / "t0002").mkdir()  # a killed driver left it half-made: it has not begun
    with owned(sweep / "sweep.log"):
        assert tried(capfd, sweep, f"{BETA}=0.1", f"{FINE}=4") == (
            f"queued in SWEEP: {BETA}=0.1, {FINE}=4; the next to begin, one of its 4 trials.\n"
        )
        (sweep / STOP).write_text("{}")  # asked to end: its driver begins no other
        assert tried(capfd, sweep, f"{SCHEDULE}=linear") == (
            f"queued in SWEEP: {SCHEDULE}=linear; after 1 queued before it when the sweep is "
            "resumed, one of its 4 trials.\n"
        )
    assert tried(capfd, sweep, f"{FINE}=6") == (
        f"queued in SWEEP: {FINE}=6; after 2 queued before it, but all of the sweep's 4 trials "
        "have begun or are queued: aurl resume SWEEP --trials 5 runs it.\n"
    )
    study = opened(sweep)
    study.fail_unknown({0, 1})  # as a resumed driver does
    asked = [study.propose()[1] for _ in range(3)]
    assert (asked[0][BETA], asked[1][SCHEDULE], asked[2][FINE]) == (0.1, "linear", 6)


def test_a_value_is_that_of_the_space_however_it_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of whole numbers 4.0 makes no run; and of what is compared, 1 and 1.0 are one kind."""
    changes = {HEADS: {"choice": [2, 4]}, BETA: {"choice": [0.5, 1.0]}}
    budget = {"trials": 9, "steps_per_trial": 9}
    wanted = {"budget": budget, "scientific": changes, "nuisance": {}, "compare": BETA}
    sweep = fake_sweep(tmp_path / "s", trials=0, changes=wanted)
    space = space_of({"question": "Which?", **wanted}, overrides={})
    study = Proposals(sweep / "study.journal", space, "s")
    for words in ([f"{HEADS}=4.0"], [f"{BETA}=1"], [f"{HEADS}=4.0", f"{BETA}=1"]):
        tried(capfd, sweep, *words)
    asked = [study.propose()[1] for _ in range(3)]
    types = [(type(each[HEADS]), type(each[BETA])) for each in asked]
    assert types == [(int, float)] * 3
    assert (asked[0][HEADS], asked[1][BETA], asked[2]) == (4, 1.0, {HEADS: 4, BETA: 1.0})


@pytest.mark.parametrize("status", ["completed", "failed"])
@pytest.mark.parametrize(("kind", "name"), [("trials", "t0001"), ("finalists", "t0001.1")])
def test_a_trial_is_tried_again_however_it_ended(
    sweep: Path, capfd: pytest.CaptureFixture[str], status: str, kind: str, name: str
) -> None:
    was = json.loads((sweep / "trials" / "t0001" / "status.json").read_text())["params"]
    write_status(sweep, name, kind, status=status, params=was)
    assert tried(capfd, sweep, "--again", name).startswith(f"queued in SWEEP: {SCHEDULE}=")
    assert opened(sweep).propose() == (2, was)


def test_what_makes_a_run_only_with_what_is_proposed_is_queued(
    sweep: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError):
        searched().config_of({SCHEDULE: "cyclical"})
    assert tried(capfd, sweep, f"{SCHEDULE}=cyclical") == (
        f"queued in SWEEP: {SCHEDULE}=cyclical; the next to begin when the sweep is resumed, one "
        "of its 4 trials.\n"
    )
    _, params = opened(sweep).propose()
    assert (params[SCHEDULE], CYCLES in params) == ("cyclical", True)


def test_what_was_queued_twice_is_tried_twice_though_a_driver_was_killed(
    sweep: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        tried(capfd, sweep, f"{BETA}=0.1")
    opened(sweep).propose()  # and its driver is killed before the trial has a folder
    study = opened(sweep)
    for _ in range(2):
        study.fail_unknown({0, 1})
    assert [study.propose()[1][BETA] == 0.1 for _ in range(3)] == [True, True, False]


def test_what_a_killed_driver_left_is_mended_but_not_beside_one_that_runs(
    sweep: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = sweep / "study.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code":4,"wor')
    tried(capfd, sweep, f"{BETA}=0.1")
    assert opened(sweep).propose()[1][BETA] == 0.1
    monkeypatch.setattr(sampler, "_mend", None)  # to call it would fail
    with owned(sweep / "sweep.log"):
        tried(capfd, sweep, f"{BETA}=0.1")


def test_a_journal_that_is_whole_is_not_cut_where_another_may_write(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (sweep / "study.journal").read_bytes()
    monkeypatch.setattr("os.truncate", None)  # to call it would fail
    opened(sweep)
    assert (sweep / "study.journal").read_bytes().startswith(before)


REFUSED: list[tuple[tuple[str, ...], str]] = [
    ((), "try must be given one of KEY=VALUE and --again."),
    ((f"{FINE}=4", "--again", "t0001"), "try must be given one of KEY=VALUE and --again."),
    ((FINE,), f"try must be KEY=VALUE, got '{FINE}'."),
    ((f"{FINE}=[",), "try value must be YAML, got '['."),
    (
        ("objective.beta.valu=1",),
        f"objective.beta.valu is not searched by this sweep. Did you mean '{BETA}'?",
    ),
    ((f"{BETA}=7",), f"{BETA} must be 0.05 .. 1 by ratio, got 7."),
    ((f"{BETA}=null",), f"{BETA} must be 0.05 .. 1 by ratio, got None."),
    ((f"{FINE}=3",), f"{FINE} must be 2 to 8 by 2, got 3."),
    (
        (f"{SCHEDULE}=cosine",),
        f"{SCHEDULE} must be constant | linear | cyclical | sigmoid, got 'cosine'.",
    ),
    (
        (f"{WARMUP}=0.2",),
        f"{WARMUP} must come with {SCHEDULE}=linear|sigmoid, got it without. Give both, or "
        "neither.",
    ),
    (
        (f"{SCHEDULE}=linear", f"{CYCLES}=2"),
        f"{CYCLES} must come with {SCHEDULE}=cyclical, got it without. Give both, or neither.",
    ),
    (
        ("--again", "t0009"),
        "--again must be a trial of SWEEP, got 't0009'. See `aurl status SWEEP`.",
    ),
    (
        ("--again", "t0000"),
        "--again must be a trial that is whole, got t0000: status.json cannot be read.",
    ),
]


def test_what_cannot_be_tried_is_one_line_and_changes_nothing(
    sweep: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (sweep / "trials" / "t0000" / "status.json").write_text("[]")
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    for words, message in REFUSED:
        assert cli.main(["try", str(sweep), *words]) == 2
        assert capfd.readouterr().err.replace(str(sweep), "SWEEP") == f"aurl: {message}\n"
    assert {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()} == before


def test_a_whole_configuration_that_makes_no_run_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dims = {f"latent.levels.{name}.dim": {"choice": [4, 0]} for name in ("global", "local")}
    others = {BETA: {"choice": [1.0, 2.0]}, "seed": {"choice": [3], "when": {BETA: 2.0}}}
    changes = {"scientific": dims, "nuisance": others, "fixed": {FINE: 0}}
    sweep = fake_sweep(tmp_path / "s", trials=1, changes={**CHANGES, **changes})
    words = [f"{key}=0" for key in dims]
    assert cli.main(["try", str(sweep), *words, f"{BETA}=1"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert cli.main(["try", str(sweep), *words]) == 2, "whatever the other is"
    said = capfd.readouterr().err
    must = "aurl: try must be given values that make a run, got none in 1000 draws of the others. "
    assert said.startswith(f"{must}The last: latent.levels must ")
    assert said.count("\n") == 1
    assert "global.dim=0; " in tried(capfd, sweep, words[0]), "a draw of the others makes it one"
    assert opened(sweep)


def test_a_trial_whose_parameters_are_not_known_is_not_tried_again(
    sweep: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        assert cli.main(["try", str(sweep), "--again", "t0001"]) == 2
        return capfd.readouterr().err

    must = "aurl: --again must be a trial that is whole, got t0001: its status.json does not say"
    was = json.loads((sweep / "trials/t0001/status.json").read_text())
    (sweep / "trials/t0001/status.json").write_text('{"status": "completed"}')
    assert said() == f"{must} its {SCHEDULE}.\n"
    for lost in (BETA, FINE):
        params = {key: value for key, value in was["params"].items() if key != lost}
        write_status(sweep, "t0001", params=params)
        assert said() == f"{must} its {lost}.\n"
    write_status(sweep, "t0001", params={**was["params"], SCHEDULE: "linear", WARMUP: None})
    assert said() == f"{must} its {WARMUP}.\n"


def test_what_is_no_sweep_with_a_journal_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = fake_sweep(tmp_path / "s", trials=0, changes=CHANGES)
    journal = sweep / "study.journal"

    def said() -> str:
        assert cli.main(["try", str(sweep), f"{FINE}=4"]) == 2
        return capfd.readouterr().err.replace(str(sweep), "SWEEP")

    must = "aurl: SWEEP/study.journal must be the sweep's own journal, got"
    assert said() == f"{must} none: the sweep has yet to begin.\n"
    assert not (sweep / "sweep.log").exists()
    journal.symlink_to("elsewhere")
    assert said() == f"{must} a link.\n"
    journal.unlink()
    os.mkfifo(journal)
    assert said() == f"{must} no file.\n"
    journal.unlink()
    journal.write_text("{\n")
    damaged = "aurl: SWEEP/study.journal must be a sweep's journal, got a damaged file."
    assert said().startswith(damaged)
    log = sweep / "sweep.log"
    log.unlink()
    log.symlink_to(tmp_path / "elsewhere")
    assert said() == "aurl: SWEEP/sweep.log must be the sweep's own, got a link. Remove it.\n"
    assert not (tmp_path / "elsewhere").exists()
    log.unlink()
    os.mkfifo(log)  # which would be waited for
    assert said() == "aurl: SWEEP/sweep.log must be the sweep's own, got no file. Remove it.\n"
    log.unlink()
    journal.write_text('{"op_code": 99}\n')
    with owned(sweep / "sweep.log"):
        assert said().startswith(damaged)
    about = sweep / "sweep.yaml"
    about.unlink()
    os.mkfifo(about)
    assert said() == "aurl: SWEEP/sweep.yaml must hold a mapping of settings, got NoneType.\n"
    about.unlink()
    about.write_text("space: {}\n")
    assert said().startswith("aurl: sweep.yaml has no search space that can be read: ")
    assert cli.main(["try", str(sweep / "x"), f"{FINE}=4"]) == 2
    assert "which is not there" in capfd.readouterr().err
