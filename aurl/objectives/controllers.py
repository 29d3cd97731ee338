"""Beta schedules as objects: those of the step alone, and controllers that follow the run.

A controller has a state; it is saved in the checkpoint, so that a resumed run goes on with the
beta it would have had. It is shown averages over all workers, so that all have the same beta.
"""

import math
from typing import Protocol, runtime_checkable

from aurl.objective_config import BetaConfig
from aurl.objectives.schedules import beta_at, given, settled_step


@runtime_checkable
class BetaSchedule(Protocol):
    """Beta over one run."""

    def at(self, step: int) -> float:
        """Beta of the optimizer step after ``step`` steps; a controller knows only the next."""
        ...

    def settled(self, step: int) -> bool:
        """Whether a small KL after ``step`` steps is a verdict on the run."""
        ...

    def observe(self, *, kl: float, reconstruction: float) -> None:
        """Take note of a step: raw KL and reconstruction, in nats per sequence."""
        ...

    @property
    def state(self) -> dict[str, float]:
        """What a resumed run needs; empty for a function of the step."""
        ...

    @state.setter
    def state(self, values: dict[str, float]) -> None: ...


def schedule_of(config: BetaConfig, steps: int) -> BetaSchedule:
    """The schedule that a configuration names, for a run of ``steps`` optimizer steps."""
    match config.schedule:
        case "target_kl":
            return TargetKl(config, steps)
        case "target_reconstruction":
            return TargetReconstruction(config, steps)
        case _:
            return FixedBeta(config, steps)


class FixedBeta:
    """A function of the step alone, see :func:`~aurl.objectives.schedules.beta_at`."""

    def __init__(self, config: BetaConfig, steps: int) -> None:
        self._config = config
        self._steps = steps
        self.state: dict[str, float] = {}

    def at(self, step: int) -> float:
        """See :class:`BetaSchedule`."""
        return beta_at(self._config, step, self._steps)

    def settled(self, step: int) -> bool:
        """Whether beta stays as it is from here on."""
        return step >= settled_step(self._config, self._steps)

    def observe(self, *, kl: float, reconstruction: float) -> None:
        """Nothing depends on what the run does."""


class _Controller:
    """What the two controllers share: a target, and how long the run has been near it."""

    NEAR = 0.1
    """Relative error, smoothed, that counts as small."""

    PATIENCE = 0.05
    """Share of the run's steps, but at least ``MIN_PATIENCE``, that it must have been small."""

    MIN_PATIENCE = 10
    SMOOTHING = 0.9

    def __init__(self, config: BetaConfig, steps: int, *, start: float) -> None:
        self.target = given(config.target)
        self.largest = config.value
        self.patience = max(self.MIN_PATIENCE, math.ceil(self.PATIENCE * steps))
        self._state = {"beta": start, "error": 1.0, "calm_steps": 0.0}

    @property
    def state(self) -> dict[str, float]:
        """See :class:`BetaSchedule`."""
        return dict(self._state)

    @state.setter
    def state(self, values: dict[str, float]) -> None:
        self._state = dict(values)

    def at(self, step: int) -> float:
        """Beta of the next step, whatever number that has."""
        del step
        return self._state["beta"]

    def settled(self, step: int) -> bool:
        """Whether the error has been small for a while; at no step before that."""
        del step
        return self._state["calm_steps"] >= self.patience

    def _note(self, measured: float) -> float:
        """Smooth the relative error, held in [-1, 1], and count steps near the target."""
        error = max(-1.0, min(1.0, (measured - self.target) / self.target))
        smooth = self.SMOOTHING * self._state["error"] + (1.0 - self.SMOOTHING) * error
        near = abs(smooth) < self.NEAR
        self._state["error"] = smooth
        self._state["calm_steps"] = self._state["calm_steps"] + 1.0 if near else 0.0
        return smooth


class TargetKl(_Controller):
    r"""Holds the raw KL at a target: a PI controller of beta.

    .. math:: \beta_t = \frac{K_p}{1 + e^{e_t}} - K_i \sum_{s \le t} e_s, \qquad
        e_t = \text{target} - \mathrm{KL}_t

    clipped to [0, ``value``]. KL above the target raises beta. Anti-windup: an error that would
    push a clipped beta further out is used for its own step and not added to the sum, so that beta
    comes back in the first step that has an error of the other sign. Beta is 0 before the first
    step.

    Source:
        Shao et al. 2020 (ControlVAE), https://arxiv.org/abs/2004.05988
    """

    def __init__(self, config: BetaConfig, steps: int) -> None:
        super().__init__(config, steps, start=0.0)
        self.proportional = given(config.proportional)
        self.integral = given(config.integral)
        self._state["sum"] = 0.0

    def observe(self, *, kl: float, reconstruction: float) -> None:
        """Follow the raw KL."""
        del reconstruction
        self._note(kl)
        error = self.target - kl
        total = self._state["sum"] + error
        wanted = self.proportional * _falling(error) - self.integral * total
        self._state["beta"] = min(self.largest, max(0.0, wanted))
        pushes_out = (wanted > self.largest and error < 0.0) or (wanted < 0.0 and error > 0.0)
        if not pushes_out:
            self._state["sum"] = total


class TargetReconstruction(_Controller):
    r"""Holds the reconstruction at a target: beta is the reciprocal of a Lagrange multiplier.

    .. math:: \ln \beta_{t+1} = \ln \beta_t - \text{rate} \cdot \bar e_t, \qquad
        e_t = \frac{\text{reconstruction}_t - \text{target}}{\text{target}}

    with the error held in [-1, 1] and smoothed. Reconstruction above the target lowers beta. It
    starts at ``value``, its largest, and never falls below 1e-4 of it.

    Minimising ``reconstruction + beta * KL`` is minimising ``KL + reconstruction / beta``, the
    Lagrangian of the paper, where the multiplier 1/beta grows as long as the constraint is not
    met.

    Source:
        Rezende & Viola 2018 (GECO), https://arxiv.org/abs/1810.00597
    """

    SMALLEST = 1e-4
    LARGEST_CHANGE = 10.0
    """Of ln beta in one step; more than from the smallest beta to the largest."""

    def __init__(self, config: BetaConfig, steps: int) -> None:
        super().__init__(config, steps, start=config.value)
        self.rate = given(config.rate)

    def observe(self, *, kl: float, reconstruction: float) -> None:
        """Follow the reconstruction."""
        del kl
        change = min(self.LARGEST_CHANGE, -self.rate * self._note(reconstruction))
        wanted = self._state["beta"] * math.exp(change)
        self._state["beta"] = min(self.largest, max(self.SMALLEST * self.largest, wanted))


def _falling(error: float) -> float:
    """1 / (1 + exp(error)), for any error."""
    if error > 0.0:
        return math.exp(-error) / (1.0 + math.exp(-error))
    return 1.0 / (1.0 + math.exp(error))
