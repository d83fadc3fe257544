"""The index of groups in Redis: one write a dispatch, bounded, read by other apps."""

from __future__ import annotations

import uuid

import pytest

from celerant import Celerant, HandleError, group
from celerant.results import indexed
from celerant.results.backends import redis as redis_backend
from harness.until import until


@pytest.fixture
def apps(server):
    """Return a sender, and the same app as another process has it."""
    name = f"h3index{uuid.uuid4().hex[:6]}"
    url = f"redis://127.0.0.1:{server.port}/0"
    options = {"broker": url, "celerant_index_groups": True, "task_default_queue": name}
    with Celerant(name, **options) as sender, Celerant(name, **options) as reader:
        sender.task(name="double")(lambda x: 2 * x)
        yield sender, reader


def members(app, n):
    return [app.tasks["double"].s(i) for i in range(n)]


def elsewhere(app, entry, monkeypatch):
    """Return the result as a process finds it that did not send it."""
    monkeypatch.setattr(indexed, "live", lambda _: None)
    return indexed.result_of(entry, app.backend)


def commands(app):
    """Return how often each command was called."""
    stats = app.backend.client.info("commandstats")
    return {key.removeprefix("cmdstat_"): told["calls"] for key, told in stats.items()}


def test_another_process_finds_a_group_with_its_handle(apps, monkeypatch):
    sender, reader = apps
    with sender.worker(concurrency=1):
        result = group(members(sender, 3)).apply_async()
        result.get(timeout=20)
    (entry,) = indexed.entries(reader.backend)
    assert entry.handle == result.handle
    found = elsewhere(reader, entry, monkeypatch)
    assert found.get(timeout=20) == [0, 2, 4]


def test_a_dispatch_is_one_write_however_many_members(apps):
    sender, _ = apps
    group(members(sender, 2)).apply_async()
    before = commands(sender)
    group(members(sender, 2_000)).apply_async()
    after = commands(sender)
    assert after["zadd"] - before["zadd"] == 1
    # The key of the proofs. Workers of earlier tests may restore messages meanwhile.
    assert after["get"] - before["get"] < 10


def test_a_group_that_is_being_sent_elsewhere_is_followed(apps, monkeypatch):
    sender, reader = apps
    result = group(members(sender, 4)).apply_async(window=2)
    (entry,) = indexed.entries(reader.backend)
    assert (entry.size, entry.handle) == (None, result.handle)
    found = elsewhere(reader, entry, monkeypatch)
    assert (found.size, found.progress().done) == (None, 0)
    with sender.worker(concurrency=1):
        result.get(timeout=20)
    until(lambda: indexed.entries(reader.backend)[0].size == 4)
    (entry,) = indexed.entries(reader.backend)
    assert elsewhere(reader, entry, monkeypatch).get(timeout=20) == [0, 2, 4, 6]


def test_each_app_has_an_index_of_its_own(apps, server):
    sender, _ = apps
    group(members(sender, 2)).apply_async()
    url = f"redis://127.0.0.1:{server.port}/0"
    with Celerant("h3another", broker=url) as another:
        assert indexed.entries(another.backend) == []


def test_the_index_in_redis_is_bounded_and_ends_with_the_results(apps, monkeypatch):
    sender, _ = apps
    monkeypatch.setattr(redis_backend, "INDEX_MOST", 3)
    results = [group(members(sender, 2)).apply_async() for _ in range(5)]
    kept = [entry.id for entry in indexed.entries(sender.backend)]
    assert kept == [result.id for result in reversed(results[-3:])]
    client, key = sender.backend.client, sender.backend._index_key
    assert 0 < client.ttl(key) <= sender.backend.expires
    monkeypatch.setattr(sender.backend, "expires", 1e-6)
    assert indexed.entries(sender.backend) == []


def test_a_retry_is_noted_anew(apps):
    sender, reader = apps

    @sender.task(name="halve")
    def halve(x):
        return 1 / x

    with sender.worker(concurrency=1):
        result = group(halve.s(i) for i in range(2)).apply_async(cancellable=True)
        result.get(timeout=20, propagate=False)
        (before,) = indexed.entries(reader.backend)
        result.retry("failed", source=[halve.s(i) for i in range(2)])
        (after,) = indexed.entries(reader.backend)
    assert after.noted_at > before.noted_at
    assert (after.id, after.tasks) == (before.id, ("halve",))


def test_a_changed_handle_is_refused(apps, monkeypatch):
    sender, reader = apps
    group(members(sender, 2)).apply_async()
    key = sender.backend._index_key
    (payload,) = sender.backend.client.zrange(key, 0, -1)
    (entry,) = indexed.entries(reader.backend)
    changed = entry.handle[:-3] + "AAA"
    sender.backend.client.delete(key)
    sender.backend.add_to_index(
        payload.replace(entry.handle.encode(), changed.encode()), None
    )
    (entry,) = indexed.entries(reader.backend)
    with pytest.raises(HandleError):
        elsewhere(reader, entry, monkeypatch)


def test_a_group_that_ends_in_another_is_found_by_that_ones_handle(apps, monkeypatch):
    sender, reader = apps
    double = sender.tasks["double"]
    with sender.worker(concurrency=1):
        result = group([double.s(1) | group([double.s(), double.s()])]).apply_async()
        assert result.get(timeout=20) == [4, 4]
    (entry,) = indexed.entries(reader.backend)
    assert entry.id == result.id
    assert elsewhere(reader, entry, monkeypatch).get(timeout=20) == [4, 4]
