"""One full-size run: what a killed one left behind, without Ray."""

from pathlib import Path

import pytest
from rich.console import Console

from aurl.errors import SweepError
from aurl.reporting.progress import Progress
from aurl.search import full_run
from aurl.search.full_run import scaled
from aurl.search.shape import Shape
from tests.tiny import small_config, tiny_corpus


def test_a_run_that_goes_on_removes_what_a_killed_one_left_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise SweepError("Ray must start")

    monkeypatch.setattr(full_run, "connected", refused)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    whole = folder / "checkpoint.safetensors"
    whole.touch()
    (folder / ".checkpoint.safetensors.0123abcd.part").touch()
    (folder / ".checkpoint.0123abcd.old" / "below").mkdir(parents=True)
    (tmp_path / "elsewhere" / "kept").mkdir(parents=True)
    (folder / ".link.part").symlink_to(tmp_path / "elsewhere")
    run = full_run.FullRun(
        folder=tmp_path, config=small_config(), corpus=tiny_corpus(), shape=Shape(), address=None
    )
    with pytest.raises(SweepError, match="Ray must start"):
        full_run.run(run, Progress(Console(quiet=True), 1, 8))
    assert [*folder.iterdir()] == [whole]
    assert (tmp_path / "elsewhere" / "kept").is_dir(), "behind a link is nothing of ours"


def test_a_preset_is_wider_deeper_and_longer_with_heads_as_wide_as_before() -> None:
    small = small_config(training__steps=400, model__encoder_layers=1, model__decoder_layers=2)
    large, changes = scaled(small, "large")
    assert changes == {
        "model.d_model": 4 * small.model.d_model,
        "model.n_heads": 4 * small.model.n_heads,
        "model.encoder_layers": 4,
        "model.decoder_layers": 5,
        "optimizer.lr": small.optimizer.lr / 2.0,
        "training.steps": 40_000,
        "evaluation.every": 2_000,
    }
    assert (large.model.decoder_layers, large.seed) == (5, small.seed)
    assert scaled(small, "base")[1]["model.encoder_layers"] == 2
    assert scaled(small, "same") == (small, {})
