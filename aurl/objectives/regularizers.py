r"""Terms beside the ELBO that shape the codes: tensors in, one number out, smaller is better.

Each is an estimate from one batch. The moment-based ones are unbiased: their expectation does not
depend on the batch size and is 0 for codes that have what they ask for, so that they can be
negative. Total correlation is biased, the more so the smaller the batch (docs/log.md has the
table): it is a training signal and never a metric.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def total_correlation(
    z: Float[Tensor, "sample coordinate"],
    own: Int[Tensor, " sample"],
    mean: Float[Tensor, "batch coordinate"],
    log_var: Float[Tensor, "batch coordinate"],
    n_sequences: int,
) -> Float[Tensor, ""]:
    r"""How far the aggregate posterior is from a product of its coordinates, in nats a sequence.

    .. math:: \mathrm{TC} = \mathbb E_{q(z)} \Bigl[ \ln q(z) - \sum_j \ln q(z_j) \Bigr]

    The densities of the aggregate posterior are weighted sums over the batch (minibatch-stratified
    sampling): a sequence's own posterior counts 1/N, and the others of the batch stand for the
    rest of the N sequences. Each sum is unbiased, its logarithm is not.

    Args:
        z: A draw from the posterior of some sequences of the batch.
        own: Which sequence of the batch each draw is of.
        mean: Posterior means of the batch.
        log_var: Posterior log-variances of the batch.
        n_sequences: N, the sequences that the batch is drawn from; at least the batch.

    Returns:
        Nats; 0 for a batch of one, which says nothing.

    Source:
        Chen et al. 2018 (beta-TCVAE), equation 2 and Appendix C.2,
        https://arxiv.org/abs/1802.04942
    """
    log_weight = stratified_log_weights(own, len(mean), n_sequences).to(z)
    squares = (z[:, None, :] - mean).square() * (-log_var).exp()
    log_q = -0.5 * (squares + log_var + math.log(2.0 * math.pi))
    joint = (log_weight + log_q.sum(dim=2)).logsumexp(dim=1)
    each = (log_weight[:, :, None] + log_q).logsumexp(dim=1)
    return (joint - each.sum(dim=1)).mean()


def stratified_log_weights(
    own: Int[Tensor, " sample"], batch: int, n_sequences: int
) -> Float[Tensor, "sample batch"]:
    """Log-weights of the batch's sequences in the aggregate posterior, for each draw.

    Arguments as in :func:`total_correlation`.
    """
    others = batch - 1
    if others == 0:
        return torch.zeros(len(own), 1, device=own.device)
    after = (torch.arange(batch, device=own.device) - own[:, None]) % batch
    next_one = (n_sequences - others) / (n_sequences * others)
    weight = torch.where(after == 1, next_one, 1.0 / others)
    weight = torch.where(after == 0, 1.0 / n_sequences, weight)
    return weight.log()


def covariances(
    values: Float[Tensor, "batch coordinate"],
) -> Float[Tensor, "coordinate coordinate"]:
    """Unbiased estimates of all covariances; unlike :func:`torch.cov`, a GPU is not waited for."""
    centred = values - values.mean(dim=0)
    return centred.T @ centred / (len(values) - 1)


def squared_covariances(
    values: Float[Tensor, "batch coordinate"],
) -> Float[Tensor, "coordinate coordinate"]:
    r"""Unbiased estimates of the squares of all covariances, :math:`C_{ij}^2`.

    Squaring a covariance estimate adds its variance, which swamps the value in a small batch. This
    is the average of :math:`\tfrac14 (x_a - x_b)(y_a - y_b)(x_c - x_d)(y_c - y_d)` over all
    quadruples of different sequences a, b, c, d.

    Args:
        values: At least 4 sequences; their mean does not matter.

    Source:
        The linear case of the unbiased HSIC of Song et al. 2012, section 2.3,
        https://jmlr.org/papers/v13/song12a.html
    """
    n = len(values)
    x = values - values.mean(dim=0)
    squares = x.square()
    sums, own = x.sum(dim=0), squares.sum(dim=0)
    pairs = (x.T @ x).square() - squares.T @ squares
    apart = (sums.square() - own)[:, None] * (sums.square() - own)
    chains = (x * (sums - x)).T @ (x * (sums - x))
    chains = apart / ((n - 1) * (n - 2)) - 2.0 / (n - 2) * chains
    return (pairs + chains) / (n * (n - 3))


def dip_off_diagonal(
    mean: Float[Tensor, "batch coordinate"], prior: Float[Tensor, "draw coordinate"] | None
) -> Float[Tensor, ""]:
    r"""Squared differences between the aggregate posterior's covariances and the prior's.

    Summed over different coordinates, each pair counted twice. The noise of the posterior is
    independent between coordinates, so that the means have the covariances of z.

    Args:
        mean: Posterior means.
        prior: Draws from the prior; None if it is N(0, I), whose covariances are 0.

    Returns:
        An unbiased estimate of :math:`\sum_{i \ne j} (\mathrm{Cov}_q(z_i, z_j) -
        \mathrm{Cov}_p(z_i, z_j))^2`; may be negative.

    Source:
        Kumar et al. 2018 (DIP-VAE), equations 6 and 7, https://arxiv.org/abs/1711.00848; the
        unbiased form is ours.
    """
    squares = squared_covariances(mean)
    if prior is not None:
        products = covariances(mean) * covariances(prior)
        squares = squares - 2.0 * products + squared_covariances(prior)
    return squares.sum() - squares.diagonal().sum()


def dip_diagonal(
    mean: Float[Tensor, "batch coordinate"],
    log_var: Float[Tensor, "batch coordinate"],
    prior: Float[Tensor, "draw coordinate"] | None,
) -> Float[Tensor, ""]:
    r"""Squared differences between the aggregate posterior's variances and the prior's.

    The variance of z is that of the means plus the mean of the variances, :math:`V + s`. Each of
    the terms of :math:`V^2 + 2 V s + s^2 - 2 (V + s) P + P^2` is estimated without bias. The paper
    calls it DIP-VAE-II.

    Args:
        mean: Posterior means.
        log_var: Posterior log-variances.
        prior: Draws from the prior; None if it is N(0, I), whose variances P are 1.

    Returns:
        An unbiased estimate of :math:`\sum_j (\mathrm{Var}_q(z_j) - P_j)^2`; may be negative.

    Source:
        Kumar et al. 2018 (DIP-VAE), equation 7, https://arxiv.org/abs/1711.00848; the unbiased
        form is ours.
    """
    n = len(mean)
    x2, s = (mean - mean.mean(dim=0)).square(), log_var.exp()
    sum_x2, sum_s = x2.sum(dim=0), s.sum(dim=0)
    variance, noise = sum_x2 / (n - 1), sum_s / n
    variance_noise = (n - 1) * sum_x2 * sum_s - n * (x2 * s).sum(dim=0)
    variance_noise = variance_noise / (n * (n - 1) * (n - 2))
    noise_squared = (sum_s.square() - s.square().sum(dim=0)) / (n * (n - 1))
    squared = squared_covariances(mean).diagonal() + 2.0 * variance_noise + noise_squared
    wanted, wanted_squared = torch.ones_like(noise), torch.ones_like(noise)
    if prior is not None:
        wanted, wanted_squared = prior.var(dim=0), squared_covariances(prior).diagonal()
    return (squared - 2.0 * (variance + noise) * wanted + wanted_squared).sum()


def level_covariance(
    mean: Float[Tensor, "batch coordinate"], level: Int[Tensor, " coordinate"]
) -> Float[Tensor, ""]:
    r"""Sum of squared covariances of coordinates of different levels, each pair counted once.

    Zero where what one level's codes say of a sequence is uncorrelated with what another's do.

    Returns:
        An unbiased estimate; may be negative.
    """
    squares = squared_covariances(mean)
    return (squares * (level[:, None] < level)).sum()


def density_of_code(mean: Float[Tensor, "batch coordinate"]) -> Float[Tensor, ""]:
    r"""How evenly a sequence's code is spread over its D coordinates, whatever their scale.

    .. math:: \mathbb E_x \left[ \frac{\|\mu\|_1 / \|\mu\|_2 - 1}{\sqrt D - 1} \right]

    Returns:
        0 where each code is one coordinate (or all are 0), 1 where all coordinates are as large.

    Source:
        Hoyer 2004, section 3.1, https://jmlr.org/papers/v5/hoyer04a.html (one minus it)
    """
    if mean.shape[1] == 1:
        return 0.0 * mean.sum()
    one = mean.abs().sum(dim=1)
    used = one > 0.0
    two = torch.where(used[:, None], mean, torch.ones_like(mean)).norm(dim=1)
    ratio = torch.where(used, one / two, torch.ones_like(one))
    return ((ratio - 1.0) / (math.sqrt(mean.shape[1]) - 1.0)).mean()


def attribute_order(
    code: Float[Tensor, " batch"], attribute: Float[Tensor, " batch"], sharpness: float
) -> Float[Tensor, ""]:
    r"""How far a code is from ordering the sequences of a batch as a musical attribute does.

    .. math:: \mathbb E_{a \ne b} \bigl| \tanh(\delta (c_a - c_b)) -
        \mathrm{sgn}(v_a - v_b) \bigr|

    The mean is over the pairs of different sequences that both have the attribute, so that it is
    unbiased at any batch size.

    Args:
        code: One number for each sequence.
        attribute: The attribute's value; NaN where a sequence has none.
        sharpness: delta, per unit of the code.

    Returns:
        In [0, 2]; 0 if the batch has no pair to compare.

    Source:
        Pati & Lerch 2020 (AR-VAE), https://arxiv.org/abs/2004.05485
    """
    known = ~attribute.isnan()
    pairs = (known[:, None] & known).fill_diagonal_(fill_value=False)
    order = (attribute[:, None] - attribute).nan_to_num().sign()
    distance = ((sharpness * (code[:, None] - code)).tanh() - order).abs()
    return (distance * pairs).sum() / pairs.sum().clamp(min=1)
