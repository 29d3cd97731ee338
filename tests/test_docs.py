"""What the documents say, held against the code: paths, links, commands, flags, defaults."""

import re
import shlex
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

import pytest

from aurl import cli
from aurl.config import RunConfig
from aurl.data.corpus import TARGET_RATE_NATS_PER_BAR
from aurl.files import parse_value, read_yaml
from aurl.search.settings import StopperConfig
from aurl.search.space_file import load_space

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("cluster/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPACES = sorted(ROOT.glob("search_spaces/*.yaml"))
TOPS = ("aurl", "tests", "docs", "search_spaces", "cluster", "benchmarks", "experiments", ".ci")
FOLDERS = [ROOT / top for top in TOPS]
PATH = re.compile(
    rf"(?<![\w./~-])((?:{'|'.join(map(re.escape, TOPS))})/[\w./-]+|[\w-]+\.(?:py|toml|md|txt))"
)
Parse: TypeAlias = Callable[[Sequence[str]], Namespace]
PREFIXES = ("aurl ", "python run_sweep.py ")
each_document = pytest.mark.parametrize(
    "path", DOCS, ids=[str(path.relative_to(ROOT)) for path in DOCS]
)


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def code_spans(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def command_lines(text: str) -> list[list[str]]:
    """The words of every command of aurl in a shell block."""
    lines = [line for block in code_blocks(text, "bash") for line in block.splitlines()]
    return [
        shlex.split(line.replace("python run_sweep.py", "aurl sweep"), comments=True)[1:]
        for line in lines
        if line.startswith(PREFIXES)
    ]


class ParsedError(Exception):
    """Raised in place of running a command."""


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """The arguments that :func:`aurl.cli.main` would run; it comes no further than that."""

    def stop(args: Namespace) -> int:
        raise ParsedError(args)

    monkeypatch.setattr(cli, "_ended", stop)

    def parsed(words: Sequence[str]) -> Namespace:
        with pytest.raises(ParsedError) as caught:
            cli.main(words)
        return caught.value.args[0]

    return parsed


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    return capsys.readouterr().out


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The name of every command."""
    return re.findall(r"^    (\w+)", help_of(capsys), flags=re.MULTILINE)


@each_document
def test_document_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            assert (path.parent / link).exists(), link


@each_document
def test_document_names_files_that_exist(path: Path) -> None:
    for span in code_spans(path.read_text(encoding="utf-8")):
        for name in PATH.findall(span):
            below = [] if "/" in name else [each for top in FOLDERS for each in top.rglob(name)]
            assert (ROOT / name).exists() or below, name


@each_document
def test_document_names_commands_that_exist(path: Path, commands: list[str]) -> None:
    for span in code_spans(path.read_text(encoding="utf-8")):
        for name in re.findall(r"^aurl ([a-z]+)", span):
            assert name in commands, span


@each_document
def test_document_shows_commands_that_parse(path: Path, parse: Parse) -> None:
    for words in command_lines(path.read_text(encoding="utf-8")):
        assert parse(words).command == words[0]


def test_readme_shows_every_command(commands: list[str]) -> None:
    assert {words[0] for words in command_lines(README)} == set(commands)
    assert len(commands) > 5


@each_document
def test_document_names_options_that_exist(
    path: Path, commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    helps = " ".join(help_of(capsys, name) for name in commands)
    known = set(re.findall(r"--[a-z-]+", helps))
    for span in code_spans(path.read_text(encoding="utf-8")):
        if span.startswith(("--", *PREFIXES)):
            for option in re.findall(r"(?<![\w-])--[a-z-]+", span):
                assert option in known, span


@each_document
def test_document_names_make_targets_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    code = code_spans(text) + [
        line for block in code_blocks(text, "bash") for line in block.splitlines()
    ]
    for line in code:
        for target in re.findall(r"^make ([a-z]+)", line):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), line


def test_readme_gives_the_defaults_of_the_code() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|$", README, flags=re.MULTILINE)
    assert rows
    for key, value in rows:
        assert str(attrgetter(key)(RunConfig())) == value.strip(), key


def test_the_page_of_search_spaces_gives_the_stopper_that_is_the_default() -> None:
    text = (ROOT / "docs/search_spaces.md").read_text(encoding="utf-8")
    (given,) = re.findall(r"`stopper: (\{.*\})` is the default", text)
    assert parse_value(given) == asdict(StopperConfig())


def test_target_rate_is_what_its_record_argues_for() -> None:
    record = (ROOT / "docs/decisions/0003-target-rate.md").read_text(encoding="utf-8")
    entropies = [float(value) for value in re.findall(r"^\| \w+ \| ([\d.]+) \|$", record, re.M)]
    total = float(re.findall(r"\*\*sum\*\* \| \*\*([\d.]+)\*\*", record)[0])
    assert sum(entropies) == pytest.approx(total, abs=0.006)
    assert round(total / 2, 1) == TARGET_RATE_NATS_PER_BAR


def test_readme_counts_the_trials_of_the_quick_space() -> None:
    words = {8: "eight", 9: "nine", 10: "ten", 12: "twelve", 16: "sixteen"}
    trials = read_yaml(ROOT / "search_spaces/quick.yaml")["budget"]["trials"]
    assert f"the {words[trials]} trials of" in " ".join(README.replace("\n", " ").split())


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_search_space_loads(path: Path) -> None:
    assert load_space(path).question


def test_constraints_pin_what_the_project_asks_for_and_name_no_place() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    pinned = {re.sub(r"[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins}
    asked = re.findall(
        r'^    "([\w-]+)(?:\[[\w,]+\])?[>=]=', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert {name.lower() for name in asked} <= pinned
    assert len(asked) > 10


def test_every_benchmark_runs_without_arguments() -> None:
    """As `make bench` runs them."""
    asks = re.compile(r'required=True|add_argument\("[a-z]')
    paths = [*ROOT.glob("benchmarks/*.py")]
    assert len(paths) > 5
    assert not [path.name for path in paths if asks.search(path.read_text(encoding="utf-8"))]
