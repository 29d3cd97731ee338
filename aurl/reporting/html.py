"""HTML that cannot be spoilt by what stands in it: text is escaped unless it was made here."""

import json
from collections.abc import Iterable
from typing import Any

from aurl.drawing.svg import FORBIDDEN, escaped

VOID = ("img", "input", "meta", "br")
"""Elements that hold nothing and are not closed."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | bool) -> Html:
    """An element; children are escaped unless they are :class:`Html`.

    Args:
        name: Of the element.
        children: Text and elements in it.
        attributes: By name, of which ``class_`` is ``class`` and ``data_x`` is ``data-x``; True
            stands without a value, False is left out.
    """
    words = [name]
    for key, value in attributes.items():
        shown = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(shown)
        elif value is not False:
            words.append(f'{shown}="{escaped(value)}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening if name in VOID else f"{opening}{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Html:
    """Children one after the other; escaped unless they are :class:`Html`."""
    return Html("".join(each if isinstance(each, Html) else escaped(each) for each in children))


def table(headings: Iterable[str], rows: Iterable[Iterable[str]], **attributes: str) -> Html:
    """A table in a box of its own, that scrolls where it is wider than the page."""
    head = element("tr", *(element("th", each, scope="col") for each in headings))
    body = (element("tr", *(element("td", cell) for cell in row)) for row in rows)
    inner = element("table", element("thead", head), element("tbody", *body), **attributes)
    return element("div", inner, class_="scroll", tabindex="0")


def data_block(value: Any) -> Html:  # noqa: ANN401
    """Plain data for a script of the page; nothing in it can end the block."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    opening = '<script type="application/json" id="data">'
    return Html(f"{opening}{FORBIDDEN.sub('', text)}</script>")
