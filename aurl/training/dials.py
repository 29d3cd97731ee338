"""What a step is told: beta, encoder skip, learning rate, and which levels are open."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aurl.config import RunConfig
from aurl.data.batches import sent
from aurl.model.latents import LatentLayout
from aurl.objectives.controllers import BetaSchedule
from aurl.training.optimizer import learning_rate


class Weights(NamedTuple):
    """What the terms of a step weigh; tensors where the step is compiled."""

    beta: float | Tensor
    gate: float | Tensor
    """Of the encoder skip."""

    closed: Float[Tensor, " coordinate"] | None
    """1 where a level is not open yet, else 0; None if all are open from the start."""


class Dials:
    """The numbers of one step that depend on nothing but the step and the schedule.

    Args:
        config: The run's configuration.
        layout: Where the levels stand in the latent vector.
        schedule: Of beta.
        optimizer: Whose learning rate is set.
        device: Where the step is computed.
    """

    def __init__(
        self,
        config: RunConfig,
        layout: LatentLayout,
        schedule: BetaSchedule,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
    ) -> None:
        self._config = config
        self._schedule = schedule
        self._optimizer = optimizer
        opens = {level.name: level.opens for level in config.latent.levels}
        shares = torch.tensor([opens[level.name] for level in layout.levels], dtype=torch.float64)
        self._opens = shares[layout.level] * config.training.steps
        self._last = float(self._opens.max())
        self._closed = torch.zeros(layout.size, device=device) if self._last else None
        self._values: Tensor | None = None
        """Beta, gate and learning rate where a compiled step reads them."""

        if config.training.compile:
            self._values = torch.zeros(3, device=device)
            for group in optimizer.param_groups:
                group["lr"] = self._values[2]
        self.beta = self.gate = 0.0
        self.turn(0)

    def turn(self, step: int) -> None:
        """Set everything for the optimizer step after ``step`` steps."""
        config = self._config
        self.beta, self.gate = self._schedule.at(step), skip_gate(config, step)
        rate = learning_rate(config.optimizer, step, config.training.steps)
        if self._closed is not None:
            self._closed.copy_(sent((step < self._opens).float(), self._closed.device))
        if self._values is not None:
            turned = torch.tensor([self.beta, self.gate, rate])
            self._values.copy_(sent(turned, self._values.device))
            return
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    @property
    def weights(self) -> Weights:
        """What the terms weigh now."""
        if self._values is not None:
            return Weights(self._values[0], self._values[1], self._closed)
        return Weights(self.beta, self.gate, self._closed)

    def settled(self, step: int) -> bool:
        """Whether a small KL after ``step`` steps is the run's own: beta, and all levels open."""
        return step >= self._last and self._schedule.settled(step)


def skip_gate(config: RunConfig, step: int) -> float:
    """How far the encoder's states are open to the decoder: from 1 down to 0, then closed."""
    share = config.model.encoder_skip * config.training.steps
    return max(0.0, 1.0 - step / share) if share else 0.0
