"""What a person gets wrong costs one line on stderr, exit code 2, and nothing on the disk."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aurl import cli
from aurl.config import to_plain
from aurl.data import corpora
from aurl.data.corpus import save
from aurl.errors import StorageError, SweepError
from aurl.files import read_yaml, write_text, write_yaml
from aurl.reporting.intent import intent_of
from aurl.search import full_run, plan
from aurl.search.ranking import read_about
from aurl.search.shape import Shape
from tests.tiny import small_config, tiny_corpus

ROOT = Path(__file__).parents[1]
SPACE = """
question: Does it say what is wrong?
base:
  model: {d_model: 16, n_heads: 2, encoder_layers: 3, decoder_layers: 2}
  training: {batch_size: 8}
  evaluation: {every: 4, windows: 16, final_windows: 24, reconstructions: 4}
scientific:
  optimizer.lr: {log_uniform: [1e-3, 1e-2]}
budget: {trials: 2, steps_per_trial: 8}
"""


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a space, a corpus, and things that are neither."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    Path("file").write_text("a file where a folder should be")
    Path("empty").mkdir()
    Path("broken.yaml").write_text("budget: [1, 2\nquestion: }")
    Path("noise.yaml").write_bytes(bytes(range(128, 256)))
    Path("list.yaml").write_text("- 1\n")
    Path("number.yaml").write_text("1: 2\n")
    Path("code.yaml").write_text("question: !!python/object/apply:os.system ['touch ran']\n")
    Path("twice.yaml").write_text("question: Who?\nquestion: Why?\n")
    Path("no_budget.yaml").write_text("question: q\nbudget: 5\n")
    save(tiny_corpus(), Path("corpus"))
    write_yaml(Path("run.yaml"), to_plain(small_config()))
    return tmp_path


@pytest.fixture
def listing(place: Path) -> Iterator[None]:
    """Nothing may have been written when the test is over."""
    before = everything(place)
    yield
    assert everything(place) == before


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def answer(capfd: pytest.CaptureFixture[str], *words: str) -> Answer:
    try:
        code = cli.main(words)
    except SystemExit as exit_:  # argparse
        code = int(exit_.code or 0)
    out, err = capfd.readouterr()
    return Answer(code, out, err)


def is_one_line(given: Answer) -> bool:
    text = given.err
    return given.code == 2 and not given.out and text.startswith("aurl: ") and text[-1] == "\n"


SWEEP = ("sweep", "space.yaml", "--out", "out")
TINY = (*SWEEP, "--data", "corpus")
SHOWN_SPACE = ("space", "space.yaml", "--data", "corpus")
WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "no command": ((), "the following arguments are required: COMMAND"),
    "unknown command": (("swep",), "argument COMMAND: invalid choice: 'swep'"),
    "unknown option": ((*TINY, "--trails", "3"), "unrecognized arguments: --trails 3"),
    "option of a wrong type": ((*TINY, "--trials", "x"), "argument --trials: invalid int value"),
    "space missing": (("sweep", "no.yaml"), "no.yaml cannot be read: No such file"),
    "space a folder": (("sweep", "empty"), "empty cannot be read: Is a directory."),
    "space not text": (("sweep", "noise.yaml"), "noise.yaml is not a YAML file: it is not UTF-8"),
    "a seed that is none": (
        ("sweep", "space.yaml", "--data", "corpus", "--set", "seed=x"),
        "seed must be a whole number, got 'x'.",
    ),
    "space not YAML": (("sweep", "broken.yaml"), "broken.yaml is not valid YAML: "),
    "space a list": (("sweep", "list.yaml"), "list.yaml must hold a mapping of settings, got li"),
    "space runs code": (("sweep", "code.yaml"), "code.yaml is not valid YAML: could not determ"),
    "budget a number": (("sweep", "no_budget.yaml", "--trials", "3"), "budget must be a mapping"),
    "unknown key": (
        (*TINY, "--set", "model.d_modle=8"),
        "model.d_modle is not a setting. Did you mean 'd_model'?",
    ),
    "wrong type": (
        (*TINY, "--set", "training.batch_size=big"),
        "training.batch_size must be a whole number, got 'big'.",
    ),
    "out of range": ((*TINY, "--set", "optimizer.lr=-1"), "optimizer.lr must be > 0, got -1.0."),
    "heads": (
        (*TINY, "--set", "model.n_heads=3"),
        "model.d_model must be a multiple of 2 * model.n_heads, got d_model=16, n_heads=3.",
    ),
    "not a pair": ((*TINY, "--set", "optimizer.lr"), "--set must be KEY=VALUE, got 'optimizer.lr"),
    "pair without key": ((*TINY, "--set", "=3"), "--set must be KEY=VALUE, got '=3'."),
    "pair not YAML": ((*TINY, "--set", "optimizer.lr=[1"), "--set value must be YAML, got '[1'."),
    "steps": (
        (*TINY, "--set", "training.steps=3"),
        "training.steps must be left out of a search space, and of --set: budget.steps_per_trial "
        "sets it, as in --set budget.steps_per_trial=50.",
    ),
    "grows alone": ((*TINY, "--grow-to", "2"), "--grow-to must come with --address: this machine"),
    "no draws": ((*SHOWN_SPACE, "--samples", "0"), "--samples must be >= 1, got 0."),
    "no trials": ((*TINY, "--trials", "0"), "budget.trials must be >= 1, got 0."),
    "no workers": ((*TINY, "--workers-per-trial", "0"), "--workers-per-trial must be >= 1, got 0"),
    "workers no number": (
        (*TINY, "--workers-per-trial", "2:x"),
        "--workers-per-trial must be a number, such as 4, or LEAST:MOST, such as 2:4, got '2:x'.",
    ),
    "fewer workers alone": (
        (*TINY, "--workers-per-trial", "2:4"),
        "--workers-per-trial LEAST:MOST must come with --address: this machine alone is as large",
    ),
    "uneven share": (
        (*TINY, "--workers-per-trial", "3"),
        "training.batch_size must be a multiple of the workers per trial, got batch_size=8, work",
    ),
    "negative GPUs": (
        (*TINY, "--gpus-per-worker", "-1"),
        "--gpus-per-worker must be >= 0, got -1",
    ),
    "data missing": ((*SWEEP, "--data", "nowhere"), "nowhere does not exist. If it was moved"),
    "data empty": ((*SWEEP, "--data", "empty"), "empty is not a corpus. Make one from a folder"),
    "data a file": ((*SWEEP, "--data", "file"), "file is not a corpus. Make one from a folder"),
    "out below a file": (
        (*TINY, "--out", "file/below"),
        "--out and --name must make a folder that can be written, got file/below/space: Not a d",
    ),
    "out where nothing can be made": (
        (*TINY, "--out", "/proc/nowhere"),
        "--out and --name must make a folder that can be written, got /proc/nowhere/space: No su",
    ),
    "dry run below a file": (
        (*TINY, "--dry-run", "--out", "file/below"),
        "--out and --name must make a folder that can be written, got file/below/space: Not a d",
    ),
    "name too long": (
        (*TINY, "--out", ".", "--name", "n" * 300),
        "--out and --name must make a folder that can be written, got nnnn",
    ),
    "name that leads elsewhere": (
        (*TINY, "--name", "../up"),
        "--name must be one word for a folder, got '../up'. Say where that is by --out.",
    ),
    "name from the root": ((*TINY, "--name", "/tmp/x"), "--name must be one word for a folder"),
    "name of the folder above": ((*TINY, "--name", ".."), "--name must be one word for a folder"),
    "name that moves the cursor": (
        (*TINY, "--name", "\x1b[2J"),
        "--name must be one word for a f",
    ),
    "name that no file has": ((*TINY, "--name", "a\0b"), "--name must be one word for a folder"),
    "storage in a dry run": (
        (*TINY, "--dry-run", "--storage", "s3://me:secret@bucket/x"),
        "--storage must hold no credentials",
    ),
    "no address": ((*TINY, "--address", ""), "--address must be auto or HOST:PORT, got nothing"),
    "a key twice": (
        ("sweep", "twice.yaml"),
        "twice.yaml is not valid YAML: the key question stands twice",
    ),
    "a message of many lines": (
        (*TINY, "--storage", "s3://bucket/a\nb?region=\x1b[2J"),
        "--storage must be a URI, got 's3://bucket/a\\nb?region=\\x1b[2J': Cannot parse URI",
    ),
    "name of something else": (
        (*TINY, "--out", ".", "--name", "corpus"),
        "--name must be new, got 'corpus': corpus holds something else. Please choose another",
    ),
    "status of nothing": (("status", "nowhere"), "SWEEP must be a sweep's folder, got nowhere"),
    "leaderboard of a file": (
        ("leaderboard", "file"),
        "SWEEP must be a sweep's folder, got file, which is no folder. Check the path.",
    ),
    "export of nothing": (("export", "empty", "--out", "new"), "empty/config.yaml cannot be read"),
    "evaluate nothing": (("evaluate", "empty"), "EXPORT must be a folder made by `aurl export`"),
    "sample of nothing": (("sample", "empty", "--out", "new"), "EXPORT must be a folder made by"),
    "bars of no prompt": (
        ("sample", "empty", "--out", "new", "--prompt-bars", "1"),
        "--prompt-bars must come with --prompt.",
    ),
    "no samples": (
        ("sample", "empty", "--out", "new", "--count", "0"),
        "--count must be in 1..100000, got 0.",
    ),
    "more samples than fit": (
        ("sample", "empty", "--out", "new", "--count", str(10**15)),
        "--count must be in 1..100000, got 1000000000000000.",
    ),
    "temperature": (
        ("sample", "empty", "--out", "new", "--temperature", "nan"),
        "--temperature must be >= 0, got nan.",
    ),
    "reconstruct nothing": (("reconstruct", "empty", "--out", "new"), "EXPORT must be a folder"),
    "reconstruct as sound": (
        ("reconstruct", "empty", "--out", "new.wav", "--wav"),
        "--out must be a MIDI file, got new.wav: --wav and --png add to it.",
    ),
    "train nothing": (("train", "no.yaml", "--out", "new"), "no.yaml cannot be read: No such fi"),
    "train at no size": (
        ("train", "run.yaml", "--out", "new", "--data", "corpus", "--preset", "huge"),
        "--preset must be one of same, base, large, got 'huge'.",
    ),
    "rank of a run": (
        ("export", "empty", "--out", "new", "--rank", "2"),
        "--rank 2 must be left out for a run: it is of a sweep's folder.",
    ),
    "train by nobody": (
        ("train", "run.yaml", "--out", "new", "--data", "corpus", "--workers-per-trial", "0"),
        "--workers-per-trial must be >= 1, got 0. Ask for 1 or more.",
    ),
    "train on no GPU": (
        ("train", "run.yaml", "--out", "new", "--data", "corpus", "--gpus-per-worker", "nan"),
        "--gpus-per-worker must be >= 0, got nan. Ask for 0 or more.",
    ),
    "train over something": (
        ("train", "run.yaml", "--out", "corpus", "--data", "corpus", "--preset", "same"),
        "--out must be new, got corpus, which holds something else.",
    ),
    "train over a file": (
        ("train", "run.yaml", "--out", "file", "--data", "corpus", "--preset", "same"),
        "--out must be new, got file, which holds something else.",
    ),
    "train below a file": (
        ("train", "run.yaml", "--out", "file/below", "--data", "corpus", "--preset", "same"),
        "file/below: Not a directory",
    ),
    "prepare nothing": (("prepare", "nowhere", "--out", "new"), "nowhere does not exist."),
    "prepare no bars": (
        ("prepare", "empty", "--out", "new", "--bars", "0"),
        "--bars must be >= 1, got 0.",
    ),
    "prepare one loudness": (
        ("prepare", "empty", "--out", "new", "--velocity-bins", "1"),
        "--velocity-bins must be 0 or in 2..127, got 1.",
    ),
    "prepare no MIDI": (("prepare", "empty", "--out", "new"), "empty holds no file that ends in"),
}


@pytest.mark.usefixtures("listing")
@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_wish_is_one_line(
    capfd: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    given = answer(capfd, *words)
    assert is_one_line(given), given
    assert given.err.count("\n") == 1, given
    assert given.err.startswith(f"aurl: {message}"), given.err


@pytest.mark.usefixtures("place")
def test_a_name_that_exists_is_refused_with_both_ways_out(
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("out/space").mkdir(parents=True)
    Path("out/space/sweep.yaml").write_text("question: mine\n")
    given = answer(capfd, *TINY)
    assert is_one_line(given)
    assert given.err == (
        "aurl: --name must be new, got 'space': out/space holds a sweep. Add --resume to go on "
        "with it, or choose another --name.\n"
    )
    assert Path("out/space/sweep.yaml").read_text() == "question: mine\n"


def options(**changes: object) -> plan.SweepOptions:
    given: dict[str, Any] = {
        "space": Path("space.yaml"),
        "out": Path("out"),
        "data": "corpus",
        **changes,
    }
    return plan.SweepOptions(**given)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "edit", "key", "got"),
    [
        (
            (),
            ("1e-2", "2e-2"),
            "space",
            "scientific.optimizer.lr.log_uniform ['1e-3', '2e-2'], was ",
        ),
        ((), ("steps_per_trial: 8", "steps_per_trial: 9"), "steps", "steps_per_trial 9, was 8."),
        (
            (),
            ("steps_per_trial: 8", "steps_per_trial: 8, tokens_per_step: 99"),
            "steps",
            "tokens_per_step 99, was None. Start another sweep",
        ),
        (("--set", "seed=1"), ("", ""), "overrides", "seed 1, was None."),
        (("--set", "sampler.seed=1"), ("", ""), "overrides", "sampler.seed 1, was None."),
        (("--workers-per-trial", "2"), ("", ""), "workers_per_trial", "2, was 1."),
    ],
)
def test_a_sweep_is_not_resumed_as_another_one(
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    edit: tuple[str, str],
    key: str,
    got: str,
) -> None:
    plan.plan(options())
    before = Path("out/space/sweep.yaml").read_bytes()
    Path("space.yaml").write_text(SPACE.replace(*edit))
    given = answer(capfd, *TINY, "--resume", *words)
    assert is_one_line(given), given
    must = f"aurl: --resume must be given the {key} that space was started with, got {got}"
    assert given.err.startswith(must), given.err
    assert Path("out/space/sweep.yaml").read_bytes() == before


@pytest.mark.usefixtures("place")
def test_a_sweep_is_not_resumed_with_another_beginning() -> None:
    for name in ("first.yaml", "late.yaml"):
        Path(name).write_text("configurations: [{}]\n")
    begun = plan.plan(options(warm_start=Path("first.yaml")))
    assert begun.note == "Begins with 0 known results and 1 others to try."
    with pytest.raises(SweepError, match=r"^--warm-start must be given once more"):
        plan.plan(options(resume=True))
    Path("out/space/trials").mkdir()
    plan.plan(options(resume=True))
    assert plan.plan(options(resume=True, warm_start=Path("first.yaml"))).note == ""
    plan.plan(options(name="cold"))
    for name in ("space", "cold"):
        before = Path(f"out/{name}/sweep.yaml").read_bytes()
        with pytest.raises(SweepError, match=f"^--warm-start must be what {name} was begun with"):
            plan.plan(options(name=name, resume=True, warm_start=Path("late.yaml")))
        assert Path(f"out/{name}/sweep.yaml").read_bytes() == before


@pytest.mark.usefixtures("place")
def test_a_resumed_sweep_may_have_more_trials() -> None:
    plan.plan(options())
    Path("space.yaml").write_text(f"{SPACE}\ncompare: null\n")  # which says nothing
    assert plan.plan(options(trials=7, resume=True)).space.budget.trials == 7


@pytest.mark.usefixtures("place")
def test_a_number_of_trials_that_was_asked_for_holds_until_another_is() -> None:
    plan.plan(options(trials=5))
    again = plan.plan(options(resume=True))
    assert (again.space.budget.trials, again.note) == (5, "5 trials, as --trials said before.")
    more = plan.plan(options(trials=7, resume=True))
    assert (more.space.budget.trials, more.note) == (7, "")
    assert plan.plan(options(resume=True), write=False).space.budget.trials == 7


@pytest.mark.usefixtures("place")
def test_a_grid_has_as_many_trials_as_configurations_and_its_record_says_how_many() -> None:
    grid = SPACE.replace("trials: 2, ", "").replace("log_uniform: [", "choice: [5e-3, ")
    Path("space.yaml").write_text(f"{grid}\nsampler: {{name: grid}}\n")
    plan.plan(options())
    assert intent_of(read_about(Path("out/space"))).trials == 3
    assert plan.plan(options(resume=True)).space.budget.trials == 3
    plan.plan(options(resume=True, trials=2))
    assert intent_of(read_about(Path("out/space"))).trials == 2
    assert plan.plan(options(resume=True)).note == "2 trials, as --trials said before."


@pytest.mark.usefixtures("place")
def test_a_space_file_may_ask_for_more_trials_if_nobody_else_did() -> None:
    plan.plan(options())
    Path("space.yaml").write_text(SPACE.replace("trials: 2", "trials: 3"))
    assert plan.plan(options(resume=True)).space.budget.trials == 3


@pytest.mark.usefixtures("place")
def test_a_corpus_is_the_same_wherever_it_lies() -> None:
    plan.plan(options())
    Path("corpus").rename("moved")
    again = plan.plan(options(resume=True, data=str(Path("moved").absolute())))
    assert again.space.base["data"]["corpus"] == str(Path("moved").absolute())


@pytest.mark.usefixtures("place")
def test_a_sweep_that_another_process_runs_is_left_as_it_is() -> None:
    folder = plan.plan(options()).folder
    before = (folder / "sweep.yaml").read_bytes()
    with (folder / "sweep.log").open("ab") as log:
        fcntl.lockf(log, fcntl.LOCK_EX)  # as for a client of NFS, where the folder is served
        with pytest.raises(SweepError, match="out/space must be left to one process"):
            plan.plan(options(trials=9, resume=True))
    assert (folder / "sweep.yaml").read_bytes() == before


@pytest.mark.usefixtures("place")
def test_of_two_that_begin_a_sweep_at_once_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    versions, first = plan.provenance, options(command="first")

    def meanwhile() -> dict[str, object]:
        monkeypatch.setattr(plan, "provenance", versions)
        plan.plan(first)
        return versions()

    monkeypatch.setattr(plan, "provenance", meanwhile)
    with pytest.raises(SweepError, match="'space': another process has just begun out/space"):
        plan.plan(options(command="second", trials=9))
    assert read_yaml(first.folder / "sweep.yaml")["commands"] == ["first"]


@pytest.mark.usefixtures("place")
def test_a_disk_that_keeps_no_locks_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(SweepError, match=r"keeps locks, got out/space: Function not implemented"):
        plan.plan(options())


@pytest.mark.usefixtures("place")
def test_a_sweep_remembers_every_version_that_worked_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resumed_by(commit: str) -> dict[str, object]:
        monkeypatch.setattr(plan, "provenance", lambda: {"git_commit": commit})
        plan.plan(options(resume=True))
        return read_yaml(Path("out/space/sweep.yaml"))

    first = resumed_by("a")
    assert first["made_by"] == {"git_commit": "a"}
    assert resumed_by("a") == first
    assert resumed_by("b")["made_by"] == {"git_commit": "a"}
    last = resumed_by("c")
    assert last["resumed_by"] == [{"git_commit": "b"}, {"git_commit": "c"}]
    assert resumed_by("c") == last


@pytest.mark.usefixtures("place")
def test_a_sweep_says_what_it_is_of_and_how_it_was_begun_and_gone_on_with() -> None:
    first = plan.plan(options(command="aurl sweep space.yaml"))
    plan.plan(options(resume=True, command="aurl sweep space.yaml --resume"))
    plan.plan(options(resume=True, trials=7, command="aurl sweep space.yaml --resume"))
    about = read_yaml(first.folder / "sweep.yaml")
    assert about["commands"] == ["aurl sweep space.yaml", "aurl sweep space.yaml --resume"]
    assert about["seeds"] == {"trials": 0, "sampler": 0}
    assert len(about["space_sha256"]) == 64


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("fitting", "asked", "workers", "parts", "size"),
    [
        (8, 8, 1, 1, 8),
        (6, 8, 1, 1, 6),
        (14, 18, 3, 1, 12),  # a multiple of the workers
        (11, 16, 2, 4, 8),  # and of the parts of a step
        (1, 8, 1, 1, 4),  # at least four a worker
        (1, 8, 2, 1, 8),
        (1, 12, 1, 3, 6),
    ],
)
def test_dense_music_gets_batches_that_the_budget_allows(
    fitting: int, asked: int, workers: int, parts: int, size: int
) -> None:
    most = round(fitting * tiny_corpus().mean_tokens + 0.5)
    space = SPACE.replace("per_trial: 8", f"per_trial: 8, tokens_per_step: {most}")
    Path("space.yaml").write_text(space.replace("batch_size: 8", f"batch_size: {asked}"))
    held = {"training.accumulate": parts}
    planned = plan.plan(options(shape=Shape(workers_per_trial=workers), overrides=held))
    assert planned.space.config_of({"optimizer.lr": 0.01}).training.batch_size == size
    told = f"batches of {size} windows, not {asked} (budget.tokens_per_step {most})."
    assert planned.note.endswith(told) if size < asked else planned.note == ""


@pytest.mark.usefixtures("place")
def test_a_batch_size_from_the_command_line_holds_whatever_the_budget() -> None:
    Path("space.yaml").write_text(SPACE.replace("l: 8}", "l: 8, tokens_per_step: 1}"))
    for held in ({"training.batch_size": 7}, {"training": {"batch_size": 7}}):
        planned = plan.plan(options(overrides=held), write=False)
        assert planned.space.config_of({"optimizer.lr": 0.01}).training.batch_size == 7
        assert planned.note == ""
    planned = plan.plan(options(overrides={"training": {"log_every": 3}}), write=False)
    assert planned.note.startswith("This music has"), "what a held section leaves out is not held"


@pytest.mark.usefixtures("place")
def test_resuming_what_does_not_exist_starts_it() -> None:
    planned = plan.plan(options(resume=True))
    assert planned.folder == Path("out/space")
    assert (planned.folder / "sweep.yaml").exists()


@pytest.mark.usefixtures("place")
def test_a_trial_on_melodies_names_the_part_of_them_that_the_sweep_uses() -> None:
    overrides = {"data.melodies.train": 300, "data.melodies.seed": 2}
    planned = plan.plan(options(data="melodies", overrides=overrides))
    assert len(planned.corpus.indices("train")) == 300
    data = planned.space.config_of({"optimizer.lr": 0.01}).data
    assert (data.corpus, data.melodies.train, data.melodies.seed) == ("melodies", 300, 2)
    found = corpora.load_named(data.corpus, data.melodies)
    assert found.fingerprint == data.fingerprint == planned.corpus.fingerprint


@pytest.mark.usefixtures("place")
def test_a_trial_names_its_corpus_so_that_it_is_found_from_anywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = plan.plan(options()).space.config_of({"optimizer.lr": 0.01})
    monkeypatch.chdir("/")
    found = corpora.load_named(config.data.corpus)
    assert found.fingerprint == config.data.fingerprint == tiny_corpus().fingerprint


@pytest.mark.usefixtures("place")
def test_a_run_that_fails_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aurl.commands.copy_of_stdout", lambda: Console(quiet=True))
    monkeypatch.setattr(full_run, "connected", lambda _: nullcontext())
    monkeypatch.setattr(full_run, "slots", lambda *_: 1)
    monkeypatch.setattr(full_run, "left_idle", lambda *_: [])
    monkeypatch.setattr(full_run, "_train", lambda *_: "the objective is not finite")
    given = answer(capfd, "train", "run.yaml", "--out", "run", "--data", "corpus")
    assert given.code == 1
    assert given.err.startswith("aurl: the run failed: the objective is not finite. See run/tr")


@pytest.mark.usefixtures("place")
def test_what_cannot_be_put_in_place_is_told_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo("pipe")  # as a device: root would put a file in the place of /dev/null
    for where, why in (("empty", "Is a"), (".", "Is a"), ("/", "Is a"), ("pipe", "File exists.")):
        monkeypatch.setattr(
            cli, "_command", lambda _, to=where: lambda _: write_text(Path(to), "")
        )
        given = answer(capfd, "doctor")
        assert is_one_line(given)
        assert given.err.startswith(f"aurl: {where}: {why}")
    assert not Path("pipe").is_file()


def test_a_run_names_the_corpus_that_it_was_given_and_keeps_what_is_set(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_run, "run", lambda *_: None)
    monkeypatch.setattr("aurl.commands.copy_of_stdout", lambda: Console(quiet=True))
    words = ("train", "run.yaml", "--out", "run", "--data", "corpus", "--preset", "base")
    held = ("--set", "training={steps: 7}", "--set", "optimizer.lr=0.5")
    assert cli.main([*words, *held]) == 0
    monkeypatch.chdir("/")
    config = read_yaml(place / "run" / "config.yaml")
    assert (config["training"]["steps"], config["model"]["d_model"]) == (7, 32)
    changed = config["made_by"]["changed"]
    assert (changed["training.steps"], changed["optimizer.lr"]) == (7, 0.5)
    assert "training" not in changed
    data = config["data"]
    assert corpora.load_named(data["corpus"]).fingerprint == data["fingerprint"]
    assert data["fingerprint"] == tiny_corpus().fingerprint


@pytest.mark.usefixtures("place")
def test_help_and_wrong_usage_do_not_wait_for_torch_and_ray() -> None:
    code = (
        "import sys; from aurl import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ray', 'optuna'} & set(sys.modules)))"
    )
    for words in (["--help"], ["sweep", "--help"], ["sweep", "--nonsense"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        assert done.stdout.splitlines()[-1] == "[]", words


def test_the_doctor_needs_nothing_that_may_be_missing() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'ray', 'optuna'))\n"
        "from aurl import cli; cli.main(['doctor'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "\nok      GPUs: not known without torch\n" in done.stdout
    # Ray counts by itself, and memory counts too: how many trials that is, a dry run finds out.
    assert re.search(r"CPU cores: [0-9]+; --dry-run says how many trials run", done.stdout)


@pytest.mark.slow
@pytest.mark.usefixtures("listing")
def test_run_sweep_is_one_line_too() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_sweep.py"), "number.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "aurl: a search space must have text for its keys, got 1.\n"


SHOWN = (*SHOWN_SPACE, "--samples", "7")


def test_a_space_is_shown_and_its_samples_are_proved(
    capfd: pytest.CaptureFixture[str], listing: None
) -> None:
    shown = answer(capfd, *SHOWN)
    assert (shown.code, shown.err) == (0, "")
    assert "optimizer.lr: 0.001 .. 0.01 by ratio" in shown.out
    assert shown.out.count("\n  optimizer.lr: 0.0") == 5
    assert "7 of 7 samples make a valid run on tiny, with 1 encoders" in shown.out
    said = json.loads(answer(capfd, *SHOWN, "--json").out)
    assert (said["samples"], said["valid"], len(said["sampled"])) == (7, 7, 5)
    assert said["parameters"] == [
        {
            "key": "optimizer.lr",
            "role": "scientific",
            "values": "0.001 .. 0.01 by ratio",
            "when": {},
        }
    ]


NEVER_THERE = """
  augmentation.transpose: {choice: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}
  seed: {choice: [1, 2]}
  training.log_every: [{choice: [1], when: {seed: 1}}, {choice: [2], when: {seed: 2}}]
  model.dropout: {choice: [0.1], when: {seed: 1, training.log_every: 2}}
"""


def test_a_parameter_that_exists_in_no_sample_is_named(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("space.yaml").write_text(SPACE.replace("budget:", f"{NEVER_THERE[1:]}budget:"))
    shown = answer(capfd, *SHOWN)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.count("existed in none") == 1
    assert "\nmodel.dropout existed in none: see its conditions.\n" in shown.out
    assert " 10 | 11 | 12\n" in shown.out, "no line is cut off"


NEVER_TOGETHER = """
  latent.levels.global.dim: {choice: [4, 0]}
  latent.levels.fine.dim: {choice: [3, 0]}
budget: {trials: 2, steps_per_trial: 8}
"""


def test_a_space_whose_samples_make_no_run_is_refused_by_its_parameters(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = SPACE[: SPACE.index("budget")].replace(
        "  training:",
        "  latent: {levels: [{name: global, dim: 4}, {name: fine, dim: 2}]}\n  training:",
    )
    Path("space.yaml").write_text(settings + NEVER_TOGETHER.lstrip("\n"))
    refused = answer(capfd, *SHOWN[:-1], "12")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert re.search(
        r"^aurl: space\.yaml must make valid runs, got [1-9] of 12 samples that are not\. The "
        r"first: latent\.levels must have a dimension in all, .* It was drawn with "
        r"latent\.levels\.global\.dim=0, latent\.levels\.fine\.dim=0\.$",
        refused.err,
    ), refused.err


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "left", [[], ["sweep.log", ".sweep.yaml.0123abcd.part"]], ids=["empty", "part"]
)
def test_a_sweep_whose_driver_was_killed_before_it_began_may_begin(
    place: Path, left: list[str], *, resume: bool
) -> None:
    folder = place / "sweeps" / "s"
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).write_text("question: Doe")
    given = plan.SweepOptions(space=Path("space.yaml"), name="s", data="corpus", resume=resume)
    plan.plan(given)
    assert read_yaml(folder / "sweep.yaml")["question"] == "Does it say what is wrong?"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "s/metrics.jsonl"), "s/metrics.jsonl: No space"),
        (StorageError("s/checkpoint cannot be written: no."), "s/checkpoint cannot be written"),
    ],
    ids=["disk", "checkpoint"],
)
def test_a_storage_that_fails_is_one_line_that_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    words: str,
) -> None:
    def fails(args: object) -> int:
        raise error

    monkeypatch.setattr(cli, "sweep", fails)
    monkeypatch.setattr(sys, "argv", ["aurl", "sweep", "space.yaml"])
    assert cli.main(["sweep", "space.yaml"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"aurl: {words}")
    assert err.count("\n") == 1
    assert err.endswith(" Go on with: aurl sweep space.yaml --resume\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def terminated(args: object) -> int:
        try:
            os.kill(os.getpid(), number)
        finally:
            if number == signal.SIGHUP:  # of the shell, after that of the kernel
                os.kill(os.getpid(), number)
        return 0

    monkeypatch.setattr(cli, "sweep", terminated)
    before = signal.signal(number, signal.SIG_DFL)  # these tests may be run by nohup
    try:
        assert cli.main(["sweep", "space.yaml"]) == 130
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err.startswith("aurl: interrupted. What was finished is kept.")


def test_a_command_that_is_to_outlive_its_terminal_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def hung_up(args: object) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 7

    monkeypatch.setattr(cli, "sweep", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert cli.main(["sweep", "space.yaml"]) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_storage_is_kept_to_and_two_sweeps_never_share_a_place_in_it(place: Path) -> None:
    far = (place / "far").as_uri()
    given = plan.SweepOptions(space=Path("space.yaml"), name="s", data="corpus", storage=far)
    remote = plan.plan(given).remote
    assert remote is not None
    about = read_yaml(place / "sweeps" / "s" / "sweep.yaml")
    assert (about["storage"], about["checkpoints"]) == (far, remote.uri)
    assert re.fullmatch(rf"{far}/s-[0-9a-f]{{8}}", remote.uri)
    assert plan.plan(replace(given, resume=True)).remote == remote
    assert read_yaml(place / "sweeps" / "s" / "sweep.yaml")["checkpoints"] == remote.uri
    assert plan.plan(replace(given, out=Path("elsewhere"))).remote != remote
    for other in ("", (place / "farther").as_uri()):
        with pytest.raises(SweepError, match="--resume must be given the storage that s was"):
            plan.plan(replace(given, resume=True, storage=other))


@pytest.mark.usefixtures("place")
def test_a_storage_with_a_secret_leaves_no_sweep(capfd: pytest.CaptureFixture[str]) -> None:
    given = answer(capfd, *TINY, "--storage", "s3://AKIA0:TOPSECRET@bucket/x")
    assert is_one_line(given)
    assert given.err.startswith("aurl: --storage must hold no credentials")
    assert "TOPSECRET" not in given.err
    assert not Path("out").exists()
