"""What a large sweep costs its driver: trials whose workers only sleep, through the real sweep.

Run it with ``python benchmarks/scale.py``; the tables of docs/scale.md say with which options.
Real are Ray and Tune, the slots as processes, proposals, verdicts, the trials' folders and event
files and the picture of the front. Not real is what a slot holds: a sleeper that imports no torch
in place of a worker group, rows as wide as a trial's but drawn at random, no checkpoints, no
pictures and no sounds. Ray is told that the machine has a CPU for each slot. ``--without-ray``
leaves out Ray, Tune and the sleep as well; ``--gangs`` has real slots and worker groups, in which
only the training is a sleeper. With Ray, a last table has what all processes took at the most.
"""

import argparse
import contextlib
import functools
import os
import random
import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast
from unittest.mock import Mock, patch

import ray

from aurl.config import TrainingConfig
from aurl.files import read_yaml, write_yaml
from aurl.metrics.score import OBJECTIVES
from aurl.reporting.leaderboard import write_leaderboard
from aurl.reporting.tables import status_table
from aurl.search import gang, sweep
from aurl.search.front import FrontPicture
from aurl.search.plan import SweepOptions, plan
from aurl.search.ranking import read_trials
from aurl.search.recorder import Recorder
from aurl.search.sampler import Proposals
from aurl.search.shape import Shape
from aurl.search.slot import TrialSlot
from aurl.search.supply import Supply
from aurl.training.look import Look
from aurl.training.loop import Run, train
from aurl.training.messages import Event, Task
from aurl.training.pictures import media_of
from aurl.training.reporters import open_trial
from aurl.training.workers import Workers

METRICS = 60
"""Values of an evaluation, about as many as a trial's last one has."""

REPORTS = 4
MARKS = (10, 30, 100, 300, 1000, 3000, 10000)


class Sleeper:
    """A gang whose workers sleep where they would train, and tell what nobody measured.

    Args:
        seconds: Sleep of a trial.
    """

    def __init__(self, seconds: float) -> None:
        self._pause_s = seconds / REPORTS

    def submit(self, task: Task) -> None:
        """Take a trial."""
        self._steps = task.config.training.steps
        self._random = random.Random(task.name)
        self._left = REPORTS

    def answer(self, *, go_on: bool) -> None:
        """End the trial unless it is to go on."""
        self._left *= go_on

    def next_event(self) -> Event:
        """The next report, as wide as a real one, or the trial's end."""
        if not self._left:
            return Event(ended=True)
        time.sleep(self._pause_s * self._random.uniform(0.8, 1.2))
        self._left -= 1
        step = self._steps * (REPORTS - self._left) // REPORTS
        names = [f"val/metric_{index}" for index in range(METRICS)]
        names += ["val/rung_score", "val/score", *(OBJECTIVES if not self._left else ())]
        return Event(rows=({"step": step, **{name: self._random.random() for name in names}},))

    def close(self) -> None:
        """There is nobody to send home."""


class SleeperSlot(TrialSlot):
    """A slot as it is, with a sleeper for a gang."""

    def setup(self, config: dict[str, Any], settings: Any = None) -> None:
        """Take the first trial."""
        self._gang = Sleeper(settings["seconds"])  # pyrefly: ignore[bad-assignment]
        self._task = config["task"]
        self._waiting = self._busy = False


class SleeperGang(TrialSlot):
    """A slot as it is, whose workers sleep where they would train."""

    seconds: ClassVar = 1.0

    def setup(self, config: dict[str, Any], settings: gang.GangSettings | None = None) -> None:
        """Start a gang of sleepers."""
        gang.serve = functools.partial(sleeping, seconds=self.seconds)
        super().setup(config, settings)


def sleeping(settings: dict[str, Any], seconds: float) -> None:
    """What a worker does in place of :func:`aurl.training.ray_worker.serve`."""
    mailbox, number, sleeper = settings["mailbox"], 0, Sleeper(seconds)
    while (task := cast("Task | None", ray.get(mailbox.next_task.remote(number)))) is not None:
        number += 1
        sleeper.submit(task)
        while not (event := sleeper.next_event()).ended:
            sleeper.answer(go_on=ray.get(mailbox.report.remote(event)))
        ray.get(mailbox.post.remote(number, event))


def without_ray(planned: sweep.Sweep, meter: "Meter", n_slots: int) -> None:
    """The sweep's own part alone: Tune's calls, made in its order by a loop over the slots."""
    proposals = Proposals(planned.folder / "study.journal", planned.space, "s")
    recorder = Recorder(planned.trials_folder, meter)
    queue: Any = Supply(planned, proposals, recorder)
    record: Any = sweep._Record(queue)
    slots: deque[tuple[Any, SleeperSlot]] = deque()
    number = 0
    while True:
        while len(slots) < n_slots and (config := queue.suggest(f"{number}")) != "FINISHED":
            trial = SimpleNamespace(trial_id=f"{number}", config=config, last_result={})
            queue.referee.on_trial_add(None, trial)
            record.on_trial_start(0, [], trial)
            slot = object.__new__(SleeperSlot)
            slot.setup(config, {"seconds": 0.0})
            slots.append((trial, slot))
            number += 1
        if not slots:
            return
        trial, slot = slots.popleft()
        trial.last_result = slot.step()
        record.on_trial_result(0, [], trial, trial.last_result)
        if trial.last_result.get("done"):
            queue.referee.on_trial_complete(None, trial, trial.last_result)
            record.on_trial_complete(0, [], trial)
        elif queue.referee.on_trial_result(None, trial, trial.last_result) == "STOP":
            record.on_trial_complete(0, [], trial)
        else:
            slots.append((trial, slot))


@dataclass
class Costs:
    """Processor seconds of the driver, by what they went into, and how often."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    decisions: list[float] = field(default_factory=list[float])

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, whose time is added up under ``name``."""

        @functools.wraps(call)
        def wrapped(*words: Any, **named: Any) -> Any:
            before = time.thread_time()
            try:
                return call(*words, **named)
            finally:
                spent = time.thread_time() - before
                self.seconds[name] += spent
                if name == "propose":
                    self.decisions.append(spent)

        return wrapped


class Meter:
    """The display of a sweep that notes what it has cost so far."""

    def __init__(self, folder: Path, costs: Costs) -> None:
        self._folder = folder
        self._costs = costs
        self._ended = self._running = self.most_running = 0
        self.all_after_s = 0.0
        self._first: tuple[float, float] | None = None
        self.lines: list[str] = []

    def trial_started(self, trial_id: str, params: Mapping[str, Any], step: int) -> None:
        """The first one ends what is start-up."""
        self._first = self._first or (time.perf_counter(), self._cpu_s())
        self._running += 1
        if self._running > self.most_running:
            self.most_running = self._running
            self.all_after_s = time.perf_counter() - self._first[0]

    def trial_progress(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing to note."""

    def trial_ended(
        self, trial_id: str, status: str, reason: str, metrics: Mapping[str, float]
    ) -> None:
        """Note what it has cost until the trials are as many as one of the marks."""
        self._running -= 1
        self._ended += 1
        if self._ended in MARKS and self._first is not None:
            ours = self._costs.seconds
            wall = time.perf_counter() - self._first[0]
            cpu = self._cpu_s() - self._first[1]
            last = self._costs.decisions[-20:]
            self.lines.append(
                f"| {self._ended} | {wall:.0f} | {1e3 * cpu / self._ended:.0f} "
                f"| {1e3 * ours['record'] / self._ended:.0f} "
                f"| {1e3 * ours['front'] / self._ended:.1f} "
                f"| {1e3 * sum(last) / len(last):.0f} | {resident_mib(os.getpid()):.0f} "
                f"| {bytes_below(self._folder) / self._ended / 1024:.0f} |"
            )

    def _cpu_s(self) -> float:
        """Processor seconds of this process, without the benchmark's own."""
        return time.process_time() - self._costs.seconds["counting"]

    def message(self, text: str) -> None:
        """Not noted."""


@contextlib.contextmanager
def counted(costs: Costs) -> Generator[dict[str, list[float]]]:
    """MiB of each process of this one's tree, by kind, at the time when they are the most."""
    most: dict[str, list[float]] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(5.0):
            kinds = costs.timed("counting", processes)()
            if sum(map(sum, kinds.values())) > sum(map(sum, most.values())):
                most.clear()
                most.update(kinds)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield most
    finally:
        over.set()


def processes() -> dict[str, list[float]]:
    """MiB (PSS) of this process and all below it, by what they call themselves."""
    kinds: dict[str, list[float]] = defaultdict(list)
    pids = [os.getpid()]
    for pid in pids:
        with contextlib.suppress(OSError, StopIteration):
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, path.read_text().split())
            words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            kinds[words.split(" ")[0].rpartition("/")[2].split(".")[0]].append(resident_mib(pid))
    return kinds


def table(kinds: dict[str, list[float]]) -> str:
    """How many processes of each kind, and what they took."""
    lines = ["| process | how many | MiB in all |", "|---|---|---|"]
    for kind, found in sorted(kinds.items(), key=lambda item: -sum(item[1])):
        lines.append(f"| {kind} | {len(found)} | {sum(found):.0f} |")
    return "\n".join(lines)


HEADER = (
    "| trials ended | s since the first began | driver CPU ms a trial | of it, recording | of it, "
    "front | CPU ms a decision, last 20 | driver MiB | folder KiB a trial |\n" + "|---" * 8 + "|"
)


def resident_mib(pid: int) -> float:
    """PSS of a process."""
    with Path(f"/proc/{pid}/smaps_rollup").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


def bytes_below(folder: Path) -> int:
    """Size of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def simulate(args: argparse.Namespace, out: Path) -> None:
    """Run the sweep and print its table."""
    space = args.space
    if args.sampler:
        values = read_yaml(space)
        space = out / "space.yaml"
        write_yaml(space, {**values, "sampler": {"name": args.sampler}})
    options = SweepOptions(
        space=space, out=out, name="s", trials=args.trials, shape=Shape(grow_to=args.slots)
    )
    planned = plan(options)
    costs = Costs()
    meter = Meter(planned.folder, costs)
    with (
        in_place_of_training(args),
        timed(costs, Proposals, "propose"),
        timed(costs, Recorder, "record", "propose", "start", "report", "end"),
        timed(costs, FrontPicture, "front", "draw"),
        counted(costs) as most,
    ):
        if args.without_ray:
            without_ray(planned, meter, args.slots)
        else:
            sweep.run(planned, meter)
    how = "without Ray" if args.without_ray else f"each sleeping {args.seconds:g} s"
    print(f"{args.trials} trials on {args.slots} slots, {how}")
    print("\n".join((HEADER, *meter.lines)))
    if not args.without_ray:
        print(f"{meter.most_running} at a time, {meter.all_after_s:.0f} s after the first began")
        print(table(most))
    print(f"study.journal: {(planned.folder / 'study.journal').stat().st_size / 1024:.0f} KiB")
    after(planned)
    pictures(planned, out / "one")


@contextlib.contextmanager
def in_place_of_training(args: argparse.Namespace) -> Generator[None]:
    """A block in which nothing is trained, as the arguments say."""
    with contextlib.ExitStack() as stack:
        init = functools.partial(ray.init, num_cpus=args.slots)
        stack.enter_context(patch.object(ray, "init", init))
        if args.gangs:
            SleeperGang.seconds = args.seconds
            stack.enter_context(patch.object(sweep, "TrialSlot", SleeperGang))
        else:
            pause = Mock(return_value={"seconds": args.seconds})
            stack.enter_context(patch.object(sweep, "TrialSlot", SleeperSlot))
            stack.enter_context(patch.object(sweep, "GangSettings", pause))
        yield


def timed(costs: Costs, kind: type, name: str, *methods: str) -> Any:
    """A block in which calls of some methods are timed; of one alone, under its own name."""
    calls: dict[str, Any] = {
        each: costs.timed(name, getattr(kind, each)) for each in methods or (name,)
    }
    return patch.multiple(kind, **calls)


def after(planned: sweep.Sweep) -> None:
    """Print what it costs to look at the folder of a sweep that has ended, and to resume it."""
    front = FrontPicture(planned.folder, planned.space.constraints)
    trials = read_trials(planned.folder)
    for trial in trials:
        if trial.status == "completed":
            front.add(trial.trial, trial.metrics)
    looks: dict[str, Callable[[], object]] = {
        "read every status": lambda: read_trials(planned.folder),
        "the table of aurl status": lambda: status_table(trials),
        "rank and write leaderboard.csv": lambda: write_leaderboard(planned.folder),
        "draw the front once": front.draw,
    }
    for name, look in looks.items():
        before = time.process_time()
        look()
        print(f"{name}: {time.process_time() - before:.2f} CPU s")
    before = time.process_time()
    sweep.run(planned, Meter(planned.folder, Costs()))
    print(f"resume it when all trials have ended: {time.process_time() - before:.2f} CPU s")


def pictures(planned: sweep.Sweep, folder: Path) -> None:
    """Print what the pictures and sounds of one completed trial cost its worker and the driver."""
    looks: list[Look] = []
    config = replace(planned.space.config_of({}), training=TrainingConfig(steps=1, batch_size=8))
    run = Run(
        config=config, corpus=planned.corpus, checkpoint_folder=folder / "c", show=looks.append
    )
    train(run, workers=Workers(), report=lambda rows: bool(rows))
    writer = open_trial(folder / "t0000", params={}, started=time.time())
    before = time.process_time()
    media = media_of(looks[0])
    made = time.process_time()
    writer.show(media.pictures, media.sounds)
    kept = time.process_time()
    kib = bytes_below(folder / "t0000") / 1024
    print(
        f"pictures and sounds of one trial: {made - before:.2f} CPU s of its worker, "
        f"{kept - made:.3f} of the driver, {kib:.0f} KiB"
    )
    print(f"checkpoint of one trial: {bytes_below(folder / 'c') / 1024:.0f} KiB")


def main() -> None:
    """Parse the sizes and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="sleep of a trial")
    parser.add_argument("--without-ray", action="store_true", help="the sweep's own part alone")
    parser.add_argument("--gangs", action="store_true", help="real slots, whose workers sleep")
    parser.add_argument("--space", type=Path, default=Path("search_spaces/quick.yaml"))
    parser.add_argument("--sampler", help="in place of the space's, with its defaults")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        simulate(args, Path(folder))


if __name__ == "__main__":
    main()
