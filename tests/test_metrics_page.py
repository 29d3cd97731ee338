"""docs/metrics.md against what is emitted: every name is listed, and nothing else is."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from aurl.data.attributes import ATTRIBUTES
from aurl.metrics.kl_health import TERMS
from aurl.metrics.musical_evaluation import HISTOGRAMS, SCALARS
from aurl.objective_config import WEIGHTS
from aurl.reporting import export as exports
from aurl.search.constraints import metric_names
from aurl.training.loop import Run, train
from aurl.training.media import LAYOUT
from aurl.training.messages import Row
from aurl.training.workers import Workers
from tests.test_evaluate_constructed import MELODIES, evaluator
from tests.test_evaluate_constructed import untrained as constructed
from tests.test_musical import untrained
from tests.test_scores import KEYS
from tests.tiny import small_config, tiny_corpus

PAGE = (Path(__file__).parents[1] / "docs/metrics.md").read_text(encoding="utf-8")
LEVELS = [level.name for level in small_config().latent.levels]
QUANTITIES = (*SCALARS, *HISTOGRAMS)


def table(heading: str) -> list[list[str]]:
    """The cells of all rows of the tables whose first column has this heading."""
    tables = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, flags=re.M)
    rows = [row for text in tables for row in text.splitlines()]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def listed(heading: str) -> list[str]:
    return [row[0].strip("`") for row in table(heading)]


def general(name: str) -> str:
    """A name as the page writes it: ``test/kl_nats/local`` is ``<split>/kl_nats/<level>``."""
    if name.startswith("test/music/"):
        first, slash, rest = name.removeprefix("test/music/").partition("/")
        if first not in QUANTITIES:
            return name
        kind = "<feature>" if rest in ("", "data") else "<quantity>"
        return f"test/music/{kind}{slash}{rest}"
    if name.startswith("test/factors/"):
        name = re.sub(r"(?<=/correlation/).*$", "<factor>/<factor>", name)
        name = re.sub(rf"(?<=/mig_rank32/)({'|'.join(ATTRIBUTES)})$", "<factor>", name)
    levels = "|".join(LEVELS)
    name = re.sub(rf"(?<=_nats/)({levels})$", "<level>", name)
    name = re.sub(rf"(?<=_nats/)({levels})/\d+$", "<level>/<index>", name)
    name = re.sub(rf"(?<=/kl_health/)({levels})(?=/)", "<level>", name)
    return name if "/factors/" in name else re.sub(r"^(val|test)/", "<split>/", name)


@cache
def exported() -> frozenset[str]:
    return frozenset(exports.test_metrics(untrained(small_config()), tiny_corpus()))


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name in the rows of a short run, and of an export."""
    names: set[str] = set()

    def report(rows: Sequence[Row]) -> bool:
        names.update(name for row in rows for name in row)
        return True

    weights: dict[str, Any] = {f"objective__regularizers__{name}": 1.0 for name in WEIGHTS}
    attributes = [{"name": "contour", "dimension": "global/0"}]
    run = Run(
        config=small_config(
            objective__regularizers__attributes=attributes, model__encoder_skip=0.5, **weights
        ),
        corpus=tiny_corpus(),
        checkpoint_folder=tmp_path_factory.mktemp("run"),
    )
    train(run, workers=Workers(), report=report)
    return names | exported()


def test_page_lists_every_metric_and_no_other(emitted: set[str]) -> None:
    config = small_config()
    made = evaluator(MELODIES, config).evaluate(constructed(MELODIES, config), final=True)
    assert {general(name) for name in emitted | made.keys()} == set(listed("name"))


def test_a_space_may_bound_what_the_page_lists_of_a_trial() -> None:
    of_trials = {name for name in listed("name") if name.startswith(("<split>/", "time/"))}
    known = [name.replace("val/", "<split>/", 1) for name in metric_names(["<level>"])]
    assert of_trials == set(known)


def test_validation_and_test_have_the_same_names_but_for_music_and_factors(
    emitted: set[str],
) -> None:
    val, test = (
        {name.removeprefix(f"{split}/") for name in emitted if name.startswith(f"{split}/")}
        for split in ("val", "test")
    )
    assert val == {name for name in test if not name.startswith(("music/", "factors/"))}


def test_each_chart_of_tensorboard_shows_something(emitted: set[str]) -> None:
    for title, tags in (chart for group in LAYOUT.values() for chart in group.items()):
        for tag in tags:
            assert any(re.fullmatch(tag, name) for name in emitted), f"{title}: {tag}"
    (of_levels,) = LAYOUT["latent space"]["KL health of each level"]
    shown = {name for name in emitted if re.fullmatch(of_levels, name)}
    assert shown == {f"val/kl_health/{level}/kl_health" for level in LEVELS}


def test_every_quantity_has_every_musical_name() -> None:
    names = exported()
    for pattern in listed("name"):
        for word, each in (("<feature>", SCALARS), ("<quantity>", QUANTITIES)):
            if word in pattern:
                assert {pattern.replace(word, name) for name in each} <= names, pattern


def test_page_lists_each_feature_quantity_and_term() -> None:
    assert tuple(listed("feature")) == SCALARS
    assert tuple(listed("quantity")) == HISTOGRAMS
    of_health = [name.split("/")[2:] for name in listed("name") if "/kl_health/" in name]
    assert of_health == [[term] for term in TERMS] + [
        ["<level>", name] for name in ("kl_health", *TERMS)
    ]


def test_page_lists_each_score_of_codes() -> None:
    assert set(listed("score")) == KEYS  # held against the command in tests/test_scores.py


@pytest.mark.parametrize(
    ("heading", "columns"), [("name", 5), ("score", 4), ("feature", 6), ("quantity", 3)]
)
def test_no_metric_is_listed_twice_and_each_is_described(heading: str, columns: int) -> None:
    rows = table(heading)
    assert len({row[0] for row in rows}) == len(rows)
    assert all(len(row) == columns and row[1] for row in rows)


def test_units_are_those_of_the_names() -> None:
    for name, _, unit, span, _ in table("name"):
        if re.search(r"_nats(/|`)", name):
            assert unit == "nats", name
        assert span, name
