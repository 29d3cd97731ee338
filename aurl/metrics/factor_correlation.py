r"""Correlation of factors with each other: what no code can pull apart.

Cramér's V of every pair of factors, an association of classes that needs no order:

.. math:: V = \sqrt{\tilde\varphi^2 / \min(\tilde r - 1, \tilde c - 1)}, \quad
    \tilde\varphi^2 = \max\Bigl(0, \frac{\chi^2}{N} - \frac{(r - 1)(c - 1)}{N - 1}\Bigr)

with r and c classes, and :math:`\tilde r = r - (r - 1)^2 / (N - 1)` likewise: corrected for the
bias that makes independent factors of many classes look related.

Source: Bergsma 2013, "A bias-correction for Cramér's V and Tschuprow's T",
https://doi.org/10.1016/j.jkss.2012.10.002.
"""

import numpy as np
from jaxtyping import Float, Int

from aurl.metrics.mutual_information import class_labels


def factor_correlations(
    factors: Int[np.ndarray, "sample factor"],
) -> Float[np.ndarray, "factor factor"]:
    """Cramér's V of every pair of factors.

    Args:
        factors: Classes, any integers.

    Returns:
        Values in [0, 1], symmetric, 1 on the diagonal; 0 where a factor never varies, and beside
        a factor with a class for each sample, of which nothing can be said.
    """
    n_samples, n_factors = factors.shape
    found = np.zeros((n_factors, n_factors))
    labels = class_labels(factors)
    for a in range(n_factors):
        found[a, a] = float(labels[:, a].any())
        for b in range(a):
            found[a, b] = found[b, a] = _cramers_v(labels[:, a], labels[:, b], n_samples)
    return found


def _cramers_v(first: np.ndarray, second: np.ndarray, n_samples: int) -> float:
    if n_samples < 2:
        return 0.0
    rows, columns = int(first.max()) + 1, int(second.max()) + 1
    counts = np.bincount(first * columns + second, minlength=rows * columns)
    counts = counts.reshape(rows, columns)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n_samples
    association = float((np.square(counts - expected) / expected).sum()) / n_samples
    excess = association - (rows - 1) * (columns - 1) / (n_samples - 1)
    room = min(size - (size - 1) ** 2 / (n_samples - 1) for size in (rows, columns)) - 1.0
    return min(1.0, (max(0.0, excess) / room) ** 0.5) if room > 0.0 else 0.0
