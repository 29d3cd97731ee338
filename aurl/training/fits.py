"""Whether a configuration fits the music it is to be trained on, and the workers that train it."""

import numpy as np

from aurl.config import RunConfig
from aurl.data.batches import check_batches
from aurl.data.context import check_context
from aurl.data.corpus import Corpus
from aurl.errors import ConfigError
from aurl.model.latents import LatentLayout
from aurl.model.vae import outline
from aurl.training.regularization import check_regularizers


def check_fits(config: RunConfig, corpus: Corpus, n_workers: int) -> None:
    """Refuse a configuration that cannot be trained on ``corpus`` by ``n_workers`` workers.

    Raises:
        ConfigError: If the architecture does not fit the window, or as :func:`check_music`.
    """
    outline(config, corpus.vocabulary, corpus.n_bars)
    check_music(config, corpus, n_workers)


def check_music(config: RunConfig, corpus: Corpus, n_workers: int) -> None:
    """Refuse a configuration that asks of ``corpus`` or the workers what they do not have.

    Raises:
        ConfigError: If the batch does not fit the workers, or a context, an augmentation or a
            regularizer the corpus and the latent space.
    """
    train = np.asarray(corpus.attributes)[corpus.indices("train")]
    check_context(train, corpus.attribute_names, config.latent.context)
    check_batches(corpus, config.augmentation, config.training.batch_size, n_workers)
    check_parts(config, n_workers)
    check_regularizers(config, corpus, LatentLayout.of(config.latent.levels, corpus.n_bars))


def check_parts(config: RunConfig, n_workers: int) -> None:
    """Refuse parts of a step that would not be equal.

    Raises:
        ConfigError: If the batch cannot be cut so.
    """
    size, parts = config.training.batch_size, config.training.accumulate
    if size % (n_workers * parts) != 0:
        raise ConfigError(
            "training.batch_size must be a multiple of training.accumulate times the workers per "
            f"trial, got batch_size={size}, accumulate={parts}, workers={n_workers}."
        )
