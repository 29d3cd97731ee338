"""Vector drawings as SVG: shapes and words whose colours a style sheet decides.

Nothing here has a colour of its own: a shape has a role, and :data:`STYLE` gives roles their
colours, light or dark as the reader's system asks for. So the same drawing stands inside a page
and as a file of its own. All text is escaped.
"""

import html
import re
from typing import Literal, TypeAlias, final, get_args

Plain: TypeAlias = Literal[
    "rule", "axis", "words", "pale", "front", "other", "first", "best", "bar", "track", "flagged"
]
Level: TypeAlias = Literal["level0", "level1", "level2", "level3", "level4", "level5", "level6"]
"""Of what has an order, from the least to the most."""

Kind: TypeAlias = Literal["kind0", "kind1", "kind2", "kind3", "kind4", "kind5", "kind6"]
"""Of what has none."""

Role: TypeAlias = Plain | Level | Kind
LEVELS: tuple[Level, ...] = get_args(Level)
KINDS: tuple[Kind, ...] = get_args(Kind)
Align: TypeAlias = Literal["start", "middle", "end"]

_BASE = """
:root { --paper: #ffffff; --ink: #1d2230; --pale: #5d6675; --rule: #e1e4ea; --axis: #aab1bd;
  --front: #bf4a12; --other: #8793a6; --best: #bf4a12; --bar: #2f7f95; --track: #eceff3; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171e; --ink: #e6e9ef; --pale: #a2abba; --rule: #2a303b; --axis: #58616f;
    --front: #ff9257; --other: #7d899c; --best: #ff9257; --bar: #5cb6cc; --track: #232833; }
}
.drawing text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.drawing text.pale { fill: var(--pale); }
.drawing text.flagged { fill: var(--front); font-weight: 600; }
.drawing .rule { stroke: var(--rule); }
.drawing .axis { stroke: var(--axis); }
.drawing circle.front { fill: var(--front); stroke: var(--paper); }
.drawing circle.other { fill: var(--other); fill-opacity: 0.55; stroke: none; }
.drawing circle.first { fill: var(--other); stroke: var(--ink); stroke-width: 2; }
.drawing circle.best { fill: var(--best); stroke: var(--ink); stroke-width: 2; }
.drawing rect.bar { fill: var(--bar); }
.drawing rect.track { fill: var(--track); }
"""
_LEVEL_COLOURS = ("#440154", "#443983", "#31688e", "#21918c", "#35b779", "#90d743", "#fde725")
"""Viridis (van der Walt & Smith 2015): even steps, to who sees few colours too."""

_KIND_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800")
"""Okabe & Ito 2008, told apart by who sees few colours."""

STYLE = _BASE + "".join(
    f".drawing circle.{role} {{ fill: {colour}; stroke: var(--axis); stroke-width: 0.5; }}\n"
    for role, colour in zip((*LEVELS, *KINDS), (*_LEVEL_COLOURS, *_KIND_COLOURS), strict=True)
)

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold, escaped or not."""

_TIP = re.compile("<title>[^<]*</title>")


def escaped(text: str) -> str:
    """Text as it may stand between tags and in a quoted attribute, of SVG and HTML alike."""
    return html.escape(FORBIDDEN.sub("\ufffd", text), quote=True)


@final
class Drawing:
    """A sheet of ``width`` by ``height`` units; x grows to the right, y downwards.

    Args:
        width: In units, which are pixels where the drawing is not scaled.
        height: In units.
        label: What it shows, for who cannot see it.
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self.label = width, height, label
        self._parts: list[str] = []

    def line(self, x0: float, y0: float, x1: float, y1: float, role: Role = "rule") -> None:
        """A line, one unit wide."""
        places = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
        self._parts.append(f'<line class="{role}" {places}/>')

    def box(self, x: float, y: float, width: float, height: float, role: Role) -> None:
        """A filled rectangle."""
        size = f'width="{max(width, 0.0):.1f}" height="{height:.1f}" rx="2"'
        self._parts.append(f'<rect class="{role}" x="{x:.1f}" y="{y:.1f}" {size}/>')

    def dot(
        self,
        at: tuple[float, float],
        radius: float,
        role: Role,
        *,
        key: str,
        tip: str,
    ) -> None:
        """A filled circle that stands for something.

        Args:
            at: Its middle.
            radius: In units.
            role: What decides its colour.
            key: What it stands for, as ``data-trial``.
            tip: Shown by a browser that the pointer rests on it.
        """
        place = f'cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}"'
        self._parts.append(
            f'<circle class="{role}" data-trial="{escaped(key)}" {place}>'
            f"<title>{escaped(tip)}</title></circle>"
        )

    def sign(self, at: tuple[float, float], role: Role) -> None:
        """A small circle that stands for its role, in a legend."""
        self._parts.append(f'<circle class="{role}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4"/>')

    def words(
        self, x: float, y: float, text: str, *, align: Align = "start", role: Role = "words"
    ) -> None:
        """One line of text; y is its base line."""
        self._parts.append(
            f'<text class="{role}" x="{x:.1f}" y="{y:.1f}" text-anchor="{align}">'
            f"{escaped(text)}</text>"
        )

    def inline(self, *, tips: bool = True) -> str:
        """The drawing as it stands in a page, which has :data:`STYLE` among its styles.

        Args:
            tips: Whether dots say what they are; a page may say it by itself.
        """
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}"'
        opening = f'<svg class="drawing" {size} height="{self.height:g}" role="img"'
        label = escaped(self.label)
        parts = "".join(self._parts)
        parts = parts if tips else _TIP.sub("", parts)
        return f'{opening} aria-label="{label}">{parts}</svg>'

    def document(self) -> str:
        """The drawing as a file of its own."""
        space = 'xmlns="http://www.w3.org/2000/svg"'
        inline = self.inline().replace("<svg ", f"<svg {space} ", 1)
        paper = "svg { background: var(--paper); }"
        at = inline.index(">") + 1
        return f"{inline[:at]}<style>{STYLE}{paper}</style>{inline[at:]}\n"
