"""Search spaces: what a file may say, what is refused, and that every proposal makes a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from aurl.config import from_plain
from aurl.errors import ConfigError
from aurl.search.space import (
    Choice,
    IntUniform,
    LogUniform,
    Parameter,
    SamplerConfig,
    SchedulerConfig,
    Space,
    Uniform,
    examples,
    load_space,
    space_of,
)
from aurl.training.loop import check_fits
from tests.tiny import N_BARS, tiny_corpus

QUICK = Path(__file__).parents[1] / "search_spaces" / "quick.yaml"
BETA = "objective.beta.schedule"
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
        sampler={"name": "random", "seed": 5},
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
    assert read.sampler == SamplerConfig(name="random", seed=5)
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


def test_every_random_trial_of_the_quick_space_is_a_run_that_fits() -> None:
    quick = load_space(QUICK)
    corpus = tiny_corpus()
    assert corpus.n_bars == N_BARS == 2
    shapes: set[tuple[object, ...]] = set()
    parameters: set[frozenset[str]] = set()
    for values in random_trials(quick, 1000):
        config = quick.config_of(values)
        parameters.add(frozenset(values))
        shape = (config.model, config.latent, config.augmentation, config.training.batch_size)
        if shape not in shapes:  # all that decides whether a run fits; building one takes 30 ms
            shapes.add(shape)
            check_fits(config, corpus, 1)
            check_fits(config, corpus, 2)
    assert len(parameters) == 3, "one set of parameters for each schedule"
    assert len(shapes) == 27, "every combination of latent sizes"


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


def test_setting_compares_numbers_as_numbers() -> None:
    varied = {LR: {"choice": ["1e-3", 1]}, "seed": {"choice": [1, 2], "when": {LR: "1e-3"}}}
    assert [p.key for p in space(varied, overrides={LR: "1e-3"}).parameters] == ["seed"]
    assert space(varied, overrides={LR: 1}).parameters == ()


def test_setting_wins_over_the_file() -> None:
    read = space(fixed={LR: 0.1}, base={"optimizer": {"lr": 0.2}}, overrides={LR: 0.3})
    assert from_plain(read.base).optimizer.lr == 0.3
    assert read.fixed == {LR: 0.3}


# Refusals


@pytest.mark.parametrize(
    ("scientific", "message"),
    [
        ({LR: 5}, r"^optimizer\.lr must be a mapping such as \{choice: \[\.\.\.\]\}, got 5\.$"),
        ({LR: {"unifrom": [1, 2]}}, r"lr\.unifrom is not a distribution\. Did you mean 'uniform'"),
        ({LR: {}}, r"lr must have one distribution of uniform, .*, choice, got \[\]\.$"),
        ({LR: {"uniform": [1, 2], "choice": [1]}}, r"one distribution .* \['uniform', 'choice'\]"),
        ({LR: {"uniform": 5}}, r"optimizer\.lr\.uniform must be a list, got 5\.$"),
        ({LR: {"uniform": [1]}}, r"lr\.uniform must be \[low, high\], got \[1\]\.$"),
        ({LR: {"uniform": [1, "b"]}}, r"lr\.uniform must be \[low, high\], got \[1, 'b'\]\.$"),
        ({LR: {"uniform": [1, True]}}, r"lr\.uniform must be \[low, high\], got \[1, True\]\.$"),
        ({LR: {"uniform": [2, 1]}}, r"lr\.uniform must have low < high, got \[2, 1\]\.$"),
        ({LR: {"uniform": [float("nan"), 1]}}, r"lr\.uniform must have low < high, got \[nan, 1"),
        ({LR: {"log_uniform": [0, 1]}}, r"lr\.log_uniform must have low > 0, got 0\.$"),
        ({LR: {"int_uniform": [1.5, 2]}}, r"int_uniform must have whole bounds, got \[1\.5, 2\]"),
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
        ({LR: {"uniform": [1, float("inf")]}}, r"optimizer\.lr must be > 0, got inf\.$"),
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
        ({"sampler": {"name": "gp"}}, r"sampler\.name must be one of tpe, random, nsga2, got 'gp"),
        ({"sampler": {"sed": 1}}, r"sampler\.sed is not a setting\. Did you mean 'seed'\?$"),
        ({"sampler": {"startup_trials": -1}}, r"startup_trials must be >= 0, got -1\.$"),
        ({"scheduler": {"name": "pbt"}}, r"scheduler\.name must be one of asha, none, got 'pbt'"),
        ({"scheduler": {"grace": 0}}, r"scheduler\.grace must be in \(0, 1\], got 0\.0\.$"),
        ({"scheduler": {"grace": float("nan")}}, r"scheduler\.grace must be in \(0, 1\], got nan"),
        ({"scheduler": {"reduction_factor": 1}}, r"reduction_factor must be >= 2, got 1\.$"),
        (
            {"nuisance": SCHEDULES, "scientific": SCHEDULES},
            r"^objective\.beta\.schedule must stand once .*, got it searched twice\.$",
        ),
        (
            {"fixed": {BETA: "constant"}, "scientific": SCHEDULES},
            r"^objective\.beta\.schedule must stand once .*, got it searched and fixed\.$",
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
