"""The trials of a sweep that are worth a look: their pictures, and what they sound like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurl.drawing.canvas import png
from aurl.errors import AurlError
from aurl.reporting.findings import BEST, Findings
from aurl.reporting.performances import Performance, perform
from aurl.training.pictures import KL, RATE, kl_over_time
from aurl.training.reporters import METRICS_FILE, PICTURES, read_rows

FROM_TRIAL = {
    "latent_traversal": "What each dimension does: one is moved, the others stay",
    "latent_mutual_information": "Which code tells of which musical factor",
    "music_reconstructions": "Held-out windows, and what comes back",
}
"""Pictures that a trial's folder has when it has ended, and what they show."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A picture of a trial."""

    name: str
    """Of its file, without the ending."""

    caption: str
    png: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What there is to see and hear of a trial."""

    trial: str
    pictures: Sequence[Shown]
    performances: Sequence[Performance]
    notes: Sequence[str]
    """What is missing, and why."""


def looks(sweep: Path, found: Findings, say: Callable[[str], None]) -> list[Look]:
    """Look at the best trials; where none has completed, at the first that were evaluated.

    What has not completed is not heard.

    Args:
        sweep: The sweep's folder.
        found: What was read in it.
        say: Told what is going on, for it takes a few seconds a trial.
    """
    best = [trial.trial for trial in found.best]
    chosen = best or [trial.trial for trial in found.trials if trial.metrics][:BEST]
    result: list[Look] = []
    for trial in chosen:
        say(f"listening to {trial}" if best else f"looking at {trial}")
        folder = sweep / "trials" / trial
        notes: list[str] = []
        heard: list[Performance] = []
        if best:
            try:
                heard = perform(folder)
            except AurlError as error:
                notes.append(f"It cannot be heard: {error}")
        pictures = _pictures(folder, notes)
        result.append(Look(trial=trial, pictures=pictures, performances=heard, notes=notes))
    return result


def _pictures(folder: Path, notes: list[str]) -> list[Shown]:
    shown: list[Shown] = []
    try:
        rates = kl_over_time(read_rows(folder))
        if rates is not None:
            shown.append(Shown(name=KL.replace("/", "_"), caption=RATE, png=png(rates)))
    except (OSError, ValueError, TypeError, OverflowError) as error:
        notes.append(f"Its {METRICS_FILE} cannot be read: {error}")
    for name, caption in FROM_TRIAL.items():
        path = folder / PICTURES / f"{name}.png"
        if path.is_file():
            shown.append(Shown(name=name, caption=caption, png=path.read_bytes()))
    return shown
