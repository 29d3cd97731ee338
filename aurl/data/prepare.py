"""A folder of anyone's MIDI made into a corpus, whatever is in it.

Each file that is refused is a row of ``refused.jsonl``, with its reason. The result is a function
of the files' bytes and names, the options and the code; on an unchanged folder :func:`prepare`
does nothing and says so.
"""

import hashlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aurl.data.attributes import ATTRIBUTES
from aurl.data.corpus import MANIFEST, Corpus, code_version, load, read_manifest, save
from aurl.data.duplicates import SPLITS, grouped, split_of_groups
from aurl.data.events import Events
from aurl.data.intake import Effort, Kept, Progress, Refusal, cut_all, read_all
from aurl.data.isolation import Limits
from aurl.data.metrical import choose_vocabulary
from aurl.data.piece import Piece
from aurl.data.sources import Source, found_sources, read_counted
from aurl.data.vocabulary import Vocabulary
from aurl.data.windows import WindowRequest, Windows
from aurl.errors import ConfigError, DataError
from aurl.files import append_lines, atomic
from aurl.plain import printable

REFUSED = "refused.jsonl"

MOST_BARS = 10_000
"""Of a window: more than any piece has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareOptions:
    """How a folder becomes a corpus.

    Raises:
        ConfigError: If a value is out of range.
    """

    vocabulary: Literal["metrical", "events"] = "metrical"
    """Bars and beats, or times in seconds; a bar of ``events`` is two seconds."""

    n_bars: int = 2
    """Bars of a window."""

    max_tokens: int = 512
    """Longer windows are left out."""

    velocity_bins: int = 32
    """Steps of loudness in the vocabulary; 0 leaves loudness out."""

    name: str = ""
    """Of the corpus; the folder's name where empty."""

    licence: str = "unknown"
    groups_by: Literal["opening", "content"] = "opening"
    """What decides the split of pieces that share an opening, see
    :func:`~aurl.data.duplicates.grouped`. That of ``tunes`` is by content: it is the split that
    all numbers on them were measured with."""

    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Processes at work at one time; the result does not depend on it."""

    limits: Limits = field(default_factory=Limits)
    """What one file may cost, first to be read, then to be cut."""

    def __post_init__(self) -> None:
        for key, least in (("n_bars", 1), ("max_tokens", 8), ("workers", 1)):
            if getattr(self, key) < least:
                raise ConfigError(f"{key} must be >= {least}, got {getattr(self, key)}.")
        if self.n_bars > MOST_BARS:
            raise ConfigError(f"n_bars must be <= {MOST_BARS}, got {self.n_bars}.")
        if self.velocity_bins != 0 and not 2 <= self.velocity_bins <= 127:
            raise ConfigError(f"velocity_bins must be 0 or in 2..127, got {self.velocity_bins}.")
        if self.vocabulary == "events" and self.velocity_bins != 32:
            raise ConfigError(
                f"velocity_bins must be 32 for the vocabulary events, got {self.velocity_bins}. "
                "Leave it out."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What became of a folder; plain data, stored in the manifest."""

    fingerprint: str
    """Of the corpus."""

    files: int
    pieces: int
    refused: dict[str, int]
    """Files by reason code."""

    bars: int
    notes: int
    """Of the pieces."""

    windows: dict[str, int]
    """By split."""

    notes_not_said: dict[str, int]
    """Notes of the files that the tokens leave out or change, by how; see ``Events.said`` and
    ``read_counted``."""

    windows_left_out: dict[str, int]
    """By why: ``empty``, ``too_long``, ``metre``."""

    metres: dict[str, int]
    """Pieces by the metre of most of their bars, the commonest first; ``events`` knows none."""

    pickups: int
    """Pieces that begin with an incomplete bar."""

    shared_openings: dict[str, int]
    """``groups`` of several pieces with one opening, which share a split, and their ``pieces``."""

    tokens_per_note: float
    tokens_per_bar: float
    notes_clipped: int
    """Notes that sounded on past the end of their window and were cut there."""

    seconds: float
    is_unchanged: bool = False
    """Whether this corpus was there already, so that nothing was done."""


def prepare(
    source: Path,
    out: Path,
    options: PrepareOptions,
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Make the corpus ``out`` from the MIDI files below ``source``.

    Args:
        source: A folder; files are found at any depth, through links too.
        out: A folder to make. One that holds a corpus is replaced, as a whole.
        options: How.
        progress: Told how far it is.

    Raises:
        DataError: In one line, if there is no folder or no MIDI file in it, fewer than three
            different pieces are usable, or ``out`` cannot be written or holds something else.
    """
    started = time.monotonic()
    sources = found_sources(source)
    _check_out(out)
    origin = _origin(sources, options)
    if (there := _unchanged(out, origin)) is not None:
        progress(1, 1)
        return there
    effort = Effort(workers=options.workers, limits=options.limits, progress=progress)
    gathered = _gathered(sources, options, effort)
    if len(set(gathered.groups)) < len(SPLITS):
        _write_refused(out, gathered.refusals)
        raise DataError(_too_little(source, out, gathered))
    corpus = _corpus(gathered, options, options.name or printable(source.resolve().name))
    summary = _summary(gathered, corpus, time.monotonic() - started)
    details = {
        "origin": origin,
        "summary": asdict(summary),
        "pieces": _rows(gathered, corpus),
    }
    try:
        with atomic(out) as temporary:
            save(replace(corpus, details=details), temporary)
            append_lines(temporary / REFUSED, [asdict(each) for each in gathered.refusals])
    except OSError as error:
        raise DataError(f"{printable(str(out))} cannot be written: {error.strerror}.") from error
    return summary


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gathered:
    """What the files turned out to hold; ``windows`` and ``groups`` are by piece."""

    n_files: int
    kept: list[Kept]
    windows: list[Windows]
    refusals: list[Refusal]
    vocabulary: Vocabulary
    groups: list[str]


def _gathered(sources: Sequence[Source], options: PrepareOptions, effort: Effort) -> _Gathered:
    read = partial(read_counted, is_timed=options.vocabulary == "events")
    kept, refusals = read_all(sources, effort, read)
    pieces = [each.piece for each in kept]
    vocabulary: Vocabulary = (
        Events()
        if options.vocabulary == "events"
        else choose_vocabulary(pieces, velocity_bins=options.velocity_bins)
    )
    requests = [
        WindowRequest(
            piece=piece,
            vocabulary=vocabulary,
            n_bars=options.n_bars,
            max_tokens=options.max_tokens,
        )
        for piece in pieces
    ]
    kept, windows, more = cut_all(kept, requests, effort, n_refused=len(refusals))
    return _Gathered(
        n_files=len(sources),
        kept=kept,
        windows=windows,
        refusals=sorted([*refusals, *more], key=lambda refusal: refusal.file),
        vocabulary=vocabulary,
        groups=grouped([each.piece for each in kept], options.groups_by),
    )


def _corpus(gathered: _Gathered, options: PrepareOptions, name: str) -> Corpus:
    windows = gathered.windows
    lengths = np.concatenate([each.lengths for each in windows])
    n_windows = [len(each.lengths) for each in windows]
    return Corpus(
        vocabulary=gathered.vocabulary,
        n_bars=options.n_bars,
        tokens=np.concatenate([each.tokens for each in windows]).astype("<u2"),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype("<i8"),
        piece=np.repeat(np.arange(len(windows)), n_windows).astype("<i4"),
        first_bar=np.concatenate([each.first_bar for each in windows]).astype("<i4"),
        split=np.repeat(split_of_groups(gathered.groups), n_windows).astype("i1"),
        attributes=np.concatenate([each.attributes for each in windows]).astype("<f4"),
        attribute_names=ATTRIBUTES,
        piece_names=tuple(each.source.name for each in gathered.kept),
        name=name,
        licence=options.licence,
    )


def _summary(gathered: _Gathered, corpus: Corpus, seconds: float) -> Summary:
    pieces = [each.piece for each in gathered.kept]
    sizes = [size for size in Counter(gathered.groups).values() if size > 1]
    left_out = sum((Counter(each.left_out) for each in gathered.windows), Counter[str]())
    not_said = sum((Counter(each.not_said) for each in gathered.windows), Counter[str]())
    not_said += sum((Counter(each.without) for each in gathered.kept), Counter[str]())
    has_metre = not isinstance(gathered.vocabulary, Events)
    metres = Counter(_main_metre(piece) for piece in pieces if has_metre)
    n_notes = sum(each.n_notes for each in gathered.windows)
    return Summary(
        fingerprint=corpus.fingerprint,
        files=gathered.n_files,
        pieces=len(pieces),
        refused=dict(sorted(Counter(each.reason for each in gathered.refusals).items())),
        bars=sum(piece.n_bars for piece in pieces),
        notes=sum(len(piece.notes) for piece in pieces),
        windows={name: len(corpus.indices(name)) for name in SPLITS},
        notes_not_said=dict(sorted(not_said.items())),
        windows_left_out=dict(sorted(left_out.items())),
        metres=dict(metres.most_common()),
        pickups=sum(piece.pickup > 0 for piece in pieces),
        shared_openings={"groups": len(sizes), "pieces": sum(sizes)},
        tokens_per_note=round(len(corpus.tokens) / n_notes, 4),
        tokens_per_bar=round(len(corpus.tokens) / (len(corpus) * corpus.n_bars), 4),
        notes_clipped=sum(each.n_clipped for each in gathered.windows),
        seconds=round(seconds, 3),
    )


def _main_metre(piece: Piece) -> str:
    bars = Counter(piece.metre_at(line) for line in piece.bar_lines()[:-1].tolist())
    metre = bars.most_common(1)[0][0]
    return f"{metre.numerator}/{metre.denominator}"


def _rows(gathered: _Gathered, corpus: Corpus) -> list[dict[str, Any]]:
    """One row a piece for the manifest."""
    splits = split_of_groups(gathered.groups)
    return [
        {
            "file": name,
            "split": SPLITS[split],
            "group": group[:16],
            "sha256": kept.source.sha256,
            "bars": kept.piece.n_bars,
            "notes": len(kept.piece.notes),
            "pickup": kept.piece.pickup,
            "windows": len(windows.lengths),
        }
        for name, split, group, kept, windows in zip(
            corpus.piece_names,
            splits,
            gathered.groups,
            gathered.kept,
            gathered.windows,
            strict=True,
        )
    ]


def _check_out(out: Path) -> None:
    shown = printable(str(out))
    if not out.name or (out.exists() and not out.is_dir()):
        what = "is a file" if out.name else "has no name"
        raise DataError(f"{shown} {what}. Name a folder to make.")
    try:
        held = {path.name for path in out.iterdir()} if out.exists() else set[str]()
        if held - {REFUSED} and MANIFEST not in held:
            raise DataError(f"{shown} holds something that is not a corpus. Name a new folder.")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise DataError(f"{shown} cannot be written: {error.strerror}.") from error


def _origin(sources: Sequence[Source], options: PrepareOptions) -> str:
    """A hash of everything that the result depends on."""
    facts = [
        code_version(),
        options.vocabulary,
        options.n_bars,
        options.max_tokens,
        options.velocity_bins,
        options.groups_by,
    ]
    facts += [options.name, options.licence]
    facts += [[source.name, source.size, source.sha256] for source in sources]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _unchanged(out: Path, origin: str) -> Summary | None:
    """The summary of the corpus that is there, if it is whole and would come out the same."""
    try:
        manifest = read_manifest(out)
        if manifest.get("origin") != origin:
            return None
        load(out)
        stored: dict[str, Any] = manifest["summary"]
        return replace(Summary(**stored), is_unchanged=True)
    except (DataError, TypeError, KeyError):
        return None


def _write_refused(out: Path, refusals: Sequence[Refusal]) -> None:
    """Leave the list of refused files where a corpus would have been, unless one is there."""
    if (out / MANIFEST).exists():
        return
    (out / REFUSED).unlink(missing_ok=True)
    append_lines(out / REFUSED, [asdict(each) for each in refusals])


def _too_little(source: Path, out: Path, gathered: _Gathered) -> str:
    counts = Counter(each.reason for each in gathered.refusals)
    n_different = len(set(gathered.groups))
    alike = " (pieces with one opening count as one)" * (n_different < len(gathered.groups))
    found = (
        f"{n_different} different pieces{alike}, and train, val and test need {len(SPLITS)}"
        if n_different
        else "no usable MIDI file"
    )
    refused = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
    where = "" if (out / MANIFEST).exists() else f", listed in {printable(str(out / REFUSED))}"
    told = f": {sum(counts.values())} refused ({refused}){where}." if counts else ". Add music."
    return f"{printable(str(source))} holds {found}{told}"
