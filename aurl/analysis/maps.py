"""Maps: the codes of many windows as points in the plane."""

import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from jaxtyping import Float

from aurl.errors import ConfigError


@dataclass(frozen=True, kw_only=True, eq=False)
class Map:
    """Codes in the plane."""

    points: Float[np.ndarray, "window 2"]
    explained: Float[np.ndarray, "2"] | None
    """Share of the variance along either axis; None where a map has no such thing."""


def pca_map(codes: Float[np.ndarray, "window coordinate"]) -> Map:
    """The projection on the two directions of largest variance.

    The coordinate with the largest weight in an axis has a positive one: the map is the same
    whatever computes it. With one coordinate the second axis is 0.

    Source:
        Pearson 1901, "On lines and planes of closest fit to systems of points in space".
    """
    centred = codes - codes.mean(axis=0)
    _, s, v = np.linalg.svd(centred, full_matrices=False)
    axes = v[:2] * np.sign(v[np.arange(len(v[:2])), np.abs(v[:2]).argmax(axis=1)])[:, None]
    points = np.zeros((len(codes), 2))
    points[:, : len(axes)] = centred @ axes.T
    total = float(np.square(s).sum())
    explained = np.zeros(2)
    explained[: len(axes)] = np.square(s[:2]) / total if total > 0.0 else 0.0
    return Map(points=points, explained=explained)


def umap_map(codes: Float[np.ndarray, "window coordinate"]) -> Map:
    """A map that keeps neighbours together, by the package umap-learn if it is installed.

    Raises:
        ConfigError: If it is not.

    Source:
        McInnes, Healy & Melville 2018, https://arxiv.org/abs/1802.03426
    """
    if find_spec("umap") is None:
        raise ConfigError(
            "map must be pca where umap-learn is not installed, got umap. "
            "Add it: pip install umap-learn."
        )
    with warnings.catch_warnings():  # of TensorFlow, which it can do without
        warnings.simplefilter("ignore")
        reducer = import_module("umap").UMAP(n_components=2, random_state=0, n_jobs=1)
        points = np.asarray(reducer.fit_transform(codes), np.float64)
    return Map(points=points, explained=None)
