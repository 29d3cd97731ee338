import golden
import numpy as np
import pytest
from made_codes import first_two_thirds, made
from sklearn.svm import LinearSVC

from aurl.metrics.sap import sap_dlib, sap_per_factor, svm_accuracies


@pytest.mark.parametrize("name", golden.NAMES)
def test_sap_matches_the_reference(name: str) -> None:
    fixture = golden.load(name)
    within = 0.01 if name == "near_dead_dims" else 1e-3
    arrays = fixture.codes, fixture.factors, np.arange(len(fixture.codes)) < fixture.n_train
    assert sap_dlib(*arrays) == pytest.approx(fixture.values["sap"], abs=within)
    assert sap_per_factor(*arrays) == pytest.approx(fixture.values["sap_per_factor"], abs=within)
    matrix = np.array(fixture.values["sap_score_matrix"])
    assert svm_accuracies(*arrays) == pytest.approx(matrix, abs=within)


def by_scikit_learn(codes: np.ndarray, factors: np.ndarray, train: np.ndarray) -> np.ndarray:
    found = np.zeros((codes.shape[1], factors.shape[1]))
    for j in range(codes.shape[1]):
        for k in range(factors.shape[1]):
            model = LinearSVC(C=0.01, class_weight="balanced")
            model.fit(codes[train, j, None], factors[train, k])
            found[j, k] = np.mean(model.predict(codes[~train, j, None]) == factors[~train, k])
    return found


@pytest.mark.parametrize("kind", ["perfect", "useless", "merged", "split", "rotated"])
def test_accuracies_are_those_of_scikit_learn(kind: str) -> None:
    codes, factors = made(kind, n_repeats=30)
    dead = np.concatenate([codes, np.zeros((len(codes), 1)), np.full((len(codes), 1), 0.3)], 1)
    train = first_two_thirds(len(codes))
    expected = by_scikit_learn(dead, factors - 5, train)
    assert svm_accuracies(dead, factors - 5, train) == pytest.approx(expected, abs=0.005)
    # of dead codes, not even rounding may differ
    np.testing.assert_array_equal(svm_accuracies(dead, factors, train)[-2:], expected[-2:])


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
@pytest.mark.parametrize("outlier", [100.0, 900.0, 3e4, 1e6])
def test_an_outlier_does_to_sap_what_it_does_to_the_original(outlier: float) -> None:
    codes, factors = made("rotated", n_repeats=30)
    codes[0] = outlier
    train = first_two_thirds(len(codes))
    expected = by_scikit_learn(codes, factors, train)
    assert svm_accuracies(codes, factors, train) == pytest.approx(expected, abs=0.005)


def test_the_scale_of_a_code_matters_as_published() -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    assert sap_dlib(0.02 * codes, factors, train) < sap_dlib(codes, factors, train) - 0.05


def test_one_code_is_held_against_a_dead_one() -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    dead = np.concatenate([codes[:, :1], np.zeros((len(codes), 1))], axis=1)
    assert sap_dlib(codes[:, :1], factors, train) == sap_dlib(dead, factors, train)
    assert sap_dlib(codes[:, 2:], factors[:, 2:], train) == pytest.approx(0.5, abs=0.01)


def test_a_factor_without_variation_in_training_is_left_out() -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    more = np.concatenate([factors, np.where(train, 1, factors[:, 0])[:, None]], axis=1)
    assert sap_per_factor(codes, more, train)[3] == 0.0
    assert sap_dlib(codes, more, train) == sap_dlib(codes, factors, train)
    assert sap_dlib(codes, np.ones_like(factors), train) == 0.0
    assert sap_dlib(codes, factors, np.ones_like(train)) == 0.0  # nothing is held out


def test_of_classes_that_tie_the_first_is_answered() -> None:
    codes, factors = np.tile([-1.0, -1.0, 1.0], 20)[:, None], np.tile([0, 1, 2], 20)[:, None]
    kept = (np.arange(60) < 30) | (factors[:, 0] != 1)
    train = np.arange(kept.sum()) < 30
    assert svm_accuracies(codes[kept], factors[kept], train).tolist() == [[1.0]]


def test_classes_that_only_held_out_samples_have_are_never_right() -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    unseen = factors.copy()
    unseen[~train, 2] += 2
    assert svm_accuracies(codes, unseen, train)[:, 2].tolist() == [0.0, 0.0, 0.0]
