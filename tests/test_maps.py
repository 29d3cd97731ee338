"""Maps of codes: the principal plane, and UMAP where it is installed."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from aurl.analysis import maps
from aurl.analysis.maps import pca_map, umap_map
from aurl.errors import ConfigError

DRAWN = np.random.default_rng(0).normal(size=(300, 2)) * np.array([3.0, 1.0])
PLANE = DRAWN - DRAWN.mean(axis=0)


def test_the_plane_that_codes_lie_in_is_found_whatever_way_it_is_turned() -> None:
    _, _, axes = np.linalg.svd(PLANE)
    principal = PLANE @ axes.T
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0][:2]
    found = pca_map(principal @ turn + 7.0)
    signs = np.sign((found.points * principal).sum(axis=0))
    np.testing.assert_allclose(found.points * signs, principal, atol=1e-9)
    assert found.explained is not None
    assert found.explained.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(
        found.explained, principal.var(axis=0) / principal.var(axis=0).sum()
    )


def test_the_signs_of_the_axes_are_settled() -> None:
    codes = PLANE @ np.array([[1.0, 0.2, 0.1], [0.0, -1.0, 0.3]])
    np.testing.assert_allclose(pca_map(codes).points, pca_map(codes[:, :]).points)
    np.testing.assert_allclose(pca_map(-codes).points, -pca_map(codes).points, atol=1e-9)


def test_one_coordinate_or_no_spread_is_a_map_too() -> None:
    line = pca_map(PLANE[:, :1])
    np.testing.assert_allclose(line.points, np.stack([PLANE[:, 0], np.zeros(300)], axis=1))
    still = pca_map(np.ones((5, 3)))
    assert not still.points.any()
    assert still.explained is not None
    assert not still.explained.any()


def test_umap_is_refused_with_the_command_that_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"map must be pca .* Add it: pip install umap-learn\."):
        umap_map(PLANE)


def test_umap_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reducer:
        def __init__(self, *, n_components: int, random_state: int, n_jobs: int) -> None:
            self.shift = n_components + random_state + n_jobs - 1

        def fit_transform(self, codes: np.ndarray) -> np.ndarray:
            return codes[:, :2].astype(np.float32) + self.shift

    monkeypatch.setattr(maps, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Reducer))
    found = umap_map(PLANE)
    np.testing.assert_allclose(found.points, PLANE + 2.0, atol=1e-5)
    assert found.explained is None
