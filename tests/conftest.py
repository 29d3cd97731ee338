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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process has all tests that start Ray: two clusters are too much for two cores."""
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.xdist_group("cluster"))
