"""What a sweep and an export say of their making, and what they keep to themselves."""

import subprocess
from pathlib import Path

import pytest

from aurl.files import write_yaml
from aurl.search import provenance as made
from aurl.search.provenance import (
    command_line,
    of_sweep,
    provenance,
    read_config,
    space_hash,
    write_config,
)
from tests.tiny import small_config

SPACE = {"question": "Which?", "budget": {"trials": 2}, "fixed": {"seed": 1}}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["/home/me/run_sweep.py", "a b.yaml"], "run_sweep.py 'a b.yaml'"),
        (["aurl", "--out", "s3://me:pw@host/x"], "aurl --out 's3://***@host/x'"),
        (["aurl", "--set", "API_KEY=abc"], "aurl --set 'API_KEY=***'"),
        (["aurl", "s3://b/x?session_token=abc&region=eu"], "session_token=***&region=eu"),
        (["aurl", "--set", "x.password=my pw abc", "space.yaml"], "x.password=*** space.yaml"),
        (["aurl", "--set", "training.tokens_per_step=3"], "training.tokens_per_step=3"),
        (["aurl", "--set", "model.token_dropout=0.9"], "model.token_dropout=0.9"),
    ],
)
def test_a_command_is_shown_without_secrets(words: list[str], shown: str) -> None:
    found = command_line(words)
    assert shown.replace("'", "") in found.replace("'", "")
    assert "abc" not in found
    assert "pw" not in found


def test_the_hash_is_of_what_is_searched_and_not_of_the_budget() -> None:
    first = space_hash(SPACE, {})
    assert len(first) == 64
    assert space_hash(dict(reversed(SPACE.items())), {}) == first
    assert space_hash({**SPACE, "budget": {"trials": 9}}, {}) == first
    for held in ({"budget.steps_per_trial": 9}, {"budget": {"steps_per_trial": 9}}):
        assert space_hash(SPACE, held) == first
    assert space_hash({**SPACE, "fixed": {"seed": 2}}, {}) != first
    assert space_hash({**SPACE, "question": "Why?"}, {}) != first
    assert space_hash(SPACE, {"seed": 2}) != first


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_commit_is_of_the_code_and_says_if_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "HERE", tmp_path)
    assert "git_commit" not in provenance()
    git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "a")
    (tmp_path / "results.txt").touch()  # of which git was told nothing
    clean = provenance()
    assert clean["git_dirty"] is False
    assert len(clean["git_commit"]) == 40
    (tmp_path / "code.py").write_text("2\n")
    assert provenance() == {**clean, "git_dirty": True}
    (tmp_path / "installed").mkdir()  # somebody else's repository, around an installed package
    monkeypatch.setattr(made, "HERE", tmp_path / "installed")
    assert "git_commit" not in provenance()


def test_a_trial_takes_over_what_its_sweep_says(tmp_path: Path) -> None:
    assert of_sweep(tmp_path) == {"sweep": tmp_path.name}
    about = {"space_sha256": "0", "seeds": {"sampler": 3}, "commands": ["aurl"], "question": "?"}
    write_yaml(tmp_path / "sweep.yaml", about)
    kept = {name: value for name, value in about.items() if name != "question"}
    assert of_sweep(tmp_path) == {"sweep": tmp_path.name, **kept}


def test_what_a_configuration_was_made_by_configures_nothing(tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", small_config(seed=3), {"sweep": "first"})
    assert read_config(tmp_path / "config.yaml") == (small_config(seed=3), {"sweep": "first"})
