"""Every tensor of a run is on its device: a GPU that is pretended (``pretend_gpu.py``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from aurl.training.look import Look
from aurl.training.loop import Run, train
from aurl.training.messages import Row
from aurl.training.workers import Workers
from tests.pretend_gpu import GPU, WrongDeviceError, pretend
from tests.test_gpu import SETTINGS
from tests.tiny import small_config, tiny_corpus, untimed

TOGETHER = [
    ("mixture", "opening", "target_kl", "training_aids", "regularizers"),
    ("spline", "batch_norm", "augmented"),
    ("planar", "context"),
]


@pytest.mark.parametrize("names", TOGETHER, ids=lambda names: names[0])
def test_a_run_on_a_gpu_has_its_tensors_there_when_it_goes_on_too(
    names: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {}
    for name in names:
        settings |= SETTINGS[name]
    looks: list[Look] = []

    def trained(folder: str, device: torch.device, *, stop_at: int) -> list[Row]:
        rows: list[Row] = []

        def report(new: Sequence[Row]) -> bool:
            rows.extend(new)
            return rows[-1]["step"] != stop_at

        run = Run(
            config=small_config(**settings),
            corpus=tiny_corpus(),
            checkpoint_folder=tmp_path / folder,
            show=looks.append,
        )
        train(run, workers=Workers(device=device), report=report)
        return rows

    with pretend(monkeypatch):
        there = trained("there", GPU, stop_at=4)
        there += trained("there", GPU, stop_at=8)
    assert [row["step"] for row in there] == [2, 4, 4, 6, 8, 8]
    assert untimed(there) == untimed(trained("here", torch.device("cpu"), stop_at=0))
    assert [len(look.samples) for look in looks] == [3, 3]


def test_what_a_gpu_would_refuse_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here, numbers = torch.ones(3), torch.Generator()
    with pretend(monkeypatch):
        there = here.to(GPU)
        assert (there.device, here.device, (there + 1.0).is_cuda) == (GPU, here.device, True)
        assert torch.equal((there * torch.tensor(2.0)).cpu(), 2.0 * here), "scalars may be here"
        assert there[torch.tensor([0, 2])].is_cuda, "so may an index"
        for wrong in (
            lambda: there + here,
            lambda: here[there.long()],
            lambda: torch.where(there > 0, here, there),
            lambda: torch.rand(3, generator=numbers, device=GPU),
            lambda: there.multinomial(1, generator=numbers),
            lambda: there.numpy(),
        ):
            with pytest.raises(WrongDeviceError):
                wrong()
