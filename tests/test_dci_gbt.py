import golden
import numpy as np
import pytest
from made_codes import first_two_thirds, made

from aurl.metrics.dci import ForestSettings, dci_et
from aurl.metrics.dci_gbt import dci_gbt


def test_dci_gbt_is_reproducible_and_sees_no_scale() -> None:
    codes, factors = made("rotated", n_repeats=3)
    train = first_two_thirds(len(codes))
    importance = dci_gbt(codes, factors[:, 1:], train).importance
    for same in (codes, 1e60 * codes):
        again = dci_gbt(same, factors[:, 1:], train).importance
        assert again == pytest.approx(importance, abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_dci_gbt_matches_the_reference() -> None:
    codes, factors, n_train, values = golden.load("rotated_45")
    scores = dci_gbt(codes, factors, np.arange(len(codes)) < n_train)
    expected = np.array(values["dci_importance_codes_x_factors"])
    assert scores.importance == pytest.approx(expected, abs=5e-3)
    assert scores.disentanglement == pytest.approx(values["dci_disentanglement"], abs=5e-3)
    assert scores.completeness == pytest.approx(values["dci_completeness"], abs=5e-3)
    assert scores.informativeness == pytest.approx(values["dci_informativeness_test"], abs=5e-3)


@pytest.mark.parametrize("kind", ["perfect", "rotated", "split", "duplicated", "merged"])
def test_extra_trees_agree_with_gradient_boosting(kind: str) -> None:
    codes, factors = made(kind, n_repeats=60)
    train = first_two_thirds(len(codes))
    fast, published = (
        dci_et(codes, factors, train, ForestSettings()),
        dci_gbt(codes, factors, train),
    )
    assert fast.disentanglement == pytest.approx(published.disentanglement, abs=0.05)
    assert fast.completeness == pytest.approx(published.completeness, abs=0.05)
    assert fast.informativeness == pytest.approx(published.informativeness, abs=0.02)
