from __future__ import annotations

import faulthandler
import os
import pickle
from pathlib import Path

import pytest

from celerant import Celerant, group
from celerant.errors import ForkError
from harness.capture import drain
from harness.services import RABBITMQ_PORT
from harness.tasks import define_tasks

_CHILD_LIMIT_S = 20


def _in_child(work):
    """Run `work` in a forked child and return what it returns, or its error's text."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        # A child that hangs tells where, and ends.
        faulthandler.dump_traceback_later(_CHILD_LIMIT_S, exit=True)
        try:
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(pickle.dumps(_outcome(work)))
        finally:
            # Whatever happens: a second pytest must not go on from here.
            os._exit(0)
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as pipe:
            answer = pipe.read()
    finally:
        os.waitpid(pid, 0)
    return pickle.loads(answer) if answer else "the child hung"


def _outcome(work):
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - the parent shows it
        return f"{type(error).__name__}: {error}"


# redis-py notices a fork by itself, py-amqp does not.
@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_parent_and_forked_child_both_send_and_get(
    request, kind, redis_url, queue, celery_worker
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
        pending = group([tasks.add.s(i, 7) for i in range(50)]).apply_async()

        assert _in_child(lambda: volley(100)) == list(range(100, 150))

        # The child took nothing from its parent, and may look at the parent's group.
        assert volley(200) == list(range(200, 250))
        assert pending.get(timeout=60) == list(range(7, 57))
        assert _in_child(lambda: pending.get(timeout=60)) == list(range(7, 57))


def test_memory_refuses_in_a_forked_child(app):
    tasks = define_tasks(app)
    with app.worker(concurrency=1):
        assert tasks.add.delay(1, 2).get(timeout=20) == 3

        answer = _in_child(lambda: tasks.add.delay(1, 2).id)

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
def test_a_forked_child_sends_over_a_connection_of_its_own(rabbitmq_url, queue):
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

        assert len(_in_child(sockets_used) - inherited) == 1


@pytest.mark.parametrize("many", [False, True])
def test_a_child_that_a_route_forks_does_not_go_on_sending(redis_url, queue, many):
    parent, endings = os.getpid(), []

    def route(*_args, **_kwargs):
        # Users' code, in the middle of a dispatch.
        child = os.fork()
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
