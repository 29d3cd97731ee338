"""One Ray Train worker of a warm gang: takes trial after trial and trains each.

The worker lives through many trials. It asks the gang's mailbox for the next task, trains it with
:func:`aurl.training.loop.train`, and posts what it measured. A task begins from the task alone:
nothing of the trial before is read.
"""

import logging
from collections.abc import Sequence
from typing import Any, cast

import ray
import torch
from ray.train.torch import get_device
from torch import distributed

from aurl.data.corpus import Corpus
from aurl.errors import ConfigError, StorageError
from aurl.training.look import Look, packed
from aurl.training.loop import DivergedError, Run, train
from aurl.training.messages import Event, Row, Task
from aurl.training.workers import Workers

_log = logging.getLogger(__name__)


def serve(settings: dict[str, Any]) -> None:
    """Train every task of the mailbox until it closes; runs in each worker of a gang.

    Args:
        settings: ``mailbox``, an actor handle, and ``corpus``, an object reference.
    """
    torch.set_num_threads(1)
    mailbox = settings["mailbox"]
    corpus = cast("Corpus", ray.get(settings["corpus"]))
    workers = Workers.of_this_process(get_device())
    number = 0
    while True:
        task = cast("Task | None", ray.get(mailbox.next_task.remote(number)))
        if task is None:
            return
        number += 1
        ended = _train_one(task, corpus, mailbox, workers)
        if workers.rank == 0:
            ray.get(mailbox.post.remote(number, ended))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _train_one(task: Task, corpus: Corpus, mailbox: Any, workers: Workers) -> Event:  # noqa: ANN401
    """Train one task; returns how it ended.

    A failure that only one of several workers may have seen is raised: it ends the gang, and with
    it the collective calls that the others wait in. So is one that leaves the device broken. One
    of the storage is told at once: it ends the sweep.
    """
    looks: list[bytes] = []

    def show(look: Look) -> None:
        looks.append(packed(look))

    def report(rows: Sequence[Row]) -> bool:
        go_on = True
        if workers.rank == 0:
            event = Event(rows=tuple(rows), look=looks.pop() if looks else b"")
            go_on = bool(ray.get(mailbox.report.remote(event)))
        return _from_first_worker(go_on, workers)

    run = Run(
        config=task.config,
        corpus=corpus,
        checkpoint_folder=task.remote or task.checkpoint_folder,
        show=show,
    )
    try:
        train(run, workers=workers, report=report)
    except (DivergedError, ConfigError) as error:  # raised by every worker alike
        return Event(ended=True, failure=f"{type(error).__name__}: {error}")
    except StorageError as error:
        return Event(ended=True, failure=str(error), outage=True)
    except Exception as error:
        if workers.size > 1 or isinstance(error, torch.AcceleratorError):
            raise
        _log.exception("the trial failed")
        return Event(ended=True, failure=f"{type(error).__name__}: {error}".splitlines()[0])
    return Event(ended=True)


def _from_first_worker(answer: bool, workers: Workers) -> bool:
    if workers.size == 1:
        return answer
    value = torch.tensor(float(answer), device=workers.device)
    distributed.broadcast(value, src=0)
    return bool(value.item())
