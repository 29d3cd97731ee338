"""A report as a folder: ``index.html``, which needs nothing else, and every figure as a file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aurl.audio import wav
from aurl.data.midi import write_midi
from aurl.drawing.canvas import write_png
from aurl.errors import SweepError
from aurl.files import atomic_folder, is_free, write_bytes, write_json, write_text
from aurl.reporting.conclusions import findings_record
from aurl.reporting.findings import read_findings
from aurl.reporting.looks import Look, looks
from aurl.reporting.page import Page

PAGE = "index.html"
RECORD = "report.json"


def write_report(sweep: Path, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the report of a sweep, whole or not at all, in place of an earlier one.

    ``index.html`` is the page, ``figures/`` has its drawings as SVG and its pictures as PNG,
    ``music/`` what is heard as MIDI and WAV, and ``report.json`` the findings.

    Args:
        sweep: The sweep's folder, which may be running.
        out: The report's folder.
        say: Told what is going on.

    Returns:
        The findings as plain data.

    Raises:
        SweepError: If ``sweep`` is not a sweep's folder, or ``out`` holds something else than a
            report.
    """
    if not is_free(out) and not (out / RECORD).is_file():
        raise SweepError(
            f"--out must be new or hold a report, got {out}, which holds something else. Choose "
            "another folder."
        )
    say("reading trials and computing importances")
    found = read_findings(sweep)
    seen = looks(sweep, found, say)
    page = Page(found, seen)
    text = page.html()
    result = findings_record(found)
    with atomic_folder(out) as folder:
        write_text(folder / PAGE, text)
        write_json(folder / RECORD, result)
        for figure in page.figures:
            write_text(folder / "figures" / f"{figure.name}.svg", figure.drawing.document())
        _write_looks(folder, seen)
    return result


def _write_looks(folder: Path, seen: Sequence[Look]) -> None:
    """Pictures and music of trials, as files."""
    for look in seen:
        for shown in look.pictures:
            write_bytes(folder / "figures" / f"{look.trial}_{shown.name}.png", shown.png)
        for heard in look.performances:
            path = folder / "music" / f"{look.trial}_{heard.name}.mid"
            write_midi(heard.piece, path)
            write_bytes(path.with_suffix(".wav"), wav(heard.sound))
            write_png(heard.roll, folder / "figures" / f"{look.trial}_{heard.name}.png")
