"""Level swaps: which part of the code goes where, and whom what is heard goes with."""

from dataclasses import replace

import numpy as np
import pytest

from aurl.analysis.swaps import (
    Swaps,
    bar_distances,
    compared,
    level_of,
    locality,
    part_of,
    separation,
    shares,
    swapped,
)
from aurl.errors import ConfigError
from aurl.latent_config import LevelConfig
from aurl.model.latents import LatentLayout
from tests.tiny import random_piece

NAN = np.nan
LAYOUT = LatentLayout.of(
    [
        LevelConfig(name="global", dim=2, span="sequence"),
        LevelConfig(name="local", dim=3, span=1),
    ],
    2,
)
PIECES = np.repeat(np.arange(100), 4)


def test_a_part_is_the_level_or_one_slot_of_it() -> None:
    assert part_of(LAYOUT, "global").tolist() == [True] * 2 + [False] * 6
    assert part_of(LAYOUT, "local").tolist() == [False] * 2 + [True] * 6
    assert part_of(LAYOUT, "local", 1).tolist() == [False] * 5 + [True] * 3


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="level must be one of global, local, got 'fine'"):
        part_of(LAYOUT, "fine")
    with pytest.raises(ConfigError, match=r"slot must be in 0\.\.1 of local, got 2"):
        part_of(LAYOUT, "local", 2)


def test_swapped_takes_the_part_from_the_donor_and_the_rest_from_the_receiver() -> None:
    receiver, donor = np.zeros((1, 8)), np.arange(1.0, 9.0)[None]
    found = swapped(receiver, donor, part_of(LAYOUT, "local", 0))
    assert found.tolist() == [[0, 0, 3, 4, 5, 0, 0, 0]]
    assert level_of(LAYOUT, "local").start == 2


@pytest.mark.parametrize(
    ("values", "categorical", "found"),
    [
        ((1.0, 5.0, 4.0), False, (True, True, False)),
        ((1.0, 5.0, 2.0), False, (True, False, True)),
        ((1.0, 5.0, 3.0), False, (True, False, False)),
        ((1.0, 5.0, 9.0), False, (True, True, False)),
        ((1.0, 5.0, 4.0), True, (True, False, False)),
        ((1.0, 5.0, 5.0), True, (True, True, False)),
        ((1.0, 5.0, 1.0), True, (True, False, True)),
        ((2.0, 2.0, 2.0), False, (False, False, False)),
        ((NAN, 2.0, 2.0), False, (False, False, False)),
        ((2.0, NAN, 2.0), False, (False, False, False)),
        ((1.0, 5.0, NAN), False, (True, False, False)),
        ((1.0, 5.0, NAN), True, (True, False, False)),
    ],
    ids=[
        "nearer to the donor",
        "nearer to the receiver",
        "in the middle",
        "beyond the donor",
        "another name",
        "the donor's name",
        "the receiver's name",
        "no difference",
        "receiver shows nothing",
        "donor shows nothing",
        "result shows nothing",
        "result shows no name",
    ],
)
def test_a_result_goes_with_the_piece_it_is_nearer_to(
    values: tuple[float, float, float], categorical: bool, found: tuple[bool, bool, bool]
) -> None:
    receiver, donor, result = (np.array([[value]]) for value in values)
    swaps = compared(receiver, donor, result, np.array([categorical]))
    assert (swaps.cases.item(), swaps.followed.item(), swaps.stayed.item()) == found


def linear_swaps(weights: np.ndarray) -> dict[str, Swaps]:
    """Swaps of both levels where attributes are linear in the sums of the levels' codes."""
    rng = np.random.default_rng(0)
    receiver, donor = rng.normal(size=(2, len(PIECES), LAYOUT.size))
    parts = {name: part_of(LAYOUT, name) for name in ("global", "local")}

    def hear(z: np.ndarray) -> np.ndarray:
        return np.stack([z[:, part].sum(axis=1) for part in parts.values()], axis=1) @ weights

    return {
        name: compared(
            hear(receiver),
            hear(donor),
            hear(swapped(receiver, donor, part)),
            np.zeros(weights.shape[1], np.bool_),
        )
        for name, part in parts.items()
    }


def test_attributes_follow_the_level_that_carries_them_and_no_other() -> None:
    found = linear_swaps(np.eye(2))
    table = shares(found["global"], ["coarse", "fine"], PIECES)
    assert table["coarse"].cases == len(PIECES)
    assert (table["coarse"].followed.mean, table["coarse"].stayed.mean) == (1.0, 0.0)
    assert (table["fine"].followed.mean, table["fine"].stayed.mean) == (0.0, 1.0)
    apart = separation(found["global"], found["local"], PIECES)
    assert apart is not None
    assert (apart.mean, apart.low, apart.high) == (1.0, 1.0, 1.0)


def test_levels_that_carry_an_attribute_alike_are_not_apart() -> None:
    # Both sums have a share in it; that of six coordinates is larger, so it is scaled down.
    found = linear_swaps(np.array([[1.0], [3.0**-0.5]]))
    table = {name: shares(swaps, ["both"], PIECES)["both"] for name, swaps in found.items()}
    for share in table.values():
        assert share.followed.low < 0.5 < share.followed.high
        assert share.followed.mean + share.stayed.mean == pytest.approx(1.0)
    apart = separation(found["global"], found["local"], PIECES)
    assert apart is not None
    assert apart.mean < 0.15
    followed = found["global"].followed
    unlike = shares(found["global"], ["both"], followed[:, 0].astype(np.int64))["both"].followed
    assert (unlike.low, unlike.high) == (0.0, 1.0)  # of two pieces, and a share all the same


def test_an_attribute_with_too_few_cases_is_left_out() -> None:
    found = linear_swaps(np.eye(2))["global"]
    rare = found.cases.copy()
    rare[29:, 1] = False
    assert list(shares(replace(found, cases=rare), ["coarse", "fine"], PIECES)) == ["coarse"]
    enough = found.cases.copy()
    enough[30:, 1] = False
    table = shares(replace(found, cases=enough), ["coarse", "fine"], PIECES)
    assert {name: each.cases for name, each in table.items()} == {"coarse": 400, "fine": 30}
    none = replace(found, cases=np.zeros_like(rare))
    assert separation(none, none, PIECES) is None
    assert shares(found, ["coarse", "fine"], np.zeros_like(PIECES)) == {}


@pytest.mark.parametrize("column", ["pitch", "duration"])
def test_a_bar_is_as_far_off_as_the_share_of_its_notes_that_differ(column: str) -> None:
    piece = random_piece(np.random.default_rng(3))
    second = np.flatnonzero(piece.notes["onset"] >= 96)
    notes = piece.notes.copy()
    notes[column][second[-1]] -= 1
    other = replace(piece, notes=notes)
    n = len(second)
    assert bar_distances([piece, piece], [piece, other], 2).tolist() == [
        [0.0, 0.0],
        [0.0, 2 / (n + 1)],
    ]
    silent = replace(piece, notes=notes[:0])
    assert bar_distances([silent, silent], [silent, piece], 2).tolist() == [[0, 0], [1, 1]]


def test_locality_is_the_mean_change_inside_and_outside() -> None:
    change = np.array([[1.0, 0.0], [1.0, 0.5], [0.0, 0.0], [1.0, 0.0]])
    found = locality(change, np.array([True, False]), np.arange(4))
    assert (found.inside.mean, found.outside.mean) == (0.75, 0.125)
    assert found.outside.low == 0.0
    assert found.inside.high == 1.0
    with pytest.raises(ValueError, match="covered must be some bars and not all"):
        locality(change, np.array([True, True]), np.arange(4))
