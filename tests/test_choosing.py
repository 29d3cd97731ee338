"""Which rows are shown, in which order, and what is said of a question that makes no sense."""

from pathlib import Path
from typing import Any

import pytest

from aurl.cli import main
from aurl.errors import ConfigError
from aurl.reporting.choosing import as_csv, chosen
from aurl.reporting.leaderboard import write_leaderboard
from aurl.search.ranking import SCORE
from tests.fake_sweep import fake_sweep, write_status

ROWS: list[dict[str, Any]] = [
    {
        "trial_id": "t0",
        "status": "completed",
        "score": 0.5,
        "a.beta.value": 0.1,
        "reason": "",
        "b.on": "x",
    },
    {"trial_id": "t1", "status": "failed", "score": None, "reason": "NaN at step 3"},
    {"trial_id": "t2", "status": "completed", "score": 0.9, "a.beta.value": 2, "b.on": True},
]


def ids(*conditions: str, sort: str = "", reverse: bool = False) -> list[str]:
    found = chosen(ROWS, dict, conditions, sort=sort, reverse=reverse)
    return [row["trial_id"] for row in found]


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        ((), ["t0", "t1", "t2"]),
        (("status=completed",), ["t0", "t2"]),
        (("status != completed",), ["t1"]),
        (("score>0.5",), ["t2"]),
        (("score>=0.5", "score<0.9"), ["t0"]),
        (("score<=5e-1",), ["t0"]),
        (("score=0.9",), ["t2"]),
        (("score==9e-1",), ["t2"]),
        (("score!=0.9",), ["t0", "t1"]),
        (("reason~nan",), ["t1"]),
        (("a.beta.value=2",), ["t2"]),
        (("value<1",), ["t0"]),
        (("on=true",), ["t2"]),
        (("score>2",), []),
        (("reason=[Errno 28]",), []),
        (("reason!=*x",), ["t0", "t1", "t2"]),
    ],
)
def test_conditions_leave_the_rows_that_fulfil_all(
    conditions: tuple[str, ...], left: list[str]
) -> None:
    assert ids(*conditions) == left


def test_rows_are_sorted_and_those_without_the_value_come_last() -> None:
    assert ids(sort="score") == ["t0", "t2", "t1"]
    assert ids(sort="score", reverse=True) == ["t2", "t0", "t1"]
    assert ids(sort="status") == ["t0", "t2", "t1"]
    assert ids(sort="on") == ["t2", "t0", "t1"], "text and not, as text"
    assert ids("status=completed", sort="beta.value", reverse=True) == ["t2", "t0"]


@pytest.mark.parametrize(
    ("condition", "sort", "message"),
    [
        ("score", "", "--filter must be a column, one of = != < <= > >= ~, and a value, got 'sc"),
        ("height>1", "", "--filter must name one column, got height. There are: trial_id, status"),
        ("score>high", "", "--filter > must be followed by a number, got 'high'."),
        ("score>true", "", "--filter > must be followed by a number, got 'true'."),
        ("status=failed", "height", "--sort must name one column, got height. There are: trial_"),
    ],
)
def test_what_makes_no_sense_is_one_line(condition: str, sort: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ids(condition, sort=sort)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_order_is_turned_round_only_where_there_is_one() -> None:
    with pytest.raises(ConfigError, match="--reverse must come with --sort"):
        ids("status=completed", reverse=True)


def test_an_ending_that_two_columns_share_names_neither() -> None:
    rows = [{"a.value": 1, "b.value": 2}]
    with pytest.raises(ConfigError, match=r"got value. There are: a\.value, b\.value\."):
        chosen(rows, dict, sort="value")


def test_a_metric_has_its_name_or_that_without_its_split() -> None:
    rows = [{"trial": "a", "val/kl_nats": 2.0, "time/step_s": 1.0}, {"trial": "b"}]
    assert chosen(rows, dict, ["val/kl_nats>1"]) == chosen(rows, dict, ["kl_nats>1"]) == rows[:1]
    assert chosen(rows, dict, sort="time/step_s") == rows
    with pytest.raises(ConfigError) as caught:
        chosen(rows, dict, sort="step_s")
    assert str(caught.value) == (
        "--sort must name one column, got step_s. There are: trial, and metrics, such as "
        "val/kl_nats."
    )
    with pytest.raises(ConfigError, match=r"got step_s\. There are: trial, score\.$"):
        chosen([{"trial": "a", "score": 1.0}], dict, sort="step_s")


def test_no_rows_answer_no_question() -> None:
    assert chosen([], dict, ["score>1"], sort="score") == []


def test_csv_has_a_cell_for_every_column() -> None:
    text = as_csv([{"a": 'say "x", y', "b": [1, 2]}, {"a": None, "b": True}], ["a", "b", "c"])
    assert text == 'a,b,c\n"say ""x"", y","[1, 2]",\n,true,\n'


@pytest.mark.parametrize("command", ["status", "leaderboard"])
def test_a_filter_that_leaves_nothing_is_no_sweep_without_trials(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_sweep(tmp_path, trials=0, changes={"budget": {"trials": 2, "steps_per_trial": 9}})
    assert main([command, str(tmp_path), "--filter", "status=failed"]) == 0
    assert "no trials yet" in capsys.readouterr().out
    write_status(tmp_path, "t0000")
    assert main([command, str(tmp_path), "--filter", "status=failed"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "No trial fulfils the filter; there are 1."
    for trial, score in (("t0000", 0.2), ("t0001", 0.4)):
        write_status(tmp_path, trial, metrics={SCORE: score})
    assert main([command, str(tmp_path), "--filter", "score<0.3"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 trials: 2 completed; best t0001; 1 more not shown" in said
    with pytest.raises(SystemExit, match="2"):
        main([command, str(tmp_path), "--csv", "--json"])
    assert "not allowed with" in capsys.readouterr().err


def test_what_no_terminal_has_letters_for_is_shown_and_written_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = fake_sweep(tmp_path / "s", trials=1)
    write_status(sweep, "t0001", status="failed", reason="no corpus at /data/\udcff")
    for words in (("status",), ("leaderboard",), ("leaderboard", "--csv")):
        assert main([words[0], str(sweep), *words[1:]]) == 0
        assert "/data/\\udcff" in capsys.readouterr().out.replace("\n", "")
    write_leaderboard(sweep)
    assert "/data/\\udcff" in (sweep / "leaderboard.csv").read_text()
