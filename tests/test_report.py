"""The report of a sweep: one page that needs nothing, spoilt by nothing, used in a browser."""

import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors.torch import save_file

from aurl.audio import RATE
from aurl.cli import main
from aurl.config import to_plain
from aurl.data.batches import TokenStore
from aurl.data.corpus import save
from aurl.data.midi import read_midi
from aurl.files import append_lines, read_json, read_yaml, write_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.reporting import report, sheets
from aurl.search.ranking import SCORE
from aurl.training.evaluate import Evaluator
from aurl.training.look import RATES
from tests.browser import Page
from tests.fake_sweep import fake_sweep, write_status
from tests.test_musical import untrained
from tests.tiny import small_config, tiny_corpus

HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & \x1b[31m"
QUIET = {"open", "hidden", "checked", "controls"}


class Read(HTMLParser):
    """What a browser would find in a page, as far as a test wants to know."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.said += [" "] * (tag == "td")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["script"], ["style"]):
            self.said.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.said).split())


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 12 completed trials with hostile words in it, and one model that can be heard."""
    folder = tmp_path_factory.mktemp("sweeps") / "hostile"
    folder.mkdir()
    fake_sweep(folder, trials=12, changes={"constraints": {"val/kl_health": {"at_least": 0.4}}})
    about = read_yaml(folder / "sweep.yaml")
    write_yaml(folder / "sweep.yaml", {**about, "question": HOSTILE})
    for number in range(12, 14):
        write_status(folder, f"t00{number}", status="failed", reason=HOSTILE)
    write_status(folder, "t0014", status="running", step=100)
    save(tiny_corpus(), folder.parent / "corpus")
    config = small_config(data__corpus=str(folder.parent / "corpus"))
    metrics = {**dict.fromkeys((*OBJECTIVES, SCORE), 0.9), "val/windows": 12345}
    best = {"metrics": metrics, "params": {"name": HOSTILE}}
    write_status(folder, "t0015", **best)
    trial = folder / "trials" / "t0015"
    write_yaml(trial / "config.yaml", to_plain(config))
    weights = untrained(config).model.float().state_dict()
    (trial / "checkpoint").mkdir()
    save_file(
        {f"model.{name}": value for name, value in weights.items()},
        trial / "checkpoint" / "checkpoint.safetensors",
        metadata={"step": "8"},
    )
    rows: list[Mapping[str, Any]] = [
        {"step": step, f"{RATES}global/0": 0.1 * step} for step in (4, 8)
    ]
    append_lines(trial / "metrics.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def written(sweep: Path) -> Path:
    """Its report."""
    assert main(["report", str(sweep)]) == 0
    return sweep / "report"


@pytest.fixture(scope="module")
def read(written: Path) -> Read:
    return Read((written / "index.html").read_text(encoding="utf-8"))


def test_hostile_words_are_words(read: Read) -> None:
    assert len(read.all("script")) == 2
    assert [each.get("type") for each in read.all("script")] == ["application/json", None]
    names = {name for _, attributes in read.tags for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    said = " ".join(HOSTILE.replace("\x1b", "\ufffd").split())
    assert read.text.count(said) == 3  # question, answer and reason
    assert "hostile: report of a sweep" in read.text
    empty = {
        key for _, attributes in read.tags for key, value in attributes.items() if value is None
    }
    assert empty <= QUIET


def test_the_page_needs_nothing_but_itself(written: Path, read: Read) -> None:
    text = (written / "index.html").read_text(encoding="utf-8")
    assert len(text) < 10_000_000
    for _, attributes in read.tags:
        assert (attributes.get("src") or "data:").startswith("data:")
        link = attributes.get("href") or "#"
        assert link.startswith("#") or (written / link).is_file()
    policy = read.all("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'; ")
    assert "url(" not in text.replace("url(data:", "")


def test_every_figure_and_sound_lies_beside_the_page(written: Path) -> None:
    for path in (written / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    names = {path.name for path in written.rglob("*") if path.is_file()}
    assert {
        *("index.html", "report.json", "ranges.svg", "front_kl_health_disentanglement.svg"),
        *("importance_score.svg", "slice_score_objective.beta.value.svg"),
        *("t0015_latent_kl_by_dimension.png", "t0015_interpolation.png"),
        *("t0015_sample_1.wav", "t0015_window_3_reconstruction.mid"),
    } <= names
    corpus, music = tiny_corpus(), written / "music"
    pictured = Evaluator(corpus, TokenStore(corpus), small_config(), split="val").windows
    first = corpus.vocabulary.decode(corpus.window(int(pictured[0])))  # window 1 of the pictures
    original, made, path = (
        read_midi(music / f"t0015_{name}.mid").notes["pitch"]
        for name in ("window_1_original", "window_1_reconstruction", "interpolation")
    )
    assert original.tolist() == first.notes["pitch"].tolist()
    assert path[: len(made)].tolist() == made.tolist()


def test_the_page_says_what_the_sweep_found(written: Path, read: Read) -> None:
    assert "Best so far is t0015 with " in read.text
    assert "of 12 planned: 13 completed, 1 running, 2 failed." in read.text
    hours = [0.325, 0.025, 0.05]  # of those, 90 s each: what is shown adds up
    assert all(f" {each:.3f} " in read.text for each in (*hours, sum(hours)))
    assert "Importances" not in read.text
    page = (written / "index.html").read_text(encoding="utf-8")
    assert '"val/windows":12345.0' in page, "a count is not rounded"
    assert "Optuna's evaluators, from 12 completed trials." in read.text
    assert len(read.all("audio")) == 3 + 6 + 1
    assert "It cannot be heard: " in read.text  # of the others, which have no checkpoint
    assert next(each["data-trial"] for each in read.all("tr") if "data-trial" in each) == "t0015"
    found = {each["data-trial"] for each in read.all("circle")}
    assert len(found) == 13
    marked = re.findall(r"(\d+[*!]?) t\d{4} \d", read.text)  # the first is better in everything
    assert marked == ["1*", *map(str, range(2, 11)), "11!", "12!", "13!"]
    assert " all 16 0.400 " in read.text  # 90 s on half a GPU for each of two workers
    groups = [each for each in read.all("div") if "data-target" in each]
    assert [each["data-target"] for each in groups if "hidden" not in each] == ["val/score"]


def test_what_matters_most_comes_first(written: Path, read: Read) -> None:
    begin, end = "figures/slice_score_", ".svg"
    links = [each["href"] or "" for each in read.all("a")]
    names = [each[len(begin) : -len(end)] for each in links if each.startswith(begin)]
    shares = read_json(written / "report.json")["importances"][0]["shares"]
    shown = [shares[name] for name in names]
    assert shown == sorted(shares.values(), reverse=True)
    assert shown[0] > shown[-1]
    ids = [each["id"] for each in read.all("audio")]
    firsts = (0, 3, 9)  # of the samples, the reconstructions and the path
    assert [ids[index] for index in firsts] == ["sound-0", "sound-1", "sound-2"]


def test_it_is_made_anew_and_read_by_another_program(
    sweep: Path, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (written / "old.txt").write_text("old", encoding="utf-8")
    assert main(["report", str(sweep), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == read_json(written / "report.json")
    assert found["counts"]["completed"] == len([p for p in found["places"] if p["rank"]]) == 13
    assert [each["status"] for each in found["endings"]] == ["infeasible", "failed"]
    assert found["endings"][1]["reason"] == HOSTILE
    assert not (written / "old.txt").exists()


def test_sound_that_does_not_fit_lies_beside_the_page() -> None:
    players, roll = sheets.Players(1.5), np.zeros((2, 3, 3), np.uint8)
    quiet, loud = np.zeros(RATE), np.full(RATE, 0.5)
    found = [
        Read(players.player("one", roll, sound, file="music/one", endings=("mid", "wav")))
        for sound in (quiet, loud, quiet)
    ]
    first, second, again = found
    assert [len(each.all("audio")) for each in found] == [1, 0, 1]
    assert "Too long for the page, which holds 1.5 s of sound." in second.text
    assert [each["href"] for each in second.all("a")] == ["music/one.mid", "music/one.wav"]
    assert again.all("audio")[0]["data-same"] == first.all("audio")[0]["id"]  # held once


def begun(folder: Path) -> None:
    fake_sweep(folder, trials=0, changes={"budget": {"trials": 2, "steps_per_trial": 9}})


def running(folder: Path) -> None:
    begun(folder)
    metrics = {"val/kl_health": 0.5}
    for name, rate in (("t0000", 0.5), ("t0001", "high"), ("t0002", 0.5), ("t0003", 0.5)):
        write_status(folder, name, status="running", step=4, metrics=metrics)
        rows: list[Mapping[str, Any]] = [{"step": 4, f"{RATES}global/0": rate}]
        append_lines(folder / "trials" / name / "metrics.jsonl", rows)


def bare(folder: Path) -> None:
    for name in ("t0000", "t0001"):
        (folder / "trials" / name).mkdir(parents=True)


@pytest.mark.parametrize("make", [begun, running, bare], ids=lambda make: make.__name__)
def test_a_sweep_without_a_completed_trial_has_a_report(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path)
    assert main(["report", str(tmp_path)]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("No answer")
    assert last == f"Report: {tmp_path / 'report' / 'index.html'}"
    page = Read((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    assert re.search(r"No answer( yet)?: of (its|\d) trials? none has completed", page.text)
    assert len(page.all("img")) == (2 if make is running else 0)  # of the first three
    assert ("metrics.jsonl cannot be read: " in page.text) == (make is running)
    assert page.all("audio") == page.all("circle") == []
    assert "No completed trial has all objectives, so there is no front." in page.text
    needs = "4 completed trials that differ in two parameters, and a journal."
    assert f"None is known: importances need {needs}" in page.text


def test_what_is_no_sweep_and_what_is_no_report_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine", encoding="utf-8")
    begun(tmp_path / "sweep")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sweep.yaml").write_text("- 1", encoding="utf-8")
    wrong: dict[tuple[str, ...], str] = {
        ("none",): "SWEEP must be a sweep's folder, got none, which is not there. Check the path.",
        ("full",): "SWEEP must be a sweep's folder, got full, which has no sweep.yaml",
        ("broken",): "broken/sweep.yaml must hold a mapping of settings, got list.",
        ("sweep", "--out", "full"): "--out must be new or hold a report, got full, which holds",
    }
    for words, message in wrong.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            if "--out" in words:
                patch.setattr(report, "read_findings", None)  # is not begun: it takes its time
            assert main(["report", *words]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"aurl: {message}")
        assert told.count("\n") == 1
    assert (tmp_path / "full" / "precious.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_point_of_the_front_shows_its_trial(page: Page, written: Path, width: int) -> None:
    page.resize(width, 844)
    page.open((written / "index.html").as_uri())
    assert page.js("document.documentElement.scrollWidth") == width
    assert page.js("getComputedStyle(document.querySelector('#selected')).display") == "none"
    page.click("#front circle.best")
    assert page.js("document.querySelector('#selected h2').textContent").startswith(
        "t0015: rank 1, score 0.900"
    )
    chosen = "[...document.querySelectorAll('.chosen')].map(each => each.dataset.trial)"
    assert {*page.js(chosen)} == {"t0015"}
    assert page.js("document.querySelectorAll('#front .chosen').length") == 3
    assert HOSTILE in page.js("document.querySelector('#selected').innerText")
    page.press("Escape", code=27)
    assert page.js("document.querySelector('#selected').hidden")
    page.click(".ranking .pick[data-trial=t0003]")
    assert page.js("document.querySelector('#selected h2').textContent").startswith("t0003: rank")
    other = "[...document.querySelectorAll('#values .pick')].find(e => e.textContent != 't0003')"
    name = page.js(f"{other}.textContent")
    page.js(f"{other}.click()")
    assert page.js("document.querySelector('#selected h2').textContent").startswith(
        f"{name}: rank"
    )
    page.js("document.querySelector('input[value=\"val/kl_health\"]').click()")
    shown = "[...document.querySelectorAll('[data-target]')].filter(e => !e.hidden)"
    assert page.js(f"{shown}.map(each => each.dataset.target)") == ["val/kl_health"]
    page.js("document.querySelector('#more').click()")
    rows = "[...document.querySelectorAll('.ranking tbody tr')].filter(e => e.offsetHeight)"
    assert page.js(f"{rows}.length") == 13
    page.js("document.querySelectorAll('.ranking th button')[3].click()")
    values = page.js(f"{rows}.map(each => +each.cells[3].dataset.value)")
    assert values == sorted(values)
    page.wait("[...document.querySelectorAll('audio')].every(each => each.readyState > 0)")
    assert page.errors == []
    assert page.requests == [(written / "index.html").as_uri()]


@pytest.mark.browser
def test_a_figure_of_its_own_is_drawn(page: Page, written: Path) -> None:
    page.open((written / "figures" / "ranges.svg").as_uri())
    assert page.js("document.querySelectorAll('circle').length") > 0
    assert page.errors == []
