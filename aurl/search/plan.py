"""What a sweep is to do, checked before Ray starts and written to ``sweep.yaml``."""

import errno
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aurl.config import MelodiesConfig, RunConfig
from aurl.data import corpora
from aurl.data.corpus import Corpus
from aurl.errors import SweepError
from aurl.files import read_yaml, write_yaml
from aurl.plain import Plain, build, many
from aurl.search.copies import copy_about, restored
from aurl.search.journal import owned
from aurl.search.provenance import config_in, provenance, space_hash
from aurl.search.ranking import ABOUT, FINALISTS, LOG, finalists, read_trials, rerun_names
from aurl.search.record import given_again, gone_on_with
from aurl.search.recorder import statuses, unended
from aurl.search.settings import with_trials
from aurl.search.shape import Shape
from aurl.search.space import Space
from aurl.search.space_checks import examples
from aurl.search.space_file import load_space, recorded_space, space_of
from aurl.search.warm_start import Beginning, read_beginnings
from aurl.seeding import stream_seed
from aurl.training.fits import check_fits
from aurl.training.store import Remote, storage_at


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What the command line says about a sweep."""

    space: Path | None
    """None, for a sweep that is resumed by its name, is the one that its record holds."""

    out: Path = Path("sweeps")
    name: str = ""
    data: str = ""
    trials: int | None = None
    address: str | None = None
    shape: Shape = field(default_factory=Shape)
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    resume: bool = False
    storage: str = ""
    """URI below which checkpoints are kept; empty keeps them in the trials' folders."""

    warm_start: Path | None = None
    """A sweep's folder, or a file with a list of configurations."""

    command: str = ""
    """The command that was given, for the record."""

    @property
    def called(self) -> str:
        """The sweep's name."""
        return self.name or (self.space.stem if self.space else "")

    @property
    def folder(self) -> Path:
        """Where the sweep is kept."""
        return self.out / self.called


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep that is ready to run."""

    folder: Path
    space: Space
    corpus: Corpus
    shape: Shape
    address: str | None
    note: str
    """What was fitted to the music, or is begun with, in a sentence; often nothing."""

    remote: Remote | None = None
    """Where checkpoints are kept, if not in the trials' folders."""

    beginnings: tuple[Beginning, ...] = ()
    """What Optuna is told or asked to try before its own proposals."""

    @property
    def trials_folder(self) -> Path:
        """One folder a trial."""
        return self.folder / "trials"


def plan(options: SweepOptions, *, write: bool = True) -> Sweep:
    """Check everything that can be checked before Ray starts; write ``sweep.yaml``.

    Args:
        options: What is asked for.
        write: False leaves the sweep's folder as it is, there or not.

    Raises:
        ConfigError: If the space or a setting is wrong.
        DataError: If the corpus cannot be used.
        SweepError: If the folder exists, or does not fit what is to be resumed.
    """
    folder = options.folder
    about = folder / ABOUT
    _check_words(options)
    exists = _is_there(options)
    again = not exists and write and _is_there_again(options)
    before = read_yaml(about) if exists or again else {}
    values, overrides, place = _asked(options, before)
    trials = before.get("trials") if options.trials is None else options.trials
    values = with_trials(values, trials)
    space, corpus = _on_corpus(space_of(values, overrides=overrides), place)
    space, note = within_budget(space, corpus, options.shape.workers_per_trial)
    for example in examples(space):
        check_fits(space.config_of(example), corpus, options.shape.workers_per_trial)
    beginnings = read_beginnings(options.warm_start, space) if options.warm_start else []
    record = {
        "question": space.question,
        "space": with_trials(values, space.budget.trials),
        "overrides": overrides,
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint},
        "data": space.base["data"]["corpus"],
        "workers_per_trial": options.shape.workers_per_trial,
        "gpus_per_worker": options.shape.gpus_per_worker,
        "space_sha256": space_hash(values, overrides),
        "seeds": {"trials": space.base["seed"], "sampler": space.sampler.seed},
        **({"storage": options.storage} if options.storage else {}),
        **({"trials": trials} if trials is not None else {}),
        **({"given": given} if (given := given_again(options.address, options.shape)) else {}),
        "made_by": provenance(),
        "commands": [options.command] if options.command else [],
    }
    if options.warm_start:
        told = sum(beginning.metrics is not None for beginning in beginnings)
        tried = len(beginnings) - told
        record["warm_start"] = {"from": options.warm_start.name, "told": told, "tried": tried}
        words = f"Begins with {told} known results and {tried} others to try."
        note = note if (folder / "trials").exists() else f"{note} {words}".strip()
    if trials != options.trials:
        note = f"{note} {many(space.budget.trials, 'trial')}, as --trials said before.".strip()
    if again:
        note = f"{note} Its folder was gone, and was made again of the copies there are.".strip()
    if exists or again:
        record = gone_on_with(before, record, folder)
    remote = _kept_at(options, record) if options.storage and write else None
    if write:
        _write(options, record, remote, is_new=not (exists or again))
    else:
        _check_can_be_made(options)
    return Sweep(
        folder=folder,
        space=space,
        corpus=corpus,
        shape=options.shape,
        address=options.address,
        note=note,
        remote=remote,
        beginnings=tuple(beginnings),
    )


def _asked(options: SweepOptions, before: Plain) -> tuple[Plain, Plain, str]:
    """The space as a file has it, settings in its place, and where its corpus is, if not there."""
    if options.space is not None:
        return read_yaml(options.space), _with_music(options.overrides, options.data), ""
    recorded_space(before)  # says what is wrong with it
    place = options.data or str(before.get("data") or "")
    return before["space"], before.get("overrides") or {}, place


def _check_words(options: SweepOptions) -> None:
    """Refuse a name that leads elsewhere, and a storage that is none."""
    name = folder_name(options.called)
    if options.storage:
        storage_at(options.storage)
    if options.address == "":
        raise SweepError(
            f"--address must be auto or HOST:PORT, got nothing. Leave it out to run {name} here."
        )


def folder_name(name: str) -> str:
    """The name of a sweep, which is that of its folder.

    Raises:
        SweepError: If it leads elsewhere, or could not be shown.
    """
    if name in (".", "..") or "/" in name or not name.isprintable() or name != name.strip():
        raise SweepError(
            f"--name must be one word for a folder, got {name!r}. Say where that is by --out."
        )
    return name


def _is_there(options: SweepOptions) -> bool:
    """Whether the sweep is there and to be resumed; anything else in its place is refused."""
    folder = options.folder
    try:
        exists = (folder / ABOUT).exists()
        taken = folder.exists() and not _never_began(folder)
    except OSError as error:
        raise _unusable(options, error) from error
    if taken and not (exists and options.resume):
        what = "a sweep" if exists else "something else"
        advice = "Add --resume to go on with it, or" if exists else "Please"
        raise SweepError(
            f"--name must be new, got {folder.name!r}: {folder} holds {what}. "
            f"{advice} choose another --name."
        )
    return exists


def _is_there_again(options: SweepOptions) -> bool:
    """Whether a sweep that is to be resumed, and whose folder is gone, was made of its copies."""
    wanted = options.resume and options.storage
    return bool(wanted) and restored(options.folder, storage_at(options.storage))


def _write(options: SweepOptions, record: Plain, remote: Remote | None, *, is_new: bool) -> None:
    """Write ``sweep.yaml``, and its copy, unless another process works on the sweep."""
    folder = options.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with owned(folder / LOG):
            if is_new and (folder / ABOUT).exists():
                raise SweepError(
                    f"--name must be new, got {folder.name!r}: another process has just begun "
                    f"{folder}. Choose another --name."
                )
            write_yaml(folder / ABOUT, record)
    except OSError as error:
        raise _unusable(options, error) from error
    if remote is not None:
        copy_about(folder, remote)


def _check_can_be_made(options: SweepOptions) -> None:
    """Refuse, without making it, a folder that could not be written."""
    folder = options.folder.absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        reason = errno.ENOTDIR
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = errno.EACCES
    else:
        return
    raise _unusable(options, OSError(reason, os.strerror(reason)))


def _kept_at(options: SweepOptions, record: Plain) -> Remote:
    """Where the sweep keeps its checkpoints, once it has been tried; the record says it, too.

    No two sweeps share a place, whatever their names.
    """
    own = storage_at(options.storage).below(f"{options.folder.name}-{uuid.uuid4().hex[:8]}")
    remote = storage_at(record.setdefault("checkpoints", own.uri))
    remote.probe()
    return remote


def _never_began(folder: Path) -> bool:
    """Whether a folder is empty, or its driver was killed when there was but the log in it."""
    return folder.is_dir() and all(
        (path.match(f".{ABOUT}.*.part") or path.name == LOG)
        and path.is_file()
        and not path.is_symlink()
        for path in folder.iterdir()
    )


def _unusable(options: SweepOptions, error: OSError) -> SweepError:
    return SweepError(
        f"--out and --name must make a folder that can be written, got {options.folder}: "
        f"{error.strerror}."
    )


def space_on_music(path: Path, data: str, overrides: Mapping[str, Any]) -> tuple[Space, Corpus]:
    """A search space and the corpus that it, or ``--data``, names.

    Raises:
        ConfigError: If the space or a setting is wrong.
        DataError: If the corpus cannot be used.
    """
    return _on_corpus(load_space(path, overrides=_with_music(overrides, data)))


def _with_music(overrides: Mapping[str, Any], data: str) -> Plain:
    return {**overrides, **({"data.corpus": data} if data else {})}


def _on_corpus(space: Space, place: str = "") -> tuple[Space, Corpus]:
    """The space with its corpus named so that it is found from any folder, and the corpus.

    The corpus is where the space says, or at ``place``.
    """
    place = place or str(space.base["data"]["corpus"])
    corpus = corpora.load_named(place, build(MelodiesConfig, space.base["data"]["melodies"]))
    named = {"corpus": corpora.from_anywhere(place), "fingerprint": corpus.fingerprint}
    data = {**space.base["data"], **named}
    return replace(space, base={**space.base, "data": data}), corpus


def within_budget(space: Space, corpus: Corpus, n_workers: int) -> tuple[Space, str]:
    """The space with batches as small as ``budget.tokens_per_step`` asks, and a note that says so.

    A batch keeps at least four windows a worker. A batch size that is searched, or held on the
    command line, stays as it is.
    """
    most, training = space.budget.tokens_per_step, space.base["training"]
    chosen = {*space.fixed, *(key for each in space.parameters for key in each.settings)}
    if most is None or "training.batch_size" in chosen:
        return space, ""
    together = n_workers * training["accumulate"]  # parts of a step are equal, for each worker
    fitting = int(most / corpus.mean_tokens) // together * together
    size = max(fitting, -(-4 * n_workers // together) * together)
    if size >= training["batch_size"]:
        return space, ""
    note = (
        f"This music has {corpus.mean_tokens:.0f} tokens a window: batches of {size} windows, not "
        f"{training['batch_size']} (budget.tokens_per_step {most})."
    )
    return replace(space, base={**space.base, "training": {**training, "batch_size": size}}), note


def final_runs(sweep: Sweep) -> list[tuple[str, Mapping[str, Any], RunConfig]]:
    """Name, parameters and configuration of the finalists' runs with other seeds still to do.

    None while a trial is paused: who is a finalist is known then. What was begun goes on first.
    """
    if unended(statuses(sweep.trials_folder)):
        return []
    again = sweep.folder / FINALISTS
    found = statuses(again)
    runs = [(name, found[name]["params"], config_in(again / name)) for name in unended(found)]
    seeds = sweep.space.seeds
    if seeds is None:
        return runs
    trials = read_trials(sweep.folder)
    for trial in finalists(trials, seeds.finalists, sweep.space.compared):
        config = config_in(sweep.trials_folder / trial.trial)
        for number, name in enumerate(rerun_names(trial, seeds.runs), start=1):
            seed = stream_seed(sweep.space.base["seed"], "finalist", number) % 2**31
            if name not in found:
                runs.append((name, trial.params, replace(config, seed=seed)))
    return runs
