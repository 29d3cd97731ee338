"""The record of a sweep, ``sweep.yaml``: what goes on with it, and what must stay as it was."""

import shlex
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path

from aurl.errors import ConfigError, SweepError
from aurl.files import read_yaml
from aurl.plain import Plain, build, differences
from aurl.search.ranking import ABOUT, FINALISTS, JOURNAL, LOG
from aurl.search.shape import Shape
from aurl.search.space_file import VARIANTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Options of one run of a sweep: the next is to be given them anew, if they still hold."""

    address: str | None = None
    workers_per_trial: str | None = None
    """Only where it is LEAST:MOST."""

    grow_to: int | None = None
    max_concurrent: int | None = None
    hours: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What goes on with a sweep, beside its space; a file of a stranger may say anything."""

    workers_per_trial: int
    gpus_per_worker: float
    storage: str = ""
    given: Given = field(default_factory=Given)


def recorded(sweep: Path, about: Plain | None = None) -> Record:
    """The record of a sweep.

    Args:
        sweep: The sweep's folder.
        about: What ``sweep.yaml`` says, where that has been read.

    Raises:
        SweepError: If there is no sweep, or its record does not say how it was begun.
        ConfigError: If the record is no YAML.
    """
    if not (sweep / ABOUT).is_file():
        found = f"has no {ABOUT}" if sweep.is_dir() else "is no folder"
        found = found if sweep.exists() else "is not there"
        raise SweepError(
            f"SWEEP must be a sweep's folder, got {sweep}, which {found}. Check the path; one "
            "that is lost is made again of its copies by `aurl sweep` with --resume and --storage."
        )
    about = read_yaml(sweep / ABOUT) if about is None else about
    known = [each.name for each in fields(Record)]
    try:
        return build(Record, {name: about[name] for name in known if name in about})
    except ConfigError as error:
        raise SweepError(
            f"{sweep / ABOUT} is damaged, or of another version of aurl: {error}"
        ) from error


def given_again(address: str | None, shape: Shape) -> Plain:
    """What is not the same for all runs of a sweep, as :class:`Given` has it; no None."""
    least = shape.workers_at_least
    given = Given(
        address=address,
        workers_per_trial=None if least is None else f"{least}:{shape.workers_per_trial}",
        grow_to=shape.grow_to,
        max_concurrent=shape.max_concurrent,
        hours=shape.hours,
    )
    return {name: value for name, value in asdict(given).items() if value is not None}


def resuming(sweep: Path, about: Plain | None = None) -> str:
    """The command that goes on with a sweep as it ran last; arguments and errors as above."""
    given = asdict(recorded(sweep, about).given)
    words = [
        (f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value))
        for name, value in given.items()
        if value is not None
    ]
    return shlex.join(["aurl", "resume", str(sweep), *chain(*words)])


def gone_on_with(before: Plain, now: Plain, folder: Path) -> Plain:
    """The record of a sweep that is resumed.

    Raises:
        SweepError: If it is another sweep, its record is damaged, or a link is among its files.
    """
    _check_own(folder)
    try:
        _check_same(before, now, folder)
        return _resumed(before, now)
    except (KeyError, TypeError, AttributeError) as error:
        raise SweepError(
            f"{folder / ABOUT} is damaged: it does not say what a sweep was begun with. "
            "Bring back a whole one, or begin a sweep of another --name."
        ) from error


def _check_own(folder: Path) -> None:
    """Refuse a link where a sweep writes: it may lead to where it must not; a pipe, too."""
    own = [folder / name for name in (ABOUT, JOURNAL, LOG, "trials", FINALISTS)]
    inside = (path for kind in own[-2:] for path in kind.rglob("*"))
    for path in chain(own, inside):
        if path.is_symlink() or not (path.is_file() or path.is_dir() or not path.exists()):
            found = "a link" if path.is_symlink() else "a pipe or a device"
            raise SweepError(f"{path} must be the sweep's own, got {found}. Remove it.")


def _resumed(before: Plain, now: Plain) -> Plain:
    """The record of a sweep that goes on: what began it, and what else has worked on it since."""
    makers = [before["made_by"], *before.get("resumed_by", [])]
    if now["made_by"] != makers[-1]:
        makers.append(now["made_by"])
    since = {"resumed_by": makers[1:]} if len(makers) > 1 else {}
    began = {name: before[name] for name in ("warm_start", "checkpoints") if name in before}
    commands = [*before.get("commands", [])]
    commands += [each for each in now["commands"] if each not in commands[-1:]]
    return {**now, "made_by": makers[0], **since, **began, "commands": commands}


def _names(space: Plain) -> dict[str, list[str]]:
    """The variants of each parameter that has some, in order: Optuna knows a choice by it."""
    entries = {**(space.get("scientific") or {}), **(space.get("nuisance") or {})}
    return {
        key: [*entry[VARIANTS]]
        for key, entry in entries.items()
        if isinstance(entry, dict) and VARIANTS in entry
    }


def _check_same(before: Plain, now: Plain, folder: Path) -> None:
    """Refuse to resume a sweep as a different one; more trials and finalists are welcome."""

    def essence(record: Plain) -> Plain:
        later = ("budget", "seeds")  # more trials, and finalists, may be asked for later
        said = {key: value for key, value in record["space"].items() if value is not None}
        space = {key: value for key, value in said.items() if key not in later}
        budget = record["space"].get("budget", {})
        steps = {key: value for key, value in budget.items() if key != "trials"}
        given = {key: x for key, x in record["overrides"].items() if key != "data.corpus"}
        same = ("corpus", "workers_per_trial", "storage")  # the corpus by what is in it
        found = {key: record.get(key) for key in same}
        return {
            "variants": _names(space),
            "space": space,
            "steps": steps,
            "overrides": given,
            **found,
        }

    old, new = essence(before), essence(now)
    for key, value in old.items():
        if new[key] != value:
            raise SweepError(
                f"--resume must be given the {key} that {folder.name} was started with, got "
                f"{differences(value, new[key])}. Start another sweep with --name."
            )
    began, asked = (record.get("warm_start", {}).get("from") for record in (before, now))
    if asked not in (None, began):
        raise SweepError(
            f"--warm-start must be what {folder.name} was begun with, got {asked}, which comes "
            "too late. Leave it out, or start a new sweep with --name."
        )
    if began != asked and not (folder / "trials").exists():
        raise SweepError(
            f"--warm-start must be given once more, got nothing: {folder.name} was ended before "
            f"its first trial, and may not know what {began} says."
        )
