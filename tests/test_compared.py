"""What a space compares: each value in turn, and stopped early only against its own."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import FIFOScheduler

from aurl.errors import ConfigError
from aurl.files import write_json
from aurl.metrics.score import OBJECTIVES
from aurl.search import scheduling
from aurl.search.recorder import trial_folders
from aurl.search.sampler import Proposals, enqueue
from aurl.search.scheduling import Apart, Referee, scheduler_of
from aurl.search.slot import scalars
from aurl.search.space import Space
from aurl.search.space_file import space_of
from tests.tiny import tiny_corpus

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
KIND, BETA = "latent.prior.kind", "objective.beta.value"
KINDS = ["standard", "mixture", "spline"]
LAYERS = "latent.prior.layers"
SOME = {"choice": [1, 2], "when": {KIND: "spline"}}
OTHERS = {"choice": [3, 4], "when": {KIND: "mixture"}}
HYPERBAND = {"name": "hyperband", "grace": 0.25, "reduction_factor": 2}


def space(overrides: Mapping[str, Any] | None = None, **sections: Any) -> Space:
    varied = {
        KIND: {"choice": KINDS},
        LAYERS: {"int_uniform": [1, 4], "when": {KIND: "spline"}},
        BETA: {"log_uniform": [0.01, 1.0]},
    }
    values = {
        "question": "Which?",
        "budget": {"trials": 12, "steps_per_trial": 200},
        "scientific": varied,
        "compare": KIND,
        **sections,
    }
    return space_of(values, overrides=overrides or {})


@pytest.mark.parametrize(("name", "differ"), [("tpe", 10), ("nsga2", 10), ("random", 4)])
def test_each_value_has_its_turn_whatever_the_results_and_who_is_killed(
    tmp_path: Path, name: str, differ: int
) -> None:
    """Of three that are compared one is bad, and one fails; the others' parameters are drawn.

    What is drawn at random, of the first three or of all, is drawn once for a trial of each.
    """
    searched = space(sampler={"name": name, "startup_trials": 3, "population": 3})
    ended: dict[int, dict[str, Any]] = {}
    for killed in (2, 5, 99):
        study = Proposals(tmp_path / "study.journal", searched, "study")
        study.fail_unknown(set(ended))
        while len(ended) < 12:
            number, params = study.propose()
            if len(ended) == killed:
                break
            good = {"standard": 0.9, "mixture": 0.1}.get(str(params[KIND]))
            metrics = {} if good is None else dict.fromkeys(OBJECTIVES, good)
            study.tell(number, "failed" if good is None else "completed", metrics)
            ended[number] = params
    found = [params[KIND] for params in ended.values()]
    assert found == KINDS * 4
    betas = [params[BETA] for params in ended.values()]
    assert len(set(betas)) == differ
    assert all(len(set(betas[at : at + 3])) == 1 for at in range(0, 3 * (12 - differ) // 2, 3))
    assert all((LAYERS in each) == (each[KIND] == "spline") for each in ended.values())


def test_a_proposal_warns_of_nothing(tmp_path: Path) -> None:
    study = Proposals(tmp_path / "study.journal", space(sampler={"groups": True}), "study")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert study.propose()[1][KIND] == KINDS[0]


def test_what_somebody_asks_for_is_its_values_turn(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    study = Proposals(journal, space(), "study")
    for asked in ({KIND: "spline", BETA: 0.5}, {BETA: 0.25}):
        enqueue(journal, asked, is_ours=False)
    found = [study.propose()[1] for _ in range(5)]
    assert [params[KIND] for params in found] == ["spline", "standard", "mixture", *KINDS[:2]]
    assert [params[BETA] for params in found[:2]] == [0.5, 0.25]


def test_what_somebody_asks_for_is_not_drawn_by_others(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    study = Proposals(journal, space(sampler={"name": "random"}), "study")
    enqueue(journal, {KIND: "standard", BETA: 0.5}, is_ours=False)
    found = [study.propose()[1] for _ in range(6)]
    assert [params[KIND] for params in found] == KINDS * 2
    asked, *drawn = [params[BETA] for params in found]
    assert asked == 0.5
    assert len({asked, *drawn}) == 4, "one for the second round"
    assert len(set(drawn[2:])) == 1


def test_what_one_value_alone_has_is_drawn_for_it(tmp_path: Path) -> None:
    """The first of a round has no layers, and does not hold those of another."""
    study = Proposals(tmp_path / "study.journal", space(sampler={"name": "random"}), "study")
    found = [study.propose()[1] for _ in range(24)]
    layers = [params[LAYERS] for params in found if LAYERS in params]
    assert len(layers) == 8
    assert len(set(layers)) > 1
    betas = [params[BETA] for params in found]
    assert betas[::3] == betas[1::3] == betas[2::3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"compare": "latent.prior.kin"},
            r"got 'latent.prior.kin'\. Did you mean 'latent.prior.kind'",
        ),
        ({"compare": KIND, "scientific": {}}, r"searched, got 'latent\.prior\.kind'\.$"),
        ({"compare": 3}, r"^compare must be a parameter that is searched, got 3\. Name one\.$"),
        (
            {"compare": [KIND]},
            r"^compare must be a parameter that is searched, got \['latent.*'\]\. Name one\.$",
        ),
        (
            {"compare": BETA},
            r"^compare must be a choice that has no conditions, got objective.beta",
        ),
        (
            {"compare": LAYERS, "scientific": {KIND: {"choice": KINDS}, LAYERS: [SOME, OTHERS]}},
            r"^compare must be a choice that has no conditions, got latent.prior.layers, which",
        ),
        (
            {"compare": "seed", "scientific": {"seed": {"choice": [1, 2]}}, "seeds": {"runs": 3}},
            r"^compare must be a parameter that other seeds leave as it is, got seed\. Leave out",
        ),
    ],
)
def test_what_cannot_take_turns_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(**changes)


def test_what_is_held_on_the_command_line_is_not_compared() -> None:
    assert space(overrides={KIND: "mixture"}).compared is None
    assert space(overrides={BETA: 0.1}).compared is not None
    assert space(compare=None).compared is None


def scheduled(folder: Path, kinds: list[str], **scheduler: Any) -> Apart:
    """The scheduler of a sweep of which these trials have begun."""
    for number, kind in enumerate(kinds):
        write_json(folder / f"t{number:04d}" / "status.json", {"params": {KIND: kind}})
    made = scheduler_of(space(scheduler=scheduler), folder)
    assert isinstance(made, Apart)
    return made


def ends(made: Apart, scores: dict[str, float], every: int = 50) -> dict[str, int]:
    """The step at which each of some trials, one after another, is stopped or has come through."""
    found: dict[str, int] = {}
    for name, score in scores.items():
        trial = SimpleNamespace(trial_id=name)
        made.on_trial_add(None, trial)
        step, said, result = 0, FIFOScheduler.CONTINUE, scalars({"step": 0}, 200)
        while step < 200 and said == FIFOScheduler.CONTINUE:
            step += every
            result = scalars({"step": step, "val/rung_score": score}, 200)
            said = made.on_trial_result(None, trial, result)
        found[name] = step
        made.on_trial_complete(None, trial, result)
    return found


def test_a_trial_is_held_against_those_of_its_value_and_no_others(tmp_path: Path) -> None:
    made = scheduled(tmp_path, ["standard", "spline"] * 3, name="asha", grace=0.5)
    scores = {"t0000": 0.9, "t0001": 0.2, "t0002": 0.8, "t0003": 0.3, "t0004": 0.95, "t0005": 0.1}
    found = ends(made, scores, every=100)
    assert found == {
        "t0000": 200,
        "t0001": 200,
        "t0002": 100,
        "t0003": 200,
        "t0004": 200,
        "t0005": 100,
    }
    referee = Referee(made, None, tiny_corpus(), tmp_path)
    reason = referee.verdict("tune-1", {"rung_score": 0.1, "step": 100}).reason
    assert reason.startswith("asha: a rung score of 0.100 at step 100 was not among the best that")
    assert reason.endswith(f"had come that far with its {KIND}")


def test_brackets_are_filled_value_by_value_also_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three values by turns, and three brackets: by its number, each value would have one.

    A driver that resumes looks at the folders once: of thousands, each look takes its time.
    """
    made = scheduled(tmp_path, [], **HYPERBAND)
    names = [f"t{number:04d}" for number in range(24)]
    falling = {name: 1.0 - number / 100 for number, name in enumerate(names)}
    found: dict[str, int] = {}
    for name, kind in zip(names, KINDS * 8, strict=True):
        write_json(tmp_path / name / "status.json", {"params": {KIND: kind}})
        found |= ends(made, {name: falling[name]})
    (tmp_path / "t0024").mkdir()  # it has yet to be written
    # Of a value, the first four trials go to the first bracket, the next three to the second.
    wanted = [200, 50, 50, 50, 200, 100, 100, 200]
    assert [found[name] for name in names[::3]] == wanted
    assert [found[name] for name in names[1::3]] == wanted
    again = scheduled(tmp_path, KINDS * 8, **HYPERBAND)
    later = {name: falling[name] for name in names[12:]}
    looks: list[Path] = []
    monkeypatch.setattr(
        scheduling, "trial_folders", lambda folder: looks.append(folder) or trial_folders(folder)
    )
    assert list(ends(again, later).values()) == [200] * 3 + [100] * 6 + [200] * 3
    assert looks == [tmp_path]


@pytest.mark.parametrize(("how", "with_what"), [("complete", [{}]), ("remove", [])])
def test_a_halving_is_told_of_the_end_of_its_trials(
    tmp_path: Path, how: str, with_what: list[Any]
) -> None:
    made = scheduled(tmp_path, KINDS[:2] * 2, name="asha")
    told: list[tuple[Any, ...]] = []
    for number in range(4):
        trial = SimpleNamespace(trial_id=f"t{number:04d}")
        made.on_trial_add(None, trial)
    for halving in made._halvings.values():  # pyrefly: ignore[protected-access]
        setattr(
            halving,
            f"on_trial_{how}",
            lambda _, trial, *result, of=halving: told.append((of, trial.trial_id)),
        )
    for number in range(4):
        getattr(made, f"on_trial_{how}")(
            None, SimpleNamespace(trial_id=f"t{number:04d}"), *with_what
        )
    assert [name for _, name in told] == ["t0000", "t0000", "t0001", "t0001"]
    assert told[0][0] is told[2][0] is not told[1][0] is told[3][0]
