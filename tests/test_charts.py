"""Vector drawings, read back as XML: what is drawn where, and that no text can spoil them."""

import math
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from aurl.drawing.charts import (
    Axis,
    Mark,
    Track,
    axis_around,
    axis_of_options,
    bars,
    scatter,
    tracks,
)
from aurl.drawing.svg import Drawing, escaped

HOSTILE = "</text><script>alert(1)</script> \"'& \x00\x1b\ud800 ]]>"
UNIT = Axis(name="x", low=0.0, high=1.0)


def shapes(drawing: Drawing, name: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(drawing.document())
    return [each for each in root.iter() if each.tag.endswith(f"}}{name}")]


def texts(drawing: Drawing) -> list[str]:
    return [each.text or "" for each in shapes(drawing, "text")]


def places(drawing: Drawing) -> dict[str, tuple[float, float]]:
    return {
        each.attrib["data-trial"]: (float(each.attrib["cx"]), float(each.attrib["cy"]))
        for each in shapes(drawing, "circle")
    }


def marks(*points: tuple[float, float]) -> list[Mark]:
    return [Mark(x=x, y=y, key=f"t{i}", tip=f"tip {i}") for i, (x, y) in enumerate(points)]


def test_text_can_end_no_element_and_holds_what_xml_may_hold() -> None:
    drawing = Drawing(10, 10, HOSTILE)
    drawing.words(0, 0, HOSTILE)
    drawing.dot((1, 2), 3, "other", key=HOSTILE, tip=HOSTILE)
    assert shapes(drawing, "script") == []
    kept = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    assert texts(drawing) == [kept]
    (dot,) = shapes(drawing, "circle")
    assert dot.attrib["data-trial"] == dot[0].text == kept
    assert "<script" not in drawing.inline()
    assert escaped("a<b") == "a&lt;b"


def test_a_file_has_its_own_style_and_a_page_gives_one() -> None:
    drawing = Drawing(10, 20, "a label")
    assert drawing.inline().startswith('<svg class="drawing" viewBox="0 0 10 20" width="10"')
    assert 'aria-label="a label"' in drawing.inline()
    assert "<style>" not in drawing.inline()
    assert "prefers-color-scheme: dark" in drawing.document()
    assert drawing.document().startswith("<svg xmlns=")


def test_a_scatter_has_greater_values_to_the_right_and_above() -> None:
    drawing = scatter(marks((0.0, 0.0), (0.5, 1.0), (1.0, 0.5)), UNIT, UNIT)
    (x0, y0), (x1, y1), (x2, y2) = (places(drawing)[f"t{index}"] for index in range(3))
    assert x0 < x1 < x2
    assert y0 > y2 > y1
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert all(
        0 < x < drawing.width and 0 < y < drawing.height for x, y in places(drawing).values()
    )
    assert {"0.2", "0.8", "x"} <= {*texts(drawing)}


def test_the_best_is_drawn_last() -> None:
    points = [
        Mark(x=0.5, y=0.5, key="best", tip="", role="best"),
        Mark(x=0.5, y=0.5, key="other", tip=""),
        Mark(x=0.5, y=0.5, key="front", tip="", role="front"),
    ]
    drawn = [each.attrib["data-trial"] for each in shapes(scatter(points, UNIT, UNIT), "circle")]
    assert drawn == ["other", "front", "best"]


def test_a_logarithmic_axis_has_equal_ratios_at_equal_distances() -> None:
    axis = Axis(name="lr", low=0.001, high=0.1, is_log=True)
    assert [axis.place(each) for each in (0.001, 0.01, 0.1)] == pytest.approx([0.0, 0.5, 1.0])
    assert [text for _, text in axis.labels()] == ["0.001", "0.01", "0.1"]
    large = Axis(name="weight", low=1.0, high=12345.0, is_log=True)
    assert [text for _, text in large.labels()] == ["1", "110", "12000"], (
        "no exponent of few digits"
    )


def test_the_last_label_below_a_scatter_is_not_cut() -> None:
    axis = Axis(name="lr", low=1e-3, high=123456.0, is_log=True)
    drawing = scatter([], axis, UNIT)
    (last,) = (each for each in shapes(drawing, "text") if each.text == "120000")
    assert float(last.attrib["x"]) + 6.4 * len("120000") / 2 <= drawing.width


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        (Axis(name="x", low=0.0, high=1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (Axis(name="x", low=2.0, high=4.0, is_whole=True), ["2", "3", "4"]),
        (Axis(name="x", low=0.07, high=0.13), ["0.08", "0.1", "0.12"]),
        (axis_of_options("x", ["constant", "linear"]), ["constant", "linear"]),
        (Axis(name="x", low=0.3, high=0.3), []),
    ],
)
def test_an_axis_is_labelled_at_round_values(axis: Axis, labels: Sequence[str]) -> None:
    found = axis.labels()
    assert [text for _, text in found][: len(labels)] == labels
    assert all(0.0 <= place <= 1.0 for place, _ in found)


@pytest.mark.parametrize(
    "values", [[0.5], [0.0, 1.0], [0.999, 1.0], [0.31, 0.42, math.nan], []], ids=str
)
def test_an_axis_around_scores_holds_them_and_stays_within_their_bounds(
    values: list[float],
) -> None:
    axis = axis_around("score", values)
    assert 0.0 <= axis.low < axis.high <= 1.0
    assert all(axis.low <= value <= axis.high for value in values if math.isfinite(value))


def test_choices_do_not_hide_each_other_and_stay_with_their_own() -> None:
    points = [Mark(x=float(i % 2), y=0.5, key=f"t{i:04d}", tip="") for i in range(40)]
    found = places(scatter(points, axis_of_options("x", ["a", "b"]), UNIT))
    columns = [[x for key, (x, _) in found.items() if int(key[1:]) % 2 == side] for side in (0, 1)]
    assert max(columns[0]) < min(columns[1])
    assert len({*columns[0]}) > 15


def test_bars_are_as_long_as_their_shares() -> None:
    drawing = bars("what", ["a", HOSTILE], np.array([0.75, 0.25]))
    wide = [
        float(each.attrib["width"])
        for each in shapes(drawing, "rect")
        if each.attrib["class"] == "bar"
    ]
    assert wide[0] == pytest.approx(3 * wide[1])
    assert {"what", "a", "0.75", "0.25"} <= {*texts(drawing)}


def test_tracks_put_a_dot_where_a_value_is_and_flag_the_end() -> None:
    rows = [
        Track(name="lr", low="0", high="1", marks=marks((0.0, 0.0), (0.5, 0.0), (1.0, 0.0))),
        Track(name="beta", low="2", high="4", marks=[], flagged=True),
    ]
    drawing = tracks("ranges", rows)
    (x0, y0), (x1, y1), (x2, _) = (places(drawing)[f"t{index}"] for index in range(3))
    assert x2 - x1 == pytest.approx(x1 - x0)
    assert y0 == y1
    beyond = tracks("x", [Track(name="lr", low="0", high="1", marks=marks((-1.0, 0), (3.0, 0)))])
    assert [x for x, _ in places(beyond).values()] == [x0, x2]
    named = {each.text: each.attrib["class"] for each in shapes(drawing, "text")}
    assert (named["lr"], named["beta"]) == ("words", "flagged")
    assert 'aria-label="ranges: 2 lines"' in drawing.document()
