import golden
import numpy as np
import pytest

from aurl.metrics.dci import ForestSettings, completeness_of, dci_et, disentanglement_of
from aurl.metrics.explicitness import explicitness_per_factor

QUICK = ForestSettings(n_trees=20)


def toy(n_samples: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 3, size=(n_samples, 3))
    return factors.astype(np.float64), factors, np.arange(n_samples) < 2 * n_samples // 3


@pytest.mark.parametrize(
    ("importance", "disentanglement", "completeness"),
    [
        pytest.param(np.eye(3), 1.0, 1.0, id="one_code_per_factor"),
        pytest.param(np.full((3, 3), 1 / 3), 0.0, 0.0, id="everything_everywhere"),
        pytest.param(np.zeros((3, 3)), 0.0, 0.0, id="nothing"),
        pytest.param(np.tile(np.eye(2), (2, 1)) / 2, 1.0, 0.5, id="duplicated_codes"),
        pytest.param(np.array([[1.0, 1.0], [0.0, 0.0]]), 0.0, 1.0, id="merged_factors"),
        pytest.param(np.array([[1.0, 1.0]]), 0.0, 1.0, id="one_code"),
        pytest.param(np.array([[0.5], [0.5]]), 1.0, 0.0, id="one_factor"),
        pytest.param(np.eye(2, 3), 1.0, 1.0, id="one_factor_missed"),
        pytest.param(np.zeros((2, 0)), 0.0, 0.0, id="no_factor"),
    ],
)
def test_scores_of_known_importances(
    importance: np.ndarray, disentanglement: float, completeness: float
) -> None:
    assert disentanglement_of(importance) == pytest.approx(disentanglement)
    assert completeness_of(importance) == pytest.approx(completeness)


@pytest.mark.parametrize("name", golden.NAMES)
def test_entropy_scores_of_the_reference_importances_match_the_reference(name: str) -> None:
    values = golden.load(name).values
    if "dci_importance_codes_x_factors" not in values:
        assert name == "dmelodies_perfect32"  # gradient boosting was too slow there
        return
    importance = np.array(values["dci_importance_codes_x_factors"])
    assert disentanglement_of(importance) == pytest.approx(values["dci_disentanglement"], abs=1e-6)
    assert completeness_of(importance) == pytest.approx(values["dci_completeness"], abs=1e-6)


@pytest.mark.parametrize("name", ["factorial_perfect", "noisy_aligned", "rotated_45"])
def test_dci_et_agrees_with_gradient_boosting(name: str) -> None:
    codes, factors, n_train, values = golden.load(name)
    scores = dci_et(codes, factors, np.arange(len(codes)) < n_train, QUICK)
    assert scores.disentanglement == pytest.approx(values["dci_disentanglement"], abs=0.05)
    assert scores.completeness == pytest.approx(values["dci_completeness"], abs=0.05)
    assert scores.informativeness == pytest.approx(values["dci_informativeness_test"], abs=0.01)


def test_weighting_takes_uncoded_factors_out_of_dci() -> None:
    codes, factors, n_train, values = golden.load("near_dead_dims")
    scores = dci_et(codes, factors, np.arange(len(codes)) < n_train, QUICK)
    assert scores.disentanglement == pytest.approx(values["dci_disentanglement"], abs=0.05)
    assert scores.weighted_disentanglement > 0.94
    assert scores.weighted_completeness > 0.94
    assert scores.predictability[3:] == pytest.approx([0.0, 0.0], abs=0.05)
    assert scores.normalized_informativeness == pytest.approx(0.6, abs=0.05)


def test_useless_codes_predict_at_chance() -> None:
    _, factors, train = toy()
    codes = np.random.default_rng(1).normal(size=(len(factors), 8))
    scores = dci_et(codes, factors, train, QUICK)
    assert scores.informativeness == pytest.approx(1 / 3, abs=0.1)
    assert scores.normalized_informativeness < 0.1
    assert scores.disentanglement < 0.1


def test_dci_et_ignores_increasing_maps_and_is_reproducible() -> None:
    codes, factors, train = toy()
    codes = codes + np.random.default_rng(1).normal(size=codes.shape)
    first = dci_et(codes, factors, train, QUICK)
    for mapped in (codes, 1e-6 * codes + 4.0, np.exp(3.0 * codes)):
        np.testing.assert_array_equal(
            dci_et(mapped, factors, train, QUICK).importance, first.importance
        )
    twice = dci_et(codes, factors[:, [0, 0]], train, QUICK).importance.T
    assert np.array_equal(twice[0], first.importance[:, 0])
    assert not np.array_equal(twice[1], twice[0])  # each factor has a seed of its own
    few = np.flatnonzero(train)[:5]  # no split leaves three on both sides
    rows = np.append(few, np.flatnonzero(~train))
    coarse = dci_et(codes[rows], factors[rows], np.arange(len(rows)) < 5, QUICK)
    assert not coarse.importance.any()


def test_importances_of_every_learnt_factor_sum_to_one() -> None:
    codes, factors, train = toy()
    assert dci_et(codes, factors, train, QUICK).importance.sum(axis=0) == pytest.approx(1.0)


def test_factors_that_do_not_vary_on_both_sides_are_not_counted() -> None:
    codes, factors, train = toy()
    factors = factors.copy()
    factors[:, 0] = 7
    factors[~train, 1] = 2
    scores = dci_et(codes, factors, train, QUICK)
    assert scores.counted.tolist() == [False, False, True]
    assert scores.informativeness == 1.0
    assert scores.normalized_informativeness == 1.0
    assert scores.predictability.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("codes", "factors"),
    [
        pytest.param(np.zeros((6, 0)), np.arange(6)[:, None] % 2, id="no_code"),
        pytest.param(np.ones((6, 2)), np.zeros((6, 1), dtype=np.int64), id="one_class"),
        pytest.param(np.ones((6, 2)), np.zeros((6, 0), dtype=np.int64), id="no_factor"),
    ],
)
def test_dci_et_of_nothing_is_zero(codes: np.ndarray, factors: np.ndarray) -> None:
    scores = dci_et(codes, factors, np.arange(6) < 3, QUICK)
    assert not scores.counted.any()
    assert (scores.disentanglement, scores.completeness, scores.informativeness) == (0, 0, 0)
    assert (scores.weighted_disentanglement, scores.normalized_informativeness) == (0, 0)


def test_splits_that_gain_nothing_give_no_importance_and_no_nan() -> None:
    codes = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0])[:, None]  # says nothing of the factor
    factors = np.array([0, 1, 0, 1, 0, 1])[:, None]
    scores = dci_et(codes, factors, np.arange(6) < 4, QUICK)
    assert scores.importance.tolist() == [[0.0]]
    assert (scores.disentanglement, scores.completeness) == (0.0, 0.0)


def test_constant_codes_score_zero() -> None:
    _, factors, train = toy()
    scores = dci_et(np.ones((len(factors), 3)), factors, train, QUICK)
    assert scores.disentanglement == 0.0
    assert scores.normalized_informativeness == 0.0


def test_a_factor_that_is_not_counted_has_no_say_in_disentanglement() -> None:
    codes, factors, train = toy()
    codes = codes @ np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.4], [0.4, 0.0, 1.0]])
    constant = np.concatenate([factors, np.full((len(factors), 2), 7)], axis=1)
    alone, among = (dci_et(codes, each, train, QUICK) for each in (factors, constant))
    assert 0.1 < alone.disentanglement < 0.9
    assert among.disentanglement == alone.disentanglement
    assert among.weighted_disentanglement == alone.weighted_disentanglement


def test_chance_is_to_answer_what_is_commonest_in_training() -> None:
    factors = np.array([0] * 7 + [1] * 3 + [1] * 9 + [0] * 1)[:, None]
    scores = dci_et(np.zeros((20, 1)), factors, np.arange(20) < 10, QUICK)
    assert scores.chance.tolist() == [0.1]


def test_as_many_classes_as_samples_are_scored_in_silence() -> None:
    factors = np.stack([np.arange(36), np.arange(36) % 2], axis=1)
    codes = np.random.default_rng(0).normal(size=(36, 2))
    train = np.arange(36) < 24
    scores = dci_et(codes, factors, train, QUICK)
    assert scores.counted.all()
    assert explicitness_per_factor(codes, factors, train)[0] == 0.5  # no class is on both sides
