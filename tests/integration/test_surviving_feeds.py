"""Fed groups that go on by their journals: nothing lost, and no more than may leave."""

from __future__ import annotations

import json
import math
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from celerant.dispatch.wires import chunk_limits
from celerant.errors import CanvasError
from celerant.sending import journal_file
from harness import services
from harness.journal_sender import Plan, app_of, counted, forget, members_of, run_killed
from harness.tcp_proxy import TcpProxy
from harness.until import until

WAIT = 60
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def nothing_left(own_urls, tmp_path):
    yield
    forget(own_urls["redis"], tmp_path)


@pytest.fixture
def plan(own_urls, new_queue, tmp_path):
    """Return plans of senders of fed groups."""

    def make(broker, **settings):
        name = new_queue()
        return Plan(
            broker=own_urls[broker],
            backend=own_urls["results"],
            name=name,
            journal=str(tmp_path / f"{name}.journal"),
            **settings,
        )

    return make


def by(proxy, made):
    """Return a plan whose sender reaches its broker by a proxy."""
    ports = {"redis": services.REDIS_PORT, "amqp": services.RABBITMQ_PORT}
    port = ports[made.broker.partition(":")[0]]
    return replace(made, broker=made.broker.replace(f":{port}", f":{proxy.port}"))


def indices_in(made, own_urls):
    """Return the indices of the members in a queue of Redis."""
    with redis.Redis.from_url(own_urls["redis"]) as client:
        raw = client.lrange(made.name, 0, -1)
    return [json.loads(one)["headers"]["group_index"] for one in reversed(raw)]


# -- the last chunk --------------------------------------------------------------------


@pytest.fixture
def torn(plan, own_urls, monkeypatch):
    """A group of 700 that was closed while Redis was away; it has the first 500."""
    monkeypatch.setattr(chunk_limits, "FAR", math.inf)
    made = plan("redis", size=700)
    with TcpProxy(services.REDIS_PORT) as proxy:
        # Its journal is of an app on this very address.
        made = by(proxy, made)
        is_away = threading.Event()

        def watch(request, _):
            if b'"group_index": 699' in request or b'"group_index":699' in request:
                is_away.set()
            return is_away.is_set()

        proxy.watch(watch)
        with app_of(made) as app:
            result = members_of(app, made).apply_async(
                journal=made.journal, window=1000
            )
            assert is_away.wait(WAIT)
            app.close()
            until(lambda: not result.feeding.is_running)
        proxy.watch(None)
        assert sorted(indices_in(made, own_urls)) == list(range(500))
        yield made, result


@pytest.mark.parametrize("streams", [False, True])
def test_the_last_chunk_leaves_that_redis_did_not_get(torn, streams):
    made, _ = torn
    with app_of(made) as app:
        result = members_of(app, replace(made, streams=streams)).resume(made.journal)
        until(lambda: result.sealed)
        assert len(result) == 700
        assert result.report.complete
        assert counted(made.broker, made.name) == Counter(range(700))


def test_whoever_waits_hears_that_the_last_chunk_may_not_have_left(torn):
    made, result = torn
    assert result.stopped_by == "close"
    assert "was stopped" in str(result.members.cut_short)
    end = records_of(made.journal)[-1]
    assert end["whole"] is False


def test_a_journal_that_calls_a_torn_group_whole_loses_nothing(torn):
    made, _ = torn
    rewrite(made.journal, lambda record: record | {"whole": True}, of="end")
    with app_of(made) as app:
        result = members_of(app, made).resume(made.journal)
        until(lambda: result.sealed)
        assert counted(made.broker, made.name) == Counter(range(700))


@pytest.mark.parametrize("size", [650, 701])
def test_a_source_of_another_length_than_a_whole_one_is_refused(torn, size):
    made, _ = torn
    rewrite(made.journal, lambda record: record | {"whole": True}, of="end")
    rewrite(made.journal, lambda record: record | {"size": None}, of="celerant")
    with app_of(made) as app:
        source = members_of(app, replace(made, size=size, streams=True))
        result = source.resume(made.journal)
        until(lambda: result.sealed)
        assert isinstance(result.source_error, CanvasError)
        assert f"group[{min(size, 700)}]" in str(result.source_error)


def records_of(path):
    return [json.loads(line[9:]) for line in Path(path).read_bytes().splitlines()]


def rewrite(path, change, *, of):
    """Change the records of a journal that have a key."""
    records = records_of(path)
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    for record in records:
        is_meant = isinstance(record, dict) and of in record
        journal_file._write(fd, change(record) if is_meant else record)
    os.close(fd)


# -- members in doubt ------------------------------------------------------------------


@pytest.fixture
def doubted(plan, rabbitmq_url):
    """A group of which a window of members was named and did not leave."""
    made = plan("rabbitmq", size=100, options={"window": 20})
    with TcpProxy(services.RABBITMQ_PORT) as proxy:
        made = by(proxy, made)
        assert run_killed(made, proxy, 6_000, loses_reply=False)
        yield made


def test_members_in_doubt_leave_though_they_fill_the_window(doubted, runs):
    made = doubted
    with app_of(made) as app:

        @app.task(name="fed.note")
        def note(index):
            runs.note(index)
            return index

        with app.worker(concurrency=2):
            result = members_of(app, made).resume(made.journal)
            assert result.get(timeout=WAIT) == list(range(100))
    counts = runs.counts()
    assert sorted(counts) == list(range(100))
    named = {i for one in result.report.maybe_double for i in range(*one)}
    assert named == set(range(20))
    assert {index for index, count in counts.items() if count > 1} <= named


def test_members_in_doubt_leave_only_as_there_is_room(doubted):
    made = doubted
    set_window(made, 4)
    left: Counter[int] = Counter()
    with app_of(made) as app:
        app.backend.obstacle = lambda: None
        result = members_of(app, made).resume(made.journal)
        for done in range(0, 100, 4):
            until(lambda done=done: left.total() == done + 4 or take(made, left))
            assert sorted(left) == list(range(done + 4))
            for index in range(done, done + 4):
                app.backend.store_result(result.roster.id(index), index, "SUCCESS")
        assert result.get(timeout=WAIT) == list(range(100))
    assert set(left.values()) == {1}


def test_members_in_doubt_are_so_still_if_it_is_closed_before_they_leave(doubted):
    made = doubted
    set_window(made, 4)
    left: Counter[int] = Counter()
    with app_of(made) as app:
        app.backend.obstacle = lambda: None
        result = members_of(app, made).resume(made.journal)
        until(lambda: sorted(left) == [0, 1, 2, 3] or take(made, left))
        app.close()
        until(lambda: not result.feeding.is_running)
        assert result.report.unknown == [(4, 20)]
        assert result.report.unsent == [(20, 100)]
    set_window(made, 400)
    with app_of(made) as app:
        app.backend.obstacle = lambda: None
        result = members_of(app, made).resume(made.journal)
        until(lambda: result.sealed)
        assert result.report.maybe_double == [(0, 20)]
        left += counted(made.broker, made.name, 96)
    assert left == Counter(range(100))


def set_window(made, window):
    """Have the journal say another window."""
    rewrite(
        made.journal,
        lambda head: head | {"feed": head["feed"] | {"window": window}},
        of="celerant",
    )


def take(made, left):
    left.update(counted(made.broker, made.name))


def test_members_in_doubt_that_did_not_leave_count_as_not_sent_at_a_close(doubted):
    made = doubted
    with app_of(made) as app:
        app.backend.obstacle = lambda: None
        result = members_of(app, made).resume(made.journal)
        until(lambda: counted(made.broker, made.name))
        app.close()
        until(lambda: not result.feeding.is_running)
        assert result.report.unsent == [(20, 100)]


# -- a canary --------------------------------------------------------------------------


@pytest.fixture
def proved(plan):
    """A group whose sender was killed while its canary was under way."""
    made = plan("redis", size=1000, options={"canary": 5, "window": 5000})
    with TcpProxy(services.REDIS_PORT) as proxy:
        made = by(proxy, made)
        assert run_killed(made, proxy, 3_000, loses_reply=True)
        yield made


def finish(app, result, state, indices=range(5)):
    for index in indices:
        value = index if state == "SUCCESS" else ValueError("no")
        app.backend.store_result(result.roster.id(index), value, state)


@pytest.mark.parametrize("streams", [False, True])
def test_a_canary_is_proved_by_whoever_goes_on(proved, own_urls, streams):
    made = replace(proved, streams=streams)
    with app_of(made) as app:
        app.backend.obstacle = lambda: None
        result = members_of(app, made).resume(made.journal)
        until(lambda: len(indices_in(made, own_urls)) >= 5)
        finish(app, result, "FAILURE")
        until(lambda: result.sealed)
        assert result.stopped_by == "canary"
        assert indices_in(made, own_urls) == list(range(5))
    # Whoever goes on after that knows of the failures.
    with app_of(made) as app:
        app.backend.obstacle = lambda: None
        result = members_of(app, made).resume(made.journal)
        until(lambda: result.sealed)
        assert counted(made.broker, made.name) == Counter(range(1000))


def test_the_rest_leaves_once_the_canary_is_done(proved, own_urls):
    made = proved
    with app_of(made) as app:
        app.backend.obstacle = lambda: None
        result = members_of(app, made).resume(made.journal)
        finish(app, result, "SUCCESS", range(4))
        until(lambda: result.members.barrier.remaining == 1)
        assert indices_in(made, own_urls) == list(range(5))
        finish(app, result, "SUCCESS", [4])
        until(lambda: result.sealed)
        assert result.stopped_by is None
        assert counted(made.broker, made.name) == Counter(range(1000))


@pytest.mark.parametrize("streams", [False, True])
def test_a_canary_that_is_a_share_is_proved_too(plan, own_urls, streams):
    made = plan("redis", size=1000, options={"canary": 0.005, "window": 5000})
    with TcpProxy(services.REDIS_PORT) as proxy:
        made = by(proxy, made)
        assert run_killed(made, proxy, 3_000, loses_reply=True)
        with app_of(made) as app:
            app.backend.obstacle = lambda: None
            members = members_of(app, replace(made, streams=streams))
            result = members.resume(made.journal)
            finish(app, result, "FAILURE")
            until(lambda: result.sealed)
            assert result.stopped_by == "canary"
            assert indices_in(made, own_urls) == list(range(5))


def test_a_canary_in_doubt_leaves_and_is_proved(plan, rabbitmq_url):
    made = plan("rabbitmq", size=100, options={"canary": 20, "window": 100})
    with TcpProxy(services.RABBITMQ_PORT) as proxy:
        made = by(proxy, made)
        assert run_killed(made, proxy, 6_000, loses_reply=False)
        with app_of(made) as app:
            app.backend.obstacle = lambda: None
            result = members_of(app, made).resume(made.journal)
            assert counted(made.broker, made.name, 20) == Counter(range(20))
            finish(app, result, "FAILURE", range(20))
            until(lambda: result.sealed)
            assert result.stopped_by == "canary"
            assert not counted(made.broker, made.name)
