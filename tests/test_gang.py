"""Warm gangs: the same processes train trial after trial, and none leaves a trace on another."""

import asyncio
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import ray
import torch
from ray.exceptions import ActorDiedError, RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import WorkerGroupError
from ray.util.placement_group import PlacementGroup

from aurl.config import RunConfig
from aurl.data.corpus import Corpus
from aurl.errors import ConfigError, StorageError, SweepError
from aurl.search import gang as gang_module
from aurl.search import mailbox
from aurl.search.cluster import connected
from aurl.search.gang import (
    Gang,
    GangSettings,
    MachineTakenError,
    RemoteGang,
    shared,
    task_for,
)
from aurl.search.placement import free_orphans
from aurl.search.shape import Shape
from aurl.search.slot import TrialSlot, scalars
from aurl.training import checkpoint, ray_worker
from aurl.training.look import Look
from aurl.training.loop import DivergedError, Run, train
from aurl.training.messages import Event, Media, Row, Task
from aurl.training.workers import Workers
from tests.processes import until, workers_of_ray
from tests.tiny import small_config, tiny_corpus, untimed

pytestmark = [
    pytest.mark.timeout(300),  # a gang starts in some 10 s, if nobody else uses the cores
    pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning"),  # Ray Data's own
]

UNDRAINED = ray_worker.Drains(set())


@dataclass
class Outcome:
    """What one trial reported and how it ended."""

    rows: list[Row] = field(default_factory=list[Row])
    failure: str = ""
    first_event_s: float = 0.0


def measured(text: str) -> None:
    print(f"\n{text}", end="")  # noqa: T201 - for those who run this with -s


class Slot:
    """A gang and a folder for its trials."""

    def __init__(self, gang: RemoteGang, size: int, folder: Path) -> None:
        self.gang = gang
        self.size = size
        self.folder = folder
        self.trials = 0

    def run(
        self, config: RunConfig, *, stop_at: int = 10**9, folder: Path | None = None
    ) -> Outcome:
        """Train ``config``; a report at or after ``stop_at`` is told to stop."""
        self.trials += 1
        outcome = Outcome()
        submitted = time.monotonic()
        own = folder or self.folder / f"{self.trials}"
        own.mkdir(parents=True, exist_ok=True)  # as the recorder does
        self.gang.submit(task_for(own, config))
        while True:
            event = self.gang.next_event()
            outcome.first_event_s = outcome.first_event_s or time.monotonic() - submitted
            if event.ended:
                outcome.failure = event.failure
                return outcome
            outcome.rows += event.rows
            is_last = event.rows[-1]["step"] == config.training.steps
            assert (event.media is not None) == is_last, "one look, however many workers"
            self.gang.answer(go_on=event.rows[-1]["step"] < stop_at)


@pytest.fixture(scope="module")
def corpus() -> Iterator[list[ray.ObjectRef[Corpus]]]:
    with connected(None):
        yield shared(tiny_corpus())


@pytest.fixture(scope="module", params=[1, 2], ids=["1_worker", "2_workers"])
def slot(
    request: pytest.FixtureRequest,
    corpus: list[ray.ObjectRef[Corpus]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Slot]:
    size: int = request.param
    folder = tmp_path_factory.mktemp("gang")
    started = time.monotonic()
    shape = Shape(workers_per_trial=size)
    settings = GangSettings(shape=shape, corpus=corpus)
    gang = RemoteGang(settings, f"gang-{size}")
    made = Slot(gang, size, folder)
    made.run(small_config(training__steps=1))
    measured(f"gang of {size}: {time.monotonic() - started:.2f} s from nothing to a trial's end")
    yield made
    closing = time.monotonic()
    gang.close()
    measured(f"gang of {size}: closed in {time.monotonic() - closing:.2f} s")


def rows_alone(folder: Path, config: RunConfig) -> list[Row]:
    """The rows of the same run in this process, without Ray."""
    rows: list[Row] = []

    def report(new: Sequence[Row]) -> bool:
        rows.extend(new)
        return True

    run = Run(config=config, corpus=tiny_corpus(), checkpoint_folder=folder)
    train(run, workers=Workers(), report=report)
    return rows


def held() -> Any:
    """An actor that holds a processor, so that nobody else has it."""

    class Holder:
        def is_there(self) -> bool:
            return True

    holder: Any = ray.remote(num_cpus=1)(Holder).remote()
    assert ray.get(holder.is_there.remote())
    return holder


@pytest.mark.cluster
def test_a_gang_has_as_many_workers_as_there_is_room_for_and_goes_on_when_that_changes(
    corpus: list[ray.ObjectRef[Corpus]], tmp_path: Path
) -> None:
    config = small_config(training__steps=28, training__log_every=1, evaluation__every=4)
    shape = Shape(workers_per_trial=2, workers_at_least=1)
    settings = GangSettings(shape=shape, corpus=corpus, look_s=0.0)
    holder = held()  # of the two there are: no other gang of this module has begun
    gang = RemoteGang(settings, "gang-of-1-or-2")
    task = task_for(tmp_path, config)
    gang.submit(task)
    sizes: list[int] = []
    rows: list[Row] = []
    while not (event := gang.next_event()).ended:
        sizes.append(len(workers_of_ray()))
        rows += event.rows
        if len(sizes) == 3:
            ray.kill(holder)
            until(lambda: ray.available_resources().get("CPU", 0.0) >= 1.0, 30.0, "its processor")
        gang.answer(go_on=True)
    assert event.failure == ""
    assert sizes == [1] * 3 + [2] * 4
    gang.close()
    until(lambda: not workers_of_ray(), 30.0, "the end of its workers")
    alone = untimed(rows_alone(tmp_path / "alone", config))
    together = untimed(rows)
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    for one, other in zip(alone, together, strict=True):
        for name, value in one.items():
            tolerance = 1e-6 if one["step"] <= 12 else 1e-3
            wanted = pytest.approx(value, rel=tolerance, abs=tolerance)
            assert other[name] == wanted, (one["step"], name)


@pytest.mark.cluster
def test_one_set_of_processes_trains_every_trial_and_none_leaves_a_trace(slot: Slot) -> None:
    processes = workers_of_ray()
    assert len(processes) == slot.size
    config = small_config(augmentation__transpose=2, model__token_dropout=0.2)
    first = slot.run(config)
    starts: list[float] = []
    for index in range(20 // slot.size):
        other = small_config(
            seed=index + 1,
            training__steps=2 + index % 3,
            model__d_model=16 * (1 + index % 2),
            latent__levels__fine__dim=1 + index % 4,
            optimizer__lr=0.01 * (1 + index),
        )
        outcome = slot.run(other)
        assert outcome.failure == ""
        assert outcome.rows[-1]["step"] == other.training.steps
        starts.append(outcome.first_event_s)
    again = slot.run(config)
    assert untimed(again.rows) == untimed(first.rows)
    assert [row["step"] for row in first.rows] == [2, 4, 4, 6, 8, 8]
    assert workers_of_ray() == processes
    measured(f"gang of {slot.size}: submit to first report, with its 2 to 4 steps and evaluation:")
    measured(f"  median {median(starts):.3f} s, worst {max(starts):.3f} s")


@pytest.mark.cluster
def test_a_gang_has_the_loss_curve_of_one_process_with_the_whole_batch(
    slot: Slot, tmp_path: Path
) -> None:
    config = small_config(
        augmentation__transpose=2,
        model__token_dropout=0.2,
        objective__free_bits__threshold=0.2,
        optimizer__lr=0.01,
        training__steps=20,
        training__log_every=1,
        evaluation__every=20,
    )
    alone, together = untimed(rows_alone(tmp_path, config)), untimed(slot.run(config).rows)
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            # With two, sums are taken in another order: float32 rounding, grown over 20 steps.
            tolerance = 1e-3 if slot.size > 1 else 1e-6
            wanted = pytest.approx(value, rel=tolerance, abs=tolerance)
            assert other[name] == wanted, (one["step"], name)
    first = "train/objective_nats"
    assert together[0][first] == pytest.approx(alone[0][first], rel=1e-6)


@pytest.mark.cluster
def test_a_stop_takes_effect_at_that_report_and_the_trial_can_go_on(
    slot: Slot, tmp_path: Path
) -> None:
    config = small_config(augmentation__transpose=2)
    whole = slot.run(config)
    stopped = slot.run(config, stop_at=4, folder=tmp_path)
    assert stopped.failure == ""
    assert stopped.rows[-1]["step"] == 4
    assert checkpoint.step_of(tmp_path / "checkpoint") == 4
    rest = slot.run(config, folder=tmp_path)
    assert untimed(stopped.rows) + untimed(rest.rows) == untimed(whole.rows)
    assert slot.run(config, folder=tmp_path).rows == [], "nothing is left to do"


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer__lr": 1e30}, r"DivergedError: objective is not finite at step \d\.$"),
        ({"model__encoder_layers": 1}, r"ConfigError: model\.encoder_layers must be at least"),
    ],
    ids=["diverges", "does_not_fit"],
)
def test_a_failing_trial_says_why_and_the_gang_lives_on(
    slot: Slot, changes: dict[str, float], message: str
) -> None:
    processes = workers_of_ray()
    outcome = slot.run(small_config(**changes))
    assert re.match(message, outcome.failure), outcome.failure
    assert slot.run(small_config()).failure == ""
    assert workers_of_ray() == processes


# What a worker does with an exception, without Ray


class Answer:
    """What a call of a mailbox's actor gives: an object to wait for, here the answer itself."""

    def __init__(self, call: Callable[[Event], bool]) -> None:
        self.remote = call


class Heard:
    """A mailbox that keeps what is reported."""

    def __init__(self) -> None:
        self.events: list[Event] = []

        def keep(event: Event) -> bool:
            self.events.append(event)
            return True

        self.report = self.note = Answer(keep)


def test_the_last_report_comes_with_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(answer: bool) -> bool:
        return answer

    monkeypatch.setattr(ray_worker.ray, "get", get)
    heard = Heard()
    task = Task(config=small_config(), checkpoint_folder=tmp_path)
    train_one = ray_worker._train_one
    assert train_one(task, tiny_corpus(), heard, Workers(), UNDRAINED) == Event(ended=True)
    assert [event.rows[-1]["step"] for event in heard.events] == [4, 8]
    first, last = heard.events
    assert first.media is None
    assert last.media is not None
    assert len(last.media.sounds) == 3
    pictures = {"music/reconstructions", "latent/traversal"}
    assert set(last.media.pictures) - {"latent/mutual_information"} == pictures


def test_a_look_that_cannot_be_drawn_ends_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def get(answer: bool) -> bool:
        return answer

    def fails(look: Look) -> None:
        raise ValueError(look)

    monkeypatch.setattr(ray_worker.ray, "get", get)
    monkeypatch.setattr(ray_worker, "media_of", fails)
    heard = Heard()
    task = Task(config=small_config(), checkpoint_folder=tmp_path)
    ended = ray_worker._train_one(task, tiny_corpus(), heard, Workers(), UNDRAINED)
    assert ended == Event(ended=True)
    assert [event.media for event in heard.events] == [None, None]
    assert "the pictures could not be made" in caplog.text


def test_a_machine_that_is_drained_has_a_checkpoint_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(answer: bool) -> bool:
        return answer

    def draining() -> dict[str, int]:
        return {"node": 0}

    monkeypatch.setattr(ray_worker.ray, "get", get)
    monkeypatch.setattr(ray_worker.ray_state, "get_draining_nodes", draining)
    heard = Heard()
    others, drains = ray_worker.Drains({"another"}), ray_worker.Drains({"node"})
    others.look()
    drains.look()
    task = Task(config=small_config(training__log_every=1), checkpoint_folder=tmp_path)
    train_one = ray_worker._train_one
    assert not others.tell(heard, [{"step": 1}])
    assert train_one(task, tiny_corpus(), heard, Workers(), drains) == Event(ended=True)
    steps = [[int(row["step"]) for row in event.rows] for event in heard.events]
    assert steps == [[1], [2, 3, 4, 4], [5, 6, 7, 8, 8]]
    assert [event.noted for event in heard.events] == [True, False, False]


def test_who_tells_a_note_goes_on_once_the_driver_has_it() -> None:
    """A checkpoint that came first would be of rows that may be lost with their machine."""
    report, *notes = (Event(rows=({"step": step},), noted=step > 4) for step in (4, 5, 6))

    async def heard() -> None:
        box = mailbox.Mailbox()
        telling: list[asyncio.Task[Any]] = [asyncio.create_task(box.report(report))]
        for note in notes:
            await asyncio.sleep(0.01)
            telling.append(asyncio.create_task(box.note(note)))
        told: list[int] = []
        for event in (report, *notes, None):
            assert await box.next_event(0.01) is event
            await asyncio.sleep(0.01)
            told.append(sum(each.done() for each in telling[1:]))
        assert told == [0, 0, 1, 2], "when the next is asked for"
        last = asyncio.create_task(box.note(notes[0]))
        assert await box.next_event(1.0) is notes[0]
        assert not last.done()
        await box.close()
        await asyncio.gather(last, *telling)

    asyncio.run(heard())


def test_every_worker_is_handed_each_task_once_and_sent_home_in_the_end() -> None:
    first, second = (Task(config=small_config(), checkpoint_folder=Path(n)) for n in "ab")

    async def heard() -> None:
        box = mailbox.Mailbox()
        waiting = [asyncio.create_task(box.next_task(0)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert not any(each.done() for each in waiting), "there is none yet"
        await box.submit(first)
        assert await asyncio.gather(*waiting) == [first] * 2
        waiting = [asyncio.create_task(box.next_task(1)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert not any(each.done() for each in waiting), "they have had it"
        await box.submit(second)
        assert await asyncio.gather(*waiting) == [second] * 2
        waiting = [asyncio.create_task(box.next_task(2)) for _ in range(2)]
        await asyncio.sleep(0.01)
        await box.close()
        assert await asyncio.gather(*waiting) == [None] * 2
        assert await box.next_task(0) is None, "a worker that comes late"

    asyncio.run(asyncio.wait_for(heard(), 10.0))


def test_how_a_task_ended_is_not_taken_for_the_end_of_the_next() -> None:
    task, ended = Task(config=small_config(), checkpoint_folder=Path()), Event(ended=True)

    async def heard() -> None:
        box = mailbox.Mailbox()
        await box.submit(task)
        waiting = asyncio.create_task(box.next_event(60.0))
        await asyncio.sleep(0.01)
        await box.post(1, ended)
        assert await waiting is ended, "at once"
        await box.submit(task)
        await box.post(1, ended)
        assert await box.next_event(0.01) is None

    asyncio.run(asyncio.wait_for(heard(), 10.0))


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_report_waits_for_its_own_verdict_and_closing_ends_the_trial(goes_on: bool) -> None:
    event = Event()

    async def heard() -> None:
        box = mailbox.Mailbox()
        for verdict in (not goes_on, goes_on):
            telling = asyncio.create_task(box.report(event))
            assert await box.next_event(1.0) is event
            await asyncio.sleep(0.01)
            assert not telling.done(), "a verdict of before is none"
            await box.answer(verdict)
            assert await telling is verdict
        telling = asyncio.create_task(box.report(event))
        await asyncio.sleep(0.01)
        await box.close()
        assert await telling is False
        assert await box.report(event) is False, "a worker that comes late"

    asyncio.run(asyncio.wait_for(heard(), 10.0))


def lost(
    monkeypatch: pytest.MonkeyPatch, *events: Event, of: Exception, with_mailbox: bool = False
) -> Exception:
    """What a slot hears of a gang whose workers die after some events."""
    waiting = deque(events)

    def fit() -> None:
        raise of

    def get(answer: Mock) -> Event | None:
        if with_mailbox and not waiting:
            raise ActorDiedError
        return waiting.popleft() if waiting else None

    monkeypatch.setattr(gang_module, "ray", Mock(get=get))
    monkeypatch.setattr(gang_module, "GangTrainer", Mock(return_value=Mock(fit=fit)))
    room = PlacementGroup(ray.PlacementGroupID.nil(), [{"CPU": 1.0}])
    monkeypatch.setattr(gang_module, "given", lambda _: None)
    monkeypatch.setattr(gang_module, "_get_ray_train_session_dir", str)
    monkeypatch.setattr(gang_module, "reserve", lambda *_, **__: room)
    monkeypatch.setattr(gang_module, "remove_placement_group", Mock())
    settings = GangSettings(shape=Shape(), corpus=[ray.ObjectRef.nil()])
    gang = Gang(settings, "gang")
    for event in events:
        assert replace(gang.next_event(), waited_s=0.0) == event
    with pytest.raises(SweepError) as caught:
        gang.next_event()
    return caught.value


RAYS_WORDS = "The actor is dead. Out of memory. Some common causes include: (1) the moon"


@pytest.mark.parametrize("with_mailbox", [False, True])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("At:\n  a node is gone."), "RuntimeError: a node is gone."),
        (RuntimeError(), "RuntimeError: no message."),
        (
            WorkerGroupError(
                "...\nn causes include: (1) the moon",
                {0: WorkerHealthCheckFailedError("No answer.", RayActorError("", RAYS_WORDS))},
            ),
            "RayActorError: The actor is dead. Out of memory.",
        ),
    ],
)
def test_a_gang_says_what_its_workers_died_of(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, with_mailbox: bool
) -> None:
    caught = lost(monkeypatch, of=error, with_mailbox=with_mailbox)
    assert str(caught) == f"the workers died: {said}"


@pytest.mark.parametrize("is_drained", [False, True])
def test_workers_that_go_with_a_drained_machine_are_said_to(
    monkeypatch: pytest.MonkeyPatch, is_drained: bool
) -> None:
    noted = Event(rows=({"step": 1},), noted=is_drained)
    error = lost(monkeypatch, noted, of=RuntimeError("a node is gone"))
    assert isinstance(error, MachineTakenError) is is_drained
    assert str(error) == "the workers died: RuntimeError: a node is gone."


class NoMailbox:
    """Nothing is reported before the exception."""


def failing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, size: int, folder: Path, rank: int = 0
) -> Event:
    def fail(*_: object, **__: object) -> bool:
        raise error

    monkeypatch.setattr(ray_worker, "train", fail)
    task = Task(config=small_config(), checkpoint_folder=folder)
    train_one = ray_worker._train_one
    return train_one(task, tiny_corpus(), NoMailbox(), Workers(rank, size), UNDRAINED)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("error", [DivergedError("not finite"), ConfigError("does not fit")])
def test_what_every_worker_sees_ends_the_trial_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, size: int
) -> None:
    ended = failing(monkeypatch, error, size, tmp_path)
    assert ended == Event(ended=True, failure=f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("error", [ValueError("nan"), OSError(28, "disk full")])
def test_what_one_worker_may_see_alone_ends_the_gang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(type(error)):
        failing(monkeypatch, error, 2, tmp_path)
    assert failing(monkeypatch, error, 1, tmp_path).failure.startswith(type(error).__name__)


@pytest.mark.parametrize("size", [1, 2])
def test_a_checkpoint_that_cannot_be_stored_is_not_the_trials_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int
) -> None:
    full = StorageError("the disk is full.")
    ended = failing(monkeypatch, full, size, tmp_path)
    assert ended == Event(ended=True, failure="the disk is full.", outage=True)


def test_a_worker_that_alone_cannot_read_a_checkpoint_ends_the_gang_once_the_first_had_its_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(ray_worker.time, "sleep", waited.append)
    with pytest.raises(StorageError):
        failing(monkeypatch, StorageError("no way there."), 2, tmp_path, rank=1)
    assert waited == [60.0]


@pytest.mark.parametrize("size", [1, 2])
def test_a_broken_device_ends_the_gang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int
) -> None:
    with pytest.raises(torch.AcceleratorError):
        failing(monkeypatch, torch.AcceleratorError("CUDA error: unspecified"), size, tmp_path)


def test_the_last_report_is_below_every_rung() -> None:
    row = {"step": 4, "val/rung_score": 0.5, "val/kl_nats": 3.0}
    assert scalars(row, 8) == {"step": 4, "rung": 4, "rung_score": 0.5}
    assert scalars(row, 4) == {"step": 4, "rung": 0, "rung_score": 0.5}
    assert scalars({"step": 0}, 4)["rung_score"] == 0.0


MEDIA = Media(pictures={"a": b"png"}, sounds={})


def test_a_slot_hands_on_what_it_hears_and_compares_nothing_of_a_note() -> None:
    told = Event(rows=({"step": 4, "val/rung_score": 0.5},), media=MEDIA, waited_s=7.0)
    note = Event(noted=True, rows=({"step": 5},))
    heard = deque([told, note, Event(noted=True), Event(ended=True)])
    answers: list[bool] = []

    class Made(TrialSlot):
        def __init__(self) -> None:
            self._gang: Any = SimpleNamespace(
                submit=lambda _: None,
                answer=lambda go_on: answers.append(go_on),
                next_event=heard.popleft,
            )
            self._task = Task(config=small_config(), checkpoint_folder=Path())
            self._waiting = self._busy = False

    slot = Made()
    report = {"step": 4, "rung": 4, "rung_score": 0.5}
    rest = {"rows": told.rows, "media": MEDIA, "waited_s": 7.0, "failure": "", "noted": False}
    assert slot.step() == report | rest
    quiet = {"rows": note.rows, "media": None, "waited_s": 0.0, "failure": "", "noted": True}
    assert slot.step() == report | {"step": 5, "rung": 0} | quiet
    assert slot.step() == report | {"rung": 0} | quiet | {"rows": ()}
    assert slot.step() == report | {"rows": (), "failure": "", "outage": False, "done": True}
    assert answers == [True], "a note is not answered"


def owner() -> Any:
    """An actor with the placement group that a slot's workers have; Ray sends it by value."""

    class Owner:
        def hold(self) -> int:
            import threading

            from aurl.search.placement import reserve

            asked: Any = SimpleNamespace(worker={"memory": 1e6}, sizes=[1], is_elastic=False)
            assert reserve(asked, leave=threading.Event()) is not None
            return os.getpid()

    return ray.remote(num_cpus=0)(Owner).remote()


@pytest.mark.cluster
def test_what_a_killed_slot_held_is_freed_and_what_a_living_one_holds_is_not(
    corpus: list[ray.ObjectRef[Corpus]],
) -> None:
    living, killed = owner(), owner()
    _, process = ray.get([living.hold.remote(), killed.hold.remote()])
    before = ray.available_resources()["memory"]
    os.kill(process, signal.SIGKILL)
    until(lambda: free_orphans() == 1, 30.0, "what the killed one held")
    until(lambda: ray.available_resources()["memory"] == before + 1e6, 30.0, "its room")
    assert free_orphans() == 0
    ray.kill(living)
    until(lambda: free_orphans() == 1, 30.0, "what the other held")
