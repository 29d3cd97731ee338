"""Importance weights of a model's posterior on held-out windows."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.data.batches import TokenStore
from aurl.metrics.importance import importance_bound
from aurl.model.latents import Posterior
from aurl.model.vae import Vae
from aurl.seeding import torch_generator
from aurl.training.likelihood import nll_of_windows


@torch.no_grad()
def importance_metrics(
    model: Vae,
    store: TokenStore,
    windows: Int[np.ndarray, " sample"],
    parts: Sequence[Tensor],
    n_draws: int,
) -> dict[str, float]:
    """The importance-weighted bound, and the negative ELBO of the same windows and draws.

    Args:
        model: In evaluation mode.
        store: Tokens on its device.
        windows: Windows to measure.
        parts: Rows of ``windows`` to measure at once, each row in one of them.
        n_draws: K, draws of z for each window.
    """
    log_weights = np.empty((n_draws, len(windows)))
    n_notes = 0.0
    for rows in parts:
        chosen = torch.from_numpy(windows)[rows]
        tokens = store.padded(chosen)
        posterior = model.encode(tokens)
        context = store.context[chosen.to(store.context.device)]
        for draw in range(n_draws):
            generator = torch_generator(0, "importance", draw)
            noise = torch.randn(len(windows), model.layout.size, generator=generator)
            log_weights[draw, rows.numpy()] = _log_weight(
                model, tokens, posterior, noise[rows].to(posterior.mean), context
            )
        n_notes += float(model.vocabulary.note_count(tokens).sum())
    bound = importance_bound(log_weights)
    return {
        "iwae_nats": float(bound.mean()),
        "iwae_nats_per_note": float(bound.sum() / max(1.0, n_notes)),
        "iwae_nats/negative_elbo": float(-log_weights.mean()),
    }


def _log_weight(
    model: Vae, tokens: Tensor, posterior: Posterior, noise: Tensor, context: Tensor
) -> Float[np.ndarray, " sample"]:
    """Logarithm of p(x, z) / q(z|x) at the draw of z that ``noise`` makes, in float64."""
    z = posterior.sample(noise)
    nll = nll_of_windows(model, model.decode(tokens, z), tokens)
    log_posterior = torch.distributions.Normal(0.0, 1.0).log_prob(noise) - 0.5 * posterior.log_var
    weight = model.prior.log_prob(z, context).double() - log_posterior.double().sum(dim=1) - nll
    return weight.cpu().numpy()
