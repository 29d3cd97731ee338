"""What a model's prior knows of musical context: how often it met each, and one-hot codes."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from aurl.data.context import CLASSES, in_words, shifted
from aurl.errors import ConfigError
from aurl.latent_config import ContextName


class ContextTable(nn.Module):
    """The contexts that a model is trained with, and their joint frequency in its music.

    The frequencies are a buffer: what was not asked for is drawn from them when sampling, and
    they say what the music could teach.

    Args:
        names: The contexts.
    """

    FEWEST = 20
    """Training windows that a value needs, to be asked for."""

    counts: Tensor
    """Training windows of each combination, one axis a context, "unknown" last on each."""

    def __init__(self, names: Sequence[ContextName]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.sizes = tuple(CLASSES[name] + 1 for name in self.names)
        self.register_buffer("counts", torch.zeros(self.sizes))

    @property
    def width(self) -> int:
        """Columns of :meth:`one_hot`."""
        return sum(self.sizes)

    def teach(self, classes: Int[Tensor, "window context"], *, transpose: int, tempo: int) -> None:
        """Count the contexts of the training windows.

        Args:
            classes: Of the windows.
            transpose: Semitones up and down by which windows are moved in training, all alike
                often; keys go with them.
            tempo: The same for tempo bins.
        """
        ways = {"key": range(-transpose, transpose + 1), "tempo": range(-tempo, tempo + 1)}
        shifts = [ways.get(name, range(1)) for name in self.names]
        counts = torch.zeros(self.sizes, dtype=torch.float64)
        found, times = classes.cpu().unique(dim=0, return_counts=True)
        combinations = [*itertools.product(*shifts)]
        for shift in combinations:
            moved = [
                shifted(name, column, torch.full_like(column, move)) if move else column
                for name, column, move in zip(self.names, found.T, shift, strict=True)
            ]
            counts.index_put_(tuple(moved), times.double() / len(combinations), accumulate=True)
        self.counts.copy_(counts)

    def one_hot(self, classes: Int[Tensor, "batch context"]) -> Float[Tensor, "batch column"]:
        """The classes as 0 and 1, context after context."""
        parts = [
            F.one_hot(column, size) for column, size in zip(classes.T, self.sizes, strict=True)
        ]
        return torch.cat(parts, dim=1).to(self.counts.dtype)

    def frequencies(self, name: ContextName) -> Float[Tensor, " class"]:
        """Training windows of each value of one context, "unknown" last."""
        axis = self.names.index(name)
        return self.counts.movedim(axis, 0).reshape(self.sizes[axis], -1).sum(dim=1)

    def draw(
        self,
        count: int,
        given: Mapping[ContextName, int],
        generator: torch.Generator | None,
    ) -> Int[Tensor, "count context"]:
        """Contexts with the values ``given``, the others as often as in the training music.

        Raises:
            ConfigError: If the training music has no window with all of ``given``.
        """
        classes, shares = self.combinations(given)
        drawn = torch.multinomial(shares, count, replacement=True, generator=generator)
        return classes[drawn.to(classes.device)]

    def combinations(
        self, given: Mapping[ContextName, int]
    ) -> tuple[Int[Tensor, "combination context"], Float[Tensor, " combination"]]:
        """Each context of the training music that has the values ``given``, and its share.

        Raises:
            ConfigError: If there is none.
        """
        classes = self.counts.nonzero()
        matches = torch.ones(len(classes), dtype=torch.bool, device=classes.device)
        for name, value in given.items():
            matches &= classes[:, self.names.index(name)] == value
        classes = classes[matches]
        if not len(classes):
            raise ConfigError(
                "--context must be a combination that the training music has, "
                f"got {self.described(given)}: no window has all of it. Ask for less."
            )
        counts = self.counts[tuple(classes.T)].double().cpu()
        return classes, counts / counts.sum()

    def check(self, given: Mapping[ContextName, int]) -> None:
        """Refuse values that the training music could not teach.

        Raises:
            ConfigError: If a value occurs in fewer than :attr:`FEWEST` training windows.
        """
        for name, value in given.items():
            frequencies = self.frequencies(name)
            taught = [
                in_words(name, index)
                for index in frequencies.argsort(descending=True).tolist()
                if frequencies[index] >= self.FEWEST and index < CLASSES[name]
            ]
            if in_words(name, value) not in taught:
                raise ConfigError(
                    f"--context {name} must be one that the training music teaches "
                    f"({', '.join(taught) or 'none'}), got {in_words(name, value)}: it is in "
                    f"{float(frequencies[value]):.0f} of its windows."
                )

    @staticmethod
    def described(given: Mapping[ContextName, int]) -> str:
        """``key=D,mode=minor``."""
        return ",".join(f"{name}={in_words(name, value)}" for name, value in given.items())
