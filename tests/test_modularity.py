import golden
import numpy as np
import pytest

from aurl.metrics.modularity import modularity_dlib, modularity_per_code
from aurl.metrics.mutual_information import MutualInformation, width_mutual_information


def information(matrix: list[list[float]]) -> MutualInformation:
    return MutualInformation(matrix=np.array(matrix), entropy=np.ones(len(matrix[0])))


@pytest.mark.parametrize("name", golden.NAMES)
def test_modularity_matches_the_reference(name: str) -> None:
    fixture = golden.load(name)
    found = modularity_dlib(width_mutual_information(*fixture.trained()))
    assert found == pytest.approx(fixture.values["modularity"], abs=1e-6)


def test_modularity_of_known_information() -> None:
    found = modularity_per_code(information([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]]))
    assert found == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert modularity_dlib(information([[2.0, 1.0], [0.0, 0.0]])) == pytest.approx(0.375)


@pytest.mark.parametrize("seed", range(8))
def test_a_dead_code_scores_exactly_zero_whatever_rounding_leaves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 9, size=(101, 4))
    codes = np.stack([rng.normal(size=101), np.full(101, 0.1)], axis=1)
    information = width_mutual_information(codes, factors)
    assert information.matrix[1].tolist() == [0.0] * 4
    assert modularity_per_code(information)[1] == 0.0


def test_modularity_with_one_factor_or_no_code_is_defined() -> None:
    assert modularity_per_code(information([[0.5], [0.0]])).tolist() == [1.0, 0.0]
    none = MutualInformation(matrix=np.zeros((0, 2)), entropy=np.ones(2))
    assert modularity_dlib(none) == 0.0
    assert modularity_dlib(MutualInformation(matrix=np.zeros((2, 0)), entropy=np.ones(0))) == 0.0
