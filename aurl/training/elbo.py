"""What a training step differentiates, as one module: workers share it, and torch compiles it."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from aurl.config import RunConfig
from aurl.errors import ConfigError
from aurl.model.latents import Posterior
from aurl.model.layers import rotations
from aurl.model.vae import Vae, VaeOutput
from aurl.objectives.free_bits import floors_of
from aurl.objectives.objective import Terms, objective
from aurl.objectives.reconstruction import token_nll
from aurl.training.dials import Weights
from aurl.training.workers import Workers


class Elbo(nn.Module):
    """The terms of the objective for a batch, all but the regularizers.

    With ``training.precision: bfloat16`` the matrix products of encoder and decoder are computed
    in it, and what their blocks add to; parameters, norms, the posterior, the prior,
    log-probabilities and the terms stay float32.

    Args:
        model: The model; on the workers' device.
        config: The run's configuration.
        workers: The workers that share each batch.
    """

    def __init__(self, model: Vae, config: RunConfig, workers: Workers) -> None:
        super().__init__()
        self.model = model
        self.is_bfloat16 = config.training.precision == "bfloat16"
        self.mean_over_workers = workers.mean
        self.floors = floors_of(
            config.objective.free_bits,
            model.layout.dimension,
            model.layout.level,
            is_closed_form=model.prior.is_closed_form,
            of_levels=[level.free_nats for level in config.latent.levels if level.dim],
        ).to(workers.device)

    def forward(
        self,
        tokens: Int[Tensor, "batch token"],
        places: tuple[Int[Tensor, "batch token"], Float[Tensor, "batch token"]],
        noise: Float[Tensor, "batch coordinate"],
        keep: Bool[Tensor, "batch input"] | None,
        context: Int[Tensor, "batch context"],
        weights: Weights,
    ) -> tuple[Terms, Posterior]:
        """The terms, and the posterior for what is added to them.

        Args:
            tokens: Padded sequences.
            places: Their musical positions.
            noise: Standard normal.
            keep: Token dropout, see :meth:`Vae.forward`.
            context: Classes of the sequences' musical context.
            weights: Beta, the gate of the encoder skip, and the levels that are closed; tensors
                where the step is compiled, so that new values need no new code.
        """
        beta, gate, closed = weights
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.is_bfloat16):
            output: VaeOutput = self.model(tokens, noise, keep, context, gate, places)
        nll = token_nll(output.logits, tokens[:, 1:], pad=self.model.vocabulary.pad)
        terms = objective(
            nll.sum(dim=1),
            output.base.kl(),
            beta=beta,
            closed=closed,
            floors=self.floors,
            mean_over_workers=self.mean_over_workers,
        )
        return terms, output.posterior


def compile_for(elbo: Elbo, device: torch.device) -> None:
    """Have torch compile the module's calls: one program for each width of batch.

    Args:
        elbo: The module.
        device: Where it computes.

    Raises:
        ConfigError: If torch cannot compile on this machine.
    """
    # Marked here: it imports torch's compiler, for which no other command is to wait.
    torch.compiler.assume_constant_result(rotations)
    torch.compiler.reset()  # a gang trains many models, and torch gives up after a few programs
    try:
        torch.compile(_probe)(torch.ones(2, device=device))
    except RuntimeError as error:
        raise ConfigError(
            "training.compile must be false on a machine where torch cannot compile, got true: "
            f"{_reason(error)} Install a C++ compiler (g++), or leave it out."
        ) from error
    elbo.compile(dynamic=False)


def check_precision(config: RunConfig, device: torch.device) -> None:
    """Refuse a precision that the device does not have.

    Raises:
        ConfigError: If it has not.
    """
    wanted = config.training.precision == "bfloat16"
    if wanted and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError(
            "training.precision must be float32 on this GPU, got bfloat16: "
            f"{torch.cuda.get_device_name(device)} has none."
        )


def _probe(x: Tensor) -> Tensor:
    return x.sin() + 1.0


def _reason(error: Exception) -> str:
    """The line of a compiler's message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
