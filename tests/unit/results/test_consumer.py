from __future__ import annotations

import gc
import logging
import os
import threading
import weakref

import pytest

from celerant.errors import CelerantError, ForkError, ResultTimeout, TaskError
from celerant.results.async_result import AsyncResult
from celerant.results.consuming import consumer, subscriptions, sweeping
from harness.until import until


def encoded(backend, task_id, value):
    return backend.codec.encode(task_id, value, "SUCCESS", None, None)


def test_pushed_records_reach_their_groups(fake, group_of):
    first, second = group_of(3, fake), group_of(2, fake)
    assert not first.ready()
    assert not second.ready()
    for index in range(3):
        fake.push(first.roster.id(index), index)
    fake.push("nobody's", 1)
    fake.push(second.roster.id(1), "b")
    fake.push(second.roster.id(0), "a")
    assert first.get(timeout=5) == [0, 1, 2]
    assert second.get(timeout=5) == ["a", "b"]


def test_a_lost_message_delays_a_result_and_does_not_hang_it(
    fake, group_of, monkeypatch
):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 0.05)
    result = group_of(2, fake)
    assert not result.ready()
    for index in range(2):
        task_id = result.roster.id(index)
        fake.records[task_id] = encoded(fake, task_id, index)
    assert result.get(timeout=5) == [0, 1]


def test_after_a_lost_feed_all_is_subscribed_and_read_again(fake, group_of):
    result = group_of(2, fake)
    assert not result.ready()
    ids = result.roster.ids(0, 2)
    fake.records.update({task_id: encoded(fake, task_id, 7) for task_id in ids})
    fake.feed.lose = 1
    fake.feed.wake()
    assert result.get(timeout=5) == [7, 7]
    assert fake.feed.asked.count(("ids", ids)) == 2


def test_a_feed_lost_twice_is_given_up_for_reading(fake, group_of, monkeypatch, caplog):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL_ALONE", 0.02)
    result = group_of(1, fake)
    with caplog.at_level(logging.WARNING, "celerant"):
        assert not result.ready()
        fake.feed.lose = 2
        fake.feed.wake()
        until(lambda: fake.consumer.service.subscriptions.is_refused)
    assert "closed the subscription twice" in caplog.text
    task_id = result[0].id
    fake.records[task_id] = encoded(fake, task_id, 1)
    assert result.get(timeout=5) == [1]
    # When there is no waiter left, the feed gets its next chance.
    until(lambda: not fake.consumer.service.subscriptions.is_refused)


def test_a_refused_subscription_leaves_reading(fake, group_of, monkeypatch, caplog):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL_ALONE", 0.02)
    fake.feed.refused = {"ids"}
    result = group_of(1, fake)
    with caplog.at_level(logging.WARNING, "celerant"):
        assert not result.ready()
    assert "does not permit SUBSCRIBE" in caplog.text
    assert "secret" not in caplog.text
    task_id = result[0].id
    fake.records[task_id] = encoded(fake, task_id, 1)
    assert result.get(timeout=5) == [1]


def _prefixes(fake):
    return [what for kind, what in fake.feed.asked if kind == "prefix"]


@pytest.fixture
def crowded(fake, group_of, monkeypatch):
    """Three groups too large for channels: one more than there are patterns."""
    monkeypatch.setattr(subscriptions, "_CHANNELS_MOST", 10)
    # Only members without a subscription are read again.
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)
    results = [group_of(2000, fake) for _ in range(3)]
    for result in results:
        assert not result.ready()
    until(lambda: len(_prefixes(fake)) == 2)
    return results


def _store_all(fake, result):
    for task_id in result.roster.ids(0, len(result)):
        fake.records[task_id] = encoded(fake, task_id, 1)


def test_large_group_without_a_pattern_is_read_at_intervals(fake, crowded):
    _store_all(fake, crowded[2])
    assert crowded[2].get(timeout=5) == [1] * 2000
    assert _prefixes(fake) == [result.roster.prefix for result in crowded[:2]]
    assert not any(kind == "ids" for kind, _ in fake.feed.asked)


def test_a_large_group_takes_a_pattern_that_becomes_free(fake, crowded):
    for index in range(2000):
        fake.push(crowded[0].roster.id(index), 1)
    assert crowded[0].get(timeout=5) == [1] * 2000
    until(lambda: _prefixes(fake)[2:] == [crowded[2].roster.prefix])


def test_a_refused_pattern_leaves_a_channel_each(fake, group_of):
    fake.feed.refused = {"prefix"}
    result = group_of(50_001, fake)
    assert not result.ready()
    until(lambda: len(fake.feed.asked) == 2)
    assert [kind for kind, _ in fake.feed.asked] == ["prefix", "ids"]


def test_records_stored_while_a_large_group_subscribes_are_read(
    fake, group_of, monkeypatch
):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)
    result = group_of(1001, fake)
    ids = result.roster.ids(0, 1001)
    subscribe = fake.feed.subscribe

    def store_and_subscribe(asked):
        for task_id in asked:
            fake.records[task_id] = encoded(fake, task_id, 1)
        return subscribe(asked)

    fake.feed.subscribe = store_and_subscribe
    # Begins the sweep; records that come while it subscribes may be read by its end.
    result.ready()
    assert result.get(timeout=5) == [1] * len(ids)


def test_members_with_stored_records_are_not_subscribed_to(fake, group_of):
    result = group_of(5000, fake)
    for task_id in result.roster.ids(0, 5000):
        fake.records[task_id] = encoded(fake, task_id, 0)
    assert len(result.get(timeout=5)) == 5000
    until(lambda: not fake.consumer.service.routes.watches)
    assert all(kind not in {"ids", "prefix"} for kind, _ in fake.feed.asked)


def test_a_bug_of_the_backend_is_told_and_repeated_in_no_busy_loop(
    fake, group_of, caplog
):
    opened = []

    def open_badly():
        opened.append(1)
        msg = "a bug"
        raise AttributeError(msg)

    result = group_of(1, fake)
    fake.feed.open = open_badly
    with pytest.raises(CelerantError, match="a bug"):
        result.get(timeout=5)
    fake.close()
    assert len(opened) <= 2


def test_a_short_outage_is_waited_out(fake, group_of, monkeypatch, caplog):
    monkeypatch.setattr(consumer, "_BACKOFF_MOST", 0.01)
    result = group_of(1, fake)
    task_id = result[0].id
    fake.records[task_id] = encoded(fake, task_id, 1)
    fake.broken = 3
    with caplog.at_level(logging.INFO, "celerant"):
        assert result.get(timeout=5) == [1]
        until(lambda: "is back" in caplog.text)
    assert "is gone" in caplog.text


def test_an_outage_past_the_retry_policy_is_raised(fake, group_of, monkeypatch):
    monkeypatch.setattr(consumer, "_BACKOFF_MOST", 0.01)
    result = group_of(1, fake)
    fake.broken = 4
    with pytest.raises(CelerantError, match=r"fake://:\*\*@host.* failed: gone"):
        result.get(timeout=5)
    task_id = result[0].id
    fake.records[task_id] = encoded(fake, task_id, 1)
    assert result.get(timeout=5) == [1]


def test_a_callback_outlasts_the_retry_policy(fake, group_of, monkeypatch):
    monkeypatch.setattr(consumer, "_BACKOFF_MOST", 0.01)
    result, done = group_of(1, fake), threading.Event()
    fake.broken = 10
    result.then(lambda _: done.set())
    task_id = result[0].id
    fake.records[task_id] = encoded(fake, task_id, 1)
    assert done.wait(5)


def test_a_timeout_is_kept_while_the_backend_is_away(fake, group_of, monkeypatch):
    # Past the first failure there is no other look before this test is timed out.
    monkeypatch.setattr(consumer, "_BACKOFF_FIRST", 3600.0)
    monkeypatch.setattr(consumer, "_BACKOFF_MOST", 3600.0)
    result = group_of(1, fake)
    fake.broken = 10**9
    fake.retry_policy = {"max_retries": None}
    with pytest.raises(ResultTimeout):
        result.get(timeout=0.2)
    assert fake.broken < 10**9


def test_a_record_that_nobody_can_read_is_a_failure(fake, group_of):
    result = group_of(2, fake)
    ids = result.roster.ids(0, 2)
    fake.records[ids[0]] = b"\x80\x04 not json"
    fake.records[ids[1]] = encoded(fake, ids[1], 2**70)
    with pytest.raises(TaskError, match=f"result of {ids[0]} cannot be read"):
        result.get(timeout=5)
    assert result.get(timeout=5, propagate=False)[1] == 2**70


def test_a_dropped_result_is_waited_for_no_more(fake, group_of):
    result = group_of(2, fake)
    assert not result.ready()
    gone = weakref.ref(result.members)
    ids = result.roster.ids(0, 2)
    del result
    fake.feed.wake()

    def is_dropped():
        gc.collect()
        return gone() is None

    until(is_dropped)
    fake.feed.wake()
    until(lambda: ("no ids", ids) in fake.feed.asked)
    assert not fake.consumer.service.routes.watches


def test_single_results_are_swept_together(fake, monkeypatch):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 0.05)
    results = [AsyncResult(f"task-{i}", fake) for i in range(50)]
    for result in results:
        assert not result.ready()
    fake.fetched.clear()
    until(lambda: fake.fetched)
    assert fake.fetched[0] == [result.id for result in results]


def test_several_results_of_one_id_all_get_it(fake):
    results = [AsyncResult("same", fake) for _ in range(3)]
    for result in results:
        assert not result.ready()
    fake.push("same", 5)
    assert [result.get(timeout=5) for result in results] == [5, 5, 5]


def test_close_tells_waiters_and_the_next_look_starts_anew(fake, group_of):
    result = group_of(1, fake)
    assert not result.ready()
    raised = []

    def wait():
        try:
            result.get(timeout=10)
        except CelerantError as exc:
            raised.append(exc)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: result.members.waiters)
    fake.close()
    waiting.join(5)
    assert "closed" in str(raised[0])
    task_id = result[0].id
    fake.records[task_id] = encoded(fake, task_id, 1)
    assert result.get(timeout=5) == [1]


def test_consumer_does_not_start_before_the_first_look(fake, group_of):
    before = set(threading.enumerate())
    result = group_of(10, fake)
    assert repr(result)
    assert list(result)
    assert set(threading.enumerate()) <= before
    assert fake._own.get().consumer is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_starts_a_consumer_of_its_own(fake, group_of):
    result = group_of(1, fake)
    task_id = result[0].id
    assert not result.ready()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            fake.records[task_id] = encoded(fake, task_id, 3)
            code = 0 if result.get(timeout=5) == [3] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    fake.push(task_id, 4)
    assert result.get(timeout=5) == [4]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_memory_results_refuse_a_forked_child(memory, group_of):
    result = group_of(1, memory)
    assert not result.ready()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            result.get(timeout=5)
        except ForkError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
