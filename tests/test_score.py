"""The scalars that trials are compared by: what they must never do."""

import itertools
import math

import pytest

from aurl.metrics.score import rung_score, trial_score

SHARES = (0.0, 1e-30, 0.1, 0.5, 1.0)


@pytest.mark.parametrize(("health", "share"), list(itertools.product(SHARES, SHARES)))
def test_a_rung_score_is_a_share_and_rises_with_both(health: float, share: float) -> None:
    score = rung_score(health, share)
    assert 0.0 <= score <= 1.0
    assert score == pytest.approx(rung_score(share, health))
    if health and share < 1.0:
        assert rung_score(health, share + 0.1) > score


def test_a_decoder_that_foretells_all_without_a_living_code_is_behind_everybody() -> None:
    assert rung_score(0.0, 1.0) == 0.0 < rung_score(0.01, 0.01)
    assert rung_score(0.25, 1.0) == 0.5


@pytest.mark.parametrize("values", [(math.nan, 1.0), (1.0, math.nan), (0.0, math.nan)])
def test_what_is_not_a_number_is_behind_everybody(values: tuple[float, float]) -> None:
    assert rung_score(*values) == 0.0


def test_no_objective_can_be_bought_with_one_that_is_zero() -> None:
    assert trial_score(0.5, 0.5, 0.5) == pytest.approx(0.5)
    for zero in range(3):
        values = [1.0, 1.0, 1.0]
        values[zero] = 0.0
        assert trial_score(*values) == 0.0
