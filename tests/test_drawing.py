"""Pictures, read back: what is drawn where, and how dark."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from aurl.data.piece import NOTE, Metre, Piece
from aurl.drawing.canvas import MISSING, PALE, PAPER, RAMP, Canvas, Picture, png, shade
from aurl.drawing.front import FRONT, OTHER, Trials, pareto_front
from aurl.drawing.heat_map import Labels, heat_map
from aurl.drawing.piano_roll import FAMILIES, Captions, frame_of, piano_roll, sheet


def pixels(picture: Picture, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of a colour."""
    return np.argwhere((picture == np.asarray(colour, np.uint8)).all(axis=2))


def of_notes(*notes: tuple[int, int, int], program: int = 0, velocity: int = 127) -> Piece:
    rows = np.zeros(len(notes), NOTE)
    for row, (onset, duration, pitch) in zip(rows, notes, strict=True):
        row["onset"], row["duration"], row["pitch"] = onset, duration, pitch
    rows["velocity"], rows["program"] = velocity, program
    return Piece(ticks_per_quarter=24, notes=rows, length=192)


def test_shades_go_from_paper_to_the_darkest_and_stay_there() -> None:
    assert shade(0.0, 2.0) == RAMP[0] == PAPER
    assert shade(2.0, 2.0) == shade(9.0, 2.0) == RAMP[-1]
    assert shade(1.0, 2.0) == RAMP[2]
    assert shade(float("nan"), 2.0) == MISSING
    assert shade(0.0, 0.0) == PAPER
    sums = [sum(shade(value, 1.0)) for value in np.linspace(0.0, 1.0, 100)]
    assert sums == sorted(sums, reverse=True)


def test_a_png_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    with Image.open(io.BytesIO(png(picture))) as read:
        np.testing.assert_array_equal(np.asarray(read), picture)


def test_a_heat_map_has_its_values_in_the_order_of_rows_and_columns() -> None:
    values = np.array([[0.0, 1.0, 2.0], [np.nan, 2.0, 0.0]])
    labels = Labels(title="KL", rows=["a/0", "a/1"], columns=["10", "20", "30"])
    picture = heat_map(values, labels)
    middles = pixels(picture, MISSING).mean(axis=0)
    darkest = pixels(picture, RAMP[-1])
    below, beside = (
        darkest[np.abs(darkest[:, 1] - middles[1] - 56 * column).argmin()] for column in (1, 2)
    )
    assert beside[0] < middles[0] - 8 < below[0]
    assert len(pixels(heat_map(np.zeros((2, 3)), labels), MISSING)) == 0
    scale = picture[:, pixels(picture, RAMP[-1])[:, 1].max() + 18 + 7].astype(int).sum(axis=1)
    shades = scale[scale < 3 * 255]  # of the bar beside the cells: dark at its top, and then paler
    assert (np.diff(shades) >= 0).all()
    assert shades[-1] > shades[0] + 200


def test_what_is_infinite_leaves_the_shades_of_the_rest() -> None:
    labels = Labels(title="KL", rows=["a", "b"], columns=["1", "2"])
    spoilt = np.array([[1.0, 2.0], [0.5, np.inf]])
    assert len(pixels(heat_map(spoilt, labels), RAMP[-1])) > 400


def test_a_matrix_with_many_columns_stays_narrow() -> None:
    values = np.random.default_rng(0).random((2, 300))
    labels = Labels(title="t", rows=["a", "b"], columns=[str(step) for step in range(300)])
    assert heat_map(values, labels).shape[1] < 900


def test_rows_and_columns_must_be_named() -> None:
    labels = Labels(title="", rows=["a"], columns=["b"])
    with pytest.raises(ValueError, match="labels must name 2 rows and 1 columns, got 1 and 1"):
        heat_map(np.zeros((2, 1)), labels)
    with pytest.raises(ValueError, match=r"rolls must be 1 rows of 1 pieces, as named, got \[2\]"):
        sheet([[of_notes(), of_notes()]], Captions(title="", rows=["a"], columns=["b"]))


def test_notes_are_where_their_onset_and_pitch_say() -> None:
    piece = of_notes((0, 24, 60), (96, 48, 72), program=20)
    picture = piano_roll(piece, width=400, height=200)
    found = pixels(picture, FAMILIES[1])
    low, high = (found[found[:, 0] > 100], found[found[:, 0] <= 100])
    left, right = 44, 400 - 12
    scale = (right - left) / 192
    assert low[:, 1].min() == pytest.approx(left, abs=1)
    assert low[:, 1].max() == pytest.approx(left + 24 * scale - 2, abs=1.5)
    assert high[:, 1].min() == pytest.approx(left + 96 * scale, abs=1)
    assert np.ptp(high[:, 1]) == pytest.approx(2 * np.ptp(low[:, 1]), abs=3)


def test_a_soft_note_is_paler_and_silence_is_said() -> None:
    loud, soft = (of_notes((0, 96, 60), velocity=velocity) for velocity in (127, 20))
    assert len(pixels(piano_roll(loud), FAMILIES[0])) > 500
    assert len(pixels(piano_roll(soft), FAMILIES[0])) == 0
    assert piano_roll(soft).min(axis=2).mean() > piano_roll(loud).min(axis=2).mean()
    assert not np.array_equal(piano_roll(of_notes()), piano_roll(soft))


def test_bars_have_lines_where_the_metre_says() -> None:
    notes = of_notes((0, 24, 60)).notes
    metre = (Metre(tick=0, numerator=3, denominator=4),)
    piece = Piece(ticks_per_quarter=24, notes=notes, metres=metre, length=144)
    picture = piano_roll(piece, width=400, height=200)
    columns = [
        column
        for column in range(picture.shape[1])
        if (picture[20:170, column] == PALE).all(axis=1).mean() > 0.8
    ]
    assert columns == pytest.approx([44, (44 + 388) / 2, 388], abs=1)


def test_the_rolls_of_a_sheet_share_a_frame() -> None:
    low, high = of_notes((0, 192, 40)), of_notes((0, 192, 88))
    frame = frame_of([low, high])
    assert (frame.lowest, frame.highest) == (39, 89)
    assert frame.quarters == 8.0
    captions = Captions(title="two", rows=["only"], columns=["low", "high"])
    found = pixels(sheet([[low, high]], captions), FAMILIES[0])
    middle = (found[:, 1].min() + found[:, 1].max()) / 2
    left, right = (found[found[:, 1] < middle], found[found[:, 1] > middle])
    assert left[:, 0].min() > right[:, 0].max() + 30
    assert np.ptp(left[:, 1]) == pytest.approx(np.ptp(right[:, 1]), abs=1)


def test_the_front_stands_out_where_its_values_are() -> None:
    values = np.array([[0.1, 0.9], [0.5, 0.5]])
    trials = Trials(
        names=["t0000", "t0001"],
        objectives=["kl_health", "disentanglement"],
        values=values,
        on_front=np.array([True, False]),
    )
    picture = pareto_front(trials, title="one panel")
    front, other = (pixels(picture, colour).mean(axis=0) for colour in (FRONT, OTHER))
    assert other[1] - front[1] == pytest.approx(0.4 * 260, abs=1)
    assert other[0] - front[0] == pytest.approx(0.4 * 260, abs=1)
    hidden = replace(trials, values=values[:1].repeat(2, axis=0))  # one dot on the other
    assert len(pixels(pareto_front(hidden, title="one panel"), OTHER)) == 0


def test_three_objectives_are_three_panels() -> None:
    trials = Trials(
        names=["a"], objectives=["x", "y", "z"], values=np.ones((1, 3)), on_front=np.ones(1, bool)
    )
    columns = np.unique(pixels(pareto_front(trials, title=""), FRONT)[:, 1])
    assert (np.diff(columns) > 100).sum() == 2
    with pytest.raises(ValueError, match="objectives must be 2 at least, got 1"):
        pareto_front(
            Trials(
                names=["a"], objectives=["x"], values=np.ones((1, 1)), on_front=trials.on_front
            ),
            title="",
        )


def test_words_are_put_where_they_are_asked_for() -> None:
    canvas = Canvas(100, 100)
    canvas.words(50, 50, "X", anchor="mm")
    canvas.upright(20, 40, "XX")
    dark = np.argwhere(canvas.picture().max(axis=2) < 128)
    right = dark[dark[:, 1] > 35]
    left = dark[dark[:, 1] <= 35]
    assert right.mean(axis=0) == pytest.approx([49.5, 49.5], abs=2)
    assert left[:, 0].min() == pytest.approx(41, abs=4)
    assert np.ptp(left[:, 0]) > np.ptp(left[:, 1])
