"""What each dimension moves, against moving it by hand; and what sliders are called after it."""

import numpy as np
import pytest

from aurl.analysis.moves import LEAST, REACH, WINDOWS, Graded, moved_by_dimension
from aurl.analysis.readings import musical_readings
from aurl.analysis.traversal import Effect
from aurl.data.metrical_layout import METRES
from aurl.metrics.bootstrap import Interval
from aurl.studio.controls import WORDS, titles
from tests.made_studio import made_studio
from tests.test_latent_tools import DEAD


def effect(attribute: str, size: float) -> Effect:
    interval = Interval(mean=size, low=size - 0.01, high=size + 0.01)
    return Effect(
        attribute=attribute, unit="deviations", size=interval, monotonicity=1.0, windows=9
    )


def test_effects_are_those_of_moving_the_dimension_alone() -> None:
    study = made_studio().study
    assert study is not None
    found = moved_by_dimension(study)
    assert found[study.subject.layout.dimension_names.index(DEAD)] == []
    index = next(place for place, each in enumerate(found) if each)
    first = found[index][0]
    windows = study.drawn("test", WINDOWS)
    z, _ = study.subject.posterior(windows)
    own = study.subject.layout.dimension.numpy() == index
    shift = REACH * np.where(own, study.aggregate.std, 0.0)
    readings = musical_readings()
    column = readings.names.index(first.attribute)
    low, high = (readings.read(study.subject.pieces(z + way * shift)) for way in (-1.0, 1.0))
    rise = (high - low)[:, column] / (2.0 * REACH) / np.nanstd(study.values[:, column])
    assert first.size.mean == pytest.approx(float(np.nanmean(rise)))


def test_only_what_is_certain_and_not_tiny_counts_and_the_largest_comes_first() -> None:
    found = [slider.moves for slider in made_studio().instrument.controls.sliders]
    assert min(each.size.mean for moves in found for each in moves) < -LEAST  # what falls, too
    for moves in found:
        sizes = [abs(each.size.mean) for each in moves]
        assert sizes == sorted(sizes, reverse=True)
        assert all(each.is_certain and abs(each.size.mean) >= LEAST for each in moves)


def test_an_attribute_without_order_counts_by_its_classes() -> None:
    names = musical_readings().names
    values = np.zeros((20, len(names)))
    metres = [METRES.index(metre) for metre in ((6, 8), (2, 4), (9, 8))]
    values[:, names.index("metre")] = [metres[0]] * 12 + [metres[1]] * 7 + [metres[2]]
    values[0, names.index("metre")] = np.nan
    graded = Graded.of(values)
    found = graded.readings()
    assert found.names[-2:] == ("metre 2/4", "metre 6/8")  # 9/8 is too rare to count
    assert not found.categorical.any()
    columns = graded.columns(values)
    assert columns.shape == (20, len(found.names))
    np.testing.assert_array_equal(columns[:, -1], [np.nan] + [1.0] * 11 + [0.0] * 8)
    assert Graded.of(np.zeros_like(values)).classes == []  # one that is everywhere tells nothing


def test_no_two_sliders_are_called_alike() -> None:
    pitch, density = effect("mean_pitch", 0.3), effect("rhythm_density", 0.1)
    moves = {
        "global/0": [effect("mean_pitch", -0.2), density],
        "global/1": [effect("mean_pitch", 0.9)],
        "global/2": [pitch, density],
        "local/0": [effect("mean_pitch", 0.1)],
        "local/1": [],
    }
    assert titles(moves) == {
        "global/1": "mean pitch",  # it moves it most
        "global/2": "mean pitch, rhythm density",
        "global/0": "mean pitch (2)",
        "local/0": "mean pitch (3)",
        "local/1": "local/1",
    }


def test_a_slider_says_what_its_ends_are() -> None:
    sliders = made_studio().instrument.controls.sliders
    moving = [each for each in sliders if each.moves]
    assert moving
    for slider in moving:
        words = WORDS[slider.moves[0].attribute]
        rises = slider.moves[0].size.mean > 0.0
        assert slider.ends == (words if rises else words[::-1])
