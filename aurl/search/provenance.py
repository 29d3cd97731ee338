"""What results were made by: versions, the commit, the command, and what a sweep's space says."""

import contextlib
import hashlib
import json
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from aurl.files import read_yaml
from aurl.plain import Plain
from aurl.search.ranking import ABOUT

PACKAGES = ("aurl", "torch", "ray", "optuna", "numpy", "miditoolkit")
HERE = Path(__file__).parents[2]
"""The folder that the package lies in: the repository's root, in a checkout."""

_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_SECRET = re.compile(
    r"(?i)((?:token|secret|password|passwd|credentials?|signature|(?:access|api|secret)_?key)=)"
    r"[^&]+"
)


def provenance() -> Plain:
    """Versions; of a checkout also the git commit, and whether files differ from it."""
    found: Plain = {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if Path(_git("rev-parse", "--show-toplevel")).samefile(HERE):
            found["git_commit"] = _git("rev-parse", "HEAD")
            found["git_dirty"] = bool(_git("status", "--porcelain", "--untracked-files=no"))
    return found


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(HERE), *words], capture_output=True, text=True, timeout=5, check=True
    )
    return done.stdout.strip()


def space_hash(space: Plain, overrides: Plain) -> str:
    """SHA-256, in hexadecimal, of what a space's file and the command line say together.

    Comments and the order of keys do not count, nor does the budget: a sweep that is given more
    trials is still of the same space.
    """
    counted = {name: value for name, value in space.items() if name != "budget"}
    text = json.dumps([counted, overrides], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def command_line(words: Sequence[str]) -> str:
    """A command as a shell would take it, without the folder of its program and without secrets.

    What stands before the ``@`` of an address is taken out, and the value of everything that is
    called a token, a password, a key or the like.
    """
    program, *rest = words
    shown = [_SECRET.sub(r"\1***", _LOGIN.sub("***", word)) for word in rest]
    return shlex.join([Path(program).name, *shown])


def of_sweep(folder: Path) -> Plain:
    """What an export takes over from the record of the sweep that it comes from."""
    about = read_yaml(folder / ABOUT) if (folder / ABOUT).exists() else {}
    kept = {name: about[name] for name in ("space_sha256", "seeds", "commands") if name in about}
    return {"sweep": folder.name, **kept}
