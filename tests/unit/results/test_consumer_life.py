"""The life of the thread that takes results in: its ends, and its fair turns."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref

import pytest

from celerant.errors import CelerantError, ResultTimeout
from celerant.results.async_result import AsyncResult
from celerant.results.consuming import consumer
from harness.until import until


class EndedError(BaseException):
    """An exception like those that end greenlets."""


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(1),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        EndedError(),
    ],
    ids=repr,
)
def test_later_results_arrive_after_any_error_of_a_callback(fake, error, caplog):
    def raise_it(_):
        raise error

    AsyncResult("first", fake).then(raise_it)
    fake.push("first", 1)
    until(lambda: "a callback failed" in caplog.text)
    later = AsyncResult("later", fake)
    assert not later.ready()
    fake.push("later", 2)
    assert later.get(timeout=5) == 2


def test_an_interrupt_of_the_main_thread_is_no_callback_s(fake):
    def interrupt(_):
        raise KeyboardInterrupt

    result = AsyncResult("done", fake)
    assert not result.ready()
    fake.push("done", 1)
    result.get(timeout=5)
    with pytest.raises(KeyboardInterrupt):
        result.then(interrupt)


def test_a_dead_thread_is_started_again_by_the_next_look(fake, monkeypatch, caplog):
    kept, called = AsyncResult("kept", fake), threading.Event()
    kept.then(lambda _: called.set())
    waiting = AsyncResult("waiting", fake)
    assert not waiting.ready()
    dead, receive = fake.consumer._thread, fake.feed.receive

    def die(timeout):
        if threading.current_thread() is dead:
            raise EndedError
        return receive(timeout)

    monkeypatch.setattr(fake.feed, "receive", die)
    fake.feed.wake()
    dead.join(5)
    assert not dead.is_alive()
    assert "the consumer's thread ended" in caplog.text
    assert not waiting.ready()
    fake.push("waiting", 1)
    fake.push("kept", 2)
    assert waiting.get(timeout=5) == 1
    assert called.wait(5)


def test_waiting_threads_are_told_when_the_consumer_dies(fake, monkeypatch):
    result, raised = AsyncResult("id", fake), []

    def wait():
        try:
            result.get(timeout=10)
        except CelerantError as exc:
            raised.append(exc)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: len(result.members.waiters) and result.members.is_watched)

    def die(_):
        raise EndedError

    monkeypatch.setattr(fake.feed, "receive", die)
    fake.feed.wake()
    waiting.join(5)
    assert isinstance(raised[0].__cause__, EndedError)


def test_no_group_takes_more_than_its_share_of_a_sweep(fake, group_of, monkeypatch):
    large, small = group_of(200_000, fake), AsyncResult("small", fake)
    fake.records["small"] = fake.codec.encode("small", 1, "SUCCESS", None, None)
    begun, go_on, fetch = threading.Event(), threading.Event(), fake.fetch

    def fetch_slowly(ids):
        begun.set()
        assert go_on.wait(5)
        return fetch(ids)

    monkeypatch.setattr(fake, "fetch", fetch_slowly)
    large.members.begin()
    assert begun.wait(5)
    small.members.begin()
    go_on.set()
    assert small.get(timeout=5) == 1
    at = next(i for i, ids in enumerate(fake.fetched) if ids == ["small"])
    assert at <= 20


def test_two_looks_at_once_are_served_by_one_sweep(fake, group_of, monkeypatch):
    result = group_of(30_000, fake)
    begun, go_on, fetch = threading.Event(), threading.Event(), fake.fetch

    def fetch_slowly(ids):
        begun.set()
        assert go_on.wait(5)
        return fetch(ids)

    monkeypatch.setattr(fake, "fetch", fetch_slowly)
    looks = [threading.Thread(target=result.ready) for _ in range(3)]
    for look in looks:
        look.start()
    assert begun.wait(5)
    until(lambda: len(result.members.waiters) == 3)
    go_on.set()
    for look in looks:
        look.join(5)
    until(lambda: not fake.consumer.service.is_reading)
    # The second sweep follows the subscription.
    assert len(fake.fetched) <= 2 * 30


def test_new_looks_do_not_put_off_the_sweep_of_others(fake, monkeypatch):
    monkeypatch.setattr("celerant.results.consuming.sweeping._SWEEP_INTERVAL", 0.2)
    lost = AsyncResult("lost", fake)
    assert not lost.ready()
    fake.records["lost"] = fake.codec.encode("lost", 1, "SUCCESS", None, None)
    others = []

    def look_at_another():
        others.append(AsyncResult(f"other-{len(others)}", fake))
        others[-1].members.begin()
        return lost.ready()

    until(look_at_another, 5)


def test_a_timeout_says_that_the_store_does_not_answer(fake, monkeypatch):
    monkeypatch.setattr(consumer, "_BACKOFF_MOST", 0.01)
    fake.broken = 10**9
    fake.retry_policy = {"max_retries": None}
    with pytest.raises(ResultTimeout, match=r"not answered for .* s \(last: gone\)"):
        AsyncResult("id", fake).get(timeout=0.2)
    fake.broken = 0
    found = AsyncResult("id", fake)
    assert not found.ready()
    with pytest.raises(ResultTimeout) as caught:
        found.get(timeout=0.05)
    assert "answered" not in str(caught.value)


def test_a_timeout_says_that_the_store_is_silent(fake, monkeypatch):
    monkeypatch.setattr(consumer, "_SILENCE", 0.05)
    go_on = threading.Event()

    def fetch(ids):
        go_on.wait(10)
        return [None] * len(ids)

    monkeypatch.setattr(fake, "fetch", fetch)
    try:
        with pytest.raises(ResultTimeout, match="has not answered for"):
            AsyncResult("id", fake).get(timeout=0.3)
    finally:
        go_on.set()


@pytest.mark.parametrize("kind", ["fake", "memory"])
def test_a_backend_that_nobody_holds_is_collected_with_its_thread(kind, request):
    from celerant.results.backends import open_backend

    if kind == "fake":
        backend = type(request.getfixturevalue("fake"))()
        backend.feed.closed = threading.Event()
        backend.feed.close = backend.feed.closed.set
    else:
        backend = open_backend("memory://", name="to-be-collected")
    result = AsyncResult("id", backend)
    result.members.look()
    thread, gone = backend.consumer._thread, weakref.ref(backend)
    del backend
    gc.collect()
    assert gone() is not None, "a result holds it"
    assert not result.ready()
    del result

    def is_gone():
        gc.collect()
        return gone() is None

    until(is_gone)
    thread.join(5)
    assert not thread.is_alive()


def _left_with_a_callback(backend, called):
    AsyncResult("id", backend).then(lambda _: called.set())
    until(lambda: backend.consumer.service.routes.watches)
    return backend.feed, backend.codec.encode("id", 1, "SUCCESS", None, None)


def test_a_callback_is_called_though_nobody_holds_its_result(fake):
    called = threading.Event()
    feed, payload = _left_with_a_callback(type(fake)(), called)
    gc.collect()
    feed.records.append(("id", payload))
    feed.wake()
    assert called.wait(5)


def test_the_consumer_s_errors_are_logged_without_their_password(fake, caplog):
    fake.broken = 10**9
    fake.retry_policy = {"max_retries": 0}
    with (
        caplog.at_level(logging.WARNING, "celerant"),
        pytest.raises(CelerantError) as caught,
    ):
        AsyncResult("id", fake).get(timeout=5)
    assert "secret" not in caplog.text + str(caught.value)
