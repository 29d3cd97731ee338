"""A sweep whose folder is gone is made again of its copies at --storage, byte for byte."""

import io
import shutil
import zipfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from aurl.data.corpus import save
from aurl.errors import SweepError
from aurl.search import copies
from aurl.search import sweep as sweeps
from aurl.search.plan import Sweep, SweepOptions, plan
from aurl.search.recorder import Recorder
from aurl.search.sampler import Proposals
from aurl.search.supply import Supply
from aurl.training import checkpoint
from aurl.training.place import place_of
from tests import test_killed as killed
from tests.test_sweep import Silent
from tests.tiny import tiny_corpus

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save(tiny_corpus(), tmp_path / "tiny")
    (tmp_path / "space.yaml").write_text(killed.SPACE)
    return tmp_path


def options(root: Path) -> SweepOptions:
    return SweepOptions(
        space=root / "space.yaml",
        out=root,
        name="s",
        data=str(root / "tiny"),
        resume=True,
        storage=(root / "far").as_uri(),
    )


def planned(root: Path) -> Sweep:
    return plan(options(root))


def begin(root: Path) -> Sweep:
    """A sweep of which one trial has ended and one has come half-way; its driver is gone."""
    made = planned(root)
    proposals = Proposals(made.folder / "study.journal", made.space, "s")
    recorder = Recorder(made.trials_folder, Silent(), made.remote)
    for name, steps in (("t0000", (2, 4)), ("t0001", (2,))):
        number, params = proposals.propose()
        recorder.propose(name, params, made.space.config_of(params))
        recorder.start(name)
        for step in steps:
            recorder.report(name, [{"step": step, "train/kl_nats": 1.0}])
            recorder.report(name, [killed.row(params, step)])
            model = nn.Linear(1, 1)
            optimizer = torch.optim.AdamW(model.parameters())
            place = place_of(made.trials_folder / name / "checkpoint")
            checkpoint.save(place, step=step, model=model, optimizer=optimizer)
        if name == "t0000":
            proposals.tell(number, "completed", recorder.end(name, "completed", ""))
    return made


def archives(made: Sweep, name: str) -> dict[str, zipfile.ZipFile]:
    """The archives of a trial, the first one first."""
    assert made.remote is not None
    there = made.remote.below("trials", name)
    names = sorted(each for each in there.files() if each.endswith(".zip"))
    return {each: zipfile.ZipFile(io.BytesIO(there.read(each) or b"")) for each in names}


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    kept = ("trials", "sweep.yaml", "study.journal")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(paths)
        if path.relative_to(folder).parts[0] in kept
    }


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_sweep_whose_folder_is_gone_goes_on_from_its_copies(root: Path) -> None:
    made = begin(root)
    before = contents(made.folder)
    assert len(before) > 10
    shutil.rmtree(made.folder)
    again = planned(root)
    assert again.remote == made.remote
    assert "was made again of the copies" in again.note
    assert "copies" not in made.note
    assert contents(again.folder) == before
    proposals = Proposals(again.folder / "study.journal", again.space, "s")
    recorder = Recorder(again.trials_folder, Silent(), again.remote)
    supply: Any = Supply(again, proposals, recorder)
    assert supply.remaining == killed.TRIALS - 1
    name, _ = supply.next_run()
    place = place_of(again.trials_folder / name / "checkpoint")
    assert (name, checkpoint.step_of(place)) == ("t0001", 2)
    assert killed.study_states(again.folder) == ["COMPLETE", "RUNNING"]


def test_the_runs_of_finalists_add_to_the_copy_of_the_journal(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever copies them knows how far the search's own trials have copied it."""

    def fit(queue: Any) -> None:
        record: Any = sweeps._Record(queue)
        while (task := queue.suggest(name := f"{type(queue)}-{queue.left}")) != "FINISHED":
            if isinstance(queue, Supply):  # of the others, it is enough that they are proposed
                trial = SimpleNamespace(trial_id=name, last_result={}, config=task)
                killed.train(queue, record, task["task"], trial)

    (root / "space.yaml").write_text(f"{killed.SPACE}seeds: {{finalists: 1, runs: 3}}\n")
    monkeypatch.setattr(sweeps, "_ray", lambda *_: nullcontext("scratch"))
    monkeypatch.setattr(
        sweeps, "_tuner", lambda _, queue, *__: SimpleNamespace(fit=lambda: fit(queue))
    )
    made = planned(root)
    sweeps.run(made, Silent())
    assert len(list((made.folder / "finalists").iterdir())) == 3
    before = contents(made.folder)
    shutil.rmtree(made.folder)
    assert contents(planned(root).folder) == before


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_report_copies_what_is_new(root: Path) -> None:
    made = begin(root)
    found = archives(made, "t0001")
    assert list(found) == ["000000.all.zip", "000001.all.zip", "000002.new.zip"]
    first, new = list(found.values())[1:]
    events = next(name for name in first.namelist() if name.startswith("events."))
    assert new.namelist() == [events, "metrics.jsonl", "status.json"]
    for name in (events, "metrics.jsonl"):
        whole = (made.trials_folder / "t0001" / name).read_bytes()
        assert first.read(name) + new.read(name) == whole
        assert new.read(name)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_damaged_archive_is_named(root: Path) -> None:
    made = begin(root)
    assert made.remote is not None
    last, there = list(archives(made, "t0000"))[-1], made.remote.below("trials", "t0000")
    odd = bytearray(there.read(last) or b"")
    odd[odd.rfind(b"PK\1\2") + 6] ^= 0x80  # one bit: made for a zip that nobody knows
    shutil.rmtree(made.folder)
    for damaged in (b"no archive", bytes(odd)):
        there.write(last, damaged)
        with pytest.raises(SweepError, match=rf"trials/t0000: {last} is damaged\. Remove what is"):
            planned(root)
    assert not made.folder.exists()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_what_a_killed_driver_left_half_copied_is_tidied_away(root: Path) -> None:
    made = begin(root)
    assert made.remote is not None
    before = made.remote.files()
    for place in (made.remote, made.remote.below("trials", "t0001")):
        place.write(".000003.new.zip.0123abcd.part", b"half")
    Recorder(made.trials_folder, Silent(), made.remote)
    assert made.remote.files() == before


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_trial_that_has_ended_is_in_one_archive(root: Path) -> None:
    made = begin(root)
    before = contents(made.folder)
    assert made.remote is not None
    for name in list(archives(made, "t0000"))[:-1]:
        made.remote.below("trials", "t0000").write(name, b"no archive")
    shutil.rmtree(made.folder)
    assert contents(planned(root).folder) == before


@pytest.mark.parametrize("is_new", [True, False], ids=["another_driver", "the_same_driver"])
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_rows_that_an_attempt_took_back_do_not_return(root: Path, *, is_new: bool) -> None:
    made = begin(root)
    recorder = Recorder(made.trials_folder, Silent(), made.remote)
    recorder.start("t0001")
    recorder.report("t0001", [{"step": 3, "train/kl_nats": 1.0}])
    if is_new:
        recorder = Recorder(made.trials_folder, Silent(), made.remote)
    recorder.start("t0001")  # from the checkpoint of step 2, with fewer rows than were reported
    for step in (3, 4, 5):
        recorder.report("t0001", [{"step": step, "train/kl_nats": 2.0}])
    before = contents(made.folder)
    shutil.rmtree(made.folder)
    assert contents(planned(root).folder) == before


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_journal_is_copied_once_and_whole(root: Path) -> None:
    made = begin(root)
    remote = made.remote
    assert remote is not None
    recorder = Recorder(made.trials_folder, Silent(), remote)
    journal = made.folder / "study.journal"
    whole = journal.read_bytes() + b'{"new": 1}\n'
    for new in (b'{"new": 1}\n{"torn', b'": 1}\n'):
        with journal.open("ab") as file:
            file.write(new)
        recorder._copy("t0001")  # pyrefly: ignore[protected-access]
        pieces = sorted(name for name in remote.files() if name.startswith("study.journal"))
        found = b"".join(remote.read(name) or b"" for name in pieces)
        assert found == (whole if new.endswith(b"torn") else journal.read_bytes())


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_folder_that_is_older_than_its_copy_is_refused(root: Path) -> None:
    made = begin(root)
    journal = made.folder / "study.journal"
    journal.write_bytes(journal.read_bytes()[:-1])
    with pytest.raises(
        SweepError, match=r"^--resume must be given the newest .* Move that folder"
    ):
        Recorder(made.trials_folder, Silent(), made.remote)


def test_two_sweeps_of_one_name_are_not_taken_for_each_other(root: Path) -> None:
    for _ in range(2):
        made = plan(replace(options(root), resume=False))
        shutil.rmtree(made.folder)
    with pytest.raises(SweepError, match=r"^--resume must find one sweep .* got 2: file:.*s-.*s-"):
        planned(root)


def test_of_two_that_make_a_sweep_of_its_copies_the_slower_one_lets_it_be(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = planned(root)
    shutil.rmtree(made.folder)
    slowly = copies._restore

    def overtaken(place: Any, folder: Path) -> None:
        slowly(place, folder)
        monkeypatch.setattr(copies, "_restore", slowly)
        (planned(root).folder / "mine").touch()

    monkeypatch.setattr(copies, "_restore", overtaken)
    with pytest.raises(SweepError, match="must be left to one process, and another"):
        planned(root)
    assert (made.folder / "mine").exists()
    assert not list(root.glob(".s.*"))


def test_a_sweep_that_left_no_copy_is_begun(root: Path) -> None:
    (root / "far" / "s-00000000").mkdir(parents=True)
    (root / "far" / "another-12345678").mkdir()
    assert planned(root).folder.is_dir()


@pytest.mark.parametrize(
    "name", ["../../stolen", "/tmp/stolen", "a/../../stolen", "a/b/stolen", ".hidden", "a/.hidden"]
)
def test_no_name_in_a_copy_leads_out_of_a_trials_folder(root: Path, name: str) -> None:
    made = planned(root)
    assert made.remote is not None
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("status.json", "{}")
        archive.writestr(name, "gotcha")
    for own in ("t0000", "x..y"):
        made.remote.below("trials", own).write("000000.all.zip", packed.getvalue())
    shutil.rmtree(made.folder)
    again = planned(root)
    found = {path.name for path in again.folder.rglob("*") if path.is_file()}
    assert found == {"sweep.yaml", "sweep.log", "study.journal", "status.json"}
    assert not list(root.rglob("*stolen*"))
