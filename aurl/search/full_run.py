"""One full-size run from a configuration, on the same gang and loop that trials use."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aurl.config import RunConfig, from_plain, to_plain
from aurl.data.corpus import Corpus
from aurl.errors import RunFailedError, StorageError, SweepError
from aurl.files import read_json, remove_parts
from aurl.plain import Plain, overridden
from aurl.search.cluster import connected, left_idle, slots
from aurl.search.gang import (
    ATTEMPTS,
    GangSettings,
    LostError,
    RemoteGang,
    shared,
    task_for,
)
from aurl.search.journal import journal
from aurl.search.probe import check_gpus, check_storage
from aurl.search.recorder import Display, Recorder
from aurl.search.room import Orphans, Patience
from aurl.search.shape import Shape

_log = logging.getLogger(__name__)

PRESETS: dict[str, Callable[[RunConfig], Plain]] = {
    "same": lambda config: {},
    "base": lambda config: _scaled(config, width=2, layers=1, steps=20),
    "large": lambda config: _scaled(config, width=4, layers=3, steps=100),
}
"""How a full-size run differs from the configuration a sweep found: dotted keys and values."""


@dataclass(frozen=True, kw_only=True)
class FullRun:
    """A run that is ready to start."""

    folder: Path
    config: RunConfig
    corpus: Corpus
    shape: Shape
    address: str | None


def scaled(config: RunConfig, preset: str) -> tuple[RunConfig, Plain]:
    """The configuration at a preset's size, and the keys that changed with their new values.

    Raises:
        SweepError: If there is no such preset.
    """
    if preset not in PRESETS:
        raise SweepError(f"--preset must be one of {', '.join(PRESETS)}, got {preset!r}.")
    changes = PRESETS[preset](config)
    return from_plain(overridden(to_plain(config), changes)), changes


def _scaled(config: RunConfig, *, width: int, layers: int, steps: int) -> Plain:
    total = config.training.steps * steps
    return {
        "model.d_model": config.model.d_model * width,
        "model.n_heads": config.model.n_heads * width,
        "model.encoder_layers": config.model.encoder_layers + layers,
        "model.decoder_layers": config.model.decoder_layers + layers,
        "optimizer.lr": config.optimizer.lr / width**0.5,
        "training.steps": total,
        "evaluation.every": max(1, total // 20),
    }


def run(full_run: FullRun, display: Display) -> dict[str, float]:
    """Train to the last step, from the folder's checkpoint if it has one; returns its metrics.

    Raises:
        SweepError: If the cluster cannot hold the workers.
        RunFailedError: If the run fails.
    """
    folder = full_run.folder
    name = folder.name
    recorder = Recorder(folder.parent, display, shape=full_run.shape)
    with journal(folder / "train.log"):
        remove_parts(folder)
        with connected(full_run.address):
            slots(full_run.shape, 1)
            check_gpus(full_run.shape)
            for line in left_idle(full_run.shape, 1):
                display.message(line)
            if full_run.address is not None:
                check_storage(folder)
            if not (folder / "status.json").exists():
                recorder.propose(name, {}, full_run.config)
            failure = _train(full_run, recorder)
            metrics = recorder.end(name, "failed" if failure else "completed", failure)
    if failure:
        raise RunFailedError(f"the run failed: {failure}. See {folder / 'train.log'}.")
    return metrics


def _train(full_run: FullRun, recorder: Recorder) -> str:
    """Train, also on after workers have died; returns why the run failed, if it did.

    Like a trial, it is tried again, from its last checkpoint: without end where a machine was
    taken away that Ray had warned of, else so many times in a row without a step gained.
    """
    folder = full_run.folder
    settings = GangSettings(shape=full_run.shape, corpus=shared(full_run.corpus))
    patience = [] if full_run.address is None else [Patience(full_run.shape, recorder.tell)]
    looks = [Orphans().look, *(each.look for each in patience)]

    def meanwhile() -> None:
        for look in looks:
            look()

    tries, gained, lost = 0, 0, ""
    while True:
        recorder.start(folder.name)
        if lost:  # said last: in a terminal, it stays until the run ends
            recorder.tell(lost)
        step = read_json(folder / "status.json")["step"]
        tries, gained = (0 if step > gained else tries), step
        try:
            return _attempt(full_run, recorder, RemoteGang(settings, "train", meanwhile))
        except LostError as error:
            tries += not error.was_taken
            if tries == ATTEMPTS:
                return str(error).rstrip(".")
            lost = f"{error} It goes on from its last checkpoint."
            _log.warning(lost)


def _attempt(full_run: FullRun, recorder: Recorder, gang: RemoteGang) -> str:
    try:
        gang.submit(task_for(full_run.folder, full_run.config))
        while True:
            event = gang.next_event()
            if event.outage:
                raise StorageError(event.failure)
            if event.ended:
                return event.failure
            recorder.report(full_run.folder.name, event.rows, waited_s=event.waited_s)
            recorder.show(full_run.folder.name, event.media)
            if not event.noted:
                gang.answer(go_on=True)
    except KeyboardInterrupt:
        recorder.tell("interrupted: its workers end their step and leave")
        raise
    finally:
        gang.close()
