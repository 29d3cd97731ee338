"""What a trial slot and the workers of its gang tell each other.

Apart from everything that imports torch: the mailbox that carries messages stays a small process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from aurl.config import RunConfig
from aurl.training.store import Remote

Row: TypeAlias = Mapping[str, float]
"""Metrics of one step, with the step itself under ``step``."""

WORKERS = "throughput/workers"
"""In a row: how many workers shared each batch."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run that a gang is asked to train."""

    config: RunConfig
    checkpoint_folder: Path
    """In the folder that is named after the trial."""

    remote: Remote | None = None
    """Where its checkpoint is kept, if not there."""

    @property
    def name(self) -> str:
        """Of its trial, the same after a resume."""
        return self.checkpoint_folder.parent.name


@dataclass(frozen=True, kw_only=True)
class Media:
    """What is shown of a trial beside curves: whole files, by the names that TensorBoard uses."""

    pictures: Mapping[str, bytes]
    """PNG."""

    sounds: Mapping[str, bytes]
    """WAV, as :func:`aurl.audio.wav` makes it."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What the first worker tells: measured rows, then how the task ended."""

    rows: tuple[Row, ...] = ()
    ended: bool = False
    failure: str = ""
    """Why the task failed, if it did; the gang lives on."""

    noted: bool = False
    """The rows are told between two reports, and no verdict is waited for."""

    outage: bool = False
    """Whether it failed because its checkpoint could not be stored: not the trial's fault."""

    waited_s: float = 0.0
    """Since the event before: how long the gang waited for room, and held nothing."""

    media: Media | None = None
    """With the last rows, of the model that was trained."""
