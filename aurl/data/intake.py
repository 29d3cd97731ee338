"""Files to pieces to windows, each in a process that it may ruin; what is refused, and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from aurl.data.duplicates import content_key
from aurl.data.isolation import Failure, Limits, each_isolated
from aurl.data.piece import Piece
from aurl.data.sources import Source
from aurl.data.windows import WindowRequest, Windows, cut
from aurl.plain import printable

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, in all); every file counts twice, once read and once cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How many processes work at one time, what one file may cost, and who is told."""

    workers: int
    limits: Limits
    progress: Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A file that became a piece; the piece has the file's name."""

    source: Source
    piece: Piece
    without: dict[str, int]
    """Notes of the file that the piece is without, by why: ``doubled``, ``unclosed``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A file that is not in the corpus: a row of ``refused.jsonl``."""

    file: str
    reason: str
    detail: str


def read_all(
    sources: Sequence[Source],
    effort: Effort,
    read: Callable[[Path], tuple[Piece, dict[str, int]]],
) -> tuple[list[Kept], list[Refusal]]:
    """The pieces of the files that can be read and are not copies, in the order of the files.

    Of files with the same bytes, or the same notes, the first by name is kept.

    Args:
        sources: The files.
        effort: What may be spent.
        read: Of a file the piece, and how many notes it is without, by why.
    """
    copies = _copies(sources)
    asked = [source for source in sources if source.name not in copies]
    refusals = [
        Refusal(file=name, reason="duplicate_of", detail=first) for name, first in copies.items()
    ]
    total = 2 * len(sources)
    effort.progress(len(copies), total)
    pieces: dict[int, tuple[Piece, dict[str, int]]] = {}
    paths = [source.path for source in asked]
    outcomes = each_isolated(read, paths, workers=effort.workers, limits=effort.limits)
    for done, (index, outcome) in enumerate(outcomes, start=len(copies) + 1):
        if isinstance(outcome, Failure):
            refusals.append(_refusal(asked[index], outcome))
        else:
            piece, without = outcome
            pieces[index] = replace(piece, name=asked[index].name), without
        effort.progress(done, total)
    kept: dict[str, Kept] = {}
    for index in sorted(pieces):
        source, (piece, without) = asked[index], pieces[index]
        key = content_key(piece)
        if key in kept:
            first = kept[key].source.name
            refusals.append(Refusal(file=source.name, reason="duplicate_of", detail=first))
        else:
            kept[key] = Kept(source=source, piece=piece, without=without)
    return list(kept.values()), refusals


def cut_all(
    kept: Sequence[Kept], requests: Sequence[WindowRequest], effort: Effort, *, n_refused: int
) -> tuple[list[Kept], list[Windows], list[Refusal]]:
    """The windows of every piece that has any, and the files that turned out to have none."""
    n_files = len(kept) + n_refused
    effort.progress(n_files + n_refused, 2 * n_files)
    found: dict[int, Windows] = {}
    refusals: list[Refusal] = []
    outcomes = each_isolated(cut, requests, workers=effort.workers, limits=effort.limits)
    for done, (index, outcome) in enumerate(outcomes, start=n_files + n_refused + 1):
        if isinstance(outcome, Failure):
            refusals.append(_refusal(kept[index].source, outcome))
        elif not len(outcome.lengths):
            failure = _no_windows(len(kept[index].piece.notes), outcome)
            refusals.append(_refusal(kept[index].source, failure))
        else:
            found[index] = outcome
        effort.progress(done, 2 * n_files)
    places = sorted(found)
    return [kept[at] for at in places], [found[at] for at in places], refusals


def _no_windows(n_notes: int, found: Windows) -> Failure:
    """Why a piece of so many notes has no window."""
    if found.not_said.get("drums") == n_notes:
        return Failure(
            "only_drums", f"the vocabulary has none, and all {n_notes} notes are drums."
        )
    why = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
    return Failure("no_windows", f"of its windows, {why}.")


def _refusal(source: Source, failure: Failure) -> Refusal:
    return Refusal(file=source.name, reason=failure.reason, detail=printable(failure.detail))


def _copies(sources: Sequence[Source]) -> dict[str, str]:
    """Name of each file that has the bytes of an earlier one, to the name of the earliest."""
    first: dict[str, str] = {}
    copies: dict[str, str] = {}
    for source in sources:
        if source.sha256 in first:
            copies[source.name] = first[source.sha256]
        elif source.sha256:
            first[source.sha256] = source.name
    return copies
