"""The corpora that ``--data`` names: two that are bundled, or a folder by ``aurl prepare``."""

import fcntl
import hashlib
import os
import tempfile
import zipfile
from pathlib import Path

from aurl.config import MelodiesConfig
from aurl.data.corpus import MANIFEST, Corpus, code_version, load
from aurl.data.melodies import melodies_corpus
from aurl.errors import DataError
from aurl.files import file_hash
from aurl.plain import printable

TUNES = Path(__file__).with_name("tunes.zip")
TUNES_LICENCE = "Public domain (Ryan's Mammoth Collection, 1883)"
BUNDLED = ("tunes", "melodies")
"""The corpora that have a name and no folder."""


def from_anywhere(name: str) -> str:
    """The name of a corpus, so that it is found from any folder."""
    return name if name in BUNDLED else str(Path(name).absolute())


def load_named(name: str, melodies: MelodiesConfig | None = None) -> Corpus:
    """The corpus that ``--data`` names: ``tunes``, ``melodies``, or a folder by ``aurl prepare``.

    ``melodies`` is built in memory, as much of it as its settings say.

    ``tunes`` is built from the bundled files on first use, into ``$XDG_CACHE_HOME/aurl`` (by
    default ``~/.cache/aurl``), once for each version of the files and of the code; processes that
    ask for it at the same time wait for one of them to build it.

    Raises:
        DataError: As :func:`aurl.data.corpus.load`, or if the cache folder cannot be written.
    """
    if name == "melodies":
        return melodies_corpus(melodies or MelodiesConfig())
    if name != "tunes":
        return load(Path(name))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aurl"
    folder = cache / f"tunes-{_tunes_version()}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / MANIFEST).is_file():
                build_tunes(folder)
    except OSError as error:
        raise DataError(
            f"{printable(str(cache))} cannot be written: {error.strerror}. "
            "Set XDG_CACHE_HOME to a folder that can."
        ) from error
    return load(folder)


def build_tunes(out: Path) -> None:
    """Prepare the bundled tunes: windows of 2 bars, no velocities (they are a converter's)."""
    from aurl.data.prepare import PrepareOptions, prepare  # it reads MIDI: for the first use only

    options = PrepareOptions(
        velocity_bins=0, groups_by="content", name="tunes", licence=TUNES_LICENCE
    )
    with tempfile.TemporaryDirectory(dir=out.parent) as midi, zipfile.ZipFile(TUNES) as archive:
        archive.extractall(midi)
        prepare(Path(midi), out, options)


def _tunes_version() -> str:
    return hashlib.sha256((file_hash(TUNES) + code_version()).encode()).hexdigest()[:16]
