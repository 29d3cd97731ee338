"""Batches of windows: which windows a step reads, padded, augmented, shared among workers.

Everything is a pure function of (seed, step): a resumed run reads what the uninterrupted one would
have read, and W workers together read what one worker reads.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from aurl.config import AugmentationConfig
from aurl.data.context import context_classes, shifted
from aurl.data.corpus import Corpus
from aurl.errors import ConfigError
from aurl.latent_config import ContextName
from aurl.seeding import numpy_generator, torch_generator


def sent(values: Tensor, device: torch.device) -> Tensor:
    """``values`` of the CPU on ``device``; the copy to a GPU is one that nobody waits for."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


class TokenStore:
    """The windows of a corpus as one flat tensor on the device, gathered into padded batches.

    Args:
        corpus: The windows.
        device: Where to keep them.
        context: Which musical context to keep of each window, as classes.
        few_widths: Whether to pad further, to ``FEW`` times a power of two or to the longest
            window of all, so that hardly any shapes occur.
    """

    MULTIPLE = 8
    """Padded lengths are rounded up to this, so that few shapes occur, where lengths differ."""

    FEW = 64
    """The smallest of few widths; the others are twice as wide, four times, and so on."""

    def __init__(
        self,
        corpus: Corpus,
        device: torch.device | str = "cpu",
        *,
        context: Sequence[ContextName] = (),
        few_widths: bool = False,
    ) -> None:
        self.few_widths = few_widths
        self.pad = corpus.vocabulary.pad
        self.context_names = tuple(context)
        classes = context_classes(np.asarray(corpus.attributes), corpus.attribute_names, context)
        self.context = torch.from_numpy(classes).to(device)
        flat = np.asarray(corpus.tokens).astype(np.int32)
        self.tokens = torch.from_numpy(flat).to(device)
        self._lengths = np.diff(np.asarray(corpus.offsets)).astype(np.int64)
        self._longest = int(self._lengths.max())
        self.multiple = self.MULTIPLE if self._lengths.min() < self._longest else 1
        self.offsets = torch.from_numpy(np.asarray(corpus.offsets).astype(np.int64)).to(device)

    def lengths(self, windows: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Tokens of each of ``windows``; both on the CPU."""
        return torch.from_numpy(self._lengths)[windows]

    def padded(self, windows: Int[Tensor, " batch"]) -> Int[Tensor, "batch token"]:
        """The token ids of ``windows``, padded to the longest, rounded up to :attr:`multiple`.

        Args:
            windows: On the CPU, where the width is known without asking the device.
        """
        longest = int(self.lengths(windows).max())
        windows = sent(windows, self.offsets.device)
        start, end = self.offsets[windows], self.offsets[windows + 1]
        if self.few_widths:
            longest = min(self._longest, self.FEW << ((longest - 1) // self.FEW).bit_length())
        longest += -longest % self.multiple
        index = start[:, None] + torch.arange(longest, device=start.device)
        inside = index < end[:, None]
        flat = self.tokens[torch.where(inside, index, 0)].long()
        return torch.where(inside, flat, self.pad)


class TrainingBatches:
    """The training windows of each step, for one of ``n_workers`` workers.

    Args:
        corpus: Where the windows come from; only the train split is read.
        store: Its tokens on the device.
        augmentation: Random changes to the windows.
        batch_size: Windows of one step over all workers; a multiple of ``n_workers``.
        seed: The run's seed.
        worker: This worker's rank and how many there are.

    Raises:
        ConfigError: If the batch cannot be shared evenly, is larger than the train split, or an
            augmentation would have no effect.
    """

    BATCHES_SORTED = 16
    """Batches' worth of windows that are sorted by length together."""

    def __init__(
        self,
        corpus: Corpus,
        store: TokenStore,
        augmentation: AugmentationConfig,
        *,
        batch_size: int,
        seed: int,
        worker: tuple[int, int] = (0, 1),
    ) -> None:
        self.rank, self.n_workers = worker
        self.windows = corpus.indices("train")
        check_batches(corpus, augmentation, batch_size, self.n_workers)
        self.vocabulary = corpus.vocabulary
        self.store = store
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = -1
        self._order = self.windows[None]
        self._lengths = np.diff(np.asarray(corpus.offsets))

    def with_context(
        self, step: int
    ) -> tuple[Int[Tensor, "batch token"], Int[Tensor, "batch context"]]:
        """This worker's share of the windows of ``step``, with their context, both augmented."""
        chosen = torch.from_numpy(self.windows_at(step))
        whole = self.store.padded(chosen)  # one width for all workers
        tokens = whole[self.rank :: self.n_workers]
        own = sent(chosen[self.rank :: self.n_workers], self.store.context.device)
        return self._augmented(tokens, self.store.context[own], step)

    def windows_at(self, step: int) -> Int[np.ndarray, " batch"]:
        """The windows of ``step``, those of all workers."""
        epoch, index = divmod(step, len(self.windows) // self.batch_size)
        if epoch != self._epoch:
            self._order, self._epoch = self._epoch_order(epoch), epoch
        return self._order[index]

    def tokens_at(self, step: int) -> int:
        """Tokens to predict in the windows of ``step``, those of all workers; START is given."""
        return int((self._lengths[self.windows_at(step)] - 1).sum())

    def _epoch_order(self, epoch: int) -> Int[np.ndarray, "step batch"]:
        """The windows of each step of an epoch: random batches of windows of like length.

        A random order is cut into stretches of some batches, each is sorted by length, and the
        batches are shuffled again: little padding, and every window at most once an epoch.
        """
        rng = numpy_generator(self.seed, "order", epoch)
        n_batches = len(self.windows) // self.batch_size
        order = rng.permutation(self.windows)[: n_batches * self.batch_size]
        stretch = self.batch_size * self.BATCHES_SORTED
        parts = [order[start : start + stretch] for start in range(0, len(order), stretch)]
        ordered = [part[np.argsort(self._lengths[part], kind="stable")] for part in parts]
        batches = np.concatenate(ordered).reshape(n_batches, self.batch_size)
        return rng.permutation(batches, axis=0)

    def _augmented(
        self, tokens: Tensor, context: Tensor, step: int
    ) -> tuple[Int[Tensor, "batch token"], Int[Tensor, "batch context"]]:
        changes = self.augmentation
        if changes.transpose:
            by = self._draw("pitch", step, changes.transpose)
            changed = self.vocabulary.transposed(tokens, by)
            context = self._moved(context, "key", by * (changed != tokens).any(dim=1))
            tokens = changed
        if changes.tempo:
            by = self._draw("tempo", step, changes.tempo)
            changed = self.vocabulary.with_tempo_shift(tokens, by)
            context = self._moved(context, "tempo", by * (changed != tokens).any(dim=1))
            tokens = changed
        if changes.velocity:
            tokens = self.vocabulary.with_velocity_shift(
                tokens, self._draw("velocity", step, changes.velocity)
            )
        return tokens, context

    def _moved(self, context: Tensor, name: ContextName, by: Tensor) -> Tensor:
        """The classes of windows of which one context has moved; those left as they were, by 0."""
        if name not in self.store.context_names:
            return context
        columns = [
            shifted(name, column, by) if name == other else column
            for other, column in zip(self.store.context_names, context.T, strict=True)
        ]
        return torch.stack(columns, dim=1)

    def _draw(self, what: str, step: int, largest: int) -> Int[Tensor, " batch"]:
        drawn = torch.randint(
            -largest,
            largest + 1,
            (self.batch_size,),
            generator=torch_generator(self.seed, "augment", what, step),
        )
        return sent(drawn[self.rank :: self.n_workers], self.store.offsets.device)


def check_batches(
    corpus: Corpus, augmentation: AugmentationConfig, batch_size: int, n_workers: int
) -> None:
    """Refuse batches that cannot be made from ``corpus`` or shared by ``n_workers`` workers.

    Raises:
        ConfigError: If the batch cannot be shared evenly or is larger than the train split, or an
            augmentation would have no effect.
    """
    windows = len(corpus.indices("train"))
    if batch_size % n_workers != 0:
        raise ConfigError(
            "training.batch_size must be a multiple of the workers per trial, "
            f"got batch_size={batch_size}, workers={n_workers}."
        )
    if batch_size > windows:
        raise ConfigError(
            "training.batch_size must be at most the training windows of the corpus, "
            f"got {batch_size}, windows={windows}. Use a smaller batch or more music."
        )
    for split in ("val", "test"):
        if len(corpus.indices(split)) < 2:
            raise ConfigError(
                f"data.corpus must have at least 2 {split} windows, "
                f"got {len(corpus.indices(split))}. Prepare more music."
            )
    if augmentation.tempo and not corpus.vocabulary.tempo:
        raise ConfigError(
            "augmentation.tempo must be 0 for a corpus without tempo tokens, "
            f"got {augmentation.tempo}."
        )
    if augmentation.velocity and not corpus.vocabulary.velocity_bins:
        raise ConfigError(
            "augmentation.velocity must be 0 for a corpus without velocity tokens, "
            f"got {augmentation.velocity}."
        )
