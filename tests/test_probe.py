"""What a machine says of folder, storage and GPUs; those that differ: ``test_hosts.py``."""

import re
from os import environ
from pathlib import Path
from socket import gethostname
from threading import Timer
from typing import Any

import pytest
import torch

from aurl.errors import SweepError
from aurl.search import probe
from aurl.search.probe import seen_within
from aurl.search.shape import Shape
from aurl.training import ray_worker, store
from aurl.training.store import Remote

use = probe._use
attempt = probe._try


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SEEN_S", 0.2)
    monkeypatch.setattr(store, "PAUSES_S", (0.0,))


def test_a_machine_that_shares_the_folder_reads_and_writes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SEEN_S", 60.0)
    Timer(0.1, (tmp_path / "driver").write_text, ("word",)).start()  # a network shows it late
    assert use(tmp_path, "word", "me") == ""
    assert seen_within(tmp_path / "me", "word", 0.0) == ""


def test_a_machine_says_what_it_cannot_do(tmp_path: Path) -> None:
    assert use(tmp_path / "no", "word", "me") == (
        "does not see there what this machine wrote (No such file or directory)"
    )
    (tmp_path / "driver").write_text("a word of another sweep")
    assert "(something else is there)" in use(tmp_path, "word", "me")
    (tmp_path / "driver").write_text("word")
    (tmp_path / "me").mkdir()
    assert use(tmp_path, "word", "me") == "cannot write there (Is a directory)"


def test_a_machine_says_why_it_cannot_write_at_a_storage(tmp_path: Path) -> None:
    assert attempt(Remote(tmp_path.as_uri())) == ""
    assert not list(tmp_path.iterdir())
    (tmp_path / "taken").write_text("a file")
    assert attempt(Remote((tmp_path / "taken").as_uri())).startswith("--storage must be a place")


def test_a_machine_whose_gpus_torch_does_not_find_is_named_before_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = {"NodeID": "a", "NodeManagerHostname": "gpu1", "NodeManagerAddress": "10.0.0.2"}
    there = [{**node, "Resources": {"CPU": 4.0, "GPU": n}} for n in (0.0, 2.0)]
    asked: list[float] = []

    def ask(node: dict[str, Any], _: Any, *, max_calls: int) -> str:
        assert max_calls == 1
        asked.append(node["Resources"]["GPU"])
        return probe._gpus()

    monkeypatch.setattr(probe, "machines", lambda: there)
    monkeypatch.setattr(probe, "_ask", ask)
    monkeypatch.setattr(probe, "_answer", lambda answer: answer)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "CUDA_VISIBLE_DEVICES" not in environ)
    probe.check_gpus(Shape(gpus_per_worker=1.0))  # what Ray hides is looked for
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    probe.check_gpus(Shape())  # nobody asks for any
    assert asked == [2.0]
    named = rf"got 1: gpu1 \(10\.0\.0\.2\) says: torch {re.escape(torch.__version__)} "
    for made_for, why in (
        (None, r"is built without CUDA\."),
        ("13.0", r"finds no GPU: too old\."),
    ):
        monkeypatch.setattr(torch.version, "cuda", made_for)
        monkeypatch.setattr(torch.cuda, "init", too_old)
        with pytest.raises(SweepError, match=named + why + " Install torch for"):
            probe.check_gpus(Shape(gpus_per_worker=1.0))


def test_a_worker_whose_gpu_torch_does_not_find_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_worker, "get_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(ray_worker, "gpu_fault", lambda: "torch finds no GPU")
    with pytest.raises(RuntimeError, match=rf"^{re.escape(gethostname())}: torch finds no GPU$"):
        ray_worker.serve({})


def too_old() -> None:
    raise RuntimeError("too old\nPlease update")
