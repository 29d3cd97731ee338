"""Search spaces: what a file may say, what is refused, and that every proposal makes a run."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from aurl.config import from_plain
from aurl.errors import ConfigError
from aurl.latent_config import PriorConfig
from aurl.objective_config import BetaConfig
from aurl.search.distributions import Choice, IntUniform, LogUniform, Uniform
from aurl.search.parameter import Parameter
from aurl.search.proof import draws, prove
from aurl.search.settings import SamplerConfig, SchedulerConfig
from aurl.search.space import Space, optuna_distribution
from aurl.search.space_checks import examples
from aurl.search.space_file import load_space, space_of
from aurl.training.fits import check_fits
from tests.tiny import tiny_corpus

BETA = "objective.beta.schedule"
TOP_DOWN = "latent.top_down"
LR = "optimizer.lr"
FINE = "latent.levels.fine.dim"
SCHEDULES: dict[str, Any] = {
    BETA: {"choice": ["constant", "linear"]},
    "objective.beta.warmup": {"uniform": [0.1, 0.5], "when": {BETA: "linear"}},
}


def space(scientific: Mapping[str, Any] | None = None, **sections: Any) -> Space:
    values = {
        "question": "Which?",
        "budget": {"trials": 4, "steps_per_trial": 6},
        "scientific": dict(scientific or {}),
        **{key: value for key, value in sections.items() if key != "overrides"},
    }
    return space_of(values, overrides=sections.get("overrides", {}))


def random_trials(drawn: Space, count: int) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [drawn.suggest(study.ask()) for _ in range(count)]


# Reading


OBJECTIVE: dict[str, Any] = {
    BETA: {"choice": ["cyclical", "target_kl", "target_reconstruction"]},
    "objective.beta.cycles": {"int_uniform": [2, 4], "when": {BETA: "cyclical"}},
    "objective.beta.ramp": {"uniform": [0.2, 0.8], "when": {BETA: "cyclical"}},
    "objective.beta.target": {
        "uniform": [5.0, 30.0],
        "when": {BETA: ["target_kl", "target_reconstruction"]},
    },
    "objective.beta.integral": {"log_uniform": [1e-5, 1e-3], "when": {BETA: "target_kl"}},
    "objective.beta.rate": {"log_uniform": [0.001, 0.1], "when": {BETA: "target_reconstruction"}},
    "latent.posterior": {"choice": ["standard", "batch_norm"]},
    "latent.gamma": {"uniform": [0.3, 1.0], "when": {"latent.posterior": "batch_norm"}},
    "objective.regularizers.total_correlation": {"choice": [0.0, 1.0]},
    "objective.regularizers.dip_off_diagonal": {"choice": [0.0, 10.0]},
    "objective.regularizers.dip_diagonal": {"choice": [0.0, 10.0]},
    "objective.regularizers.orthogonality": {"choice": [0.0, 10.0]},
    "objective.regularizers.sparsity": {"choice": [0.0, 1.0]},
    "objective.regularizers.attribute_order": {"choice": [0.0, 1.0]},
    "objective.regularizers.attributes.contour.sharpness": {"log_uniform": [0.1, 10.0]},
}


def test_every_part_of_the_objective_can_be_searched() -> None:
    attributes = [{"name": "contour", "dimension": "global/0"}]
    drawn = space(OBJECTIVE, base={"objective": {"regularizers": {"attributes": attributes}}})
    seen: set[str] = set()
    for values in random_trials(drawn, 50):
        config = drawn.config_of(values)
        seen |= set(values)
        if config.objective.beta.schedule == "target_kl":
            assert config.objective.beta.integral == values["objective.beta.integral"]
            assert config.objective.beta.proportional == 0.01
        assert (config.latent.gamma is None) == (values["latent.posterior"] == "standard")
    assert seen == set(OBJECTIVE)
    check_fits(drawn.config_of(random_trials(drawn, 1)[0]), tiny_corpus(), 1)


def test_when_a_level_opens_and_what_it_codes_for_nothing_can_be_searched() -> None:
    varied = {
        "latent.levels.local.opens": {"choice": [0.0, 0.1, 0.3]},
        "latent.levels.fine.opens": {"uniform": [0.2, 0.6]},
        "latent.levels.fine.free_nats": {"uniform": [0.5, 8.0]},
    }
    drawn = space(varied)
    for values in random_trials(drawn, 20):
        _, local, fine = drawn.config_of(values).latent.levels
        assert [local.opens, fine.opens, fine.free_nats] == [values[key] for key in varied]
    assert prove(drawn, tiny_corpus(), samples=8).problems == []
    varied["latent.levels.global.opens"] = {"choice": [0.1, 0.2]}
    varied["latent.levels.local.opens"] = {"choice": [0.1, 0.3]}
    with pytest.raises(ConfigError, match=r"^latent\.levels must have a level that opens at 0"):
        space(varied)


def test_a_space_is_read_whole() -> None:
    read = space(
        {
            LR: {"log_uniform": [1e-4, 1e-2]},
            "objective.beta.value": {"uniform": [0.5, 1]},
            FINE: {"int_uniform": [1, 8]},
        },
        nuisance={"training.batch_size": {"choice": [8, 16]}},
        base={"model": {"d_model": 16, "n_heads": 2}},
        fixed={"seed": 3},
        sampler={"name": "random", "seed": 5, "groups": True},
        scheduler={"name": "none"},
    )
    assert read.parameters == (
        Parameter(LR, LogUniform(1e-4, 1e-2), "scientific"),
        Parameter("objective.beta.value", Uniform(0.5, 1.0), "scientific"),
        Parameter(FINE, IntUniform(1, 8), "scientific"),
        Parameter("training.batch_size", Choice((8, 16)), "nuisance"),
    )
    assert read.question == "Which?"
    assert (read.budget.trials, read.budget.steps_per_trial) == (4, 6)
    assert read.sampler == SamplerConfig(name="random", seed=5, groups=True)
    assert read.scheduler == SchedulerConfig(name="none")
    config = read.config_of({LR: 0.005, FINE: 3})
    assert (config.optimizer.lr, config.latent.levels[2].dim) == (0.005, 3)
    assert (config.seed, config.model.d_model, config.training.steps) == (3, 16, 6)


def test_an_empty_section_is_no_section() -> None:
    read = space(nuisance=None, fixed=None, sampler=None, base=None)
    assert read.parameters == ()
    assert examples(read) == [{}]


def test_a_bare_exponent_is_a_number_wherever_a_space_has_one() -> None:
    read = space(
        {
            LR: {"choice": ["1e-3", "1e-2"]},
            "objective.beta.value": {"log_uniform": ["1e-2", "1e0"]},
            "optimizer.warmup": {"uniform": [0.1, 0.2], "when": {LR: "1e-3"}},
        },
        fixed={"optimizer.weight_decay": "1e-4"},
    )
    assert read.parameters[0].distribution == Choice((0.001, 0.01))
    assert read.parameters[1].distribution == LogUniform(0.01, 1.0)
    assert read.parameters[2].when == {LR: (0.001,)}
    assert read.config_of({LR: 0.001}).optimizer.weight_decay == 1e-4


def test_a_word_with_an_e_is_not_a_number() -> None:
    read = space({"objective.free_bits.granularity": {"choice": ["level", "total"]}})
    assert read.parameters[0].distribution == Choice(("level", "total"))


# Drawing


@pytest.mark.parametrize(
    ("entry", "low", "high", "kind"),
    [
        pytest.param({"uniform": [0.2, 0.4]}, 0.2, 0.4, float, id="uniform"),
        pytest.param({"log_uniform": [1e-4, 1e-1]}, 1e-4, 1e-1, float, id="log_uniform"),
    ],
)
def test_a_real_parameter_is_drawn_within_its_range(
    entry: dict[str, Any], low: float, high: float, kind: type
) -> None:
    drawn = [values[LR] for values in random_trials(space({LR: entry}), 200)]
    assert all(type(value) is kind and low <= value <= high for value in drawn)
    assert len(set(drawn)) == 200
    middle = (low * high) ** 0.5 if "log_uniform" in entry else (low + high) / 2
    assert 70 < sum(value < middle for value in drawn) < 130  # half, to 4 standard deviations


def test_whole_parameters_and_choices_take_every_value() -> None:
    drawn = random_trials(space({FINE: {"int_uniform": [2, 5]}, **SCHEDULES}), 200)
    assert {values[FINE] for values in drawn} == {2, 3, 4, 5}
    assert {values[BETA] for values in drawn} == {"constant", "linear"}


def test_a_whole_parameter_is_drawn_by_its_step_or_by_ratio() -> None:
    stepped = space({FINE: {"int_uniform": [3, 27], "step": 8}})
    assert {values[FINE] for values in random_trials(stepped, 100)} == {3, 11, 19, 27}
    assert [stepped.named({FINE: value}) for value in (11, 16)] == [{FINE: 11}, None]
    drawn = [
        values[FINE]
        for values in random_trials(space({FINE: {"int_uniform": [1, 64], "log": True}}), 300)
    ]
    assert all(type(value) is int and 1 <= value <= 64 for value in drawn)
    assert {1, 2, 3} < set(drawn)
    # ln(8.5 / 0.5) / ln(64.5 / 0.5) of the draws are at most 8: 175 of 300, to 4 deviations.
    assert 140 < sum(value <= 8 for value in drawn) < 210


def test_results_are_told_with_the_distributions_that_values_are_drawn_from() -> None:
    entries: dict[str, Any] = {
        LR: {"log_uniform": [1e-4, 1e-2]},
        "optimizer.weight_decay": {"uniform": [0.0, 0.1]},
        "training.batch_size": {"int_uniform": [4, 28], "step": 8},
        FINE: {"int_uniform": [1, 64], "log": True},
    }
    searched = space({**entries, **SCHEDULES})
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    searched.suggest(trial)
    told = {each.name: optuna_distribution(each.distribution) for each in searched.parameters}
    assert trial.distributions == told


RANGES: dict[str, Any] = {
    BETA: {"choice": ["constant", "target_kl", "target_reconstruction"]},
    "objective.beta.target": [
        {"uniform": [5.0, 10.0], "when": {BETA: "target_kl"}},
        {"uniform": [40.0, 60.0], "when": {BETA: "target_reconstruction"}},
    ],
}


def test_a_parameter_may_have_another_range_under_another_condition() -> None:
    ranged = space(RANGES)
    found: dict[Any, list[float]] = {"constant": [], "target_kl": [], "target_reconstruction": []}
    for values in random_trials(ranged, 60):
        found[values[BETA]] += [value for key, value in values.items() if key != BETA]
        assert ranged.config_of(values).objective.beta.target == values.get(
            "objective.beta.target"
        )
    assert found["constant"] == []
    assert all(5.0 <= value <= 10.0 for value in found["target_kl"])
    assert all(40.0 <= value <= 60.0 for value in found["target_reconstruction"])
    assert min(map(len, [found["target_kl"], found["target_reconstruction"]])) > 5
    ends = {(e[BETA], e["objective.beta.target"]) for e in examples(ranged) if len(e) == 2}
    assert {("target_kl", 10.0), ("target_reconstruction", 60.0)} <= ends


def test_values_are_named_as_optuna_knows_them() -> None:
    ranged = space(RANGES)
    target = "objective.beta.target"
    assert ranged.named({BETA: "target_kl", target: 6.0}) == {BETA: "target_kl", target: 6.0}
    second = ranged.named({BETA: "target_reconstruction", target: 50.0})
    assert second == {BETA: "target_reconstruction", f"{target} (2)": 50.0}
    assert ranged.named({BETA: "target_kl"}) == {BETA: "target_kl"}
    whole = ranged.named({BETA: "target_kl", target: 6})
    assert repr(whole) == repr({BETA: "target_kl", target: 6.0}), "as it would be drawn"
    assert ranged.named({BETA: "target_kl", target: 50.0}) is None
    assert ranged.named({BETA: "constant", target: 6.0}) is None
    assert ranged.named({BETA: "linear"}) is None
    assert ranged.named({LR: 0.1}) is None


def test_an_example_meets_every_condition_of_a_parameter() -> None:
    crossed = space(
        {
            BETA: {"choice": ["constant", "linear", "sigmoid"]},
            "objective.beta.warmup": {"choice": [0.2], "when": {BETA: ["linear", "sigmoid"]}},
            FINE: {"choice": [1, 2], "when": {BETA: ["sigmoid"]}},
            LR: {
                "choice": [0.01, 0.02],
                "when": {BETA: ["linear", "sigmoid"], FINE: 2},
            },
        }
    )
    heads = "model.n_heads"
    first = {heads: {"choice": [1, 2, 4]}}
    wider = {"choice": [1, 2], "when": {heads: [2, 4]}}
    either = [{"choice": [1, 2], "when": {heads: 2}}, {"choice": [2, 3], "when": {heads: 4}}]
    chained = space(
        {**first, FINE: wider, LR: {"choice": [0.01, 0.02], "when": {heads: 4, FINE: 2}}}
    )
    ranged = space({**first, FINE: either, LR: {"choice": [0.01, 0.02], "when": {FINE: 2}}})
    for each in (crossed, chained, ranged):
        assert {example.get(LR) for example in examples(each)} == {None, 0.01, 0.02}


def test_a_conditional_parameter_exists_only_under_its_condition() -> None:
    for values in random_trials(space(SCHEDULES), 50):
        assert ("objective.beta.warmup" in values) == (values[BETA] == "linear")


def test_a_condition_may_list_values_and_follow_a_chain() -> None:
    chained = space(
        {
            BETA: {"choice": ["constant", "linear", "sigmoid"]},
            "objective.beta.warmup": {
                "choice": [0.1, 0.2],
                "when": {BETA: ["linear", "sigmoid"]},
            },
            LR: {"uniform": [0.1, 0.2], "when": {"objective.beta.warmup": 0.2}},
        }
    )
    drawn = random_trials(chained, 100)
    for values in drawn:
        assert (LR in values) == (values.get("objective.beta.warmup") == 0.2)
    assert any(LR in values for values in drawn)
    assert {example[LR] for example in examples(chained) if LR in example} == {0.1, 0.2}


def test_a_condition_may_name_a_whole_parameter() -> None:
    read = space({FINE: {"int_uniform": [1, 3]}, LR: {"choice": [0.1], "when": {FINE: [1, 2]}}})
    for values in random_trials(read, 30):
        assert (LR in values) == (values[FINE] < 3)


def test_how_a_space_is_searched_can_be_set() -> None:
    path = Path(__file__).parents[1] / "search_spaces" / "quick.yaml"
    given = {"sampler.seed": 7, "budget.steps_per_trial": 50, "seed": 1, "scheduler": {"grace": 1}}
    before, read = load_space(path), load_space(path, overrides=given)
    assert (read.sampler, read.budget) == (
        replace(before.sampler, seed=7),
        replace(before.budget, steps_per_trial=50),
    )
    assert read.scheduler == replace(before.scheduler, grace=1.0)
    assert read.base["seed"] == 1
    assert list(read.fixed) == [*before.fixed, "seed"]
    for wrong, message in (
        ({"sampler.sede": 7}, r"^sampler\.sede is not a setting\. Did you mean 'seed'\?$"),
        ({"sampler": 7}, r"^sampler must be a mapping, got 7\.$"),
        ({"budget.trials": 7}, r"^budget\.trials must be left out of --set: --trials sets it\.$"),
        ({"budget": {"trials": 7}}, r"^budget\.trials must be left out of --set"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_space(path, overrides=wrong)


SHIPPED = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.yaml"))


def test_every_space_that_is_promised_is_there() -> None:
    names = {path.stem for path in SHIPPED}
    assert {"quick", "beta_schedules", "free_bits", "priors", "hierarchy"} <= names
    assert {"regularizers", "full"} <= names


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_draw_from_a_shipped_space_is_a_run_that_fits(path: Path) -> None:
    shipped, corpus = load_space(path), tiny_corpus()
    drawn = list(draws(shipped, 100))
    assert {key for values in drawn for key in values} == {p.key for p in shipped.parameters}
    for values in drawn:
        config = shipped.config_of(values)
        assert config.training.steps == shipped.budget.steps_per_trial
    proof = prove(shipped, corpus, samples=8)
    assert (proof.n_valid, proof.problems) == (8, [])
    assert proof.samples == drawn[:8]


# Proof


LEARNED = {
    "latent.prior.kind": {"choice": ["standard", "mixture", "spline"]},
    "objective.free_bits.granularity": {"choice": ["dimension", "level"]},
    "objective.free_bits.threshold": {"choice": [0.0, 0.1]},
    LR: {"log_uniform": [1e-4, 1e-2]},
}


def test_a_draw_that_makes_no_run_is_named_by_the_fewest_parameters() -> None:
    proof = prove(space(LEARNED), tiny_corpus(), samples=60)
    assert 0 < len(proof.problems) < 60
    for problem in proof.problems:
        message, parameters = problem.split(" It was drawn with ")
        assert message.startswith("objective.free_bits.granularity must be level or total under a")
        names = [pair.split("=")[0] for pair in parameters.rstrip(".").split(", ")]
        assert names in (["latent.prior.kind", "objective.free_bits.threshold"], [*LEARNED][:3])


FINE_FIRST = [{"name": "fine", "dim": 2, "span": 1}, {"name": "whole", "dim": 2}]


@pytest.mark.parametrize(
    ("base", "key", "good", "bad", "message"),
    [
        ({"latent": {"levels": FINE_FIRST}}, "latent.top_down", False, True, r"coarse.*"),
        ({}, "model.encoder_layers", 3, 1, r"^model\.encoder_layers must be at least the .*"),
        ({}, "training.batch_size", 8, 96, r"^training\.batch_size must be at most the .*"),
    ],
    ids=["prior", "encoder", "music"],
)
def test_a_proof_finds_what_a_sweep_would_refuse(
    base: dict[str, Any], key: str, good: Any, bad: Any, message: str
) -> None:
    varied = {key: {"choice": [good, bad]}, LR: {"choice": [0.001, 0.01]}}
    drawn, corpus = space(varied, base=base), tiny_corpus()
    proof = prove(drawn, corpus, samples=12)
    wrong = [values for values in proof.samples if values[key] == bad]
    assert len(proof.problems) == len(wrong) > 0
    with pytest.raises(ConfigError, match=message):
        check_fits(drawn.config_of(wrong[0]), corpus, 1)
    whole = rf"{message} It was drawn with {re.escape(key)}={bad}\.$"
    assert all(re.search(whole, problem) for problem in proof.problems), proof.problems


def test_what_is_wrong_with_every_draw_is_laid_on_none_of_its_parameters() -> None:
    schedule = "objective.beta.schedule"
    warmup = {"uniform": [0.1, 0.5], "when": {schedule: "linear"}}
    varied = {schedule: {"choice": ["linear"]}, "objective.beta.warmup": warmup}
    proof = prove(space(varied, base={"training": {"batch_size": 96}}), tiny_corpus(), samples=2)
    assert [problem[-12:] for problem in proof.problems] == [" more music."] * 2


# --set


def test_setting_a_searched_key_holds_it_fixed() -> None:
    held = space({LR: {"uniform": [0.1, 0.2]}, **SCHEDULES}, overrides={LR: "5e-3"})
    assert LR not in [parameter.key for parameter in held.parameters]
    assert held.config_of({BETA: "constant"}).optimizer.lr == 0.005


@pytest.mark.parametrize(
    ("schedule", "left"), [("constant", []), ("linear", ["objective.beta.warmup"])]
)
def test_setting_a_searched_key_settles_what_depends_on_it(schedule: str, left: list[str]) -> None:
    held = space(SCHEDULES, overrides={BETA: schedule})
    assert [parameter.key for parameter in held.parameters] == left
    for values in random_trials(held, 5):
        assert held.config_of(values).objective.beta.schedule == schedule


def test_what_stands_on_a_parameter_that_a_setting_leaves_out_goes_with_it() -> None:
    size, rate = "training.log_every", "optimizer.weight_decay"
    ranges = [{"choice": [2, 3], "when": {BETA: "constant"}}]
    ranges += [{"choice": [5, 6], "when": {BETA: "linear"}}]
    chain = {**SCHEDULES, size: ranges[0], LR: {"uniform": [0.1, 0.2], "when": {size: 2}}}
    other = {"seed": {"choice": [1, 2]}}  # has a value that the condition lists, too
    held = space({**other, **chain}, overrides={BETA: "linear"})
    assert [parameter.key for parameter in held.parameters] == ["seed", "objective.beta.warmup"]
    several = {**chain, size: ranges, rate: {"uniform": [0.1, 0.2], "when": {size: [3, 6]}}}
    found = space(several, overrides={BETA: "linear"}).parameters
    assert {parameter.key: parameter.when for parameter in found[1:]} == {
        size: {},
        rate: {size: (6,)},
    }


def test_setting_compares_numbers_as_numbers() -> None:
    varied = {LR: {"choice": ["1e-3", 1]}, "seed": {"choice": [1, 2], "when": {LR: "1e-3"}}}
    assert [p.key for p in space(varied, overrides={LR: "1e-3"}).parameters] == ["seed"]
    assert space(varied, overrides={LR: 1}).parameters == ()


def test_setting_wins_over_the_file() -> None:
    read = space(fixed={LR: 0.1}, base={"optimizer": {"lr": 0.2}}, overrides={LR: 0.3})
    assert from_plain(read.base).optimizer.lr == 0.3
    assert read.fixed == {LR: 0.3}


@pytest.mark.parametrize("place", ["fixed", "overrides"])
def test_a_section_that_is_held_is_laid_over_what_base_sets(place: str) -> None:
    held: dict[str, Any] = {"optimizer": {"warmup": 0.1}}
    read = space(
        {LR: {"choice": [0.2]}}, base={"optimizer": {"gradient_clip": 3.0}}, **{place: held}
    )
    optimizer = read.config_of({LR: 0.2}).optimizer
    assert (optimizer.warmup, optimizer.gradient_clip, optimizer.lr) == (0.1, 3.0, 0.2)
    assert read.fixed == {"optimizer.warmup": 0.1}


@pytest.mark.parametrize("place", ["fixed", "overrides"])
def test_a_section_of_another_kind_takes_the_place_of_what_base_sets(place: str) -> None:
    base = {
        "objective": {"beta": {"schedule": "linear", "warmup": 0.3, "value": 0.2}},
        "latent": {"prior": {"kind": "mixture", "components": 3}},
    }
    held = {"objective.beta": {"schedule": "constant"}, "latent": {"prior": {"kind": "planar"}}}
    config = space(base=base, **{place: held}).config_of({})
    assert config.objective.beta == BetaConfig()
    assert config.latent.prior == PriorConfig(kind="planar")
    held = {"objective.beta": {"schedule": "linear", "warmup": 0.5}}
    beta = space(base=base, **{place: held}).config_of({}).objective.beta
    assert beta == BetaConfig(schedule="linear", warmup=0.5, value=0.2)
    held = {"objective.beta.value": 0.7, **held}  # before its section, and not lost
    beta = space(base=base, **{place: held}).config_of({}).objective.beta
    assert beta == BetaConfig(schedule="linear", warmup=0.5, value=0.7)
    held["objective.beta"] = {"schedule": "sigmoid", "warmup": 0.5}
    beta = space(base=base, **{place: held}).config_of({}).objective.beta
    assert beta == BetaConfig(schedule="sigmoid", warmup=0.5, value=0.7)


def test_what_is_named_as_held_is_what_is_in_effect() -> None:
    linear = {"schedule": "linear", "warmup": 0.5}
    warmup = "objective.beta.warmup"
    read = space(
        {warmup: {"uniform": [0.1, 0.2]}},
        fixed={"objective": {"beta": linear}, "latent.levels.fine.dim": 3},
        overrides={"objective.beta": {"schedule": "constant"}, warmup: None},
    )
    assert read.fixed == {BETA: "constant", "latent.levels.fine.dim": 3, warmup: None}
    read = space(
        fixed={"objective.beta": linear}, overrides={"objective.beta": {"schedule": "constant"}}
    )
    assert read.fixed == {BETA: "constant"}
    levels = [{"name": "fine", "dim": 4, "span": 1}]
    read = space(fixed={"latent.levels": levels}, overrides={"latent.levels.fine.dim": 5})
    assert read.fixed == {"latent.levels": [{**levels[0], "dim": 5}], "latent.levels.fine.dim": 5}


# Refusals


@pytest.mark.parametrize(
    ("scientific", "message"),
    [
        ({LR: 5}, r"^optimizer\.lr must be a mapping such as \{choice: \[\.\.\.\]\}, got 5\.$"),
        ({LR: {"unifrom": [1, 2]}}, r"lr\.unifrom is not a distribution\. Did you mean 'uniform'"),
        ({LR: {"values": [1, 2]}}, r"lr\.values is not a .* Here it is choice: \[a, b\]\.$"),
        ({LR: {"min": 1, "max": 2}}, r"lr\.min is not a .* Here it is uniform: \[low, high\]\.$"),
        ({LR: {"loguniform": [1, 2]}}, r"Here it is log_uniform: \[low, high\]\.$"),
        ({LR: {}}, r"lr must have one distribution of uniform, .*, choice, got \[\]\.$"),
        ({LR: {"uniform": [1, 2], "choice": [1]}}, r"one distribution .* \['uniform', 'choice'\]"),
        ({LR: {"uniform": 5}}, r"optimizer\.lr\.uniform must be a list, got 5\.$"),
        ({LR: {"uniform": [1]}}, r"lr\.uniform must be \[low, high\], got \[1\]\.$"),
        ({LR: {"uniform": [1, "b"]}}, r"lr\.uniform must be \[low, high\], got \[1, 'b'\]\.$"),
        ({LR: {"uniform": [1, True]}}, r"lr\.uniform must be \[low, high\], got \[1, True\]\.$"),
        ({LR: {"uniform": [2, 2]}}, r"lr\.uniform must have low < high, got \[2, 2\]\.$"),
        (
            {LR: {"uniform": [float("nan"), 1]}},
            r"lr\.uniform must have finite bounds, got \[nan, 1",
        ),
        ({LR: {"log_uniform": [0, 1]}}, r"lr\.log_uniform must have low > 0, got 0\.$"),
        ({LR: {"choice": [1, 10**400]}}, r"lr\.choice must list finite values, got \[1, 1000"),
        (
            {FINE: {"int_uniform": [1, 4], "step": 2}},
            r"fine\.dim\.step must .* divides 4 - 1, got 2",
        ),
        (
            {FINE: {"int_uniform": [1, 4], "step": 0}},
            r"fine\.dim\.step must be a whole .* got 0\.$",
        ),
        (
            {FINE: {"int_uniform": [1, 5], "step": 2.0}},
            r"dim\.step must be a whole .* got 2\.0\. Write whole numbers without a point\.$",
        ),
        ({FINE: {"int_uniform": [1, 5], "step": 1.5}}, r"dim\.step must be .* got 1\.5\.$"),
        (
            {LR: {"int_uniform": [1.0, 2]}},
            r"must have whole bounds, got \[1\.0, 2\]\. Write whole numbers without a point\.$",
        ),
        ({FINE: {"int_uniform": [1, 4], "log": 1}}, r"dim\.log must be true or false, got 1\.$"),
        ({FINE: {"int_uniform": [0, 4], "log": True}}, r"must have low >= 1 with log, got 0\.$"),
        (
            {FINE: {"int_uniform": [1, 4], "log": True, "step": 1}},
            r"step must be left out with log",
        ),
        (
            {LR: {"uniform": [1, 4], "step": 1}},
            r"lr\.step must go with int_uniform, got it with un",
        ),
        (
            {LR: [{"choice": [0.1]}, {"choice": [0.2]}]},
            r"lr must have ranges whose conditions excl",
        ),
        (
            {
                BETA: {"choice": ["constant", "linear", "sigmoid"]},
                LR: [
                    {"choice": [0.1], "when": {BETA: ["constant", "linear"]}},
                    {"choice": [0.2], "when": {BETA: ["linear", "sigmoid"]}},
                ],
            },
            r"^optimizer\.lr must have ranges whose conditions exclude each other, got .*sigmoid",
        ),
        (
            {LR: {"int_uniform": [1.5, 2]}},
            r"int_uniform must have whole bounds, got \[1\.5, 2\]\.$",
        ),
        ({LR: {"choice": []}}, r"optimizer\.lr\.choice must list plain values, got \[\]\.$"),
        ({LR: {"choice": [[1, 2]]}}, r"lr\.choice must list plain values, got \[\[1, 2\]\]\.$"),
        ({LR: {"choice": [1], "when": 5}}, r"lr\.when must be a mapping such as .*, got 5\.$"),
        ({LR: {"choice": [1], "when": None}}, r"lr\.when must be a mapping such as .*, got None"),
        ({LR: {"choice": [1], "when": {FINE: 1}}}, r"lr\.when must name .* above it, got 'latent"),
        (
            {BETA: {"choice": ["linear"]}, LR: {"choice": [1], "when": {BETA: "linaer"}}},
            r"lr\.when must list values that objective\.beta\.schedule can have, got 'linaer'\.$",
        ),
        (
            {FINE: {"int_uniform": [1, 3]}, LR: {"choice": [1], "when": {FINE: 4}}},
            r"lr\.when must list values that latent\.levels\.fine\.dim can have, got 4\.$",
        ),
        (
            {LR: {"uniform": [0.1, 1]}, "seed": {"choice": [1], "when": {LR: 0.1}}},
            r"seed\.when must list values that optimizer\.lr can have, got 0\.1\.$",
        ),
        (
            {BETA: {"choice": ["linear"]}, LR: {"choice": [1], "when": {BETA: []}}},
            r"optimizer\.lr\.when\.objective\.beta\.schedule must list plain values, got \[\]\.$",
        ),
        ({1: {"choice": [1]}}, r"^scientific must have text for its keys, got 1\.$"),
        ({LR: {1: [1, 2]}}, r"^optimizer\.lr must have text for its keys, got 1\.$"),
        ({"optimzer.lr": {"choice": [1]}}, r"optimzer is not a .* Did you mean 'optimizer'\?$"),
        ({"optimizer.rl": {"choice": [1]}}, r"optimizer\.rl is not a setting\. Known: lr, weight"),
        ({LR: {"choice": ["high"]}}, r"optimizer\.lr must be a number, got 'high'\.$"),
        ({LR: {"uniform": [-1, 1]}}, r"optimizer\.lr must be > 0, got -1\.0\.$"),
        (
            {LR: {"uniform": [1, float("inf")]}},
            r"lr\.uniform must have finite bounds, got \[1, in",
        ),
        ({LR: {"uniform": [1, 10**400]}}, r"lr\.uniform must have finite bounds, got \[1, 1000"),
        ({LR: {"uniform": [-1.7e308, 1.7e308]}}, r"lr\.uniform must have finite bounds, got \[-1"),
        ({FINE: {"int_uniform": [1, 2**63]}}, r"dim\.int_uniform must have finite bounds, got"),
        ({FINE: {"choice": [65_537]}}, r"fine\.dim must be in 0\.\.65536, got 65537\.$"),
        ({"model.d_model": {"choice": [2**62]}}, r"model\.d_model must be in 1\.\.65536, got 46"),
        (
            {LR: []},
            r"^optimizer\.lr must be a mapping such as \{choice: \[\.\.\.\]\}, got \[\]\.$",
        ),
        ({LR: {"choice": [1, 1.0]}}, r"lr\.choice must list distinct values, got \[1, 1\.0\]\.$"),
        ({"": {"choice": [1]}}, r"^'' is not a setting\. Known: seed, data,"),
        (
            {"evaluation.every": {"choice": [1]}},
            r"^evaluation\.every must be the same for all tri",
        ),
        (
            {TOP_DOWN: {"choice": [True]}, LR: {"choice": [1], "when": {TOP_DOWN: 1}}},
            r"lr\.when must list values that latent\.top_down can have, got 1\.$",
        ),
        (
            {
                TOP_DOWN: {"choice": [True, False]},
                FINE: {"choice": [4, 8], "when": {TOP_DOWN: True}},
                LR: {"choice": [1], "when": {FINE: 4, TOP_DOWN: False}},
            },
            r"^optimizer\.lr\.when must be possible, got conditions that exclude each other: ",
        ),
        ({FINE: {"uniform": [1, 2]}}, r"fine\.dim must be a whole number, got 1\.0\.$"),
        ({"training.steps": {"choice": [1]}}, r"training\.steps .* cannot be searched\.$"),
        ({"data.corpus": {"choice": ["a"]}}, r"data\.corpus must be the same for all trials"),
    ],
)
def test_a_wrong_parameter_is_refused_by_the_name_of_its_key(
    scientific: dict[Any, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        space(scientific)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"scientfic": {}}, r"^scientfic is not a section .* Did you mean 'scientific'\?$"),
        ({"question": " "}, r"^question must be a sentence, got ' '\.$"),
        ({"question": None}, r"^question must be a sentence, got None\.$"),
        ({"base": [1]}, r"^base must be a mapping, got \[1\]\.$"),
        ({"nuisance": 3}, r"^nuisance must be a mapping, got 3\.$"),
        ({"fixed": {1: 2}}, r"^fixed must have text for its keys, got 1\.$"),
        ({"base": {"modle": {}}}, r"^modle is not a setting\. Did you mean 'model'\?$"),
        ({"base": {"training": {"steps": 3}}}, r"training\.steps must be left out of a search"),
        (
            {"fixed": {"optimizer": {"lr": 0.1}, "optimizer.lr": 0.2}},
            r"^optimizer\.lr must stand once, got it by its key and in a section\.$",
        ),
        ({"fixed": {"training": {"steps": 3}}}, r"training\.steps must be left out of a search s"),
        ({"fixed": {"training.steps": 3}}, r"training\.steps must be left out of a search space"),
        ({"overrides": {"training.steps": 3}}, r"steps must be left out .* budget\.steps_per_tri"),
        ({"budget": {}}, r"^budget\.trials must be given, got nothing\.$"),
        ({"budget": {"trials": 0, "steps_per_trial": 1}}, r"budget\.trials must be >= 1, got 0"),
        ({"budget": {"trials": 1, "steps_per_trial": 0}}, r"steps_per_trial must be >= 1, got 0"),
        (
            {"budget": {"trials": 1, "steps_per_trial": 1, "tokens_per_step": 0}},
            r"^budget\.tokens_per_step must be >= 1, got 0\.$",
        ),
        ({"budget": {"trials": 1.5, "steps_per_trial": 1}}, r"trials must be a whole number"),
        ({"budget": 7}, r"^budget must be a mapping, got 7\.$"),
        (
            {"sampler": {"name": "gp"}},
            r"sampler\.name must be one of tpe, random, nsga2, grid, got",
        ),
        ({"sampler": {"population": 1}}, r"sampler\.population must be >= 2, got 1\.$"),
        ({"stopper": {"name": "kl"}}, r"stopper\.name must be one of health, none, got 'kl'\.$"),
        ({"stopper": {"grace": 2}}, r"stopper\.grace must be in \[0, 1\], got 2\.0\.$"),
        ({"stopper": {"patience": 0}}, r"stopper\.patience must be >= 1, got 0\.$"),
        ({"stopper": {"rate_factor": 1}}, r"stopper\.rate_factor must be > 1, got 1\.0\.$"),
        ({"stopper": {"rate_factor": float("inf")}}, r"rate_factor must be > 1, got inf\.$"),
        ({"seeds": {"runs": 2}}, r"^seeds\.runs must be >= 3, got 2\. Fewer say nothing"),
        ({"seeds": {"finalists": 0}}, r"^seeds\.finalists must be >= 1, got 0\.$"),
        ({"constraints": {"kl": {"at_least": 1}}}, r"^constraints\.kl must be a metric such"),
        ({"sampler": {"sed": 1}}, r"sampler\.sed is not a setting\. Did you mean 'seed'\?$"),
        ({"sampler": {"startup_trials": -1}}, r"startup_trials must be >= 0, got -1\.$"),
        (
            {"scheduler": {"name": "pbt"}},
            r"scheduler\.name must be one of asha, hyperband, none, got 'pbt'",
        ),
        ({"scheduler": {"grace": 5e-324}}, r"scheduler\.grace must be in \[1e-6, 1\], got 5e-324"),
        (
            {"scheduler": {"grace": float("nan")}},
            r"scheduler\.grace must be in \[1e-6, 1\], got n",
        ),
        (
            {"scheduler": {"reduction_factor": 1}},
            r"reduction_factor must be in 2\.\.1000, got 1\.$",
        ),
        (
            {"nuisance": SCHEDULES, "scientific": SCHEDULES},
            r"^objective\.beta\.schedule must stand once .*, got it searched twice\.$",
        ),
        (
            {"fixed": {BETA: "constant"}, "scientific": SCHEDULES},
            r"^objective\.beta\.schedule must stand once .*, got it searched and fixed\.$",
        ),
        ({"fixed": {LR: 10**400}}, r"^optimizer\.lr must be a number, got 1000"),
        (
            {"fixed": {"optimizer": {"lr": 0.1}}, "scientific": {LR: {"choice": [1]}}},
            r"^optimizer\.lr must stand once in a search space, got it searched and fixed\.$",
        ),
        (
            {
                "overrides": {"latent.levels": [{"name": "fine", "dim": 4}]},
                "scientific": {FINE: {"choice": [1]}},
            },
            r"^latent\.levels must not be held while latent\.levels\.fine\.dim is searched",
        ),
        (
            {"constraints": {"val/kl_nat": {"at_least": 1}}},
            r"^constraints\.val/kl_nat must be a metric of docs/metrics\.md\. Did you mean .val",
        ),
        (
            {"constraints": {"time/kl": {"at_most": 1}}},
            r"^constraints\.time/kl must be a metric of",
        ),
        (
            {"constraints": {"val/kl_nats/globl": {"at_most": 1}}},
            r"^constraints\.val/kl_nats/globl must be a metric of .* mean 'val/kl_nats/global'\?$",
        ),
        ({"overrides": {"model.heads": 2}}, r"model\.heads is not a setting\. Did you mean 'n_he"),
        ({"overrides": {"model": 2}}, r"model must be a mapping of settings, got 2\.$"),
    ],
)
def test_a_wrong_section_is_refused_by_its_name(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(**sections)


def test_an_end_of_a_range_that_no_run_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be a multiple of .* d_model=60, n_heads=4"):
        space({"model.d_model": {"choice": [64, 60]}})
