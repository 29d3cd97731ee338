import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given

from aurl.config import RunConfig, from_plain, to_plain
from aurl.errors import ConfigError
from aurl.plain import as_number, merged, overridden


def test_a_configuration_survives_the_way_to_plain_data_and_yaml() -> None:
    plain = overridden(
        to_plain(RunConfig()),
        {"latent.levels.fine.span": 0.5, "objective.beta.schedule": "linear"},
    )
    plain = overridden(plain, {"objective.beta.warmup": 0.3})
    config = from_plain(plain)
    assert from_plain(yaml.safe_load(yaml.safe_dump(to_plain(config)))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective.beta.vale": 1.0}, r"objective\.beta\.vale is not .* mean 'value'\?"),
        ({"optimzer.lr": 1.0}, r"optimzer is not a setting\. Did you mean 'optimizer'\?"),
        ({"latent.levels.low.dim": 1}, r"'low' is none of \['global', 'local', 'fine'\]"),
        ({"seed.x": 1}, r"seed\.x is not a setting"),
        ({"optimizer.lr": "high"}, r"optimizer\.lr must be a number, got 'high'"),
        ({"optimizer.lr": True}, r"optimizer\.lr must be a number, got True"),
        ({"optimizer.lr": float("nan")}, r"optimizer\.lr must be > 0, got nan"),
        ({"optimizer.lr": float("inf")}, r"optimizer\.lr must be > 0, got inf"),
        ({"optimizer.weight_decay": -1}, r"weight_decay must be >= 0, got -1"),
        ({"optimizer.warmup": 1.0}, r"optimizer\.warmup must be in \[0, 1\), got 1"),
        ({"training.steps": 0}, r"training\.steps must be >= 1, got 0"),
        ({"training.steps": 10**400}, r"steps must be <= 9007199254740992, got 1000"),
        ({"training.precision": "float16"}, r"must be one of float32, bfloat16, got 'float16'"),
        ({"training.compile": 1}, r"training\.compile must be true or false, got 1"),
        ({"training.steps": 1.5}, r"training\.steps must be a whole number, got 1\.5"),
        ({"training.steps": True}, r"training\.steps must be a whole number, got True"),
        ({"model.d_model": 60}, r"multiple of 2 \* model\.n_heads, got d_model=60, n_heads=4"),
        ({"model.encoder_skip": 1.0}, r"model\.encoder_skip must be in \[0, 1\), got 1"),
        ({"model.token_dropout": 1.0}, r"token_dropout must be in \[0, 1\), got 1"),
        ({"model": 7}, r"model must be a mapping of settings, got 7"),
        ({"latent.levels": 7}, r"latent\.levels must be a list, got 7"),
        ({"latent.levels": [3], "latent.levels.x.dim": 1}, r"x\.dim is not .*none of \['0'\]"),
        ({"latent.levels": [{"dim": 1}]}, r"latent\.levels\.0\.name must be given"),
        ({"latent.levels": [{"name": "a b", "dim": 1}]}, r"one plain word, got 'a b'"),
        (  # val/latent_use_nats/low is the end of an interval
            {"latent.levels": [{"name": "high", "dim": 1}, {"name": "low", "dim": 1}]},
            r"levels name must not be low or high, got 'high': metrics call",
        ),
        (
            {"latent.levels": [{"name": "a", "dim": -1}]},
            r"levels\.a\.dim must be in 0\.\.65536, got -1",
        ),
        ({"latent.levels": [{"name": "a", "dim": 0}]}, r"must have a dimension in all"),
        ({"latent.levels": [{"name": "a", "dim": 1}] * 2}, r"must have distinct names"),
        ({"latent.levels.fine.span": 0}, r"span must be bars > 0 or 'sequence', got 0"),
        ({"latent.levels.fine.span": "bar"}, r"must be a number or 'sequence', got 'bar'"),
        ({"latent.levels.fine.span": None}, r"must be a number or 'sequence', got None"),
        ({"latent.levels.fine.free_nats": -1}, r"fine\.free_nats must be >= 0 nats, got -1"),
        (
            {"latent.levels.fine.free_nats": 1, "training.accumulate": 2},
            r"accumulate must be 1 with latent\.levels\.fine\.free_nats",
        ),
        ({"latent.levels.fine.opens": 1}, r"levels\.fine\.opens must be in \[0, 1\), got 1"),
        (
            {"latent.levels.fine.opens": 0.9, "training.steps": 9},
            r"levels\.fine\.opens must leave the level a step, got 0\.9 of 9 steps\.",
        ),
        (
            {f"latent.levels.{name}.opens": 0.5 for name in ("global", "local", "fine")},
            r"levels must have a level that opens at 0, got \{'global': 0\.5, 'local': 0\.5, ",
        ),
        (
            {"latent.posterior": "batch_norm", "latent.gamma": 1, "latent.levels.fine.opens": 0.5},
            r"levels\.fine\.opens must be 0 for the posterior 'batch_norm', got 0\.5: it keeps",
        ),
        ({"latent.posterior": "batch_norm"}, r"latent\.gamma must be set for .* 'batch_norm'"),
        ({"latent.gamma": 1}, r"latent\.gamma must be left out .* 'standard', got 1"),
        ({"latent.posterior": "batch_norm", "latent.gamma": 0}, r"gamma must be > 0, got 0"),
        ({"latent.prior.kind": "flow"}, r"kind must be one of standard, mixture, planar, spline"),
        ({"latent.levels.fine.prior": "flow"}, r"fine\.prior must be one of .* got 'flow'"),
        (
            {"latent.prior.components": 4},
            r"components must be left out without a mixture .* got 4",
        ),
        ({"latent.prior.layers": 4}, r"layers must be left out without a planar or spline .* 4"),
        (
            {"latent.prior.kind": "mixture", "latent.prior.components": 1},
            r"latent\.prior\.components must be in 2\.\.65536, got 1",
        ),
        ({"latent.prior.layers": 0}, r"latent\.prior\.layers must be in 1\.\.65536, got 0"),
        ({"latent.top_down": "yes"}, r"latent\.top_down must be true or false, got 'yes'"),
        ({"latent.context": ["swing"]}, r"latent\.context\.0 must be one of key, .* got 'swing'"),
        ({"latent.context": ["key", "key"]}, r"must have distinct names, got \['key', 'key'\]"),
        ({"objective.beta.schedule": "step"}, r"schedule must be one of constant, linear"),
        ({"objective.beta.schedule": "linear"}, r"beta\.warmup must be set for .* 'linear'"),
        ({"objective.beta.cycles": 4}, r"beta\.cycles must be left out .* got 4"),
        (
            {
                "objective.beta": {"schedule": "cyclical", "cycles": 8, "ramp": 0.5},
                "training.steps": 8,
            },
            r"cycles must be < training\.steps, got 8 in 8 steps: a cycle of one step has beta 0",
        ),
        ({"objective.beta.target": 14}, r"beta\.target must be left out .* 'constant', got 14"),
        ({"objective.beta.rate": 0.1}, r"beta\.rate must be left out .* 'constant', got 0\.1"),
        ({"objective.beta.value": -0.1}, r"objective\.beta\.value must be >= 0, got -0\.1"),
        ({"objective.regularizers.sparsity": -1}, r"sparsity must be >= 0, got -1"),
        ({"objective.regularizers.tc": 1}, r"regularizers\.tc is not a setting"),
        ({"objective.regularizers.attribute_order": 1}, r"attributes must name an attribute"),
        (
            {"objective.regularizers.attributes": [{"name": "contour", "dimension": "a/0"}] * 2},
            r"attributes must have distinct names, got \['contour', 'contour'\]",
        ),
        (
            {"objective.regularizers.dip_diagonal": 1, "training.batch_size": 3},
            r"training\.batch_size must be >= 4 for an unbiased .*dip_diagonal, got 3",
        ),
        (
            {"objective.regularizers.total_correlation": 1, "training.batch_size": 1},
            r"batch_size must be >= 2 for objective\.regularizers\.total_correlation, .* got 1",
        ),
        ({"training.accumulate": 0}, r"training\.accumulate must be >= 1, got 0"),
        (
            {"objective.regularizers.total_correlation": 1, "training.accumulate": 2},
            r"accumulate must be 1 with objective\.regularizers\.total_correlation.* got 2",
        ),
        (
            {"objective.free_bits.threshold": 1, "training.accumulate": 2},
            r"accumulate must be 1 with objective\.free_bits\.threshold",
        ),
        (
            {
                "latent.posterior": "batch_norm",
                "latent.gamma": 1,
                "training.accumulate": 2,
            },
            r"accumulate must be 1 with latent\.posterior batch_norm",
        ),
        ({"objective.free_bits.threshold": -1}, r"threshold must be >= 0 nats, got -1"),
        ({"evaluation.importance_samples": 0}, r"importance_samples must be >= 1, got 0"),
        ({"evaluation.samples": 10**30}, r"evaluation\.samples must be <= 100000, got 1"),
        ({"evaluation.windows": 1}, r"evaluation\.windows must be >= 2, got 1"),
        ({"evaluation.final_windows": 1}, r"evaluation\.final_windows must be >= 2, got 1"),
        (
            {"evaluation.likelihood_windows": 1},
            r"likelihood_windows must be >= 2, or left out, got 1",
        ),
        ({"evaluation.target_rate_nats_per_bar": 0}, r"per_bar must be > 0, got 0"),
        (
            {"data.melodies.train": 500},
            r"data\.melodies must be left out for the corpus 'tunes', got \{'train': 500",
        ),
        ({"augmentation.transpose": 13}, r"augmentation\.transpose must be in 0\.\.12, got 13"),
        ({"seed": -1}, r"seed must be in 0\.\.2147483647, got -1"),
        ({".".join("a" * 600): 1}, r"^(a\.){20}\.\.\. is not a setting: none is in so many"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        from_plain(overridden(to_plain(RunConfig()), changes))


def test_free_nats_of_a_level_that_is_off_do_not_ask_for_a_whole_batch() -> None:
    levels = [{"name": "on", "dim": 4}, {"name": "off", "dim": 0, "free_nats": 2.0}]
    config = from_plain({"latent": {"levels": levels}, "training": {"accumulate": 2}})
    assert config.training.accumulate == 2


@pytest.mark.parametrize(
    ("schedule", "extra", "message"),
    [
        ("linear", {"warmup": 0.0}, r"warmup must be in \(0, 1\], got 0"),
        ("cyclical", {"cycles": 0, "ramp": 0.5}, r"cycles must be >= 1, got 0"),
        ("cyclical", {"cycles": 2, "ramp": 1.5}, r"ramp must be in \(0, 1\], got 1\.5"),
        ("cyclical", {"cycles": 2}, r"beta\.ramp must be set"),
        ("target_kl", {}, r"beta\.target must be set for the schedule 'target_kl'"),
        ("target_kl", {"target": 0}, r"beta\.target must be > 0, got 0"),
        ("target_kl", {"target": 9, "value": 0}, r"beta\.value must be > 0 .* the largest beta"),
        ("target_kl", {"target": 9, "rate": 1}, r"beta\.rate must be left out .* got 1"),
        ("target_kl", {"target": 9, "integral": -1}, r"beta\.integral must be > 0, got -1"),
        ("target_reconstruction", {"target": 9, "warmup": 0.1}, r"warmup must be left out"),
    ],
)
def test_a_schedule_refuses_parameters_that_make_none(
    schedule: str, extra: dict[str, object], message: str
) -> None:
    values = {"objective": {"beta": {"schedule": schedule, **extra}}}
    with pytest.raises(ConfigError, match=message):
        from_plain(values)


def test_yaml_reads_a_bare_exponent_as_text_and_we_read_it_as_a_number() -> None:
    values = yaml.safe_load("optimizer: {lr: 1e-3}")
    assert values == {"optimizer": {"lr": "1e-3"}}
    assert from_plain(values).optimizer.lr == 1e-3


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_from_its_own_text_with_an_exponent(value: float) -> None:
    assert as_number(f"{value:e}") == float(f"{value:e}")


@pytest.mark.parametrize("text", ["element", "e", "1e", "-e3", "", "sequence", "12"])
def test_words_are_not_numbers(text: str) -> None:
    assert as_number(text) is None


def test_overriding_and_merging_leave_what_they_are_given_alone() -> None:
    before = {"a": {"b": 1}, "levels": [{"name": "x", "dim": 1}]}
    assert overridden(before, {"a.b": 2, "levels.x.dim": 5})["levels"] == [{"name": "x", "dim": 5}]
    assert merged(before, {"a": {"c": 3}})["a"] == {"b": 1, "c": 3}
    assert merged({"a": 1}, {"a": {"c": 3}}) == {"a": {"c": 3}}
    assert before == {"a": {"b": 1}, "levels": [{"name": "x", "dim": 1}]}
