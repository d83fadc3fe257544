from __future__ import annotations

import os
import pickle

import pytest

from celerant import Celerant, group
from harness.tasks import define_tasks


def _in_child(work):
    """Run `work` in a forked child and return what it returns, or its error's text."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - the parent shows it
            answer = f"{type(error).__name__}: {error}"
        with os.fdopen(write_end, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pickle.load(pipe)
    os.waitpid(pid, 0)
    return answer


@pytest.mark.timeout(90)
def test_parent_and_forked_child_both_send_and_get(redis_url, queue, celery_worker):
    broker, backend = redis_url["broker"], redis_url["backend"]
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

        answer = _in_child(lambda: tasks.add.delay(1, 2))

    assert answer.startswith("ForkError")
