import signal

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("aurl", deadline=None, derandomize=True)
hypothesis.settings.load_profile("aurl")
torch.set_num_threads(1)
# A job started in the background ignores Ctrl-C, and so would every sweep that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> torch.Generator:
    """A fixed stream: a test that fails, fails again."""
    return torch.Generator().manual_seed(0)
