"""Paths between codes, safe where there is no turn to take, and how smooth music along them is."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aurl.analysis.interpolation import (
    linear,
    note_distance,
    path,
    smoothness,
    spherical,
    usual_path,
)
from aurl.data.piece import NOTE, Piece
from aurl.latent_config import PriorKind
from aurl.model.vae import Vae
from aurl.seeding import seeded
from tests.tiny import N_BARS, VOCABULARY, small_config

AT = np.linspace(0.0, 1.0, 9)
codes = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=3, max_size=3).map(np.array)


def test_a_spherical_path_between_perpendicular_codes_is_the_quarter_circle() -> None:
    found = spherical(np.array([2.0, 0.0]), np.array([0.0, 2.0]), AT)
    angle = AT * np.pi / 2
    np.testing.assert_allclose(
        found, 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1), atol=1e-12
    )


def test_a_spherical_path_turns_evenly_and_changes_its_norm_evenly() -> None:
    rng = np.random.default_rng(0)
    found = spherical(rng.normal(size=12), 3.0 * rng.normal(size=12), AT)
    norms = np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(np.diff(norms, 2), 0.0, atol=1e-12)
    directions = found / norms[:, None]
    turns = [float(a @ b) for a, b in itertools.pairwise(directions)]
    np.testing.assert_allclose(turns, turns[0])


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0], [1.0 + 1e-12, 2.0]),
        ([1.0, 2.0], [3.0, 6.0]),
        ([1.0, 2.0], [-1.0, -2.0]),
        ([0.1, 0.2], [-0.3, -0.6]),
        ([0.0, 0.0], [1.0, 2.0]),
        ([1.0, 2.0], [0.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0]),
    ],
    ids=[
        "equal",
        "nearly equal",
        "longer",
        "opposite",
        "opposite and longer",
        *["from", "to", "of"],
    ],
)
def test_where_there_is_no_turn_the_path_is_the_straight_line(
    first: list[float], last: list[float]
) -> None:
    ends = np.array(first), np.array(last)
    np.testing.assert_allclose(spherical(*ends, AT), linear(*ends, AT), atol=1e-12)


@given(codes, codes)
def test_a_spherical_path_is_finite_and_has_its_ends(first: np.ndarray, last: np.ndarray) -> None:
    found = spherical(first, last, AT)
    assert np.isfinite(found).all()
    size = max(1.0, float(np.abs([first, last]).max()))
    np.testing.assert_allclose(found[[0, -1]], [first, last], atol=1e-8 * size)


def model(kind: PriorKind, *context: str) -> Vae:
    with seeded(0, "path"):
        config = small_config(
            latent__prior__kind=kind, latent__top_down=True, latent__context=list(context)
        )
        return Vae(config, VOCABULARY, N_BARS).double().eval()


@pytest.mark.parametrize("kind", ["mixture", "planar", "spline"])
def test_a_path_through_the_prior_is_spherical_where_the_prior_is_normal(kind: PriorKind) -> None:
    prior = model(kind).prior
    first, last = np.random.default_rng(1).normal(size=(2, prior.layout.size))
    found = path(prior, first, last, AT, "prior")
    np.testing.assert_array_equal(found[[0, -1]], [first, last])
    normal = prior.to_normal(torch.from_numpy(found)).numpy()
    np.testing.assert_allclose(normal, spherical(normal[0], normal[-1], AT), atol=1e-6)
    assert np.abs(found - spherical(first, last, AT)).max() > 0.01


def test_a_path_through_a_standard_prior_is_spherical() -> None:
    with seeded(0, "path"):
        prior = Vae(small_config(), VOCABULARY, N_BARS).double().prior
    first, last = np.random.default_rng(1).normal(size=(2, prior.layout.size))
    np.testing.assert_allclose(
        path(prior, first, last, AT, "prior"), spherical(first, last, AT), atol=1e-12
    )
    np.testing.assert_allclose(path(prior, first, last, AT, "linear"), linear(first, last, AT))


def test_a_path_through_a_prior_with_a_context_is_refused() -> None:
    prior = model("standard", "key").prior
    first, last = np.zeros((2, prior.layout.size))
    with pytest.raises(ValueError, match="prior must have no musical context"):
        path(prior, first, last, AT, "prior")


def test_the_usual_path_goes_through_a_prior_that_is_not_normal_and_has_no_context() -> None:
    standard = Vae(small_config(), VOCABULARY, N_BARS).prior
    told_by_what_is_coarser, mixture = model("standard").prior, model("mixture").prior
    paths = [usual_path(prior) for prior in (standard, told_by_what_is_coarser, mixture)]
    assert paths == ["spherical", "prior", "prior"]
    assert usual_path(model("mixture", "key").prior) == "spherical"


def staircase(n_moved: int) -> Piece:
    """Sixteen notes, the first of them a tone higher: two such are twice the difference apart."""
    notes = np.zeros(16, dtype=NOTE)
    notes["onset"] = 12 * np.arange(16)
    notes["duration"], notes["velocity"] = 12, 80
    notes["pitch"] = np.where(np.arange(16) < n_moved, 62, 60)
    return Piece(ticks_per_quarter=24, notes=notes)


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        ([0, 1, 2, 3, 4], 1.0),
        ([0, 0, 0, 4, 4], 1 / 4),
        ([0, 4, 2], 4**2 / (2 * (8**2 + 4**2))),
        ([0, 3, 0], 0.0),
        ([5, 5, 5], 1.0),
    ],
    ids=["even", "one jump", "a detour", "and back", "nothing"],
)
def test_smoothness_is_1_for_an_even_and_direct_path_only(
    moved: list[int], expected: float
) -> None:
    assert smoothness([staircase(n) for n in moved]) == pytest.approx(expected)


@given(st.lists(st.integers(0, 16), min_size=2, max_size=8))
@settings(max_examples=30)
def test_smoothness_is_between_0_and_1(moved: list[int]) -> None:
    assert 0.0 <= smoothness([staircase(n) for n in moved]) <= 1.0


def test_smoothness_needs_a_path() -> None:
    with pytest.raises(ValueError, match="pieces must be 2 at least, got 1"):
        smoothness([staircase(0)])
    assert note_distance(staircase(0), staircase(3)) == 6.0
