"""What a warm gang saves: seconds to a trial's first report, cold and warm, in one run.

Run it with ``python benchmarks/warm_gang.py``. Each trial is three optimizer steps of a tiny model
on the bundled tunes and one small evaluation, so that what is timed is the start.
"""

import statistics
import tempfile
from pathlib import Path
from time import perf_counter

from aurl.config import RunConfig, from_plain, to_plain
from aurl.data.corpus import load_named
from aurl.plain import overridden
from aurl.search.cluster import connected
from aurl.search.gang import Gang, GangSettings, shared, task_for

N_WARM = 10
TINY = {
    "model.d_model": 16,
    "model.n_heads": 2,
    "latent.levels": [{"name": "global", "dim": 4, "span": "sequence"}],
    "training.steps": 3,
    "training.batch_size": 8,
    "evaluation.windows": 8,
    "evaluation.final_windows": 8,
    "evaluation.reconstructions": 1,
}


def seconds_to_first_report(gang: Gang, folder: Path) -> float:
    """Submit one trial and wait until it has reported and ended."""
    started = perf_counter()
    gang.submit(task_for(folder, from_plain(overridden(to_plain(RunConfig()), TINY))))
    event = gang.next_event()
    seconds = perf_counter() - started
    if event.ended:
        raise RuntimeError(event.failure)
    gang.answer(go_on=True)
    gang.next_event()
    return seconds


def main() -> None:
    """Print cold and warm seconds and their ratio."""
    corpus = load_named("tunes")
    with connected(None), tempfile.TemporaryDirectory() as scratch:
        settings = GangSettings(
            workers=1, gpus_per_worker=0.0, scratch=scratch, corpus=shared(corpus)
        )
        started = perf_counter()
        gang = Gang(settings, "benchmark")
        seconds_to_first_report(gang, Path(scratch) / "cold")
        cold = perf_counter() - started
        warm = statistics.median(
            seconds_to_first_report(gang, Path(scratch) / f"warm{index}")
            for index in range(N_WARM)
        )
        gang.close()
    print(f"cold {cold:.2f} s, warm {warm:.2f} s (median of {N_WARM}): {cold / warm:.1f}x")


if __name__ == "__main__":
    main()
