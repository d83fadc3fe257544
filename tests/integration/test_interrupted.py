"""Ctrl-C at any moment of sending: the exception reports exactly the sent members."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections import Counter

import pytest

from celerant import Celerant, group
from harness.capture import drain
from harness.tasks import define_tasks

SIZE = 2_000
ROUNDS = 12


class _Interrupt(BaseException):
    """As `KeyboardInterrupt`, which pytest takes for its own."""


#: Set if an interruption came to nothing.
_is_lost = threading.Event()


def _raise(_signal, _frame):
    raise _Interrupt


@pytest.fixture
def interruptible(monkeypatch):
    told = sys.unraisablehook

    def hook(about):
        # Python drops what is raised in the callback of a weak reference, or of the
        # garbage collector.
        if about.exc_type is _Interrupt:
            _is_lost.set()
        else:
            told(about)

    monkeypatch.setattr(sys, "unraisablehook", hook)
    # However long a busy broker takes to tell what it has.
    for wire in ("amqp", "redis_talk"):
        monkeypatch.setattr(f"celerant.dispatch.wires.{wire}._FAREWELL", 30.0)
    before = signal.signal(signal.SIGUSR1, _raise)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture(params=["redis", "rabbitmq"])
def shop(request, redis_url, rabbitmq_url, queue):
    url = redis_url["broker"] if request.param == "redis" else rabbitmq_url
    with Celerant(f"celerant-{queue}", broker=url) as app:
        app.conf.task_default_queue = queue
        app.conf.task_ignore_result = True
        tasks = define_tasks(app)
        tasks.url, tasks.queue = url, queue
        yield tasks


def _counted(shop):
    """Return how often each member is in the queue, which is emptied."""
    numbers = Counter()
    for message in drain(shop.url, shop.queue):
        numbers[int(message.headers["argsrepr"].split(",")[0].strip("("))] += 1
    return numbers


def _sent_and_interrupted(members, pause):
    """Send members; return the interruption after `pause` seconds, if it came."""
    is_over = threading.Event()
    # One that was lost at the end of an earlier round is none of this one.
    _is_lost.clear()
    main = threading.main_thread().ident

    def interrupt():
        first = pause
        while not is_over.wait(first):
            signal.pthread_kill(main, signal.SIGUSR1)
            if not _is_lost.wait(0.05):
                return
            _is_lost.clear()
            first = 0

    thread = threading.Thread(target=interrupt)
    found = None
    try:
        thread.start()
        members.apply_async()
    except _Interrupt as exc:
        found = exc
    finally:
        # It may come as late as this.
        try:
            is_over.set()
            thread.join()
        except _Interrupt:
            thread.join()
    return found


@pytest.mark.timeout(120)  # it reads tens of thousands of messages one by one
def test_a_group_interrupted_by_ctrl_c_is_resumed_and_nothing_is_doubled(
    shop, interruptible
):
    once = Counter(range(SIZE))
    began = time.perf_counter()
    group([shop.add.s(i, 0) for i in range(SIZE)]).apply_async()
    took = time.perf_counter() - began
    assert _counted(shop) == once
    chances, carried = random.Random(12), 0
    rounds = 0
    # On a busy machine a signal may come late each time: then some more.
    while rounds < ROUNDS or (not carried and rounds < 10 * ROUNDS):
        rounds += 1
        members = group([shop.add.s(i, 0) for i in range(SIZE)])
        found = _sent_and_interrupted(members, chances.random() * took * 0.8)
        result = getattr(found, "result", None)
        if result is not None:
            carried += 1
            report = found.report
            assert result.report is report
            assert sum(report.counts().values()) == SIZE
            assert report.unknown == []
            assert members.resume(result) is result
            assert result.report.complete
            assert _counted(shop) == once
        else:
            # Before the first member left, or after the last.
            assert len(_counted(shop)) in {0, SIZE}
    assert carried > 0


@pytest.mark.parametrize("at", [1, 700, SIZE - 1])
def test_the_report_of_an_interrupted_generator_counts_the_messages_in_the_queue(
    shop, at
):
    def members():
        for i in range(SIZE):
            if i == at:
                raise _Interrupt
            yield shop.add.s(i, 0)

    with pytest.raises(_Interrupt) as caught:
        group(members()).apply_async()

    report = caught.value.report
    queued = _counted(shop)
    assert set(queued.values()) <= {1}
    assert sorted(queued) == [i for a, b in report.confirmed for i in range(a, b)]
    assert report.unknown == []
    # Later members go over a working connection.
    assert shop.add.delay(1, 1).id
    assert _counted(shop) == {1: 1}
