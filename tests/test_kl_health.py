import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurl.errors import ConfigError
from aurl.metrics.kl_health import (
    TERMS,
    KLHealth,
    KLHealthSettings,
    LatentEvidence,
    kl_health,
    level_health,
)

N = 4000
TARGET = KLHealthSettings(target_rate_nats=14.0)


def evidence(
    rates: list[float] | np.ndarray,
    *,
    use: float = 1.0,
    dimension: list[int] | None = None,
    seed: int = 0,
) -> LatentEvidence:
    """A linear-Gaussian posterior with these rates exactly, whose aggregate is the prior.

    With mean ``a t`` and variance ``1 - a²`` for standard normal t, the KL is -ln(1 - a²) / 2.
    The right code tells the share ``use`` of the 40 nats that a wrong one leaves open.
    """
    rates = np.asarray(rates, dtype=np.float64)
    a = np.sqrt(1.0 - np.exp(-2.0 * rates))
    t = np.random.default_rng(seed).normal(size=(N, rates.size))
    t = (t - t.mean(axis=0)) / t.std(axis=0)
    variance = np.broadcast_to(1.0 - a**2, t.shape)
    mean = a * t
    kl = 0.5 * (mean**2 + variance - 1.0 - np.log(variance))
    return LatentEvidence(
        kl=kl,
        mean=mean,
        log_var=np.log(variance),
        reconstruction=np.full(N, 40.0 * (1.0 - use)),
        reconstruction_shuffled_z=np.full(N, 40.0),
        dimension=None if dimension is None else np.array(dimension),
    )


def terms(health: KLHealth) -> list[float]:
    return [getattr(health, term) for term in TERMS]


def test_healthy_latent_space_scores_one() -> None:
    health = kl_health(evidence([0.875] * 16), TARGET)
    assert health.status == "ok"
    assert terms(health) == pytest.approx([1.0] * 5)
    assert health.kl_health == pytest.approx(1.0)
    assert health.kl_per_dimension == pytest.approx(np.full(16, 0.875))
    assert health.live.all()


def test_score_is_the_geometric_mean_of_the_floored_terms_and_use_counts_twice() -> None:
    health = kl_health(evidence([0.875] * 8 + [0.0] * 8, use=0.1), TARGET)
    *of_the_code, use = np.maximum(terms(health), 1e-3)
    expected = (np.prod(of_the_code) * use**2) ** (1 / 6)
    assert health.kl_health == pytest.approx(expected)
    assert 0.0 < health.kl_health < 1.0


def test_dictionary_has_the_score_and_its_terms() -> None:
    values = kl_health(evidence([0.875] * 16), TARGET).to_dict()
    assert list(values) == ["kl_health", *(f"kl_health/{term}" for term in TERMS)]
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize(
    ("rates", "score"),
    [
        pytest.param([0.0] * 16, 0.0, id="all_dead"),
        pytest.param([0.01] * 16, 0.0, id="all_at_the_foot"),
        pytest.param([0.1] * 8 + [0.0] * 8, 1.0, id="just_enough"),
        pytest.param([0.1] * 2 + [0.0] * 14, 0.25, id="two_of_eight"),
        pytest.param([0.1] * 2, 0.25, id="there_are_only_two"),
        pytest.param([0.055] * 8 + [0.0] * 8, 0.5, id="half_alive"),
        pytest.param([3.0] * 16, 1.0, id="more_than_enough"),
    ],
)
def test_live_dimensions_counts_softly_against_the_target(
    rates: list[float], score: float
) -> None:
    health = kl_health(evidence(rates), TARGET)  # of eight
    assert health.live_dimensions == pytest.approx(score, abs=1e-9)


def test_live_dimensions_against_a_given_number() -> None:
    given_target = replace(TARGET, n_target=9)
    health = kl_health(evidence([1.0] * 3 + [0.0] * 13), given_target)
    assert health.live_dimensions == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("rates", "score"),
    [
        pytest.param([0.15, 4.5], 1.0, id="inside"),
        pytest.param([0.085], 0.5, id="trickle"),
        pytest.param([6.75], 0.5, id="nearly_memorised"),
        pytest.param([9.5], 0.0, id="memorised"),
        pytest.param([2.25, 6.75], 0.625, id="weighted_by_kl"),
        pytest.param([0.02, 0.04], 0.0, id="nothing_live"),
    ],
)
def test_kl_band_is_a_trapezoid_weighted_by_kl(rates: list[float], score: float) -> None:
    assert kl_health(evidence(rates), TARGET).kl_band == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize(
    ("total", "score"),
    [(0.0, 0.0), (5.6, 0.5), (11.2, 1.0), (14.0, 1.0), (25.2, 1.0), (50.4, 0.5)],
)
def test_rate_is_flat_around_the_target_and_falls_off(total: float, score: float) -> None:
    assert kl_health(evidence([total / 16] * 16), TARGET).rate == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize(
    ("shift", "scale", "divergence"),
    [
        (0.0, 1.0, 0.0),
        (1.0, 1.0, 0.5),
        (0.0, 2.0, 0.5 * (4.0 - 1.0 - np.log(4.0))),
        (0.0, 0.5, 0.5 * (0.25 - 1.0 - np.log(0.25))),
    ],
)
def test_aggregate_posterior_is_the_fit_to_the_prior_in_closed_form(
    shift: float, scale: float, divergence: float
) -> None:
    healthy = evidence([1.0] * 4)
    moved = replace(
        healthy,
        mean=scale * healthy.mean + shift,
        log_var=healthy.log_var + 2.0 * np.log(scale),
    )
    assert kl_health(moved, TARGET).aggregate_posterior == pytest.approx(np.exp(-divergence))


def test_a_dead_dimension_that_is_off_its_prior_is_dead() -> None:
    """Its KL is what it pays for being off; what it carries is nothing."""
    healthy = evidence([1.0, 1.0, 0.0, 0.0])
    mean = healthy.mean + np.array([0.0, 0.0, 1.0, 1.0])
    kl = 0.5 * (mean**2 + np.exp(healthy.log_var) - 1.0 - healthy.log_var)
    shifted = kl_health(replace(healthy, mean=mean, kl=kl), TARGET)
    assert shifted.kl_per_dimension == pytest.approx([1.0, 1.0, 0.5, 0.5])
    assert shifted.live.tolist() == [True, True, False, False]
    assert shifted.live_dimensions == kl_health(healthy, TARGET).live_dimensions


@settings(max_examples=15)
@given(st.floats(-3.0, 3.0), st.floats(0.2, 5.0))
def test_where_codes_are_changes_neither_what_is_live_nor_the_band(
    shift: float, scale: float
) -> None:
    seen = evidence([5.0, 2.0, 0.07, 0.0])
    mean, log_var = scale * seen.mean + shift, seen.log_var + 2.0 * np.log(scale)
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1.0 - log_var)
    health = kl_health(replace(seen, mean=mean, log_var=log_var, kl=kl), TARGET)
    before = kl_health(seen, TARGET)
    assert health.live.tolist() == before.live.tolist() == [True, True, True, False]
    assert health.live_dimensions == pytest.approx(before.live_dimensions)
    assert health.kl_band == pytest.approx(before.kl_band)


def test_aggregate_posterior_does_not_ask_dead_dimensions() -> None:
    healthy = evidence([1.0, 0.0])
    shifted = replace(healthy, mean=healthy.mean + np.array([0.0, 3.0]))  # kl is left as it was
    assert kl_health(shifted, TARGET).aggregate_posterior == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("use", "score"), [(-0.2, 0.0), (0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (1.0, 1.0), (1.1, 1.0)]
)
def test_latent_use_is_the_share_of_what_a_wrong_code_leaves_open(
    use: float, score: float
) -> None:
    health = kl_health(evidence([0.875] * 16, use=use), TARGET)
    assert health.latent_use == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("use", [-1.0, 0.0, 0.002])
def test_a_code_that_the_decoder_does_not_use_is_worth_nothing(use: float) -> None:
    health = kl_health(evidence([0.875] * 16, use=use), TARGET)
    assert health.status == "unused"
    assert health.kl_health == 0.0
    assert health.rate == pytest.approx(1.0)


def test_an_autoencoder_in_disguise_scores_low() -> None:
    healthy = evidence([8.5] * 16)
    spread = replace(healthy, mean=6.0 * healthy.mean)  # codes far outside the prior
    health = kl_health(spread, TARGET)
    assert health.status == "ok"
    assert health.rate < 0.2
    assert health.kl_band < 0.2
    assert health.aggregate_posterior < 1e-6
    assert health.kl_health < 0.2


def test_in_a_long_window_only_the_band_tells_lists_of_samples() -> None:
    """Sixteen bars have 107 nats to tell: twelve dimensions of 9 nats, 8,100 values each, do."""
    settings = replace(TARGET, target_rate_nats=107.0)
    health = kl_health(evidence([9.0] * 12), settings)
    assert health.kl_band == pytest.approx(0.0, abs=1e-9)
    assert [value for value in terms(health) if value < 0.999] == [health.kl_band]
    assert health.kl_health == pytest.approx(1e-3 ** (1 / 6))
    assert kl_health(evidence([4.5] * 24), settings).kl_health == pytest.approx(1.0)


def test_health_orders_runs_as_a_person_would() -> None:
    runs = {
        "healthy": evidence([0.875] * 16),
        "half_dead": evidence([1.75] * 3 + [0.0] * 13),
        "trickle": evidence([0.06] * 16),
        "ignored": evidence([0.875] * 16, use=0.01),
        "unused": evidence([0.875] * 16, use=0.0),
        "collapsed": evidence([0.001] * 16),
    }
    scores = [kl_health(run, TARGET).kl_health for run in runs.values()]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.99
    assert scores[-3] > scores[-2] == scores[-1] == 0.0


@settings(max_examples=25)
@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_more_use_of_the_code_is_never_worse(first: float, second: float) -> None:
    low, high = sorted((first, second))
    scores = [kl_health(evidence([0.875] * 16, use=use), TARGET).kl_health for use in (low, high)]
    assert scores[0] <= scores[1] + 1e-12


@settings(max_examples=15)
@given(st.integers(1, 15), st.floats(0.15, 4.5))
def test_one_more_live_dimension_below_the_target_is_never_worse(n_live: int, rate: float) -> None:
    """As long as the total rate is below its ceiling."""
    generous = KLHealthSettings(target_rate_nats=100.0, n_target=16)
    scores = [
        kl_health(evidence([rate] * n + [0.0] * (16 - n)), generous).kl_health
        for n in (n_live, n_live + 1)
    ]
    assert scores[0] < scores[1]


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_order_of_dimensions_and_of_samples_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = evidence(rng.uniform(0.0, 3.0, size=8), use=0.3)
    rows, order = rng.permutation(N), rng.permutation(8)
    moved = replace(
        seen,
        kl=seen.kl[rows][:, order],
        mean=seen.mean[rows][:, order],
        log_var=seen.log_var[rows][:, order],
    )
    assert terms(kl_health(moved, TARGET)) == pytest.approx(terms(kl_health(seen, TARGET)))


def test_slots_share_a_rate_and_add_up_in_the_total() -> None:
    dimension = [0, 1, 0, 1, 0, 1]
    health = kl_health(evidence([3.0, 0.0, 1.0, 0.0, 2.0, 0.03], dimension=dimension), TARGET)
    assert health.kl_per_dimension == pytest.approx([2.0, 0.01])
    assert health.live.tolist() == [True, False]


def test_slots_of_a_dimension_weigh_its_band_by_their_sum() -> None:
    health = kl_health(evidence([2.0, 2.0, 2.0, 6.75], dimension=[0, 0, 0, 1]), TARGET)
    assert health.kl_band == pytest.approx((6.0 * 1.0 + 6.75 * 0.5) / 12.75)


@pytest.mark.parametrize(
    "spoilt",
    ["kl", "mean", "log_var", "reconstruction", "reconstruction_shuffled_z"],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_a_hard_failure(spoilt: str, bad: float) -> None:
    seen = evidence([0.875] * 4, dimension=[0, 1, 0, 1])
    values = getattr(seen, spoilt).copy()
    values.flat[0] = bad
    health = kl_health(replace(seen, **{spoilt: values}), TARGET)
    assert health.status == "non_finite"
    assert set(health.to_dict().values()) == {0.0}
    assert health.kl_per_dimension.tolist() == [0.0, 0.0]
    assert not health.live.any()


def test_a_variance_that_overflows_is_a_hard_failure() -> None:
    seen = evidence([0.875] * 4)
    health = kl_health(replace(seen, log_var=seen.log_var + 800.0), TARGET)
    assert health.status == "non_finite"


def test_a_total_below_a_tenth_of_a_nat_is_collapsed() -> None:
    health = kl_health(evidence([0.09] + [0.0] * 15), TARGET)
    assert health.status == "collapsed"
    assert health.kl_health == 0.0
    assert health.live_dimensions > 0.0  # the terms are still told


def test_kl_spread_too_thin_leaves_no_live_dimension() -> None:
    health = kl_health(evidence([0.03] * 16), TARGET)
    assert health.status == "no_live_dimension"
    assert health.kl_health == 0.0
    assert (health.kl_band, health.aggregate_posterior) == (0.0, 0.0)


def test_kl_of_a_width_that_ignores_the_data_is_no_live_dimension() -> None:
    mean, log_var = np.zeros((100, 4)), np.full((100, 4), -3.0)
    kl = 0.5 * (np.exp(log_var) - 1.0 - log_var)
    seen = LatentEvidence(
        kl=kl,
        mean=mean,
        log_var=log_var,
        reconstruction=np.ones(100),
        reconstruction_shuffled_z=np.ones(100),
    )
    health = kl_health(seen, TARGET)
    assert health.status == "no_live_dimension"
    assert not health.live.any()  # it pays 1.02 nats for being off its prior, and says nothing
    assert health.kl_health == 0.0


def test_a_posterior_without_width_is_defined() -> None:
    seen = evidence([1.0] * 4)
    narrow = replace(seen, mean=np.ones_like(seen.mean), log_var=np.full_like(seen.mean, -900.0))
    health = kl_health(narrow, TARGET)
    assert health.aggregate_posterior == pytest.approx(0.0, abs=1e-12)
    assert np.isfinite(list(health.to_dict().values())).all()


def test_evidence_needs_two_samples() -> None:
    row = np.zeros((1, 2))
    with pytest.raises(ValueError, match="kl must hold at least 2 samples, got 1"):
        LatentEvidence(
            kl=row,
            mean=row,
            log_var=row,
            reconstruction=row[:, 0],
            reconstruction_shuffled_z=row[:, 0],
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target_rate_nats": 0.0}, r"kl_health\.target_rate_nats must be > 0, got 0\.0"),
        ({"target_rate_nats": float("nan")}, r"kl_health\.target_rate_nats must be > 0, got nan"),
        ({"target_rate_nats": 14.0, "n_target": 0}, r"kl_health\.n_target must be >= 1, got 0"),
    ],
)
def test_settings_name_the_key_to_change(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        KLHealthSettings(**values)


def test_under_a_learned_prior_codes_are_held_against_its_samples() -> None:
    seen = evidence([0.875] * 16)
    moved = replace(seen, mean=2.0 * seen.mean + 3.0, log_var=seen.log_var + 2.0 * np.log(2.0))
    assert kl_health(moved, TARGET).aggregate_posterior < 0.02
    draws = 3.0 + 2.0 * np.random.default_rng(1).normal(size=(20_000, 16))
    found = kl_health(replace(moved, prior_samples=draws), TARGET)
    assert found.aggregate_posterior == pytest.approx(1.0, abs=0.005)


def test_given_rates_say_what_is_live_and_kl_what_the_total_is() -> None:
    seen = evidence([0.875] * 16)
    rates = np.where(np.arange(16) < 4, 0.875, 0.0)
    found = kl_health(replace(seen, rates=rates), TARGET)
    assert found.live.tolist() == [True] * 4 + [False] * 12
    assert found.live_dimensions == pytest.approx(4 / 8)
    broken = replace(seen, rates=np.full(16, np.nan))
    assert kl_health(broken, TARGET).status == "non_finite"


def test_whatever_the_prior_a_dimension_carries_neither_its_place_nor_what_the_prior_knows() -> (
    None
):
    seen = evidence([0.875] * 4 + [0.0] * 4)
    off = replace(seen, mean=seen.mean + 2.0, kl=seen.kl + 2.0)  # a KL of 2 nats for its place
    assert kl_health(off, TARGET).live.tolist() == [True] * 4 + [False] * 4
    beside_a_mixture = replace(off, rates=off.kl.mean(axis=0))  # the levels with a closed form
    assert kl_health(beside_a_mixture, TARGET).live.tolist() == [True] * 4 + [False] * 4
    foreseen = replace(seen, kl=np.where(np.arange(8) < 2, seen.kl, 0.01))  # by coarser codes
    assert kl_health(foreseen, TARGET).live.tolist() == [True] * 2 + [False] * 6


@settings(max_examples=15)
@given(st.integers(1, 40))
def test_dimensions_that_are_not_needed_change_nothing(spare: int) -> None:
    """A code of eight is as good among a hundred: no trial is ranked by how many it left empty."""
    rates = [1.5, 2.0, 1.0, 2.5, 1.5, 0.5, 3.0, 1.0]
    alone, among = (kl_health(evidence(rates + [0.0] * n), TARGET) for n in (0, spare))
    assert terms(among) == pytest.approx(terms(alone))


def losses(seen: LatentEvidence) -> tuple[np.ndarray, np.ndarray]:
    return seen.reconstruction, seen.reconstruction_shuffled_z


def halves(seen: LatentEvidence) -> np.ndarray:
    """Coordinates of the first half of the code."""
    return np.arange(seen.kl.shape[1]) < seen.kl.shape[1] // 2


def test_a_level_is_held_against_its_part_of_the_targets() -> None:
    seen = evidence([0.875] * 8 + [0.0] * 8)
    for level, rate in ((halves(seen), 1.0), (~halves(seen), 0.0)):
        part = level_health(seen, TARGET, level, losses(seen))
        assert part.rate == pytest.approx(rate)
        assert part.live_dimensions == pytest.approx(rate)
    whole = kl_health(seen, TARGET)
    assert whole.rate == pytest.approx(7.0 / 11.2)
    assert part.status == "collapsed"


def test_what_a_level_is_asked_is_its_own_and_what_it_costs_is_given() -> None:
    seen = evidence([6.75, 2.0, 0.5, 0.5], dimension=[0, 1, 2, 2])
    level = np.array([False, False, True, True])
    right = np.array([3.0, 5.0])  # of fewer sequences than the rest
    part = level_health(seen, TARGET, level, (right, right + 6.0))
    assert part.kl_per_dimension == pytest.approx([0.5])
    assert part.kl_band == pytest.approx(1.0)
    assert part.latent_use == pytest.approx(0.6)
    assert part.rate == pytest.approx(1.0 / (0.8 * 7.0))  # half of the coordinates
    assert part.live_dimensions == pytest.approx(1.0 / 3.0)  # a third of eight, rounded


def test_all_of_the_code_as_one_level_is_the_whole() -> None:
    rng = np.random.default_rng(0)
    seen = evidence(rng.uniform(0.0, 3.0, size=8), use=0.3, dimension=[0, 1, 2, 3, 0, 1, 2, 3])
    draws, rates = rng.normal(size=(50, 8)), rng.uniform(0.0, 2.0, size=8)
    for each in (seen, replace(seen, prior_samples=draws, rates=rates)):
        one = level_health(each, TARGET, np.ones(8, bool), losses(each))
        assert one.to_dict() == pytest.approx(kl_health(each, TARGET).to_dict())


def test_a_level_under_a_learned_prior_is_held_against_its_own_draws() -> None:
    seen = evidence([0.875] * 16)
    level = halves(seen)
    moved = replace(seen, mean=seen.mean + 3.0 * level)
    draws = np.random.default_rng(1).normal(size=(20_000, 16)) + 3.0 * level
    learned = replace(moved, prior_samples=draws, rates=np.where(level, 0.875, 0.0))
    first, second = (level_health(learned, TARGET, part, losses(seen)) for part in (level, ~level))
    assert first.aggregate_posterior == pytest.approx(1.0, abs=0.005)
    assert first.live_dimensions == 1.0
    assert second.status == "no_live_dimension"


def test_codes_are_held_against_place_and_width_of_the_draws_in_closed_form() -> None:
    seen = evidence([0.875] * 4)
    draws = np.array([[-1.0], [5.0]]) * np.ones(4)  # mean 2, standard deviation 3
    found = kl_health(replace(seen, prior_samples=draws), TARGET)
    divergence = 0.5 * ((2 / 3) ** 2 + 1 / 9 - 1.0 - np.log(1 / 9))
    assert found.aggregate_posterior == pytest.approx(np.exp(-divergence))


def test_a_later_level_is_held_against_its_own_draws() -> None:
    seen = evidence([0.875] * 6)
    level = np.arange(6) >= 4
    draws = np.random.default_rng(1).normal(size=(20_000, 6)) + 3.0 * level
    moved = replace(seen, mean=seen.mean + 3.0 * level, prior_samples=draws)
    found = level_health(moved, TARGET, level, losses(seen))
    assert found.aggregate_posterior == pytest.approx(1.0, abs=0.005)


def test_means_that_hardly_move_are_no_live_dimension_however_narrow() -> None:
    """They could be told apart, and yet the model gives them a hundredth of its prior's room."""
    seen = evidence([3.0] * 4)
    narrow = replace(seen, mean=0.05 * seen.mean, log_var=seen.log_var + 2.0 * np.log(0.05))
    found = kl_health(narrow, TARGET)
    assert found.live.all()
    assert (found.status, found.kl_health) == ("no_live_dimension", 0.0)
