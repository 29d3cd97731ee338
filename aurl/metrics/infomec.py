r"""InfoMEC: modularity, compactness and explicitness, in information.

With the normalised information :math:`N_{jk} = I(z_j; v_k) / H(v_k)` of the A active of the codes
and the K factors,

.. math:: \mathrm{InfoM} = \frac{\mathrm{mean}_j\, m_j - 1/K}{1 - 1/K}, \quad
    m_j = \frac{\max_k N_{jk}}{\sum_k N_{jk}}

InfoC is the same with codes and factors exchanged, and InfoE the mean share of a factor's entropy
that a linear classifier of all codes takes away, in nats of its log loss on the samples it was
fitted to. A code is active if its interquartile range exceeds a tenth of the largest.

For comparison only: codes of unit noise that nobody uses are active, which can take InfoM from
1 to 0.63. Where the published form divides by zero, a code or factor without any information
counts 0.

Source: Hsu et al. 2023, "Disentanglement via latent quantization",
https://arxiv.org/abs/2305.18378, and Hsu et al. 2024, "Tripod", https://arxiv.org/abs/2404.10282;
estimator: that of the authors' programs for continuous codes: ten nearest neighbours, and
unpenalised logistic regression with balanced classes, 100 iterations, in training only.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from aurl.metrics.counted import mean_of_counted, varying
from aurl.metrics.explicitness import standardized
from aurl.metrics.fitted import fitted
from aurl.metrics.mutual_information import class_entropies
from aurl.metrics.neighbour_information import neighbour_information


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InfomecScores:
    """InfoMEC of one set of codes; every number is in [0, 1] and never NaN."""

    infom: float
    infoc: float
    infoe: float

    explicitness: Float[np.ndarray, " factor"]
    """What InfoE is the mean of; 0 for a factor that never varies."""

    active: Bool[np.ndarray, " latent"]


def infomec(
    codes: Float[np.ndarray, "sample latent"],
    factors: Int[np.ndarray, "sample factor"],
) -> InfomecScores:
    """InfoMEC of codes; all samples are used for fitting and for scoring, as published.

    Args:
        codes: Finite posterior means.
        factors: Classes, any integers; those that never vary are left out.

    Returns:
        All 0 if no factor varies or no code is active.
    """
    varies = varying(factors)
    inputs = standardized(codes, np.ones(len(codes), dtype=bool))
    entropy = np.where(varies, class_entropies(factors), np.inf)
    information = np.zeros((codes.shape[1], factors.shape[1]))
    explicit = np.zeros(factors.shape[1])
    active = _active(codes)
    if varies.any() and active.any():
        information[:, varies] = neighbour_information(inputs, factors[:, varies])
        for k in np.flatnonzero(varies):
            explicit[k] = _explained(inputs, factors[:, k])
    normalized = information / entropy
    counted = normalized[active][:, varies]
    return InfomecScores(
        infom=_concentration(counted),
        infoc=_concentration(counted.T),
        infoe=mean_of_counted(explicit, varies),
        explicitness=explicit,
        active=active,
    )


def _active(codes: np.ndarray) -> np.ndarray:
    if not codes.size:
        return np.zeros(codes.shape[1], dtype=bool)
    low, high = np.quantile(codes, [0.25, 0.75], axis=0)
    return high - low > np.max(high - low) / 10.0


def _concentration(rows: np.ndarray) -> float:
    """Mean share of the largest value in its row, rescaled from [1 / columns, 1] to [0, 1]."""
    if not rows.size:
        return 0.0
    total = rows.sum(axis=1)
    share = np.divide(rows.max(axis=1), total, out=np.zeros_like(total), where=total > 0.0)
    even = 1.0 / rows.shape[1]
    if rows.shape[1] == 1:
        return float(share.mean())
    return float(np.clip((share.mean() - even) / (1.0 - even), 0.0, 1.0))


def _explained(inputs: np.ndarray, classes: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    model = fitted(
        LogisticRegression(C=np.inf, class_weight="balanced", max_iter=100), inputs, classes
    )
    # With balanced classes, the best that can be done without codes is to answer them evenly.
    ignorance = float(np.log(len(model.classes_)))
    lost = log_loss(classes, model.predict_proba(inputs), labels=model.classes_)
    return float(np.clip(1.0 - lost / ignorance, 0.0, 1.0))
