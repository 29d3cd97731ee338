"""What results were made by: versions, the commit, the command, and what a sweep's space says.

The ``config.yaml`` of a trial, a run or an export says it under ``made_by``.
"""

import contextlib
import hashlib
import json
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from aurl.config import RunConfig, from_plain, to_plain
from aurl.errors import ConfigError
from aurl.files import read_yaml, write_yaml
from aurl.plain import Plain
from aurl.search.ranking import read_about

PACKAGES = ("aurl", "torch", "ray", "optuna", "numpy", "miditoolkit")
HERE = Path(__file__).parents[2]
"""The folder that the package lies in: the repository's root, in a checkout."""

MADE_BY = "made_by"
"""Key of ``config.yaml`` that says where a configuration comes from; it configures nothing."""

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

    Comments and the order of keys do not count, nor does the budget, wherever it is given: a sweep
    that is given more trials, or longer ones, is still of the same space.
    """
    counted, held = (
        {name: value for name, value in given.items() if name.partition(".")[0] != "budget"}
        for given in (space, overrides)
    )
    text = json.dumps([counted, held], sort_keys=True, default=str)
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
    """What a trial takes over from the record of its sweep."""
    about = read_about(folder)
    kept = {name: about[name] for name in ("space_sha256", "seeds", "commands") if name in about}
    return {"sweep": folder.name, **kept}


def write_config(path: Path, config: RunConfig, made_by: Mapping[str, Any]) -> None:
    """Write a configuration file, and what it says of where it comes from."""
    write_yaml(path, {**to_plain(config), MADE_BY: dict(made_by)})


def read_config(path: Path) -> tuple[RunConfig, Plain]:
    """A configuration file, and what it says of where it comes from.

    Raises:
        ConfigError: If it is missing, damaged, or of an aurl that knows other settings.
    """
    values = read_yaml(path)
    made_by = values.pop(MADE_BY, {})
    if not isinstance(made_by, dict):
        raise ConfigError(f"{path}: {MADE_BY} must be a mapping, got {made_by!r}. Leave it out.")
    try:
        return from_plain(values), cast("Plain", made_by)
    except ConfigError as error:
        raise ConfigError(f"{path} must be a run of this version of aurl: {error}") from error


def config_in(folder: Path) -> RunConfig:
    """The configuration of a trial's or a run's folder; raises as :func:`read_config`."""
    return read_config(folder / "config.yaml")[0]
