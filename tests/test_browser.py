"""The browser that the tests of pages stand on: it sees errors, and does what a user does."""

from pathlib import Path

import pytest

from tests.browser import BrowserError, Page, downloaded

PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<style>body { margin: 0; background: white } @media (prefers-color-scheme: dark) {
  body { background: black } }</style>
<button onclick="count += 1">more</button>
<input id="range" type="range" min="0" max="9" value="4"><input id="file" type="file">
<div id="target" style="height: 90px">drop here</div><a download="made.txt" href="data:,made">a</a>
<script>let count = 0, names = [];
target.ondragover = event => event.preventDefault();
target.ondrop = event => {
  event.preventDefault(); names = [...event.dataTransfer.files].map(file => file.name) };
</script>"""


@pytest.fixture
def opened(page: Page, tmp_path: Path) -> Page:
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    page.open((tmp_path / "page.html").as_uri())
    return page


@pytest.mark.browser
def test_a_page_is_used_as_a_person_uses_it(opened: Page, tmp_path: Path) -> None:
    opened.click("button")
    opened.click("button")
    assert opened.js("count") == 2
    opened.js("document.querySelector('#range').focus()")
    opened.press("ArrowRight", code=39)
    assert opened.js("document.querySelector('#range').value") == "5"
    (tmp_path / "one.txt").write_text("one", encoding="utf-8")
    opened.choose("#file", [tmp_path / "one.txt"])
    assert opened.js("document.querySelector('#file').files[0].text()") == "one"
    opened.drop("#target", [tmp_path / "one.txt"])
    assert opened.wait("names") == ["one.txt"]
    (tmp_path / "saved").mkdir()
    opened.save_downloads(tmp_path / "saved")
    opened.click("a")
    assert downloaded(tmp_path / "saved/made.txt") == b"made"
    assert opened.errors == []
    assert opened.requests == [(tmp_path / "page.html").as_uri()]


@pytest.mark.browser
def test_a_window_has_the_size_and_the_colours_that_were_asked_for(
    opened: Page, tmp_path: Path
) -> None:
    opened.resize(390, 700)
    opened.prefer(color_scheme="dark")
    assert opened.js("[innerWidth, innerHeight]") == [390, 700]
    assert opened.js("getComputedStyle(document.body).backgroundColor") == "rgb(0, 0, 0)"
    opened.screenshot(tmp_path / "dark.png")
    assert (tmp_path / "dark.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.browser
def test_what_goes_wrong_in_a_page_is_seen(opened: Page) -> None:
    opened.js("console.error('first'), setTimeout(() => { throw new Error('second') })")
    opened.js("fetch('http://127.0.0.1:9/third').catch(() => 0)")
    found = "\n".join(opened.errors)
    for words in ("first", "Error: second", "127.0.0.1:9/third"):
        assert words in found
    assert opened.requests[-1] == "http://127.0.0.1:9/third"
    with pytest.raises(BrowserError, match=r"ReferenceError: nobody is not defined"):
        opened.js("nobody.home")
    with pytest.raises(BrowserError, match=r"still not so after 0\.1 s: 1 > 2"):
        opened.wait("1 > 2", patience_s=0.1)
