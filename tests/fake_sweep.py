"""The folder of a sweep that nobody ran: statuses, a journal and a record, all lawful."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aurl.files import read_yaml, write_json, write_yaml
from aurl.metrics.score import OBJECTIVES, trial_score
from aurl.plain import merged
from aurl.search.ranking import SCORE
from aurl.search.recorder import trial_id
from aurl.search.sampler import Proposals
from aurl.search.space_file import space_of

QUICK = Path(__file__).parents[1] / "search_spaces" / "quick.yaml"


def fake_sweep(
    sweep: Path, *, trials: int, space: Path = QUICK, changes: Mapping[str, Any] | None = None
) -> Path:
    """Write a sweep whose trials all completed.

    KL health grows with beta and reconstruction with the size of the global code; disentanglement
    is noise.

    Args:
        sweep: Where to.
        trials: How many have completed; as many are planned. Without any there is no journal.
        space: What was searched.
        changes: Sections of the space in place of its own.
    """
    values = merged(read_yaml(space), {"budget": {"trials": trials}})
    values = {**values, **(changes or {})}
    searched = space_of(values, overrides={})
    random = replace(searched.sampler, name="random", groups=False)
    write_yaml(
        sweep / "sweep.yaml",
        {
            "question": searched.question,
            "space": values,
            "overrides": {},
            "corpus": {"name": "tunes", "fingerprint": "0" * 64},
            "workers_per_trial": 2,
            "gpus_per_worker": 0.5,
            "made_by": {"aurl": "0.1.0"},
        },
    )
    (sweep / "trials").mkdir()
    if not trials:
        return sweep
    study = Proposals(sweep / "study.journal", replace(searched, sampler=random), sweep.name)
    rng = np.random.default_rng(0)
    for _ in range(trials):
        number, params = study.propose()
        health = 0.6 + 0.2 * np.log10(float(params["objective.beta.value"]))
        size = float(params["latent.levels.global.dim"])
        values = (health + 0.03 * rng.normal(), rng.uniform(0.2, 0.4), 0.1 + size / 80)
        metrics: dict[str, float] = dict(zip(OBJECTIVES, map(float, values), strict=True))
        study.tell(number, "completed", metrics)
        write_status(
            sweep,
            trial_id(number),
            params=params,
            metrics={**metrics, SCORE: trial_score(*values)},
        )
    return sweep


def write_status(sweep: Path, name: str, kind: str = "trials", /, **values: Any) -> None:
    """A trial's ``status.json``: completed, unless told otherwise."""
    status = {
        "trial": name,
        "status": "completed",
        "reason": "",
        "step": 360,
        "steps": 360,
        "seconds": 90.0,
        "attempts": 1,
        "started": "2026-01-01T00:00:00+00:00",
        "params": {},
        "metrics": {},
    }
    write_json(sweep / kind / name / "status.json", {**status, **values})
