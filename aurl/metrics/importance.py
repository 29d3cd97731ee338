"""The importance-weighted bound on the likelihood: comparable across priors and beta."""

import numpy as np
from jaxtyping import Float


def importance_bound(
    log_weights: Float[np.ndarray, "draw sample"],
) -> Float[np.ndarray, " sample"]:
    r"""Upper bound on each sample's negative log-likelihood, from K draws of its posterior.

    .. math:: -\ln \frac1K \sum_{k=1}^K \frac{p(x \mid z_k) \, p(z_k)}{q(z_k \mid x)}
        \qquad z_k \sim q(z \mid x)

    One draw gives the negative ELBO. The expectation falls towards :math:`-\ln p(x)` as K grows:
    a bound says nothing without its K.

    Args:
        log_weights: Logarithms of the ratios, of every draw.

    Returns:
        Nats.

    Source:
        Burda et al. 2016 (IWAE), equation 8, https://arxiv.org/abs/1509.00519
    """
    with np.errstate(all="ignore"):  # of a model that has diverged
        largest = log_weights.max(axis=0)
        return -(largest + np.log(np.exp(log_weights - largest).mean(axis=0)))
