r"""Mutual information between a continuous code and a discrete factor, from nearest neighbours.

With :math:`d_i` the distance of sample i to its k-th neighbour within its class (k = 10, fewer in
small classes), :math:`m_i` the samples of any class nearer than that, itself included, and
:math:`n_i` the size of its class,

.. math:: I = \psi(N) + \mathrm{mean}\,\psi(k_i) - \mathrm{mean}\,\psi(n_i)
    - \mathrm{mean}\,\psi(m_i), \quad \text{not below } 0

It is biased and random: equal values are told apart by noise of scale 1e-10, as in scikit-learn's
``mutual_info_classif``, whose estimate this is. One number has its neighbours beside it when
sorted, so that no tree is needed.

Source: Ross 2014, "Mutual information between discrete and continuous data sets",
https://doi.org/10.1371/journal.pone.0087357.
"""

import numpy as np
from jaxtyping import Float, Int

from aurl.metrics.mutual_information import class_labels

_NEIGHBOURS = 10
_NOISE = 1e-10


def neighbour_information(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
) -> Float[np.ndarray, "latent factor"]:
    """Mutual information of every code with every factor.

    Args:
        codes: Finite values with a standard deviation of 1, or 0.
        factors: Classes, any integers.

    Returns:
        Nats, 0 at least; they may exceed the factor's entropy by the estimator's bias.
    """
    labels = class_labels(factors)
    information = np.zeros((codes.shape[1], factors.shape[1]))
    digamma = _digamma(len(codes))
    for j, column in enumerate(codes.T.astype(np.float64)):
        noise = np.random.default_rng([0, j]).standard_normal(column.size)
        noisy = (
            column
            + _NOISE * max(1.0, float(np.abs(column).mean() if column.size else 0.0)) * noise
        )
        order = np.argsort(noisy)
        for k in range(factors.shape[1]):
            information[j, k] = _information(noisy[order], labels[order, k], digamma)
    return information


def _information(values: np.ndarray, labels: np.ndarray, digamma: np.ndarray) -> float:
    """Nats, from one column in ascending order."""
    counts = np.bincount(labels)
    kept = counts[labels] > 1
    if not kept.any():
        return 0.0
    values, labels = values[kept], labels[kept]
    distance, nearest = np.empty(values.size), np.empty(values.size)
    for label in np.flatnonzero(counts > 1):
        k = min(_NEIGHBOURS, int(counts[label]) - 1)
        members = labels == label
        distance[members] = _to_neighbour(values[members], k)
        nearest[members] = digamma[k]
    nearer = _nearer(values, distance)
    mean = digamma[values.size] + nearest.mean()
    mean -= digamma[counts[labels]].mean() + digamma[nearer].mean()
    return max(0.0, float(mean))


def _to_neighbour(values: np.ndarray, k: int) -> np.ndarray:
    """Distance of every one of the ascending values to its k-th neighbour."""
    n = values.size
    distance = np.full(n, np.inf)
    for place in range(k + 1):  # of the value among k + 1 values in a row
        middle = values[place : n - k + place]
        reach = np.maximum(middle - values[: n - k], values[k:] - middle)
        np.minimum(distance[place : n - k + place], reach, out=distance[place : n - k + place])
    return distance


def _nearer(values: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """How many of the ascending values are nearer to each than its distance; itself included.

    Only differences of values that are close to each other are exact, so what a sum of value and
    distance finds is put right by one place.
    """
    last = values.size - 1
    above = np.searchsorted(values, values + distance)
    above -= values[above - 1] - values >= distance
    above += (above <= last) & (values[np.minimum(above, last)] - values < distance)
    below = np.searchsorted(values, values - distance)
    below += values - values[np.minimum(below, last)] >= distance
    below -= (below > 0) & (values - values[below - 1] < distance)
    return np.maximum(above - below, 1)


def _digamma(n: int) -> np.ndarray:
    """Digamma of 0 to n; that of 0, which does not exist, is 0."""
    harmonic = np.cumsum(1.0 / np.arange(1, max(n, 1)))
    return np.concatenate([[0.0, -np.euler_gamma], harmonic - np.euler_gamma])
