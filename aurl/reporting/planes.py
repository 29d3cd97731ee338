"""Maps of codes as charts: the plane once for each attribute, whose values are its colours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from aurl.data.attributes import ATTRIBUTES, CATEGORICAL
from aurl.data.context import class_in_words
from aurl.drawing.charts import Axis, Legend, Mark, scatter
from aurl.drawing.svg import KINDS, LEVELS, Drawing, Role

MOST_DOTS = 600
"""In a chart: a page of eleven charts with all 2,000 windows is slow to scroll."""

Painter = Callable[[float], Role]


def maps(plane: Mapping[str, Any]) -> dict[str, Drawing]:
    """A chart for each attribute that any window shows.

    Args:
        plane: What ``map.json`` holds.
    """
    points = np.asarray(plane["points"], np.float64).reshape(-1, 2)[:MOST_DOTS]
    names = _axis_names(plane)
    across, up = (_around(names[index], points[:, index]) for index in range(2))
    found: dict[str, Drawing] = {}
    for name, values in plane["attributes"].items():
        known = np.array([np.nan if value is None else value for value in values], np.float64)
        known = known[:MOST_DOTS]
        if not np.isfinite(known).any():
            continue
        is_ordered = name in ATTRIBUTES and name not in CATEGORICAL
        shown = known[np.isfinite(known)]
        paint, legend = _levels(shown) if is_ordered else _kinds(name, shown)
        marks = [
            Mark(
                x=float(x),
                y=float(y),
                key=str(window),
                tip=f"{name} {f'{value:.3g}' if is_ordered else class_in_words(name, value)}",
                role=paint(float(value)),
            )
            for (x, y), value, window in zip(points, known, plane["windows"], strict=False)
            if np.isfinite(value)
        ]
        found[f"map_{name}"] = scatter(
            marks, across, up, title=name.replace("_", " "), legend=legend
        )
    return found


def _axis_names(plane: Mapping[str, Any]) -> list[str]:
    kind = str(plane["map"]).upper()
    shares: Sequence[float] | None = plane["explained"]
    if shares is None:
        return [f"{kind} {number}" for number in (1, 2)]
    return [f"{kind} {n}, {100.0 * share:.0f} % of variance" for n, share in enumerate(shares, 1)]


def _levels(known: Float[np.ndarray, " window"]) -> tuple[Painter, Legend]:
    """Colours in order; steps are even between the 2nd and the 98th percentile."""
    low, high = np.quantile(known, [0.02, 0.98]).tolist()
    edges = np.linspace(low, high, len(LEVELS) + 1)[1:-1]

    def paint(value: float) -> Role:
        return LEVELS[int(np.searchsorted(edges, value, side="right"))]

    words = [f"{low:.3g}", *[""] * (len(LEVELS) - 2), f"{high:.3g}"]
    return paint, list(zip(LEVELS, words, strict=True))


def _kinds(name: str, known: Float[np.ndarray, " window"]) -> tuple[Painter, Legend]:
    """A colour for each of the most frequent classes, grey for the others."""
    classes, counts = np.unique(known, return_counts=True)
    first: list[float] = classes[np.argsort(-counts, kind="stable")][: len(KINDS)].tolist()
    roles: dict[float, Role] = dict(zip(first, KINDS, strict=False))
    legend: list[tuple[Role, str]] = [
        (role, class_in_words(name, value)) for value, role in roles.items()
    ]
    if len(classes) > len(first):
        legend.append(("other", f"{len(classes) - len(first)} others"))
    return lambda value: roles.get(value, "other"), legend


def _around(name: str, values: Float[np.ndarray, " window"]) -> Axis:
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    room = 0.05 * (high - low) or 1.0
    return Axis(name=name, low=low - room, high=high + room)
