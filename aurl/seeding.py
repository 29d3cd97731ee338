"""One seed, many independent streams, each a pure function of its name and counters.

Nothing here has a state to save: the generator for step 812 is made from the seed and the number
812, so that a resumed run draws what the uninterrupted one would have drawn.
"""

import contextlib
import hashlib
from collections.abc import Generator

import numpy as np
import torch


def stream_seed(seed: int, *name: str | int) -> int:
    """A 63-bit seed for the stream called ``name``, independent of every other name.

    Args:
        seed: The run's seed.
        name: What the stream is for, then its counters: ``("noise", step)``.
    """
    text = "/".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_generator(seed: int, *name: str | int) -> torch.Generator:
    """A torch generator on the CPU for the stream called ``name`` (see :func:`stream_seed`)."""
    return torch.Generator(device="cpu").manual_seed(stream_seed(seed, *name))


def numpy_generator(seed: int, *name: str | int) -> np.random.Generator:
    """A numpy generator for the stream called ``name`` (see :func:`stream_seed`)."""
    return np.random.default_rng(stream_seed(seed, *name))


@contextlib.contextmanager
def seeded(seed: int, *name: str | int) -> Generator[None]:
    """Run a block whose draws come from torch's global CPU stream, seeded, then put it back.

    Only for code that cannot take a generator: the initialisation inside ``nn.Module``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, *name))
        yield
