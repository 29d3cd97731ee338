"""How a sweep uses a cluster: what one trial needs, and on how many machines that is found."""

from collections.abc import Mapping
from dataclasses import dataclass

from aurl.errors import SweepError

SMALLEST_SHARE = 1e-4
"""Of a GPU: Ray knows no smaller one."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a sweep uses a cluster."""

    workers_per_trial: int = 1
    gpus_per_worker: float = 0.0
    grow_to: int | None = None
    """Trials at a time on a cluster that starts machines for them; None: as many as fit now."""

    max_concurrent: int | None = None
    """Trials at a time at most; None: as many as fit."""

    hours: float | None = None
    """After which no trial begins; None: until all have ended."""

    workers_at_least: int | None = None
    """What a trial begins with where there is no room for all its workers; None: it waits."""

    def __post_init__(self) -> None:
        self._check_workers()
        self._check_gpus()
        self._check_limits()

    def _check_workers(self) -> None:
        if not self.workers_per_trial >= 1:
            raise SweepError(
                f"--workers-per-trial must be >= 1, got {self.workers_per_trial}. "
                "Ask for 1 or more."
            )
        least = self.workers_at_least
        if least is not None and (least < 1 or self.workers_per_trial % least):
            raise SweepError(
                "--workers-per-trial LEAST:MOST must have a LEAST that divides MOST, as each "
                f"worker has an equal share of a batch, got {least}:{self.workers_per_trial}."
            )

    def _check_gpus(self) -> None:
        if not 0.0 <= self.gpus_per_worker < float("inf"):
            raise SweepError(
                f"--gpus-per-worker must be >= 0, got {self.gpus_per_worker}. Ask for 0 or more."
            )
        if 0.0 < self.gpus_per_worker < SMALLEST_SHARE:
            raise SweepError(
                f"--gpus-per-worker must be 0 or >= {SMALLEST_SHARE}, got "
                f"{self.gpus_per_worker:g}. Ask for a share that a worker's model fits into."
            )
        if self.gpus_per_worker > 1:
            raise SweepError(
                "--gpus-per-worker must be at most 1, as a worker computes on one GPU, got "
                f"{self.gpus_per_worker:g}. Ask for 1, and for more --workers-per-trial."
            )
        if self.workers_per_trial > 1 and 0.0 < self.gpus_per_worker <= 0.5:
            raise SweepError(
                "--gpus-per-worker must be more than 0.5 where a trial has several workers, as no "
                f"two of them can share a GPU, got {self.gpus_per_worker:g}. Ask for 1, or for "
                "--workers-per-trial 1."
            )

    def _check_limits(self) -> None:
        limits = {"--grow-to": self.grow_to, "--max-concurrent": self.max_concurrent}
        for option, most in limits.items():
            if most is not None and not most >= 1:
                raise SweepError(f"{option} must be >= 1, got {most}. Ask for 1 or more.")
        if self.grow_to is not None and self.max_concurrent is not None:
            raise SweepError(
                "--max-concurrent must not be given with --grow-to, which says itself how many "
                f"trials run at a time, got {self.max_concurrent} and {self.grow_to}. Give one."
            )
        if self.hours is not None and not 0.0 < self.hours < float("inf"):
            raise SweepError(f"--hours must be > 0, got {self.hours}. Leave it out for no end.")

    @property
    def worker(self) -> dict[str, float]:
        """What each worker needs, by Ray's names."""
        gpus = {"GPU": self.gpus_per_worker} if self.gpus_per_worker else {}
        return {"CPU": 1.0, **gpus}

    @property
    def sizes(self) -> list[int]:
        """How many workers a trial may have, the most first; each has an equal share."""
        most, least = self.workers_per_trial, self.workers_at_least or self.workers_per_trial
        return [size for size in range(most, least - 1, -1) if most % size == 0]

    @property
    def is_elastic(self) -> bool:
        """Whether the number of a trial's workers may change."""
        return len(self.sizes) > 1

    def workers_on(self, machine: Mapping[str, float]) -> int:
        """Workers that a machine with such resources holds; a share of a GPU is of one GPU."""
        cpus, gpus = int(machine.get("CPU", 0)), int(machine.get("GPU", 0))
        each = self.gpus_per_worker
        if not each:
            return cpus
        return min(cpus, gpus * int(1 / each + 1e-9))
