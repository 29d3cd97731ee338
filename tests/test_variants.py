"""Variants: a parameter whose values are names of several settings each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from aurl.config import to_plain
from aurl.errors import ConfigError, SweepError
from aurl.files import parse_settings, write_json, write_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.plain import overridden
from aurl.reporting.leaderboard import write_leaderboard
from aurl.reporting.space_tables import space_record
from aurl.search.distributions import in_words
from aurl.search.grid import n_cells
from aurl.search.plan import within_budget
from aurl.search.proof import draws
from aurl.search.ranking import TrialStatus, finalists, read_trials
from aurl.search.record import gone_on_with
from aurl.search.rows import columns, status_record
from aurl.search.sampler import Proposals
from aurl.search.space import Space
from aurl.search.space_file import space_of
from aurl.search.wanted import queue
from aurl.search.warm_start import Beginning, read_beginnings
from tests.fake_sweep import write_status
from tests.tiny import tiny_corpus

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
FLOOR, GAMMA, BETA = "objective.free_bits.threshold", "latent.gamma", "objective.beta.value"
AID: dict[str, Any] = {
    "none": None,
    "level": {"objective": {"free_bits": {"granularity": "level"}}, FLOOR: 4.0},
    "batch_norm": {"latent.posterior": "batch_norm"},
}
VARIED: dict[str, Any] = {
    "aid": {"variants": AID},
    GAMMA: {"uniform": [0.3, 1.0], "when": {"aid": "batch_norm"}},
    FLOOR: {"uniform": [0.0, 0.5], "when": {"aid": "none"}},
    BETA: {"log_uniform": [0.01, 1.0]},
}


def space(overrides: Mapping[str, Any] | None = None, **sections: Any) -> Space:
    values = {
        "question": "Which?",
        "budget": {"trials": 9, "steps_per_trial": 6},
        "scientific": VARIED,
        **sections,
    }
    return space_of(values, overrides=overrides or {})


def test_a_variant_sets_all_of_its_settings_and_leaves_the_others() -> None:
    searched = space()
    plain = to_plain(searched.config_of({"aid": "none", BETA: 0.5}))
    level = to_plain(searched.config_of({"aid": "level", BETA: 0.5}))
    assert level["objective"]["free_bits"] == {"granularity": "level", "threshold": 4.0}
    assert level == overridden(plain, {"objective.free_bits.granularity": "level", FLOOR: 4.0})
    normed = searched.config_of({"aid": "batch_norm", GAMMA: 0.7, BETA: 0.5})
    assert (normed.latent.posterior, normed.latent.gamma) == ("batch_norm", 0.7)
    assert normed.objective.free_bits == searched.config_of({}).objective.free_bits


def test_draws_have_each_variant_and_what_exists_with_it() -> None:
    drawn = [*draws(space(), 60)]
    assert {each["aid"] for each in drawn} == {*AID}
    assert all((GAMMA in each) == (each["aid"] == "batch_norm") for each in drawn)
    assert all((FLOOR in each) == (each["aid"] == "none") for each in drawn)


def test_names_alone_set_nothing() -> None:
    terms = {
        "term": {"variants": ["none", "sparsity"]},
        "objective.regularizers.sparsity": {"choice": [1.0, 3.0], "when": {"term": "sparsity"}},
    }
    searched = space(scientific=terms)
    assert searched.config_of({"term": "none"}) == searched.config_of({})
    assert n_cells(searched.parameters) == 3


def test_a_list_of_settings_is_set_whole() -> None:
    levels = [{"name": "bar", "dim": 4, "span": 1}]
    searched = space(scientific={"shape": {"variants": {"bars": {"latent.levels": levels}}}})
    assert [each.name for each in searched.config_of({"shape": "bars"}).latent.levels] == ["bar"]


def test_the_trials_of_variants_take_turns_and_the_best_of_each_is_a_finalist(
    tmp_path: Path,
) -> None:
    searched = space(compare="aid", seeds={"finalists": 1, "runs": 3})
    assert searched.n_runs == 9 + 3 * 3
    study = Proposals(tmp_path / "study.journal", searched, "study")
    for index in range(9):
        number, params = study.propose()
        assert params["aid"] == [*AID][index % 3]
        score = 0.9 - 0.1 * (index % 3) + 0.01 * (index // 3)
        metrics = {**dict.fromkeys(OBJECTIVES, score), "val/score": score}
        study.tell(number, "completed", metrics)
        write_status(tmp_path, f"t{number:04d}", params=params, metrics=metrics)
    trials = read_trials(tmp_path)
    assert [each.trial for each in finalists(trials, 1, searched.compared)] == [
        "t0006",
        "t0007",
        "t0008",
    ]
    write_leaderboard(tmp_path)
    assert "aid" in (tmp_path / "leaderboard.csv").read_text().splitlines()[0].split(",")


@pytest.mark.parametrize("place", ["fixed", "--set"])
def test_a_setting_of_a_variant_cannot_be_held(place: str) -> None:
    held = {"latent.posterior": "standard"}
    message = (
        "latent.posterior must not be held while aid batch_norm sets latent.posterior. Hold aid, "
        "or leave it out of the variants."
    )
    with pytest.raises(ConfigError) as caught:
        space(held) if place == "--set" else space(fixed=held)
    assert str(caught.value) == message


def test_holding_a_variant_holds_what_it_sets_and_settles_what_depends_on_it() -> None:
    searched = space({"aid": "level"}, compare="aid")
    assert [each.key for each in searched.parameters] == [BETA]
    assert searched.fixed == {"objective.free_bits.granularity": "level", FLOOR: 4.0}
    assert searched.compared is None
    assert searched.config_of({BETA: 0.5}) == space().config_of({"aid": "level", BETA: 0.5})
    with pytest.raises(ConfigError, match=r"^aid must be none \| level \| batch_norm, got 'x'\.$"):
        space({"aid": "x"})
    twice = "objective.free_bits.granularity must be held once, got it in aid too."
    with pytest.raises(ConfigError) as caught:
        space({"aid": "level", "objective.free_bits.granularity": "total"})
    assert str(caught.value) == twice


def test_batches_that_a_variant_sizes_are_not_made_smaller() -> None:
    budget = {"trials": 2, "steps_per_trial": 6, "tokens_per_step": 64}
    sizes = {"small": {"training.batch_size": 8}, "large": {"training.batch_size": 64}}
    searched = space(scientific={"size": {"variants": sizes}}, budget=budget)
    assert within_budget(searched, tiny_corpus(), 1) == (searched, "")
    others = space(budget=budget)
    assert within_budget(others, tiny_corpus(), 1)[1]


def test_an_earlier_sweep_that_had_the_settings_had_the_variant(tmp_path: Path) -> None:
    earlier = space(
        scientific={
            "latent.posterior": {"choice": ["standard", "batch_norm"]},
            GAMMA: {"uniform": [0.1, 1.0], "when": {"latent.posterior": "batch_norm"}},
            BETA: {"log_uniform": [0.01, 1.0]},
            "objective.free_bits.granularity": {"choice": ["dimension", "level", "total"]},
        }
    )
    tried = [
        {"latent.posterior": "batch_norm", GAMMA: 0.5, BETA: 0.2},
        {"latent.posterior": "standard", BETA: 0.3},
        {"latent.posterior": "standard", BETA: 0.4, "objective.free_bits.granularity": "total"},
    ]
    metrics = warm(tmp_path, earlier, tried)
    assert read_beginnings(tmp_path, space()) == [
        Beginning(params={"aid": "batch_norm", GAMMA: 0.5, BETA: 0.2}, metrics=metrics),
        Beginning(params={"aid": "none", FLOOR: 0.0, BETA: 0.3}, metrics=metrics),
        # the third has a granularity that no variant has: it goes without one, as others do
        Beginning(params={BETA: 0.4}),
    ]


def warm(sweep: Path, searched: Space, tried: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Trials of an earlier sweep, all completed and on the front, and what each measured."""
    metrics = {**dict.fromkeys(OBJECTIVES, 0.5), "val/score": 0.5}
    for index, params in enumerate(tried):
        folder = sweep / "trials" / f"t{index:04d}"
        write_yaml(folder / "config.yaml", to_plain(searched.config_of(params)))
        status = {"status": "completed", "params": params, "metrics": metrics}
        write_json(folder / "status.json", status)
    return metrics


def test_what_an_earlier_variant_set_counts_and_not_what_it_was_called(tmp_path: Path) -> None:
    levels = [{"name": "bar", "dim": 4, "span": 1}]
    rates = {"full": None, "flat": {"latent.levels": levels}, "slow": {"optimizer.lr": "2e-3"}}
    dim = {"latent.levels.global.dim": {"choice": [8, 16], "when": {"arm": "full"}}}
    tried = [
        {"arm": "full", "latent.levels.global.dim": 8},
        {"arm": "flat"},
        {"arm": "slow"},
    ]
    metrics = warm(tmp_path, space(scientific=variants(rates) | dim), tried)
    renamed = {"full": None, "slow": rates["flat"], "slower": rates["slow"]}
    assert read_beginnings(tmp_path, space(scientific=variants(renamed) | dim)) == [
        Beginning(params=tried[0], metrics=metrics),
        Beginning(params={"arm": "slow"}, metrics=metrics),
        Beginning(params={"arm": "slower"}, metrics=metrics),
    ]
    changed = rates | {"slow": {"optimizer.lr": 3e-3}}
    found = read_beginnings(tmp_path, space(scientific=variants(changed) | dim))
    assert [each.params for each in found] == [tried[0], {"arm": "flat"}, {}]


def test_names_that_set_nothing_are_found_by_name(tmp_path: Path) -> None:
    searched = space(scientific=variants(["none", "dip"]))
    metrics = warm(tmp_path, searched, [{"arm": "dip"}])
    assert read_beginnings(tmp_path, searched) == [
        Beginning(params={"arm": "dip"}, metrics=metrics)
    ]


def test_a_variant_is_tried_by_its_name(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    values = {"question": "?", "budget": {"trials": 3, "steps_per_trial": 6}, "scientific": VARIED}
    write_yaml(sweep / "sweep.yaml", {"space": values})
    study = Proposals(sweep / "study.journal", space(), "study")
    write_status(sweep, "t0000", params=study.propose()[1])
    assert queue(sweep, {"aid": "batch_norm", GAMMA: 0.5}).before == 0
    assert study.propose()[1] | {BETA: 0.0} == {"aid": "batch_norm", GAMMA: 0.5, BETA: 0.0}
    with pytest.raises(ConfigError, match=r"aid must be none \| level \| batch_norm, got 'x'"):
        queue(sweep, {"aid": "x"})


def test_a_space_says_what_its_variants_set() -> None:
    said = next(each for each in space_record(space())["parameters"] if each["key"] == "aid")
    assert said["values"] == "none | level | batch_norm"
    assert said["variants"]["batch_norm"] == {"latent.posterior": "batch_norm"}


def variants(settings: object, key: str = "arm", **more: Any) -> dict[str, Any]:
    return {key: {"variants": settings, **more}}


ONE = {"optimizer.lr": 0.01}


@pytest.mark.parametrize(
    ("scientific", "message"),
    [
        (variants({}), "arm.variants must map names to settings, got {}."),
        (variants("a"), "arm.variants must map names to settings, got 'a'."),
        (variants([]), "arm.variants must list plain values, got []."),
        (variants(["a", "a"]), "arm.variants must list distinct values, got ['a', 'a']."),
        (variants([1]), "arm.variants must have text for its keys, got 1."),
        *(
            (
                variants({name: ONE}),
                "arm.variants must have names that YAML reads as they stand, got "
                f"{name!r}. Choose words, such as no_flow.",
            )
            for name in ("", "1", "1e3", "true", "null", "[bold]", "a: b", "a #b", "a\nb", "*a")
        ),
        (
            variants(["a", "1e3x", "2"]),
            "arm.variants must have names that YAML reads as they stand, got '2'. Choose words, "
            "such as no_flow.",
        ),
        (
            variants({"a": ONE}, key="score"),
            "variants must stand under a word that is no column of a leaderboard, got score. Name "
            "what they are, as in arm: {variants: {...}}.",
        ),
        (
            variants({"a": ONE}, key="arm-2"),
            "variants must stand under a word of letters, digits and _, a letter first, got "
            "arm-2. Name what they are, as in arm: {variants: {...}}.",
        ),
        (variants({"a": 1}), "arm.variants.a must hold settings, got 1."),
        (variants({False: ONE}), "arm.variants must have text for its keys, got False."),
        (variants({"a": {1: 2}}), "arm.variants.a must have text for its keys, got 1."),
        (variants({"a": ONE}, choice=[1]), "arm.variants must stand alone, got choice beside it."),
        (
            variants({"a": ONE}, key="model"),
            "variants must stand under a word that is no setting, got model. Name what they are, "
            "as in arm: {variants: {...}}.",
        ),
        (
            variants({"a": ONE}, key="budget"),
            "variants must stand under a word that is no setting, got budget. Name what they are, "
            "as in arm: {variants: {...}}.",
        ),
        (
            variants({"a": ONE}, key="optimizer.lr"),
            "variants must stand under a word that is no setting, got optimizer.lr. Name what "
            "they are, as in arm: {variants: {...}}.",
        ),
        (
            {"arm": [{"variants": {"a": ONE}}, {"choice": [1]}]},
            "arm must have its variants once, got a list of them.",
        ),
        (variants({"a": {"seed": 1}}), "seed must be left out of variants, got it in arm a."),
        (
            variants({"a": {"training.steps": 1}}),
            "training.steps must be the same for all trials: it cannot be searched.",
        ),
        (
            variants({"a": {"data": {"corpus": "melodies"}}}),
            "data.corpus must be the same for all trials: it cannot be searched.",
        ),
        (
            variants({"a": ONE}) | {"optimizer.lr": {"choice": [0.1]}},
            "optimizer.lr must stand once in a search space, got it in arm a and in optimizer.lr.",
        ),
        (
            variants({"a": {"latent.levels": []}}) | {"latent.levels.global.dim": {"choice": [4]}},
            "latent.levels must stand once in a search space, got it in arm a and in "
            "latent.levels.global.dim.",
        ),
        (
            variants({"a": ONE}) | variants({"b": ONE}, key="other"),
            "optimizer.lr must stand once in a search space, got it in arm a and in other.",
        ),
        (
            variants({"a": {"optimizer": {"lr": 0.1}, "optimizer.lr": 0.1}}),
            "optimizer.lr must stand once, got it by its key and in a section.",
        ),
        (
            variants({"a": {"optimiser.lr": 0.1}}),
            "optimiser is not a setting. Did you mean 'optimizer'?",
        ),
        (variants({"a": {"optimizer.lr": -1}}), "optimizer.lr must be > 0, got -1.0."),
        (
            {"latent.gamma": {"choice": [0.5]}} | variants({"a": ONE}, when={GAMMA: 0.7}),
            "arm.when must list values that latent.gamma can have, got 0.7.",
        ),
    ],
)
def test_variants_that_cannot_be_are_refused_in_one_line(
    scientific: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        space(scientific=scientific)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["no_flow", "a=b, c", "1e3x", "β 2", "it's"])
def test_a_name_is_the_same_wherever_it_is_given(name: str) -> None:
    rates = {"optimizer.lr": {"choice": [0.1, 0.2], "when": {"arm": name}}}
    scientific = variants(["other", name]) | rates
    held = space(parse_settings([f"arm={name}"]), scientific=scientific)
    assert [each.key for each in held.parameters] == ["optimizer.lr"]
    assert in_words(space(scientific=scientific).parameters[0].distribution) == f"other | {name}"


def test_no_variants_stand_under_a_column_of_a_leaderboard() -> None:
    trial = TrialStatus(trial="t0000", status="running")
    for column in {*columns([]), *status_record(trial)}:
        with pytest.raises(ConfigError, match="no column of a leaderboard"):
            space(scientific=variants(["a"], key=column))


def test_what_a_file_says_of_a_key_that_is_held_is_not_read() -> None:
    held = space({"optimizer.lr": 0.1}, scientific={"optimizer.lr": {"values": 1}})
    assert held.fixed == {"optimizer.lr": 0.1}


def test_variants_of_conditions_that_exclude_each_other_may_set_the_same() -> None:
    arms = variants(["a", "b"])
    arms |= variants({"x": ONE, "y": {"optimizer.lr": 0.02}}, key="one", when={"arm": "a"})
    arms |= {"optimizer.lr": {"choice": [0.1, 0.3], "when": {"arm": "b"}}}
    searched = space(scientific=arms)
    rates = {searched.config_of(each).optimizer.lr for each in draws(searched, 60)}
    assert rates == {0.01, 0.02, 0.1, 0.3}


LINEAR = {"schedule": "linear", "warmup": 0.2}
CYCLICAL = {
    "objective": {"beta": {"schedule": "cyclical", "value": 0.5, "cycles": 3, "ramp": 0.5}}
}


@pytest.mark.parametrize("section", [{"objective.beta": LINEAR}, {"objective": {"beta": LINEAR}}])
def test_a_section_of_a_variant_takes_the_place_of_another_of_its_kinds(
    section: dict[str, Any],
) -> None:
    arms = variants({"cyclical": {}, "linear": section})
    searched = space(base=CYCLICAL, scientific=arms)
    linear = searched.config_of({"arm": "linear"})
    assert linear == space(base=CYCLICAL, fixed=section).config_of({})
    assert linear == space({"arm": "linear"}, base=CYCLICAL, scientific=arms).config_of({})
    assert searched.config_of({"arm": "cyclical"}) == space(base=CYCLICAL).config_of({})


def test_what_is_fixed_or_searched_in_such_a_section_stays_so() -> None:
    arms = variants({"cyclical": {}, "linear": {"objective.beta": LINEAR}})
    fixed = space(base=CYCLICAL, scientific=arms, fixed={BETA: 0.3})
    assert fixed.config_of({"arm": "linear"}).objective.beta.value == 0.3
    found = space(base=CYCLICAL, scientific=arms | {BETA: {"choice": [0.1, 0.2]}})
    assert found.config_of({"arm": "linear", BETA: 0.2}).objective.beta.value == 0.2
    held = space({"arm": "linear", "objective.beta": {"value": 0.7}}, scientific=arms)
    assert held.config_of({}).objective.beta.value == 0.7


@pytest.mark.parametrize("order", [["two", "one"], ["one", "two"]])
def test_a_constraint_is_of_a_metric_that_every_variant_has(order: list[str]) -> None:
    bar, whole = (
        {"name": "bar", "dim": 4, "span": 1},
        {"name": "all", "dim": 4, "span": "sequence"},
    )
    levels = {"one": {"latent.levels": [whole]}, "two": {"latent.levels": [whole, bar]}}
    scientific = variants({name: levels[name] for name in order})
    assert space(scientific=scientific, constraints={"val/kl_nats/all": {"at_least": 1}})
    with pytest.raises(ConfigError, match=r"^constraints.val/kl_nats/bar must be a metric"):
        space(scientific=scientific, constraints={"val/kl_nats/bar": {"at_least": 1}})


SAID = (
    "--resume must be given the {} that s was started with, got {}. Start another sweep with "
    "--name."
)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (  # Optuna would know neither this choice nor the next
            {"b": ONE, "a": {}},
            SAID.format("variants", "arm ['b', 'a'], was ['a', 'b']"),
        ),
        ({"b": ONE}, SAID.format("variants", "arm ['b'], was ['a', 'b']")),
        (
            {"a": {}, "b": {"optimizer.lr": 0.02}},
            SAID.format("space", "scientific.arm.variants.b.optimizer.lr 0.02, was 0.01"),
        ),
        (
            {"a": None, "b": ONE},
            SAID.format("space", "scientific.arm.variants.a None, was {}"),
        ),
        (
            {"a": {}, "b": {"optimizer": {"lr": 0.01}}},
            SAID.format(
                "space",
                "scientific.arm.variants.b {'optimizer': {'lr': 0.01}}, was "
                "{'optimizer.lr': 0.01}",
            ),
        ),
    ],
)
def test_a_sweep_does_not_go_on_with_other_variants(
    tmp_path: Path, arms: dict[str, Any], message: str
) -> None:
    def record(found: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "space": {"question": "?", "scientific": variants(found), "budget": {}},
            "overrides": {},
            "made_by": {},
            "commands": [],
        }

    before = record({"a": {}, "b": ONE})
    assert gone_on_with(before, before, tmp_path / "s")["space"] == before["space"]
    with pytest.raises(SweepError) as caught:
        gone_on_with(before, record(arms), tmp_path / "s")
    assert str(caught.value) == message
