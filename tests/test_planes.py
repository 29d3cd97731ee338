"""Maps of codes as charts: named axes, colours in order or by class, and what they mean."""

from typing import Any

import numpy as np

from aurl.data.metrical_layout import METRES
from aurl.drawing.svg import KINDS, LEVELS
from aurl.reporting.planes import MOST_DOTS, maps
from tests.test_charts import shapes, texts


def plane(values: dict[str, list[Any]], **changes: Any) -> dict[str, Any]:
    count = len(next(iter(values.values())))
    points = np.random.default_rng(0).normal(size=(count, 2)).tolist()
    found = {"map": "pca", "explained": [0.31, 0.2], "points": points}
    return {**found, "windows": list(range(count)), "attributes": values, **changes}


def test_axes_are_named_after_what_made_them() -> None:
    values = {"mean_pitch": [60.0, 61.0]}
    (drawing,) = maps(plane(values)).values()
    assert {"PCA 1, 31 % of variance", "↑ PCA 2, 20 % of variance"} <= set(texts(drawing))
    (drawing,) = maps(plane(values, map="umap", explained=None)).values()
    assert {"UMAP 1", "↑ UMAP 2", "mean pitch"} <= set(texts(drawing))


def test_what_has_an_order_has_colours_in_order() -> None:
    pitches = np.linspace(50.0, 78.0, 57).tolist()
    (drawing,) = maps(plane({"mean_pitch": pitches})).values()
    dots = [each for each in shapes(drawing, "circle") if "data-trial" in each.attrib]
    levels = [LEVELS.index(each.attrib["class"]) for each in dots]
    assert levels == sorted(levels)
    assert {*levels} == {*range(len(LEVELS))}
    assert {"50.6", "77.4"} <= set(texts(drawing))  # 2 % and 98 %


def test_what_has_none_has_a_colour_for_each_class_by_its_name() -> None:
    metres = [float(METRES.index((6, 8)))] * 3 + [float(METRES.index((2, 4)))] * 2 + [None]
    (drawing,) = maps(plane({"metre": metres})).values()
    dots = [each for each in shapes(drawing, "circle") if "data-trial" in each.attrib]
    assert [each.attrib["class"] for each in dots] == [KINDS[0]] * 3 + [KINDS[1]] * 2
    assert [text for text in texts(drawing) if "/" in text] == ["6/8", "2/4"]
    assert [each.text for each in shapes(drawing, "title")] == ["metre 6/8"] * 3 + [
        "metre 2/4"
    ] * 2
    many = [float(index) for index in range(len(KINDS) + 2)]
    (drawing,) = maps(plane({"rhythm_bar_1": many})).values()  # a factor of the melodies
    assert "2 others" in texts(drawing)


def test_many_windows_are_drawn_in_part_and_what_nothing_shows_is_not() -> None:
    count = MOST_DOTS + 50
    found = maps(plane({"contour": [0.5] * count, "tonic": [None] * count}))
    (drawing,) = found.values()
    assert list(found) == ["map_contour"]
    dots = [each for each in shapes(drawing, "circle") if "data-trial" in each.attrib]
    assert len(dots) == MOST_DOTS
