"""What a sweep says at its end."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aurl import commands
from aurl.errors import SweepError
from aurl.files import read_yaml, write_json
from aurl.search.plan import Sweep
from aurl.search.shape import Shape
from aurl.search.space import space_of
from tests.fake_sweep import fake_sweep
from tests.tiny import tiny_corpus

UNHEALTHY = {"val/kl_health": {"at_least": 2.0}}


@pytest.mark.parametrize(("demanded", "seeds"), [(UNHEALTHY, 3), ({}, 3), (UNHEALTHY, 0)])
def test_a_sweep_without_a_finalist_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    demanded: dict[str, Any],
    seeds: int,
) -> None:
    asked = {"seeds": {"finalists": 1, "runs": seeds}} if seeds else {}
    sweep = fake_sweep(tmp_path, trials=2, changes={**asked, "constraints": demanded})
    if not demanded:
        run = {"status": "failed", "metrics": {}}
        write_json(sweep / "finalists" / "t0000.1" / "status.json", run)

    def unexported(*_: object) -> None:
        raise SweepError("there is no model")

    monkeypatch.setattr(commands.exports, "trained_trial", unexported)
    space = space_of(read_yaml(sweep / "sweep.yaml")["space"], overrides={})
    planned = Sweep(
        folder=sweep, space=space, corpus=tiny_corpus(), shape=Shape(), address=None, note=""
    )
    with pytest.raises(SweepError, match="there is no model"):
        commands.conclude(planned, Console(width=200))
    out = capsys.readouterr().out
    assert ("Of t0000's 1 runs with other seeds 0 have a score, so its" in out) == (not demanded)
    said = [line for line in out.splitlines() if "No completed" in line]
    so = ", so none was trained with other seeds" if seeds else ""
    assert len(said) == bool(demanded), "in one line"
    for line in said:
        assert line.startswith(f"No completed trial is feasible{so}: t0000 is infeasible: val/")
