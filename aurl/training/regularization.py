"""The regularizers of one run: what of a batch each looks at, over all workers."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aurl.config import AugmentationConfig, RunConfig
from aurl.data.attributes import CATEGORICAL
from aurl.data.corpus import Corpus
from aurl.errors import ConfigError
from aurl.model.latents import LatentLayout, Posterior
from aurl.objective_config import AttributeConfig
from aurl.objectives.objective import Regularizer
from aurl.objectives.regularizers import (
    attribute_order,
    density_of_code,
    dip_diagonal,
    dip_off_diagonal,
    level_covariance,
    total_correlation,
)
from aurl.training.workers import Workers

MOVED = {"mean_pitch": "transpose", "octave": "transpose", "tempo": "tempo"}
"""Attributes with an order that an augmentation changes, and which one does."""


class Regularization:
    """Computes the terms that have a weight; where none has, nothing.

    Args:
        config: Weights and attributes.
        corpus: The music and its attributes.
        layout: Levels and dimensions of the latent vector.
        workers: The workers that share each batch.

    Raises:
        ConfigError: As :func:`check_regularizers`.
    """

    def __init__(
        self, config: RunConfig, corpus: Corpus, layout: LatentLayout, workers: Workers
    ) -> None:
        check_regularizers(config, corpus, layout)
        self._config = config.objective.regularizers
        self._workers = workers
        self._n_sequences = len(corpus.indices("train"))
        self._level = layout.level.to(workers.device)
        self._followed = [
            (
                torch.from_numpy(attribute_of(corpus, entry.name)).to(workers.device),
                coordinates_of(layout, entry.dimension).to(workers.device),
                entry.sharpness,
            )
            for entry in self._config.attributes
        ]

    def terms(
        self,
        posterior: Posterior,
        noise: Float[Tensor, "share coordinate"],
        windows: Int[Tensor, " batch"],
        prior: Float[Tensor, "draw coordinate"] | None,
    ) -> list[Regularizer]:
        """The terms of a step.

        Args:
            posterior: Of this worker's share of the batch.
            noise: What its z is drawn with.
            windows: Windows of the whole batch, in order.
            prior: Draws from the prior, the same on all workers, if :attr:`compares_with_prior`;
                None if it is N(0, I).
        """
        weights = self._config
        gathered = self._workers.gathered
        rows = torch.arange(len(windows), device=windows.device)
        terms: Mapping[str, tuple[float, Callable[[], Tensor]]] = {
            "total_correlation_nats": (
                weights.total_correlation,
                lambda: total_correlation(
                    posterior.sample(noise),
                    self._workers.share(rows),
                    gathered(posterior.mean),
                    gathered(posterior.log_var),
                    self._n_sequences,
                ),
            ),
            "dip_off_diagonal": (
                weights.dip_off_diagonal,
                lambda: dip_off_diagonal(gathered(posterior.mean), prior),
            ),
            "dip_diagonal": (
                weights.dip_diagonal,
                lambda: dip_diagonal(gathered(posterior.mean), gathered(posterior.log_var), prior),
            ),
            "orthogonality": (
                weights.orthogonality,
                lambda: level_covariance(gathered(posterior.mean), self._level),
            ),
            "sparsity": (weights.sparsity, lambda: density_of_code(posterior.mean)),
            "attribute_order": (
                weights.attribute_order,
                lambda: self._attribute_order(gathered(posterior.sample(noise)), windows),
            ),
        }
        return [
            Regularizer(name, weight, value())
            for name, (weight, value) in terms.items()
            if weight != 0.0
        ]

    @property
    def compares_with_prior(self) -> bool:
        """Whether a term looks at draws from the prior."""
        return bool(self._config.dip_off_diagonal or self._config.dip_diagonal)

    def _attribute_order(self, z: Tensor, windows: Tensor) -> Tensor:
        """Mean over the attributes that a dimension follows."""
        distances = [
            attribute_order(z[:, coordinates].mean(dim=1), values[windows], sharpness)
            for values, coordinates, sharpness in self._followed
        ]
        return torch.stack(distances).mean()


def attribute_of(corpus: Corpus, name: str) -> Float[np.ndarray, " window"]:
    """An attribute of every window."""
    column = corpus.attribute_names.index(name)
    return np.ascontiguousarray(np.asarray(corpus.attributes)[:, column])


def coordinates_of(layout: LatentLayout, dimension: str) -> Int[Tensor, " slot"]:
    """The coordinates that are the slots of a dimension."""
    return torch.nonzero(layout.dimension == layout.dimension_names.index(dimension)).flatten()


def check_regularizers(config: RunConfig, corpus: Corpus, layout: LatentLayout) -> None:
    """Refuse terms that have nothing to act on in this corpus and this latent space.

    Raises:
        ConfigError: If there is one level only to compare or one coordinate, or an attribute or
            its dimension is not there, has no order, does not vary, or does not stay what it is
            under augmentation.
    """
    weights = config.objective.regularizers
    if weights.orthogonality and len(layout.levels) < 2:
        raise ConfigError(
            "objective.regularizers.orthogonality must be 0 with fewer than two latent levels, "
            f"got {weights.orthogonality}."
        )
    for name in ("total_correlation", "dip_off_diagonal", "sparsity"):
        if getattr(weights, name) and layout.size < 2:
            raise ConfigError(
                f"objective.regularizers.{name} must be 0 with a single latent coordinate, "
                f"got {getattr(weights, name)}."
            )
    for entry in weights.attributes:
        _check_attribute(entry, config.augmentation, corpus, layout)


def _check_attribute(
    entry: AttributeConfig, augmentation: AugmentationConfig, corpus: Corpus, layout: LatentLayout
) -> None:
    ordered = [name for name in corpus.attribute_names if name not in CATEGORICAL]
    key = f"objective.regularizers.attributes.{entry.name}"
    if entry.name not in ordered:
        raise ConfigError(
            f"{key} must name an attribute with an order, one of {', '.join(ordered)}, "
            f"got {entry.name!r}."
        )
    if entry.dimension not in layout.dimension_names:
        raise ConfigError(
            f"{key}.dimension must name a dimension such as {layout.dimension_names[0]!r}, "
            f"got {entry.dimension!r}."
        )
    changed_by = MOVED.get(entry.name)
    if changed_by and (largest := getattr(augmentation, changed_by)):
        raise ConfigError(
            f"{key} must go with augmentation.{changed_by} 0, got {largest}: that changes it."
        )
    column = attribute_of(corpus, entry.name)[corpus.indices("train")]
    if len(np.unique(column[np.isfinite(column)])) < 2:
        raise ConfigError(
            f"{key} must name an attribute that varies, got {entry.name!r}, which is the same "
            "in all training windows. Leave it out."
        )
