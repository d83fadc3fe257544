"""Messages out of Redis in volleys: nothing is lost, whatever happens in between.

Each test has a Redis of its own and counts its tasks by their index.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from kombu import Connection, Consumer, Queue
from kombu.transport.redis import QoS

from celerant import Celerant, group
from celerant.worker.message import Reader
from celerant.worker.redis_intake import RedisIntake, open_volleys
from harness.redis_server import free_port
from harness.tcp_proxy import TcpProxy
from harness.until import until
from harness.volleys import SLOTS, Volleys, kill_9

QUEUE = "volleys"
#: What was not settled comes again at once.
SOON = {
    "visibility_timeout": 1,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
TASKS = """
    @app.task(name="volleys.fail_early")
    def fail_early(index):
        store.rpush("runs", index)
        raise ValueError(index)

    @app.task(name="volleys.fail_late", acks_late=True, acks_on_failure=False)
    def fail_late(index):
        fail_early.run(index)
"""


@pytest.fixture
def place(redis_server, tmp_path):
    """A Redis, an app that sends by it, and workers of it."""
    server = redis_server(options={"appendonly": "yes", "appendfsync": "always"})
    # One that stays, for what the tasks themselves tell.
    counts = redis_server()
    store, told = server.client(), counts.client()
    app = Celerant("volleys", broker=server.url(), backend=server.url())
    app.conf.task_default_queue = QUEUE

    volleys = Volleys(app, tmp_path, TASKS, counts.url())

    def worker(concurrency=SLOTS, *, broker=None, options=SOON, pool="threads"):
        url = server.url()
        return volleys.worker(
            concurrency, pool, broker or url, url, json.dumps(options)
        )

    with app:
        yield SimpleNamespace(
            server=server,
            store=store,
            app=app,
            worker=worker,
            send=volleys.send,
            **volleys.told_by(told),
        )
    store.close()
    told.close()


def noted(store):
    return store.hlen("unacked"), store.zcard("unacked_index")


@pytest.mark.parametrize("pool", ["threads", "processes"])
@pytest.mark.parametrize("holder", ["hold", "hold_early"])
def test_messages_of_a_killed_worker_that_had_not_started_run_elsewhere(
    place, holder, pool
):
    with place.worker(concurrency=1, pool=pool) as first:
        held = place.send(holder, 1)
        until(lambda: place.runs() == {0: 1})
        result = place.send("early", 20, start=1)
        # One runs: with late acks it is noted, too.
        is_late = holder == "hold"
        until(lambda: noted(place.store) == (20 + is_late, 20 + is_late))
        assert place.store.llen(QUEUE) == 0
        kill_9(first)
    place.let_go()
    with place.worker():
        assert result.get(timeout=60) == list(range(1, 21))
        if is_late:
            assert held.get(timeout=60) == [0]
        until(lambda: noted(place.store) == (0, 0))
    # A task that had begun and was acknowledged before is lost, as it is in Celery.
    assert place.runs() == {0: 1 + is_late, **dict.fromkeys(range(1, 21), 1)}


@pytest.mark.parametrize("pool", ["threads", "processes"])
@pytest.mark.parametrize("task", ["early", "late"])
def test_a_worker_killed_in_the_middle_loses_none(place, task, pool):
    count = 600
    with place.worker(pool=pool) as first:
        result = place.send(task, count)
        until(lambda: place.begun() > 100)
        kill_9(first)
        ran = place.begun()
    # What ran at that moment was acknowledged before, or its result was about to leave:
    # that is lost, as in Celery.
    lost = 2 * SLOTS if task == "early" else 0
    with place.worker():
        until(lambda: result.completed_count() >= count - lost, 25)
        until(lambda: noted(place.store) == (0, 0))
    if not lost:
        assert result.get(timeout=1) == list(range(count))
    runs = place.runs()
    # An early one may be lost before its first line.
    assert len(runs) >= count - lost
    assert max(runs.values()) <= 2
    # Twice ran no more than those that were not acknowledged yet: what was held.
    twice = [index for index, times in runs.items() if times == 2]
    assert len(twice) <= min(ran, 2 * 32)


@pytest.mark.parametrize("task", ["fail_early", "fail_late"])
def test_each_failure_is_stored_and_settled_once(place, task):
    with place.worker() as worker:
        result = place.send(task, 200)
        errors = result.get(timeout=60, propagate=False)
        assert [str(error) for error in errors] == [str(n) for n in range(200)]
        until(lambda: noted(place.store) == (0, 0))
        until(lambda: sum("raised unexpected" in line for line in worker.log) == 200)
    assert place.runs() == dict.fromkeys(range(200), 1)


def test_rejected_messages_pass_kombus_reject_where_dead_letters_are_kept(
    redis_server, monkeypatch
):
    dead, reject = [], QoS.reject

    def keep(self, delivery_tag, **how):
        dead.append(self.get(delivery_tag).headers["id"])
        return reject(self, delivery_tag, **how)

    monkeypatch.setattr(QoS, "reject", keep)
    server = redis_server()
    with Celerant("dead", broker=server.url(), backend=server.url()) as app:

        @app.task(acks_late=True, acks_on_failure=False)
        def fail():
            raise ValueError

        with app.worker(concurrency=2):
            result = group([fail.s() for _ in range(50)]).apply_async()
            result.get(timeout=10, propagate=False)
        assert Counter(dead) == Counter(result.task_ids())
        assert not server.client().hlen("unacked")


def test_a_result_that_is_stored_and_not_acknowledged_may_run_twice_and_is_there(place):
    with TcpProxy(place.server.port) as proxy:
        url = place.server.url(port=proxy.port)
        with place.worker(concurrency=1, broker=url) as first:
            result = place.send("hold", 1)
            until(lambda: place.runs() == {0: 1})
            # Nothing that it says to the broker arrives from here on.
            proxy.mute(new=True)
            place.server.client().client_kill_filter(_type="normal", skipme=True)
            place.let_go()
            assert result.get(timeout=60) == [0]
            kill_9(first)
    place.let_go()
    with place.worker():
        until(lambda: place.runs() == {0: 2}, 30)
        until(lambda: noted(place.store) == (0, 0))
    assert result.get(timeout=10) == [0]


def test_a_broker_that_restarts_in_the_middle_costs_nothing(place):
    count = 2_000
    with place.worker() as worker:
        result = place.send("late", count)
        until(lambda: place.begun() > 200)
        place.server.kill()
        place.server.__enter__()
        assert result.get(timeout=60) == list(range(count))
        until(lambda: noted(place.store) == (0, 0))
        assert any("connected again" in line for line in worker.log)
    assert set(place.runs()) == set(range(count))


def test_messages_of_a_lost_reply_are_found_again(place):
    # Longer than the test: nobody restores it.
    options = {"visibility_timeout": 3600}

    def takes(stream):
        # What ends the note of a message is said with each take.
        return b',"","volleys"]' in stream

    with TcpProxy(place.server.port, lose_reply=takes) as proxy:
        result = place.send("early", 30)
        url = place.server.url(port=proxy.port)
        with place.worker(broker=url, options=options):
            assert result.get(timeout=60) == list(range(30))
        assert proxy.cuts == 1
    assert place.runs() == dict.fromkeys(range(30), 1)


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_stop_gives_back_unstarted_messages_at_once_in_their_order(place, pool):
    with place.worker(concurrency=1, pool=pool) as worker:
        running = place.send("hold", 1)
        until(lambda: place.runs() == {0: 1})
        place.send("late", 40, start=1)
        until(lambda: place.store.hlen("unacked") == 32)
        worker.process.send_signal(signal.SIGTERM)
        # While its task goes on.
        until(lambda: place.store.llen(QUEUE) == 40)
        assert noted(place.store) == (1, 1)
        place.let_go()
        assert running.get(timeout=30) == [0]
        assert worker.process.wait(30) == 0
    assert noted(place.store) == (0, 0)
    bodies = [json.loads(raw) for raw in place.store.lrange(QUEUE, 0, -1)]
    order = [
        json.loads(base64.b64decode(body["body"]))[0][0] for body in reversed(bodies)
    ]
    assert order == list(range(1, 41))


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"nonsense",
        b"{",
        b"{}",
        b"[1, 2]",
        b'{"body": "e30=", "headers": {}, "properties": {}}',
        b'{"a": 1}, {"b": 2}',
        b"\xff\xfe",
    ],
)
def test_a_broken_message_among_many_good_ones_is_refused_alone(place, poison):
    place.send("early", 50)
    place.store.lpush(QUEUE, poison)
    result = place.send("early", 50, start=50)
    with place.worker() as worker:
        assert result.get(timeout=60) == list(range(50, 100))
        until(lambda: noted(place.store) == (0, 0))
        until(lambda: len(place.runs()) == 100)
        until(lambda: any("refused" in line for line in worker.log))
        assert sum("refused" in line for line in worker.log) == 1
    assert set(place.runs().values()) == {1}


# Without scripts kombu cannot consume either: its lock is one.
@pytest.mark.parametrize("denied", ["-client|tracking", "-rpop"])
def test_messages_come_one_at_a_time_if_volleys_are_not_permitted(
    redis_server, caplog, denied
):
    server = redis_server(acl=[f"user plain on >secret ~* &* +@all -@admin {denied}"])
    url = server.url("plain", "secret")
    with Celerant("volleys-plain", broker=url, backend=url) as app:
        app.conf.task_default_queue = QUEUE

        @app.task
        def same(x):
            return x

        with app.worker(concurrency=2):
            result = group(same.s(i) for i in range(50)).apply_async()
            assert result.get(timeout=60) == list(range(50))
    said = [r for r in caplog.records if "one at a time" in r.getMessage()]
    assert len(said) == 1


def test_a_server_that_refuses_keys_of_several_slots_is_left_to_kombu(
    redis_server, caplog
):
    options = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    server = redis_server(options=options)
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
    with Connection(server.url()) as connection:
        found = open_volleys(
            connection.channel(),
            [Queue(QUEUE)],
            receive=pytest.fail,
            refuse=pytest.fail,
            waiting=lambda: 0,
            reader=Reader({}, {"application/json"}),
        )
    assert found is None
    (said,) = (r for r in caplog.records if "one at a time" in r.getMessage())
    assert "hash to the same slot" in said.getMessage()


def test_an_idle_worker_asks_once_a_second(place):
    def calls():
        return place.store.info("commandstats")["cmdstat_evalsha"]["calls"]

    # As it is without settings: restoring each second asks, too.
    with place.worker(options={}):
        place.send("early", 1).get(timeout=60)
        began, before = time.monotonic(), calls()
        threading.Event().wait(3)
        asked = calls() - before
        assert 1 <= asked <= time.monotonic() - began + 2


def test_an_idle_worker_is_told_of_the_next_message(place, monkeypatch):
    # It does not ask again by itself.
    monkeypatch.setattr("celerant.worker.redis_intake._INTERVAL", 3600)

    @place.app.task(name="volleys.here")
    def here(x):
        return x

    with place.app.worker(concurrency=1) as worker:
        for n in range(3):
            until(lambda: worker._source._volleys._is_watching)
            assert here.delay(n).get(timeout=20) == n


def _order_by_kombu(connection, queues, count):
    got = []
    consumer = Consumer(
        connection.channel(),
        queues,
        on_message=lambda message: (got.append(message.headers["n"]), message.ack()),
    )
    consumer.consume()
    first = list(consumer.channel._queue_cycle.items)
    while len(got) < count:
        connection.drain_events(timeout=5)
    return got, first


def _order_by_volleys(connection, queues, count):
    got = []
    intake = RedisIntake(
        lambda message, _: got.append(message.headers["n"]),
        pytest.fail,
        lambda: 0,
        Reader({}, {"application/json"}),
    )
    intake.open(connection.channel(), queues)
    intake.hold(7)
    while len(got) < count:
        seen = len(got)
        intake.turn()
        assert 0 < len(got) - seen <= 7
        for tag in list(intake._open):
            intake._forget(tag)
    intake.turn()
    intake.close()
    return got


@pytest.mark.parametrize("strategy", ["round_robin", "priority", "sorted"])
@pytest.mark.parametrize("prefix", ["", "shop:"])
def test_messages_come_in_the_order_in_which_kombu_takes_them(
    redis_server, strategy, prefix
):
    server = redis_server()
    options = {"queue_order_strategy": strategy, "global_keyprefix": prefix}
    rng = random.Random(strategy)
    sent = [(rng.choice("bac"), rng.randrange(10)) for _ in range(60)]
    queues = {name: Queue(name) for name in "bac"}

    def fill(connection):
        producer = connection.Producer()
        for n, (name, priority) in enumerate(sent):
            producer.publish("x", routing_key=name, headers={"n": n}, priority=priority)

    with Connection(server.url(), transport_options=options) as connection:
        fill(connection)
        wanted, first = _order_by_kombu(connection, list(queues.values()), len(sent))
    with Connection(server.url(), transport_options=options) as connection:
        fill(connection)
        # kombu begins in the order of a set.
        order = [queues[name] for name in first]
        assert _order_by_volleys(connection, order, len(sent)) == wanted
    with server.client() as client:
        assert client.keys("*unacked*") in ([], [prefix.encode() + b"unacked_mutex"])


SCRIPT = """
import os
from celerant import Celerant, group

app = Celerant("volleys", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.task_default_queue = "volleys"


@app.task(acks_late={late})
def same(x):
    return x


if __name__ == "__main__":
    app.worker(concurrency=2).start()
    assert group(same.s(i) for i in range(100)).apply_async().get(timeout=60)
"""


@pytest.mark.parametrize("late", [False, True])
def test_a_program_that_ends_without_a_stop_leaves_nothing_of_run_tasks(
    place, tmp_path, late
):
    script = tmp_path / "ends.py"
    script.write_text(SCRIPT.format(late=late))
    for _ in range(3):
        subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "BROKER": place.server.url()},
            timeout=60,
            check=True,
        )
        assert noted(place.store) == (0, 0)
