"""`make .venv/installed`: uv is told what pip was told, and where uv cannot, pip installs."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """#!/bin/sh
case "$*" in
*"config list")
  echo ":env:.find-links='/my wheels'"
  echo "global.extra-index-url='file:///one file:///two'"
  echo "global.index-url='https://mirror.example/simple'"
  echo "global.find-links='/wheels'" ;;
*"{failing}"*) echo "no such thing" >&2; exit 1 ;;
*) echo "$2 $3: $* | $UV_DEFAULT_INDEX | $UV_INDEX | $UV_FIND_LINKS" >>calls ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make` needs of the repository."""
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def installed(checkout: Path, *, failing: str) -> tuple[list[str], str]:
    """The calls that `make` makes of a Python that cannot do ``failing``, and what it says."""
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.replace("{failing}", failing), encoding="utf-8")
    python.chmod(0o755)
    make = ["make", ".venv/installed", "MAKEFLAGS="]
    ended = subprocess.run(make, cwd=checkout, capture_output=True, text=True, check=True)
    assert (checkout / ".venv/installed").exists()
    assert not ended.stderr
    return (checkout / "calls").read_text(encoding="utf-8").splitlines(), ended.stdout


def test_uv_installs_from_where_pip_would(checkout: Path) -> None:
    (pip, uv), said = installed(checkout, failing="nothing")
    assert pip.startswith("pip install:")
    assert "-c constraints.txt --only-binary uv uv |" in pip
    assert uv.startswith("uv pip:")
    assert "--python .venv/bin/python" in uv
    settings = "https://mirror.example/simple | file:///one file:///two | /my wheels"
    assert uv.endswith(f"-c constraints.txt -e . | {settings}")
    assert "longer" not in said


@pytest.mark.parametrize("failing", ["--only-binary", "-m uv"])
def test_pip_installs_where_uv_cannot(checkout: Path, failing: str) -> None:
    calls, said = installed(checkout, failing=failing)
    upgrade, install = calls[-2:]
    assert "--upgrade pip" in upgrade
    assert "-c constraints.txt -e . |" in install
    assert not any(call.startswith("uv") for call in calls)
    assert "uv could not; pip installs it, which takes longer." in said
