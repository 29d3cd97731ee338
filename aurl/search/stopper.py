"""Which trials are stopped for the health of their latent space, from what they report.

Three verdicts, of evaluations alone: a loss that is *not finite*; a *dead* latent space; a rate
that is *hopeless*, far from the target and not on its way there. The last two wait until beta has
settled (a small KL is otherwise the schedule's doing) and the encoder's skip is closed, take more
than one evaluation, and give a KL that moves the benefit of its movement. Disentanglement stops
nobody: it means nothing before the KL has settled, and it is measured at the end only.

Source: own. The settings are argued for in docs/decisions/0010.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aurl.search.settings import StopperConfig

LIVE = "val/live_dimensions"
KL = "val/kl_nats"
FINITE = (KL, "val/negative_elbo_nats")
SMALLEST_NATS = 1e-3
"""What a KL below it counts as: between two of these there is no movement."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial is ended early, and why; ``paused`` lets it go to be gone on with later."""

    end: Literal["stopped", "failed", "paused"]
    reason: str


@dataclass(frozen=True, slots=True)
class _Seen:
    step: int
    kl: float
    live: float
    is_final: bool
    """Whether its KL is the run's own: beta has settled and the encoder's skip is closed."""


class HealthStopper:
    """Keeps what each running trial reported, and judges it.

    Args:
        config: How patient to be.
        steps: Optimizer steps of a whole trial.
    """

    def __init__(self, config: StopperConfig, steps: int) -> None:
        self._config = config
        self._steps = steps
        self._seen: dict[str, list[_Seen]] = {}
        self._settled: dict[str, bool] = {}

    def begin(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """An attempt at a trial begins, with the rows that an earlier one left."""
        self._seen[name] = []
        self._settled[name] = False
        for row in rows:
            self._take(name, row)

    def judge(
        self, name: str, rows: Sequence[Mapping[str, Any]], target_nats: float
    ) -> Verdict | None:
        """The verdict on a trial after the rows of a report; None lets it go on.

        Args:
            name: The trial.
            rows: What it reported since the last time.
            target_nats: The rate that KL health holds it against, in nats per sequence.
        """
        if name not in self._seen:
            self.begin(name, ())
        for row in rows:
            if unfit := self._take(name, row):
                reason = f"health: {unfit} is not finite at step {int(row['step'])}"
                return Verdict("failed", reason)
        return self._collapse(self._seen[name], target_nats)

    def _take(self, name: str, row: Mapping[str, Any]) -> str:
        """Note a row; returns the metric that is not finite, if one is."""
        if "objective/beta_settled" in row:
            closed = not row.get("train/encoder_skip_gate", 0.0)
            self._settled[name] = bool(row["objective/beta_settled"]) and closed
        lost = row.get("non_finite", ())  # how metrics.jsonl says it
        unfit = [tag for tag in FINITE if tag in lost or not math.isfinite(row.get(tag, 0.0))]
        if unfit:
            return unfit[0]
        if KL in row and LIVE in row:
            seen = _Seen(int(row["step"]), row[KL], row[LIVE], self._settled[name])
            self._seen[name].append(seen)
        return ""

    def _collapse(self, seen: Sequence[_Seen], target: float) -> Verdict | None:
        config = self._config
        last = seen[-config.patience :]
        if len(last) < config.patience or last[-1].step >= self._steps:
            return None
        if not all(e.is_final and e.step >= config.grace * self._steps for e in last):
            return None
        kl, steps = last[-1].kl, f"steps {last[0].step} to {last[-1].step}"
        ahead = self._ahead(last)
        low, high = target / config.rate_factor, target * config.rate_factor
        if all(each.live == 0.0 for each in last) and ahead < low:
            return Verdict("stopped", f"health: no live dimension at {steps}, KL {kl:.3g} nats")
        if max(each.kl for each in last) < low and ahead < low:
            return Verdict("stopped", _hopeless(kl, "below", low, steps))
        if min(each.kl for each in last) > high and ahead > high:
            return Verdict("stopped", _hopeless(kl, "above", high, steps))
        return None

    def _ahead(self, last: Sequence[_Seen]) -> float:
        """The KL at the last step if it goes on to change by the same ratio a step."""
        first, now = (math.log(max(each.kl, SMALLEST_NATS)) for each in (last[0], last[-1]))
        if last[-1].step == last[0].step:
            return math.exp(now)
        slope = (now - first) / (last[-1].step - last[0].step)
        return math.exp(min(700.0, now + slope * (self._steps - last[-1].step)))


def _hopeless(kl: float, side: str, bound: float, steps: str) -> str:
    return f"health: a KL of {kl:.3g} nats is {side} {bound:.3g} at {steps}, and not on its way"
