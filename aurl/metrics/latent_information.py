r"""Mutual information between the data and each latent coordinate, I_q(x; z_d), in nats.

Under a mixture or flow prior the KL has no part for each dimension; this rate has, and needs no
prior. With a standard normal prior it is the KL of the dimension less the divergence of its
aggregate posterior from the prior.

Source: Hoffman & Johnson 2016, "ELBO surgery"; the estimator is that of He et al. 2019,
https://arxiv.org/abs/1901.05534, for one coordinate at a time.
"""

import math

import numpy as np
from jaxtyping import Float


def latent_information(
    z: Float[np.ndarray, "sample coordinate"],
    mean: Float[np.ndarray, "sample coordinate"],
    log_var: Float[np.ndarray, "sample coordinate"],
) -> Float[np.ndarray, " coordinate"]:
    r"""Monte Carlo estimate of the information each coordinate carries about its sample.

    .. math:: I_q(x; z_d) = \mathbb E_n \Bigl[\log q(z_{nd} | x_n)
        - \log \tfrac1N \sum_m q(z_{nd} | x_m)\Bigr]

    Args:
        z: One draw from the posterior of each sample.
        mean: Posterior means.
        log_var: Posterior log-variances.

    Returns:
        Nats, at most log N; noise may take a coordinate without information a little below 0. NaN
        where a number is not finite.
    """
    z, mean, log_var = (each.astype(np.float64) for each in (z, mean, log_var))
    result = np.empty(z.shape[1])
    with np.errstate(all="ignore"):  # of a model that has diverged
        for index in range(z.shape[1]):
            deviations = z[:, index, None] - mean[None, :, index]
            spread = log_var[:, index]
            log_q = -0.5 * (deviations**2 * np.exp(-spread) + spread)  # both sides leave 2 pi out
            largest = log_q.max(axis=1)
            log_mean = largest + np.log(np.exp(log_q - largest[:, None]).mean(axis=1))
            result[index] = (np.diagonal(log_q) - log_mean).mean()
    return np.minimum(result, math.log(len(z)))
