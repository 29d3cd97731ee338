import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("aurl", deadline=None, derandomize=True)
hypothesis.settings.load_profile("aurl")
torch.set_num_threads(1)


@pytest.fixture
def rng() -> torch.Generator:
    """A fixed stream: a test that fails, fails again."""
    return torch.Generator().manual_seed(0)
