"""Names of dimensions: what a code tells, and none where it tells no more than chance."""

import numpy as np

from aurl.analysis.names import Name, named
from aurl.latent_config import LevelConfig
from aurl.model.latents import LatentLayout

PIECES = np.repeat(np.arange(200), 4)
RNG = np.random.default_rng(0)
FACTORS = RNG.integers(0, [4, 8], size=(800, 2))


def test_a_code_is_named_after_what_it_tells_and_noise_after_nothing() -> None:
    codes = np.stack(
        [
            FACTORS[:, 1] + 0.01 * RNG.normal(size=800),
            -np.exp(FACTORS[:, 0].astype(float)),
            RNG.normal(size=800),
            np.zeros(800),
        ],
        axis=1,
    )
    found = named(codes, FACTORS, ["few", "many"], PIECES)
    first, second, *rest = found.names
    assert (first and first.attribute, second and second.attribute) == ("many", "few")
    assert first is not None
    assert second is not None
    assert second.share == 1.0
    assert first.share > 0.9  # 32 rank bins do not fall on the 8 classes
    assert rest == [None, None]
    assert 0.0 < found.floor < 0.05
    assert str(Name(attribute="many", share=0.812)) == "many 0.81"


def test_noise_has_no_name() -> None:
    codes = np.random.default_rng(1).normal(size=(800, 20))
    factors = np.random.default_rng(3).integers(0, 8, size=(800, 3))
    found = named(codes, factors, "abc", PIECES)
    assert found.names == [None] * 20  # in one of a hundred such draws one is named


def test_the_likeness_of_windows_within_a_piece_is_no_evidence() -> None:
    """Code and attribute know the piece and nothing of each other."""
    rng = np.random.default_rng(2)
    codes = rng.normal(size=(200, 3))[PIECES]
    factors = rng.integers(0, 8, size=(200, 1))[PIECES]
    assert named(codes, factors, ["piece"], PIECES).names == [None] * 3
    torn_apart = named(codes, factors, ["piece"], np.arange(800))
    assert torn_apart.names != [None] * 3  # windows as their own pieces would be fooled


def test_pieces_of_unequal_length_are_no_evidence_either() -> None:
    """A piece of many windows, torn up among others, would be evidence many times over."""
    fooled = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pieces = np.repeat(np.arange(30), np.exp(rng.normal(2.3, 0.8, 30)).astype(int) + 1)
        codes = rng.normal(size=(30, 4))[pieces]
        factors = rng.integers(0, 6, size=(30, 3))[pieces]
        fooled += named(codes, factors, "abc", pieces).names != [None] * 4
    assert fooled <= 1  # of five draws; one of a hundred is


def test_coordinates_are_labelled_by_level_dimension_and_slot() -> None:
    layout = LatentLayout.of(
        [
            LevelConfig(name="global", dim=2, span="sequence"),
            LevelConfig(name="local", dim=2, span=1),
        ],
        2,
    )
    local = [f"local/{index} slot {slot}" for slot in (0, 1) for index in (0, 1)]
    assert layout.coordinate_names == ["global/0", "global/1", *local]
    assert len(layout.coordinate_names) == layout.size
