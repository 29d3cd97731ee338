"""The studio as a person uses it, in a headless Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurl.data.arrange import in_sequence
from aurl.data.midi import read_midi, write_midi
from tests.browser import Page, downloaded
from tests.made_studio import made_studio, served
from tests.tiny import N_BARS, random_piece

pytestmark = pytest.mark.browser

QUIET = "document.querySelector('#roll').getAttribute('aria-busy') === 'false'"
NOTES = "[...document.querySelectorAll('#roll .note')].map(note => note.dataset.note)"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(made_studio()) as (_, url):
        yield url


@pytest.fixture
def studio(page: Page, url: str) -> Page:
    return opened(page, url)


def opened(page: Page, url: str) -> Page:
    page.open(url)
    page.wait(QUIET)
    assert page.js(NOTES)
    return page


def notes(page: Page) -> Any:
    """What is drawn, once the studio has answered the last move."""
    page.wait(QUIET)
    return page.js(NOTES)


def slide(page: Page, selector: str, value: float) -> None:
    """Drag a slider to a value and let go."""
    page.js(
        f"(() => {{ const e = document.querySelector('{selector}'); e.value = {value};"
        " for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind)); })()"
    )


def message(page: Page) -> str:
    return page.js(
        "document.querySelector('#message').hidden ? ''"
        " : document.querySelector('#message span').textContent"
    )


def test_a_slider_moves_the_notes_and_undo_moves_them_back(studio: Page) -> None:
    before = notes(studio)
    slide(studio, "#slider-0", 3)
    after = notes(studio)
    assert after != before
    shown = studio.js("document.querySelector('#slider-0').parentNode.innerText").splitlines()
    assert shown[1] == "+3.00"
    assert shown[0].endswith("global/0")  # after the title that says what it moves
    assert len(shown) == 4  # and what music becomes at either end
    studio.click("#undo")
    assert notes(studio) == before
    assert studio.js("document.querySelector('#slider-0').value") == "0"
    studio.click("#redo")
    assert notes(studio) == after
    studio.js("document.activeElement.blur()")
    studio.press("z", code=90, control=True)
    assert notes(studio) == before
    assert studio.js("document.querySelector('#undo').disabled")
    assert studio.errors == []


def test_a_reload_begins_where_the_page_was_left(studio: Page) -> None:
    slide(studio, "#slider-0", 3)
    slide(studio, "#at", 0.5)
    studio.click("[data-level=global] input[value=last]")
    left = notes(studio)
    studio.reload()
    studio.wait(QUIET)
    assert notes(studio) == left
    assert studio.js("[...document.querySelectorAll('#at, #slider-0')].map(e => e.value)") == [
        *("0.5", "3"),
    ]
    for _ in range(3):
        studio.click("#undo")
    studio.wait(QUIET)
    assert studio.js("document.querySelector('#undo').disabled")
    assert studio.js("document.querySelector('#slider-0').value") == "0"
    assert studio.errors == []


def test_a_slider_answers_to_the_keyboard(studio: Page) -> None:
    studio.js("document.querySelector('#at').focus()")
    before = notes(studio)
    studio.press("End", code=35)
    assert studio.js("document.querySelector('#morph output').textContent") == "B"
    assert notes(studio) != before
    studio.click("#reset")
    assert notes(studio) == before


def test_faders_and_levels_move_the_notes(studio: Page) -> None:
    before = notes(studio)
    slide(studio, "#fader-0", -3)
    faded = notes(studio)
    assert faded != before
    studio.click("#reset")
    assert notes(studio) == before
    studio.click("[data-level=global] input[value=last]")
    swapped = notes(studio)
    assert swapped != before
    studio.click("[data-level=local] input[value=last]")
    whole = notes(studio)
    slide(studio, "#at", 1)
    for level in ("global", "local"):
        studio.click(f"[data-level={level}] input[value=path]")
    assert notes(studio) == whole  # both levels of B are B
    studio.click("[data-level=global] input[value=mean]")
    assert notes(studio) != whole
    assert studio.errors == []


def test_a_dropped_file_is_encoded_and_what_is_none_says_so_once(
    studio: Page, tmp_path: Path
) -> None:
    pieces = [random_piece(np.random.default_rng(seed)) for seed in (5, 6)]
    write_midi(in_sequence(pieces, bars_each=N_BARS, gap_bars=0), tmp_path / "mine.mid")
    (tmp_path / "noise.mid").write_bytes(b"no music at all")
    before = notes(studio)
    named = "document.querySelectorAll('.piece .name')[{}].textContent"
    studio.drop(".piece[data-piece='0']", [tmp_path / "mine.mid"])
    studio.wait(f"{named.format(0)} === 'mine.mid'")
    mine = notes(studio)
    assert mine != before
    assert message(studio) == ""
    studio.drop(".piece[data-piece='1']", [tmp_path / "noise.mid"])
    studio.wait("!document.querySelector('#message').hidden")
    assert message(studio).startswith("noise.mid cannot be read: unreadable, ")
    assert "\n" not in message(studio)
    assert studio.js(named.format(1)) != "noise.mid"
    assert notes(studio) == mine
    studio.click("#message button")
    assert message(studio) == ""
    studio.choose("#file-1", [tmp_path / "mine.mid"])
    studio.wait(f"{named.format(1)} === 'mine.mid'")
    slide(studio, "#at", 1)
    assert notes(studio) == mine  # the same piece at both ends
    (tmp_path / "large.mid").write_bytes(b"x" * (4 * 2**20 + 1))
    studio.choose("#file-1", [tmp_path / "large.mid"])
    studio.wait("!document.querySelector('#message').hidden")
    assert message(studio).startswith("large.mid must have 4194304 bytes at most")
    refused = [error for error in studio.errors if "400" not in error]
    assert refused == []  # the browser itself notes the answer 400 of the garbage


def test_a_download_is_what_is_drawn(studio: Page, tmp_path: Path) -> None:
    slide(studio, "#at", 1)
    drawn = notes(studio)
    studio.save_downloads(tmp_path)
    studio.click("#mid")
    assert downloaded(tmp_path / "studio.mid")[:4] == b"MThd"
    assert len(read_midi(tmp_path / "studio.mid").notes) == len(drawn)
    studio.click("#wav")
    assert downloaded(tmp_path / "studio.wav")[:4] == b"RIFF"


def test_the_same_seed_is_the_same_music_in_another_tab(studio: Page, url: str) -> None:
    other = studio.browser.page()
    try:
        opened(other, url)
        found: list[Any] = []
        for page in (studio, other):
            slide(page, "#temperature", 1)
            cold = notes(page)
            page.click("#dice")
            found.append((cold, notes(page)))
            assert page.js("document.querySelector('#seed').value") == "1"
        assert found[0] == found[1]
        assert found[0][0] != found[0][1]
    finally:
        other.close()


def test_pieces_are_drawn_by_number_and_bars_are_chosen(studio: Page) -> None:
    piece = ".piece[data-piece='0']"
    before = notes(studio)
    studio.click(f"{piece} [data-kind=prior]")
    studio.wait("document.querySelector('.piece .name').textContent === 'draw 0 from the prior'")
    drawn = notes(studio)
    assert drawn != before
    studio.js(
        f'(() => {{ const e = document.querySelector("{piece} input[type=number]");'
        " e.value = 2; e.dispatchEvent(new Event('change')); })()"
    )
    studio.wait("document.querySelector('.piece .name').textContent === 'draw 2 from the prior'")
    assert notes(studio) != drawn
    choose = "(() => {{ const e = document.querySelector('{}'); e.value = {};"
    choose += " e.dispatchEvent(new Event('change')); }})()"
    studio.js(choose.format("#windows", 1))
    bars = notes(studio)
    label = studio.js("document.querySelector('#roll').getAttribute('aria-label')")
    assert label.startswith(f"Piano roll of {N_BARS} bars: ")
    studio.js(choose.format(".piece select", 1))
    assert notes(studio) != bars


def test_every_move_is_played_and_play_goes_on_until_it_is_stopped(studio: Page) -> None:
    studio.js(
        "window.begun = 0, OscillatorNode.prototype.start = (original => function (...at)"
        " { window.begun += 1; return original.apply(this, at); })(OscillatorNode.prototype.start)"
    )
    pressed = "document.querySelector('#play').getAttribute('aria-pressed') === 'true'"
    studio.js(
        f"window.shown = false, new MutationObserver(() => {{ window.shown ||= {pressed}; }})"
        ".observe(document.querySelector('#play'), { attributes: true })"
    )
    slide(studio, "#at", 0.5)
    notes(studio)
    assert studio.wait("window.begun > 0")
    assert studio.wait("window.shown")
    assert studio.wait(f"!({pressed})")  # a move is played once
    studio.click("#auto")
    slide(studio, "#at", 0.25)
    notes(studio)
    assert not studio.js(pressed)
    studio.js("document.activeElement.blur()")
    studio.press(" ", code=32)
    assert studio.wait(pressed)
    assert studio.wait("+document.querySelector('#roll .head').getAttribute('x1') > 30")
    studio.click("#play")
    assert not studio.js(pressed)
    assert studio.errors == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window_and_asks_only_this_machine(
    page: Page, url: str, width: int, scheme: str
) -> None:
    page.resize(width, 800)
    page.prefer(color_scheme=scheme)
    opened(page, url)
    assert page.js("document.documentElement.scrollWidth") <= width
    ground = page.js("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(247, 246, 243)", "dark": "rgb(22, 24, 28)"}[scheme]
    assert page.errors == []
    assert all(request.startswith(url) for request in page.requests)


def test_a_studio_without_its_music_says_why(page: Page) -> None:
    with served(made_studio(with_music=False)) as (_, url):
        opened(page, url)
        assert page.js("document.querySelector('#lacking').innerText") == "The music is not here."
        assert page.js("document.querySelector('#faders').hidden")
        assert page.js("document.querySelectorAll('#sliders input').length") == 3
        before = notes(page)
        slide(page, "#slider-0", 3)
        assert notes(page) != before
        assert page.errors == []


def test_a_server_that_is_gone_is_said_to_be(page: Page) -> None:
    with served(made_studio()) as (_, url):
        opened(page, url)
    slide(page, "#at", 1)
    page.wait("!document.querySelector('#message').hidden")
    assert message(page) == "The studio does not answer. Is `aurl studio` still running?"
