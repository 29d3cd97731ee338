import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from aurl.metrics.linear_svm import fit, problems


def objective(w: float, b: float, column: np.ndarray, sign: np.ndarray, cost: np.ndarray) -> float:
    hinge = np.maximum(0.0, 1.0 - sign * (w * column + b))
    return 0.5 * (w * w + b * b) + float((cost * hinge**2).sum())


def made(seed: int, n_classes: int, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(n_classes), rng.integers(0, n_classes, size=n - n_classes))
    return labels + rng.normal(size=n) * rng.choice([0.05, 0.5, 5.0]), labels


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([1e-3, 1.0, 300.0]))
def test_no_step_lowers_the_objective_any_more(seed: int, n_classes: int, scale: float) -> None:
    column, labels = made(seed, n_classes)
    column = column * scale
    asked = problems(labels[:, None], cost=0.01)
    slope, offset = fit(column, asked)
    assert slope.size == (1 if n_classes == 2 else n_classes)
    for at, (w, b) in enumerate(zip(slope, offset, strict=True)):
        sign = np.where(labels == asked.positive[at], 1.0, -1.0)
        cost = np.where(sign > 0, asked.positive_cost[at], asked.negative_cost[at])
        best = objective(w, b, column, sign, cost)
        for dw, db in ((1e-4, 0.0), (-1e-4, 0.0), (0.0, 1e-4), (0.0, -1e-4)):
            moved = objective(w + dw * max(abs(w), 1e-3), b + db, column, sign, cost)
            assert moved >= best * (1.0 - 1e-12)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_solution_is_that_of_scikit_learn(n_classes: int) -> None:
    column, labels = made(3, n_classes, n=600)
    original = LinearSVC(C=0.01, class_weight="balanced", tol=1e-10).fit(column[:, None], labels)
    slope, offset = fit(column, problems(labels[:, None], cost=0.01))
    assert slope == pytest.approx(original.coef_[:, 0], abs=1e-6)
    assert offset == pytest.approx(original.intercept_, abs=1e-6)


def test_factors_are_solved_together_as_each_alone() -> None:
    column, first = made(0, 4)
    second = (np.arange(120) * 7) % 2
    together = fit(column, problems(np.stack([first, second], axis=1), cost=0.01))
    alone = [fit(column, problems(labels[:, None], cost=0.01)) for labels in (first, second)]
    for at in (0, 1):
        expected = np.concatenate([each[at] for each in alone])
        assert together[at] == pytest.approx(expected, rel=1e-8)


def test_one_outlier_does_not_spoil_the_solution() -> None:
    column, labels = made(1, 3)
    column[5] = 1e6
    slope, offset = fit(column, problems(labels[:, None], cost=0.01))
    sign = np.where(labels == 1, 1.0, -1.0)
    cost = np.where(sign > 0, 0.01 * 120 / (3 * (labels == 1).sum()), 0.01)
    best = objective(slope[1], offset[1], column, sign, cost)
    for factor in (0.999, 1.001):
        assert objective(slope[1] * factor, offset[1], column, sign, cost) >= best
        assert objective(slope[1], offset[1] * factor, column, sign, cost) >= best
