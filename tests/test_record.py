"""A sweep that is gone on with by its folder alone: ``aurl resume``."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aurl import cli, files
from aurl.data.corpus import save
from aurl.files import read_yaml, write_json, write_yaml
from aurl.search import journal
from aurl.search import sweep as sweeps
from aurl.search.plan import Sweep, SweepOptions, plan
from aurl.search.record import resuming
from aurl.search.shape import Shape
from aurl.search.wishes import PAUSED
from tests.fake_sweep import fake_sweep
from tests.tiny import tiny_corpus

SPACE = """
question: Can it go on by itself?
base:
  model: {d_model: 16, n_heads: 2, encoder_layers: 3, decoder_layers: 2}
  training: {batch_size: 8}
  evaluation: {every: 4, windows: 16, final_windows: 24, reconstructions: 4}
scientific:
  optimizer.lr: {log_uniform: [1e-3, 1e-2]}
  objective.beta.schedule: {choice: [constant, linear]}
nuisance:
  objective.beta.warmup: {uniform: [0.1, 0.5], when: {objective.beta.schedule: linear}}
budget: {trials: 2, steps_per_trial: 8}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a space and a corpus."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("space.yaml").write_text(SPACE)
    save(tiny_corpus(), Path("corpus"))
    return tmp_path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Sweep]:
    """What `aurl sweep` and `aurl resume` would run."""
    found: list[Sweep] = []
    monkeypatch.setattr(journal, "copy_of_stdout", Console)  # which is never closed
    monkeypatch.setattr(sweeps, "run", lambda sweep, display: found.append(sweep) or 0)
    return found


def begun(**changes: Any) -> Sweep:
    given: dict[str, Any] = {
        "space": Path("space.yaml"),
        "out": Path("out"),
        "name": "s",
        "data": "corpus",
        "overrides": {"training.batch_size": 16, "seed": 3, "sampler.seed": 5},
        "command": "aurl sweep space.yaml",
        **changes,
    }
    return plan(SweepOptions(**given))


def essence(sweep: Sweep) -> dict[str, Any]:
    """All of it that can be compared, but where it is."""
    return {**vars(sweep), "corpus": sweep.corpus.fingerprint, "folder": sweep.folder.name}


def refused(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["resume", *words]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("aurl: ")
    return err.removeprefix("aurl: ")


def test_a_sweep_goes_on_as_by_its_command_though_its_space_is_gone(
    place: Path, ran: list[Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(trials=5, shape=Shape(gpus_per_worker=0.5, max_concurrent=2))
    same = begun(resume=True, shape=Shape(gpus_per_worker=0.5))
    about = read_yaml(Path("out/s/sweep.yaml"))
    Path("space.yaml").unlink()
    monkeypatch.chdir(place)  # from where neither the corpus nor the sweep is called as it was
    monkeypatch.setattr(sys, "argv", ["/bin/aurl", "resume", "here/out/s"])
    assert cli.main(["resume", "here/out/s"]) == 1, "no trial has completed"
    (resumed,) = ran
    assert essence(resumed) == essence(same)
    assert resumed.space.budget.trials == 5
    assert resumed.space.base["training"]["batch_size"] == 16
    after = read_yaml(place / "here/out/s/sweep.yaml")
    commands = ["aurl sweep space.yaml", "aurl resume here/out/s"]
    assert after == {**about, "commands": commands}


@pytest.mark.usefixtures("place")
def test_what_is_given_now_holds(ran: list[Sweep]) -> None:
    begun(shape=Shape(workers_per_trial=2, gpus_per_worker=1.0))
    words = ["--trials", "9", "--max-concurrent", "3", "--hours", "2", "--gpus-per-worker", "0"]
    assert cli.main(["resume", "out/s", *words]) == 1
    assert ran[0].space.budget.trials == 9
    assert ran[0].shape == Shape(workers_per_trial=2, max_concurrent=3, hours=2.0)
    assert ran[0].address is None
    again = ["--workers-per-trial", "1:2", "--address", "auto", "--data", str(Path("moved"))]
    Path("corpus").rename("moved")
    assert cli.main(["resume", "out/s", *again]) == 1
    assert (ran[1].shape.workers_at_least, ran[1].address) == (1, "auto")
    assert ran[1].shape.hours is None, "of the last run alone"
    assert cli.main(["resume", "out/s"]) == 1
    assert ran[2].corpus.fingerprint == ran[0].corpus.fingerprint, "where it was found last"
    assert ran[2].space.budget.trials == 9


@pytest.mark.usefixtures("place")
def test_a_sweep_is_found_however_its_folder_is_given(
    ran: list[Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun()
    Path("out/s").rename("renamed")
    Path("renamed/trials").mkdir()
    for there, given in ((".", "renamed"), ("renamed", "."), ("trials", "..")):
        monkeypatch.chdir(there)
        assert cli.main(["resume", given]) == 1
        assert ran[-1].folder.name == "renamed"
    assert len(list(Path.cwd().parent.glob("sweep.yaml"))) == 1


@pytest.mark.usefixtures("place")
def test_a_storage_and_a_beginning_are_kept_to(ran: list[Sweep]) -> None:
    far = Path("far").absolute().as_uri()
    Path("first.yaml").write_text("configurations: [{}]\n")
    first = begun(storage=far, warm_start=Path("first.yaml"))
    assert cli.main(["resume", "out/s", "--warm-start", "first.yaml"]) == 1
    assert ran[0].remote == first.remote is not None
    assert ran[0].beginnings == first.beginnings != ()
    Path("out/s/trials").mkdir()
    assert cli.main(["resume", "out/s"]) == 1
    assert ran[1].remote == first.remote
    assert read_yaml(Path("out/s/sweep.yaml"))["warm_start"]["from"] == "first.yaml"


@pytest.mark.usefixtures("place")
def test_music_that_was_moved_is_found_however_it_was_first_named(ran: list[Sweep]) -> None:
    begun(data="", overrides={"data": {"corpus": "corpus"}})
    Path("corpus").rename("moved")
    assert cli.main(["resume", "out/s", "--data", "moved"]) == 1
    assert ran[0].space.base["data"]["corpus"] == str(Path("moved").absolute())
    about = read_yaml(Path("out/s/sweep.yaml"))
    assert about["overrides"] == {"data": {"corpus": "corpus"}}, "what was given first"
    assert cli.main(["resume", "out/s"]) == 1
    assert ran[1].space == ran[0].space


@pytest.mark.usefixtures("place", "ran")
def test_what_is_no_sweep_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    must = "SWEEP must be a sweep's folder, got"
    assert refused(capfd, "nowhere").startswith(f"{must} nowhere, which is not there. Check")
    assert refused(capfd, "empty").startswith(f"{must} empty, which has no sweep.yaml. Check")
    assert refused(capfd, "space.yaml").startswith(f"{must} space.yaml, which is no folder. Check")
    assert refused(capfd, "empty").endswith("by `aurl sweep` with --resume and --storage.\n")
    assert not list(Path("empty").iterdir())


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "no workers": (
        {"workers_per_trial": None},
        "out/s/sweep.yaml is damaged, or of another version of aurl: workers_per_trial must be a "
        "whole number, got None.",
    ),
    "no number of workers": ({"workers_per_trial": 0}, "--workers-per-trial must be >= 1, got 0."),
    "text for GPUs": (
        {"gpus_per_worker": "all"},
        "out/s/sweep.yaml is damaged, or of another version of aurl: gpus_per_worker must be a "
        "number, got 'all'.",
    ),
    "no storage": ({"storage": "s3:/x"}, "--storage must be"),
    "a section of another aurl": (
        {"space": {"question": "?", "judge": {}}},
        "sweep.yaml has no search space that can be read: judge is not a section of a search",
    ),
    "a list for a space": (
        {"space": []},
        "sweep.yaml has no search space that can be read: ",
    ),
    "settings of another aurl": (
        {"overrides": {"training.batchsize": 8}},
        "sweep.yaml has no search space that can be read: training.batchsize is not a setting.",
    ),
    "a list for settings": (
        {"overrides": [1]},
        "sweep.yaml has no search space that can be read: ",
    ),
    "an option of another aurl": (
        {"given": {"speed": 3}},
        "out/s/sweep.yaml is damaged, or of another version of aurl: given.speed is not a setting",
    ),
    "another corpus": (
        {"corpus": {"name": "tiny", "fingerprint": "0" * 64}},
        "--resume must be given the corpus that s was started with, got fingerprint ",
    ),
    "a corpus that is gone": (
        {"data": "/nowhere/mine"},
        "/nowhere/mine does not exist. If it was moved, say where by --data",
    ),
}


@pytest.mark.usefixtures("place", "ran")
@pytest.mark.parametrize(("changes", "message"), DAMAGED.values(), ids=list(DAMAGED))
def test_a_record_that_does_not_hold_is_one_line_and_left_as_it_is(
    capfd: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    begun()
    about = Path("out/s/sweep.yaml")
    write_yaml(about, {**read_yaml(about), **changes})
    before = about.read_bytes()
    said = refused(capfd, "out/s")
    assert said.startswith(message), said
    assert about.read_bytes() == before


@pytest.mark.usefixtures("place", "ran")
def test_half_a_record_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    begun()
    about = Path("out/s/sweep.yaml")
    whole = about.read_text()
    about.write_text(whole[: whole.index("workers_per_trial")])
    assert "workers_per_trial must be given, got nothing." in refused(capfd, "out/s")
    about.write_text("space: {")
    assert refused(capfd, "out/s").startswith("out/s/sweep.yaml is not valid YAML")
    about.unlink()
    about.symlink_to("nowhere")
    assert "which has no sweep.yaml" in refused(capfd, "out/s")


@pytest.mark.usefixtures("place")
def test_status_says_the_short_command_with_what_held_for_the_last_run(
    capfd: pytest.CaptureFixture[str], ran: list[Sweep]
) -> None:
    begun(name="a b")
    folder = Path("out/a b")
    write_json(folder / "trials/t0000/status.json", {"status": "completed"})

    def said() -> str:
        assert cli.main(["status", str(folder)]) == 0
        return capfd.readouterr().out.splitlines()[-1]

    assert said() == "Go on with it: aurl resume 'out/a b'"
    shape = Shape(workers_per_trial=4, workers_at_least=2, max_concurrent=3, hours=8.0)
    shutil.rmtree(folder)
    begun(name="a b", shape=shape, address="auto")
    write_json(folder / "trials/t0000/status.json", {"status": "completed"})
    words = "--address auto --workers-per-trial 2:4 --max-concurrent 3 --hours 8"
    assert said() == f"Go on with it: {resuming(folder)}"
    assert said() == f"Go on with it: aurl resume 'out/a b' {words}"
    about = folder / "sweep.yaml"
    write_yaml(about, {**read_yaml(about), "given": {"address": "x; rm -rf ~"}})
    assert said() == "Go on with it: aurl resume 'out/a b' --address 'x; rm -rf ~'"
    write_yaml(about, {**read_yaml(about), "given": {"x; rm": 1}})
    assert "go on with" not in said().lower()
    write_yaml(about, {**read_yaml(about), "given": {}})
    shutil.rmtree(folder / "trials")
    assert cli.main(["resume", str(folder), *words.split()]) == 1
    assert (ran[0].address, ran[0].shape) == ("auto", shape)


@pytest.mark.usefixtures("place")
def test_ctrl_c_says_how_to_go_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    begun()
    monkeypatch.setattr(journal, "copy_of_stdout", Console)
    monkeypatch.setattr(sweeps, "run", interrupted)
    words = ["resume", "out/s", "--trials", "4"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/aurl", *words])
    assert cli.main(words) == 130
    assert capfd.readouterr().err.endswith(" Go on with: aurl resume out/s --trials 4\n")


@pytest.mark.usefixtures("ran")
def test_a_sweep_that_ends_with_paused_trials_says_how_to_go_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(name="a b", shape=Shape(max_concurrent=1))
    status = {"status": "paused", "reason": PAUSED}
    write_json(place / "here/out/a b/trials/t0000/status.json", status)
    assert cli.main(["resume", "out/a b", "--max-concurrent", "1"]) == 1
    line = "Paused: t0000. Go on with: aurl resume 'out/a b' --max-concurrent 1"
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("words", [["status"], ["report"]], ids=" ".join)
def test_a_command_reads_the_record_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    sweep = fake_sweep(tmp_path / "s", trials=2)
    about = read_yaml(sweep / "sweep.yaml")
    about["space"]["budget"]["trials"] = 3  # so that status says how to go on
    write_yaml(sweep / "sweep.yaml", about)
    read: list[str] = []
    text = files._text
    monkeypatch.setattr(files, "_text", lambda path: read.append(path.name) or text(path))
    assert cli.main([words[0], str(sweep), *words[1:]]) == 0
    assert read.count("sweep.yaml") == 1
    assert ("Go on with it: " in capsys.readouterr().out) == (words == ["status"])
