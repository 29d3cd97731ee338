import operator
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from aurl.data.isolation import Failure, Limits, each_isolated
from aurl.data.midi import read_midi
from aurl.data.sources import read_source

LIMITS = Limits(seconds=1.0, memory_bytes=2**28)


def outcomes(items: list[Callable[[], Any]], workers: int = 1) -> list[Any]:
    """What came of calling each item in a worker process."""
    found = dict(each_isolated(operator.call, items, workers=workers, limits=LIMITS))
    return [found[index] for index in range(len(items))]


def test_each_item_has_its_own_outcome_whatever_the_others_do() -> None:
    good: list[Callable[[], Any]] = [partial(operator.neg, index) for index in range(5)]
    good.append(partial(eval, "len(bytearray(15 * 2**24))"))  # nearly what it may have
    bad: list[Callable[[], Any]] = [
        partial(os._exit, 3),
        partial(signal.raise_signal, signal.SIGKILL),
        signal.pause,
        partial(bytearray, 2**30),
        partial(int, "x"),
    ]
    items = [each for pair in zip(good, [*bad, bad[0]], strict=True) for each in pair]
    found = outcomes(items)
    assert found[::2] == [0, -1, -2, -3, -4, 15 * 2**24]
    assert found[1::2] == [
        Failure("crashed", "its process ended with code 3."),
        Failure("crashed", "its process ended with code -9."),
        Failure("timeout", "over 1 s."),
        Failure("too_large", "it needs more memory than one file may have."),
        Failure("crashed", "ValueError: invalid literal for int() with base 10: 'x'"),
        Failure("crashed", "its process ended with code 3."),
    ]


def test_work_goes_to_other_processes() -> None:
    found = outcomes([os.getpid] * 8, workers=2)
    assert os.getpid() not in found
    assert 1 <= len(set(found)) <= 2


def test_a_data_error_is_a_failure_with_its_code(tmp_path: Any) -> None:
    found = dict(each_isolated(read_midi, [tmp_path / "x.mid"], workers=1, limits=LIMITS))
    assert found == {0: Failure("unreadable", "No such file or directory.")}


def test_no_items_start_no_process() -> None:
    assert list(each_isolated(read_source, [], workers=4, limits=LIMITS)) == []


def test_processes_end_with_the_iteration() -> None:
    iterator = each_isolated(operator.call, [os.getpid] * 4, workers=1, limits=LIMITS)
    _, process = next(iter(iterator))
    iterator.close()  # pyrefly: ignore[missing-attribute]
    assert isinstance(process, int)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def unknown_elsewhere(item: int) -> int:
    return item  # of a module that a fresh interpreter does not find


def test_a_worker_that_cannot_start_is_said_so() -> None:
    with pytest.raises(RuntimeError, match=r"A worker process cannot start: .* code 1\."):
        list(each_isolated(unknown_elsewhere, [1], workers=1, limits=LIMITS))


@pytest.mark.parametrize("limits", [{"seconds": 0.0}, {"memory_bytes": 0}])
def test_limits_must_leave_room(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"limits must be > 0"):
        Limits(**limits)
