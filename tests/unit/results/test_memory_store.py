"""The store of memory:// keeps to its limit, and nothing after its users."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from celerant import Celerant
from celerant.errors import CelerantError, ResultExpired
from celerant.results.async_result import AsyncResult
from celerant.results.backends import open_backend
from harness.inside import memory_bytes, memory_records


def opened(name="bounded", **settings):
    return open_backend("memory://", name=name, **settings)


@pytest.mark.parametrize("size", [10, 10_000])
def test_the_store_keeps_no_more_bytes_than_its_limit(size, caplog):
    backend = opened(memory_limit=200_000)
    for number in range(2000):
        backend.store_result(f"id-{number}", "x" * size, "SUCCESS")
        assert memory_bytes(backend) <= 200_000
    kept = memory_records(backend)
    assert sum(len(payload) + 300 for payload, _ in kept.values()) <= 200_000
    assert AsyncResult("id-1999", backend).get(timeout=5) == "x" * size
    assert caplog.text.count("celerant_result_memory_limit") == 1
    backend.close()


def test_a_result_that_had_to_go_is_told_and_does_not_hang():
    backend = opened(memory_limit=50_000, serializer="json")
    for number in range(1000):
        backend.store_result(f"id-{number}", number, "SUCCESS")
    with pytest.raises(ResultExpired, match="celerant_result_memory_limit"):
        AsyncResult("id-0", backend).get(timeout=5)
    # Stored anew it is there again.
    backend.store_result("id-0", 7, "SUCCESS")
    assert AsyncResult("id-0", backend).get(timeout=5) == 7
    backend.close()


def test_a_waiting_group_gets_results_that_are_dropped_at_once(group_of):
    backend = opened(memory_limit=30_000)
    result = group_of(2000, backend)
    assert not result.ready()
    for index, task_id in enumerate(result.roster.ids(0, 2000)):
        backend.store_result(task_id, index, "SUCCESS")
    assert result.get(timeout=10) == list(range(2000))
    backend.close()


def test_bytes_are_counted_through_all_that_happens(short_switches):
    backend = opened()
    store = backend._shared

    def work(part):
        for number in range(500):
            backend.store_result(f"{part}-{number % 50}", "x" * number, "SUCCESS")
            if number % 7 == 0:
                backend.forget([f"{part}-{number % 50}"])

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.limit = 1  # counts anew
    store._let_go()
    assert store._bytes == 0
    assert not store._records
    backend.close()


def test_results_are_gone_when_all_their_users_have_closed():
    first, second = opened(), opened()
    first.store_result("id", 1, "SUCCESS")
    assert second.read("id") is not None
    first.close()
    assert second.read("id") is not None
    second.close()
    assert not memory_records(second)
    third = opened()
    assert third.read("id") is None
    third.close()


def test_results_are_gone_with_their_dropped_backend():
    backend = opened(name="dropped")
    backend.store_result("id", 1, "SUCCESS")
    store = weakref.ref(backend._shared)
    del backend
    gc.collect()
    assert store() is None


def test_a_wait_for_a_dropped_result_ends():
    backend = opened(name="ended")
    result = AsyncResult("id", backend)
    known = AsyncResult("known", backend)
    backend.store_result("known", 1, "SUCCESS")
    assert known.get(timeout=5) == 1
    backend.store_result("id", 1, "SUCCESS")
    backend.close()
    for look in (lambda: result.get(timeout=20),):
        with pytest.raises(CelerantError, match="the app was closed"):
            look()
    assert known.get(timeout=5) == 1


def test_a_task_that_ends_after_the_close_is_still_heard_of():
    backend = opened(name="late")
    result = AsyncResult("id", backend)
    backend.close()
    backend.store_result("id", 1, "SUCCESS")
    assert result.get(timeout=5) == 1
    backend.close()


def test_an_app_s_results_go_when_it_is_closed():
    with Celerant("closing", celerant_result_memory_limit=100_000) as app:
        store = app.backend._shared
        assert store.limit == 100_000
        app.backend.store_result("id", 1, "SUCCESS")
        assert store._records
    assert not store._records
