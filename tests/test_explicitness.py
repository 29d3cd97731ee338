import golden
import numpy as np
import pytest
from made_codes import first_two_thirds, made

from aurl.metrics.explicitness import explicitness, explicitness_per_factor, standardized


@pytest.mark.parametrize("name", golden.NAMES)
def test_explicitness_matches_the_reference(name: str) -> None:
    fixture = golden.load(name)
    arrays = fixture.codes, fixture.factors, np.arange(len(fixture.codes)) < fixture.n_train
    found = explicitness_per_factor(*arrays)
    assert found == pytest.approx(fixture.values["explicitness_test_per_factor"], abs=2e-3)
    assert found.mean() == pytest.approx(fixture.values["explicitness_test"], abs=2e-3)


def test_a_constant_code_changes_nothing_where_the_published_form_fails() -> None:
    codes, factors = made("rotated")
    train = first_two_thirds(len(codes))
    constant = np.concatenate([codes, np.full((len(codes), 1), 0.1)], axis=1)
    assert explicitness(constant, factors, train) == pytest.approx(
        explicitness(codes, factors, train), abs=1e-9
    )


def test_classes_that_are_missing_on_a_side_are_left_out() -> None:
    codes, factors = made("perfect")
    train = first_two_thirds(len(codes))
    odd = factors.copy()
    odd[~train, 0] = np.where(odd[~train, 0] == 3, 9, odd[~train, 0])  # 3 never comes back
    assert explicitness_per_factor(codes, odd, train) == pytest.approx([1.0, 1.0, 1.0], abs=1e-3)
    odd[~train, 0] = 2
    assert explicitness_per_factor(codes, odd, train)[0] == 0.5
    assert explicitness(codes, odd, train) == pytest.approx(1.0, abs=1e-3)


def test_standardized_uses_training_samples_only() -> None:
    codes = np.array([[0.0, 1.0], [2.0, 1.0], [10.0, 5.0]])
    found = standardized(codes, np.array([True, True, False]))
    assert found.tolist() == [[-1.0, 0.0], [1.0, 0.0], [9.0, 0.0]]
