"""Disentanglement scores against the published forms by scikit-learn, in one run.

Run it with ``python benchmarks/metrics.py``. Codes of 32 dimensions carry the nine factors of the
melodies with noise, or nothing; 10,000 samples train and 5,000 are held out. Gradient boosting
takes eleven CPU-minutes at that size, so by default both sides of DCI get 1,000 and 500 samples;
``--full`` gives them all. Seconds are CPU seconds of one thread, the fastest of a few repetitions
where a repetition is short, and both sides must give the same scores.
"""

import argparse
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
from sklearn.metrics import mutual_info_score
from sklearn.svm import LinearSVC

from aurl.metrics.dci import ForestSettings, dci_et
from aurl.metrics.dci_gbt import dci_gbt
from aurl.metrics.dcimig import dcimig
from aurl.metrics.mig import mig
from aurl.metrics.modularity import modularity_dlib
from aurl.metrics.mutual_information import rank_mutual_information, width_mutual_information
from aurl.metrics.sap import svm_accuracies

CLASSES = (12, 3, 3, 28, 28, 2, 2, 2, 2)  # of the factors of the melodies
N_CODES = 32
N_TRAIN, N_HELD_OUT = 10_000, 5_000
FOREST = ForestSettings()
SMALL = 1_000, 500


def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, factors and which samples train."""
    rng = np.random.default_rng(0)
    n_samples = N_TRAIN + N_HELD_OUT
    factors = np.stack([rng.integers(0, size, n_samples) for size in CLASSES], axis=1)
    codes = rng.normal(size=(n_samples, N_CODES))
    carried = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    codes[:, : len(CLASSES)] = carried + 0.2 * codes[:, : len(CLASSES)]
    return codes, factors, np.arange(n_samples) < N_TRAIN


def timed(compute: Callable[[], Any], repetitions: int = 1) -> tuple[Any, float]:
    """A result and the fewest CPU seconds that it took."""
    seconds: list[float] = []
    result: Any = None
    for _ in range(repetitions):
        started = process_time()
        result = compute()
        seconds.append(process_time() - started)
    return result, min(seconds)


def matrix_by_scikit_learn(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Mutual information of twenty equal-width bins with every factor, pair by pair."""
    bins = [np.digitize(code, np.histogram(code, 20)[1][:-1]) for code in codes.T]
    return np.array([[mutual_info_score(factor, each) for factor in factors.T] for each in bins])


def published_information(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """MIG and modularity, each from a matrix of its own, as published."""
    entropy = np.array([mutual_info_score(factor, factor) for factor in factors.T])
    second, first = np.sort(matrix_by_scikit_learn(codes, factors), axis=0)[-2:]
    squared = matrix_by_scikit_learn(codes, factors) ** 2
    best = squared.max(axis=1)
    spread = (squared.sum(axis=1) - best) / (best * (len(CLASSES) - 1))
    return np.array([np.mean((first - second) / entropy), np.mean(1.0 - spread)])


def own_information(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The same two, and mig_rank32 and dcimig from rank bins."""
    published = width_mutual_information(codes, factors)
    ranked = rank_mutual_information(codes, factors)
    return np.array([mig(published), modularity_dlib(published), mig(ranked), dcimig(ranked)])


def accuracies_by_scikit_learn(
    codes: np.ndarray, factors: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """The score matrix of SAP, one ``LinearSVC`` for every code and factor."""
    found = np.zeros((codes.shape[1], factors.shape[1]))
    for j, code in enumerate(codes.T):
        for k, factor in enumerate(factors.T):
            model = LinearSVC(C=0.01, class_weight="balanced").fit(
                code[train, None], factor[train]
            )
            found[j, k] = np.mean(model.predict(code[~train, None]) == factor[~train])
    return found


def sap(accuracies: np.ndarray) -> float:
    """SAP of a score matrix."""
    second, first = np.sort(accuracies, axis=0)[-2:]
    return float(np.mean(first - second))


def main() -> None:
    """Print seconds, ratios, and how far the scores are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="gradient boosting at full size too")
    full = parser.parse_args().full
    codes, factors, train = arrays()
    known = codes[train], factors[train]

    own, fast = timed(lambda: own_information(*known), 7)
    theirs, slow = timed(lambda: published_information(*known))
    print(
        f"MI family   {slow:8.3f} s -> {fast:.4f} s: {slow / fast:.0f}x "
        f"(scores apart by {np.abs(own[:2] - theirs).max():.0e}; ours is of two matrices)"
    )
    matrix, fast = timed(lambda: width_mutual_information(*known).matrix, 7)
    expected, slow = timed(lambda: matrix_by_scikit_learn(*known))
    print(
        f"MI matrix   {slow:8.3f} s -> {fast:.4f} s: {slow / fast:.0f}x "
        f"(apart by {np.abs(matrix - expected).max():.0e})"
    )
    own, fast = timed(lambda: svm_accuracies(codes, factors, train), 3)
    theirs, slow = timed(lambda: accuracies_by_scikit_learn(codes, factors, train))
    print(
        f"SAP         {slow:8.3f} s -> {fast:.4f} s: {slow / fast:.1f}x "
        f"(scores apart by {abs(sap(own) - sap(theirs)):.0e})"
    )
    alone, seconds = timed(lambda: dci_et(codes, factors, train, FOREST))
    print(f"DCI         ExtraTrees alone at {N_TRAIN} + {N_HELD_OUT} samples: {seconds:.2f} s")
    rows = np.ones(len(train), dtype=bool)
    if not full:
        rows[SMALL[0] : N_TRAIN] = rows[N_TRAIN + SMALL[1] :] = False
        alone, seconds = timed(lambda: dci_et(codes[rows], factors[rows], train[rows], FOREST))
    published, slow = timed(lambda: dci_gbt(codes[rows], factors[rows], train[rows]))
    print(
        f"DCI         {slow:8.3f} s -> {seconds:.3f} s: {slow / seconds:.0f}x at "
        f"{train[rows].sum()} + {(~train[rows]).sum()} samples (D {alone.disentanglement:.3f} and "
        f"{published.disentanglement:.3f}, C {alone.completeness:.3f} and "
        f"{published.completeness:.3f}, I {alone.informativeness:.3f} and "
        f"{published.informativeness:.3f})"
    )


if __name__ == "__main__":
    main()
