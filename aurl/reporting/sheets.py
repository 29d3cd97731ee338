"""What self-contained pages are made of: the shell around their content, pictures and players.

A page is one file: style, script, pictures and sounds are in it. Everything that comes from files
is escaped (:mod:`aurl.reporting.html`), and a policy in the page forbids it every script but its
own and every request.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aurl.audio import RATE, Sound, small_wav
from aurl.drawing.canvas import Picture, png
from aurl.drawing.svg import STYLE, Drawing
from aurl.reporting.html import Html, data_block, element, joined

HERE = Path(__file__).parent

SOUND_SECONDS = 360.0
"""Sound that a page itself holds, 21 kB a second; what is beyond lies beside it. Three trials of
two-bar windows need 110 to 140 s, those of six bars three times as much."""


def document(title: str, *content: str, data: Any = None) -> str:  # noqa: ANN401
    """A whole page.

    Args:
        title: Of the window.
        content: Of the body.
        data: Plain data that the page's script shows of each trial, by its id.
    """
    script = (HERE / "page.js").read_text(encoding="utf-8")
    style = STYLE + (HERE / "page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Html(f"<style>{style}</style>"),
    )
    body = element(
        "body",
        *content,
        element("aside", id="selected", hidden=True, aria_live="polite"),
        element("div", id="tip", hidden=True),
        data_block(data or {}),
        Html(f"<script>{script}</script>"),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def chart(drawing: Drawing, file: str, *, tips: bool = True) -> Html:
    """A drawing, and where it lies as a file.

    Args:
        drawing: What is shown.
        file: Where it lies beside the page.
        tips: Whether its dots say what they are; left out where the page's data do.
    """
    link = element("a", "SVG", href=file)
    caption = element("figcaption", link)
    return element("figure", Html(drawing.inline(tips=tips)), caption, class_="chart")


def picture(data: bytes, caption: str, file: str, alt: str) -> Html:
    """A picture as wide as it is, in a box that scrolls, and where it lies as a file.

    Args:
        data: A PNG file.
        caption: Above it.
        file: Where it lies beside the page.
        alt: What it shows, for who cannot see it.
    """
    heading = element("figcaption", f"{caption} ", element("a", "PNG", href=file))
    return element("figure", heading, _paper(data, alt))


class Players:
    """Players of sound with piano rolls, until the page is full.

    A sound that the page holds already, such as the same original beside two reconstructions, is
    held once: the page's script gives it to every player.

    Args:
        seconds: Sound that the page holds.
    """

    def __init__(self, seconds: float = SOUND_SECONDS) -> None:
        self._most = self._seconds_left = seconds
        self._held: dict[str, str] = {}
        """Ids of the players that hold sounds, by what is heard."""

    def player(
        self, title: str, roll: Picture, sound: Sound, *, file: str, endings: Sequence[str]
    ) -> Html:
        """Something to see and hear.

        Args:
            title: Above it.
            roll: What it looks like.
            sound: What it sounds like.
            file: Where it lies beside the page, without the ending.
            endings: Of the files that are there: ``mid``, and perhaps ``wav``.
        """
        names = {"mid": "MIDI", "wav": "WAV"}
        links = [element("a", names[each], href=f"{file}.{each}") for each in endings]
        caption = element("figcaption", title, *(joined([" ", link]) for link in links))
        paper = _paper(png(roll), f"piano roll: {title}")
        return element("figure", caption, paper, self._heard(title, sound), class_="player")

    def _heard(self, title: str, sound: Sound) -> Html:
        data = small_wav(sound)
        digest = hashlib.sha256(data).hexdigest()
        label = f"listen: {title}"
        if holder := self._held.get(digest):
            return element("audio", controls=True, data_same=holder, aria_label=label)
        if len(sound) / RATE > self._seconds_left:
            return element(
                "p",
                f"Too long for the page, which holds {self._most:g} s of sound.",
                class_="pale",
            )
        self._seconds_left -= len(sound) / RATE
        self._held[digest] = holder = f"sound-{len(self._held)}"
        source = _data_uri("audio/wav", data)
        return element(
            "audio", id=holder, controls=True, preload="metadata", src=source, aria_label=label
        )


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _paper(data: bytes, alt: str) -> Html:
    image = element("img", src=_data_uri("image/png", data), alt=alt, class_="paper")
    return element("div", image, class_="scroll", tabindex="0")


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
