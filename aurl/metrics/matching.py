"""Samples in which a factor has a given value: what arrays offer in place of fixing a factor.

The FactorVAE and BetaVAE scores were published for data that can be generated anew with one
factor fixed and the others drawn freely. From arrays, the row-matching rule is: the value that is
fixed is that of a row drawn at random, and the rows that share it are drawn from, with
replacement. The two are the same where factors are independent and rows are many; a value that
one row has gives that row again and again.

Source: own; the scores are cited in their own modules.
"""

import numpy as np
from jaxtyping import Int

from aurl.metrics.mutual_information import class_labels


class RowMatching:
    """Draws rows that share the value of a factor.

    Args:
        factors: Classes of the rows, any integers; one row at least.
    """

    def __init__(self, factors: Int[np.ndarray, "row factor"]) -> None:
        labels = class_labels(factors)
        self._n_rows = len(factors)
        self._order = np.argsort(labels, axis=0, kind="stable")
        columns = [np.bincount(column) for column in labels.T]
        first = np.cumsum([0, *(len(column) for column in columns)])[:-1]
        self._label = labels + first
        self._count = np.concatenate([*columns, np.zeros(0, dtype=np.int64)])
        self._start = np.concatenate([*(np.cumsum(each) - each for each in columns), [0]])

    def any_rows(
        self, rng: np.random.Generator, shape: tuple[int, ...]
    ) -> Int[np.ndarray, "*shape"]:
        """Rows drawn from all."""
        return rng.integers(self._n_rows, size=shape)

    def rows_like(
        self,
        rng: np.random.Generator,
        like: Int[np.ndarray, "*shape"],
        factor: Int[np.ndarray, "*#shape"],
    ) -> Int[np.ndarray, "*shape"]:
        """A row for every given one, among those with the same value of its factor.

        Args:
            rng: Where the draws come from.
            like: Rows; itself is among those that are drawn from.
            factor: Which factor they must share.
        """
        label = self._label[like, factor]
        place = self._start[label] + (rng.random(like.shape) * self._count[label]).astype(np.int64)
        return self._order[place, np.broadcast_to(factor, like.shape)]
