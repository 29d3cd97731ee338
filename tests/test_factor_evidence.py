import numpy as np
import pytest
from made_codes import made

from aurl.metrics.dci import ForestSettings
from aurl.metrics.disentanglement import disentanglement
from aurl.training.factor_evidence import FactorWindows, factor_evidence

FOREST = ForestSettings(n_trees=5)
NAMES = ["key", "metre", "mode"]


def evidence(
    codes: np.ndarray, factors: np.ndarray, pieces: np.ndarray, live: np.ndarray | None = None
) -> dict[str, float]:
    live = np.ones(codes.shape[1], dtype=bool) if live is None else live
    scores = disentanglement(codes, factors, live=live, groups=pieces, forest=FOREST)
    windows = FactorWindows(codes=codes, live=live, factors=factors, names=NAMES, pieces=pieces)
    found = factor_evidence(scores, windows, FOREST)
    assert all(0.0 <= value <= 1.0 for value in found.values())
    return found | scores.to_dict()


def test_a_good_code_lies_between_floor_and_ceiling() -> None:
    codes, factors = made("perfect")
    rng = np.random.default_rng(0)
    noisy = codes + 0.3 * rng.normal(size=codes.shape)
    noisy = np.column_stack([noisy, codes[:, 0]])  # the last is dead, whatever it says
    live = np.asarray([True, True, True, False])
    found = evidence(noisy, factors, rng.integers(0, 300, size=len(codes)), live)
    for name in ("disentanglement", "mig_rank32", "dcimig"):
        floor, ceiling = found[f"factors/{name}/floor"], found[f"factors/{name}/ceiling"]
        assert floor < 0.05 < found[name] < ceiling <= 1.0
    assert found["factors/mig_rank32/low"] < found["mig_rank32"] < found["factors/mig_rank32/high"]
    gaps = [found[f"factors/mig_rank32/{name}"] for name in NAMES]
    assert np.mean(gaps) == pytest.approx(found["mig_rank32"])
    assert max(found[f"factors/correlation/{pair}"] for pair in ("key/metre", "key/mode")) < 0.05


def test_related_factors_lower_the_ceiling_and_show_in_the_correlations() -> None:
    _, factors = made("perfect")
    rng = np.random.default_rng(0)
    related = factors.copy()
    same = rng.random(len(factors)) < 0.8
    related[:, 2] = np.where(same, factors[:, 0] % 2, factors[:, 2])
    found = evidence(rng.normal(size=(len(factors), 4)), related, np.arange(len(factors)))
    assert found["factors/mig_rank32/ceiling"] < 0.8
    assert found["factors/correlation/key/mode"] > 0.6
    assert found["mig_rank32"] < 0.05


def test_windows_of_one_piece_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    pieces = np.arange(600) // 20
    factors = rng.integers(0, 3, size=(30, 3))[pieces]
    codes = factors + 0.4 * rng.normal(size=(30, 3))[pieces] + 0.2 * rng.normal(size=(600, 3))

    def width(groups: np.ndarray) -> float:
        found = evidence(codes, factors, groups)
        return found["factors/mig_rank32/high"] - found["factors/mig_rank32/low"]

    assert width(pieces) > 2.0 * width(np.arange(600))
    whole, torn = (evidence(codes, factors, groups) for groups in (pieces, np.arange(600)))
    name = "factors/mig_rank32/floor"
    assert whole[name] > 2.0 * torn[name]  # of 30 pieces some agree by chance


def test_nothing_alive_and_one_piece_are_defined() -> None:
    codes, factors = made("perfect", n_repeats=4)
    pieces = np.arange(len(codes)) // 4
    found = evidence(codes, factors, pieces, live=np.zeros(3, dtype=bool))
    assert found["factors/mig_rank32/high"] == found["factors/disentanglement/floor"] == 0.0
    assert found["factors/mig_rank32/ceiling"] > 0.9
    assert evidence(np.full(codes.shape, np.nan), factors, pieces)["disentanglement"] == 0.0
    assert evidence(codes, factors, np.zeros_like(pieces))["factors/mig_rank32/high"] == 0.0
