"""The page of a tool of the latent space: what its MIDI files hold, to see and to hear."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurl import audio
from aurl.audio import rendered, small_wav, wav
from aurl.data.midi import read_midi, write_midi
from aurl.data.piece import NOTE, Piece
from aurl.errors import DataError
from aurl.reporting.latent_sheet import SHEET, Track, Wanted, write_sheet
from tests.browser import Page
from tests.test_report import HOSTILE, Read
from tests.tiny import random_piece

PLANE: dict[str, Any] = {
    "map": "pca",
    "explained": [0.5, 0.25],
    "points": [[0.0, 1.0], [2.0, -1.0], [1.0, 0.0]],
    "windows": [4, 5, 9],
    "attributes": {"mean_pitch": [60.0, 72.0, None], "mode": [None, None, None]},
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder of one tool, with hostile words."""
    write_midi(random_piece(np.random.default_rng(1)), tmp_path / "global_0.mid")
    tracks = [Track(name="global_0", caption=HOSTILE)]
    wanted = Wanted(wav=True, png=True)
    write_sheet(tmp_path, HOSTILE, [HOSTILE], tracks, plane=PLANE, wanted=wanted)
    return tmp_path


def test_what_is_heard_is_what_the_file_holds(written: Path) -> None:
    page = Read((written / SHEET).read_text(encoding="utf-8"))
    (player,) = page.all("audio")
    data = base64.b64decode((player["src"] or "").partition(",")[2])
    heard = rendered(read_midi(written / "global_0.mid"))
    assert data == small_wav(heard)
    assert (written / "global_0.wav").read_bytes() == wav(heard)
    assert (written / "global_0.png").read_bytes().startswith(b"\x89PNG")
    assert page.text.count(" ".join(HOSTILE.replace("\x1b", "\ufffd").split())) == 4
    assert len(page.all("script")) == 2


def test_a_map_is_drawn_for_what_is_known_of_windows(written: Path) -> None:
    page = Read((written / SHEET).read_text(encoding="utf-8"))
    dots = [each for each in page.all("circle") if "data-trial" in each]
    assert [each["data-trial"] for each in dots] == ["4", "5"]
    assert float(dots[0]["cx"] or 0) < float(dots[1]["cx"] or 0)
    assert float(dots[0]["cy"] or 0) < float(dots[1]["cy"] or 0)
    assert {path.name for path in written.glob("*.svg")} == {"map_mean_pitch.svg"}


def test_without_wishes_there_is_the_page_alone(tmp_path: Path) -> None:
    wanted = Wanted(wav=False, png=False)
    write_sheet(tmp_path, "aurl analyze", ["one"], [], plane=None, wanted=wanted)
    assert [path.name for path in tmp_path.iterdir()] == [SHEET]
    assert Read((tmp_path / SHEET).read_text(encoding="utf-8")).all("h2") == []


@pytest.mark.browser
def test_the_page_is_quiet_and_fits_a_phone(page: Page, written: Path) -> None:
    page.resize(390, 844)
    page.open((written / SHEET).as_uri())
    assert page.js("document.documentElement.scrollWidth") == 390
    page.wait("document.querySelector('audio').duration > 1")
    page.click("circle")
    assert page.errors == []
    assert page.requests == [(written / SHEET).as_uri()]


def test_silence_is_a_bar_without_notes_and_what_cannot_be_shown_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_midi(Piece(ticks_per_quarter=24, notes=np.zeros(0, NOTE)), tmp_path / "path.mid")
    tracks = [Track(name="path", caption="nothing is heard")]
    wanted = Wanted(wav=True, png=True)
    write_sheet(tmp_path, "aurl interpolate", [], tracks, plane=None, wanted=wanted)
    assert len(Read((tmp_path / SHEET).read_text(encoding="utf-8")).all("audio")) == 1
    assert {path.suffix for path in tmp_path.iterdir()} == {".html", ".mid", ".png", ".wav"}
    unshown = r"path\.mid is written, but cannot be shown, so there is no sheet\.html: "
    monkeypatch.setattr(audio, "MOST_SECONDS", 1)
    with pytest.raises(DataError, match=rf"{unshown}a piece must last 1 s at most to be played"):
        write_sheet(tmp_path, "aurl interpolate", [], tracks, plane=None, wanted=wanted)
    (tmp_path / "path.mid").write_bytes(b"no MIDI")
    with pytest.raises(DataError, match=f"{unshown}unrea"):
        write_sheet(tmp_path, "aurl interpolate", [], tracks, plane=None, wanted=wanted)
