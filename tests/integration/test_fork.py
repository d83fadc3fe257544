from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from celerant import Celerant, group
from celerant.errors import ForkError
from celerant.results.tracking import member_values, members
from harness.capture import drain
from harness.forking import FORKS, in_child
from harness.inside import locks
from harness.services import RABBITMQ_PORT
from harness.tasks import define_tasks


@pytest.fixture(params=FORKS)
def fork(request):
    return FORKS[request.param]


# redis-py notices a fork by itself, py-amqp does not.
@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_parent_and_forked_child_both_send_and_get(
    request, kind, redis_url, queue, celery_worker, fork
):
    broker, backend = redis_url["broker"], redis_url["backend"]
    if kind == "rabbitmq":
        broker = request.getfixturevalue("rabbitmq_url")
    with Celerant("celerant-test-fork", broker=broker, backend=backend) as app:
        app.conf.task_default_queue = queue
        celery_worker(broker=broker, backend=backend, queue=queue)
        tasks = define_tasks(app)

        def volley(offset):
            members = [tasks.add.s(i, offset) for i in range(50)]
            return group(members).apply_async().get(timeout=60)

        # Connections, consumer and locks are in use before the fork.
        assert volley(0) == list(range(50))

        assert in_child(lambda: volley(100), fork) == list(range(100, 150))

        # The child took nothing from its parent.
        assert volley(200) == list(range(200, 250))


@pytest.mark.timeout(90)
def test_a_child_may_look_at_its_parents_group(redis_url, queue, celery_worker):
    with Celerant("celerant-test-fork", **redis_url) as app:
        app.conf.task_default_queue = queue
        celery_worker(**redis_url, queue=queue)
        tasks = define_tasks(app)
        pending = group([tasks.add.s(i, 7) for i in range(50)]).apply_async()
        assert pending.completed_count() <= 50

        # Its consumer takes in results at the same time.
        assert in_child(lambda: pending.get(timeout=60)) == list(range(7, 57))

        assert pending.get(timeout=60) == list(range(7, 57))
        assert in_child(lambda: pending.get(timeout=60)) == list(range(7, 57))


@pytest.mark.parametrize(
    "wait",
    [
        lambda result: result.get(timeout=5),
        lambda result: next(result.as_completed(timeout=5)),
        lambda result: result.on("complete", print),
    ],
    ids=["get", "as_completed", "on"],
)
def test_a_child_does_not_wait_for_a_group_that_its_parent_feeds(
    redis_url, queue, fork, wait
):
    with Celerant("celerant-test-fork", **redis_url) as app:
        app.conf.task_default_queue = queue
        tasks = define_tasks(app)
        members = group([tasks.add.s(i, 7) for i in range(5)])
        result = members.apply_async(window=2)
        assert in_child(lambda: wait(result), fork).startswith("ForkError")
        result.cancel()


def test_memory_refuses_in_a_forked_child(app, fork):
    tasks = define_tasks(app)
    with app.worker(concurrency=1):
        assert tasks.add.delay(1, 2).get(timeout=20) == 3

        answer = in_child(lambda: tasks.add.delay(1, 2).id, fork)

    assert answer.startswith("ForkError")


def _sockets_to(port):
    """Return the inodes of this process's connected sockets to a local port."""
    mine = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            mine.add(str(descriptor.readlink()).removeprefix("socket:[").rstrip("]"))
        except FileNotFoundError:
            # The one that lists the directory.
            continue
    rows = [
        line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()
    ]
    return {row[9] for row in rows[1:] if row[2].endswith(f":{port:04X}")} & mine


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs /proc")
def test_a_forked_child_sends_over_a_connection_of_its_own(rabbitmq_url, queue, fork):
    with Celerant("celerant-test-fork", broker=rabbitmq_url) as app:
        app.conf.task_default_queue = queue
        app.conf.task_ignore_result = True
        tasks = define_tasks(app)
        # Connections of earlier tests may not be collected yet.
        before = _sockets_to(RABBITMQ_PORT)
        tasks.add.delay(1, 2)
        inherited = _sockets_to(RABBITMQ_PORT)
        assert len(inherited - before) == 1

        def sockets_used():
            tasks.add.delay(1, 2)
            return _sockets_to(RABBITMQ_PORT)

        assert len(in_child(sockets_used, fork) - inherited) == 1


@pytest.mark.parametrize("many", [False, True])
def test_a_child_that_a_route_forks_does_not_go_on_sending(
    redis_url, queue, many, fork
):
    parent, endings = os.getpid(), []

    def route(*_args, **_kwargs):
        # Users' code, in the middle of a dispatch.
        child = fork()
        if child:
            endings.append(os.waitpid(child, 0)[1])
        return {}

    with Celerant("celerant-test-fork", broker=redis_url["broker"]) as app:
        app.conf.update(task_default_queue=queue, task_ignore_result=True)
        app.conf.task_routes = (route,)
        task = define_tasks(app).add.s(1, 2)
        try:
            (group([task]) if many else task).apply_async()
        except ForkError:
            os._exit(0)
        finally:
            if os.getpid() != parent:
                os._exit(1)
    assert endings == [0]
    assert len(drain(redis_url["broker"], queue)) == 1


_ROUNDS, _MANY = 20, 20


def _sends(tasks, first):
    """Send numbers from `first` on, by one and in groups; return the next one."""
    at = first
    for _ in range(_ROUNDS):
        tasks.add.delay(at, 0)
        group([tasks.add.s(at + 1 + i, 0) for i in range(_MANY)]).apply_async()
        at += 1 + _MANY
    return at


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_each_message_of_a_parent_and_its_children_arrives_once(
    request, kind, redis_url, queue, fork
):
    url = redis_url["broker"]
    if kind == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_url")
    with Celerant("celerant-test-fork", broker=url) as app:
        app.conf.update(task_default_queue=queue, task_ignore_result=True)
        tasks = define_tasks(app)
        at = _sends(tasks, 0)
        children, pids = 3, []
        share = at
        for child in range(1, children + 1):
            pid = fork()
            if pid == 0:
                try:
                    is_whole = _sends(tasks, child * share) == (child + 1) * share
                    os._exit(0 if is_whole else 1)
                finally:
                    os._exit(2)
            pids.append(pid)
        # At the same time as they do.
        _sends(tasks, (children + 1) * share)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * children
    arrived = Counter(json.loads(m.body)[0][0] for m in drain(url, queue))
    assert arrived == Counter(range((children + 2) * share))


def _hold(lock, held, done):
    with lock:
        held.set()
        done.wait(20)


def test_locks_that_a_thread_of_the_parent_holds_do_not_stop_a_child(
    redis_url, queue, fork
):
    with Celerant("celerant-test-fork", **redis_url) as app:
        app.conf.task_default_queue = queue
        tasks = define_tasks(app)
        assert not tasks.add.delay(1, 2).ready()
        done, threads = threading.Event(), []
        for lock in (*locks(app), members._making.get(), member_values._keeping.get()):
            held = threading.Event()
            threads.append(threading.Thread(target=_hold, args=(lock, held, done)))
            threads[-1].start()
            assert held.wait(5)

        def use():
            app.conf.task_default_priority = 3  # routes and links are made anew
            app.import_tasks()
            looked = group([tasks.add.s(1, 1), tasks.add.s(2, 2)]).apply_async()
            awaited = asyncio.run(app.asend(tasks.add.s(3, 3)))
            return looked.ready(), awaited.ready(), looked[0].ready()

        try:
            assert in_child(use, fork) == (False, False, False)
        finally:
            done.set()
            for thread in threads:
                thread.join()


def test_an_event_loop_of_a_child_sends_by_a_thread_of_its_own(redis_url, queue, fork):
    with Celerant("celerant-test-fork", broker=redis_url["broker"]) as app:
        app.conf.update(task_default_queue=queue, task_ignore_result=True)
        tasks = define_tasks(app)

        def send():
            return bool(asyncio.run(app.asend(tasks.add.s(1, 2))).id)

        assert send()
        assert in_child(send, fork) is True
    assert len(drain(redis_url["broker"], queue)) == 2


def test_a_memory_app_that_a_child_makes_works_there(app, fork):
    assert define_tasks(app).add.delay(1, 2).id

    def work():
        with Celerant(app.name) as own, own.worker(concurrency=1):
            return define_tasks(own).add.delay(3, 4).get(timeout=10)

    assert in_child(work, fork) == 7


def test_a_child_leaves_its_parents_worker_alone(app, fork):
    tasks = define_tasks(app)
    with app.worker(concurrency=1) as worker:
        assert tasks.add.delay(1, 2).get(timeout=20) == 3

        def touch():
            worker.kill()
            worker.stop()
            return worker.is_running

        assert in_child(touch, fork) is False
        assert worker.is_running
        assert tasks.add.delay(3, 4).get(timeout=20) == 7
