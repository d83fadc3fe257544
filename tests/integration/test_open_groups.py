"""Groups that are watched while they are sent, on real servers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import redis

from celerant import Celerant
from celerant.context.request import Request
from celerant.results.backends import open_backend
from celerant.results.consuming import sweeping
from harness.groups import Fed, group_of
from harness.until import until


@pytest.fixture(autouse=True)
def _no_sweep_helps(monkeypatch):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)


@pytest.fixture
def redis_backend(redis_server):
    """A store of its own: whoever kills connections kills all of them."""
    backend = open_backend(redis_server().url(), name="open")
    yield backend
    backend.close()


@pytest.fixture
def client(redis_backend):
    with redis.Redis.from_url(redis_backend.as_uri()) as client:
        yield client


@pytest.mark.redis
def test_members_come_over_redis_as_they_are_sent(redis_backend, client):
    fed = Fed(redis_backend)
    fed.members.look()
    for count in (1, 3, 1200):
        own = {count - 1: f"own-{count}"} if count > 1 else None
        fed.grow(count, own=own)
        fed.store(*range(max(0, count - 3), count))
        until(lambda at=count - 1: fed.members.is_done(at))
    assert client.pubsub_numpat() == 1
    fed.seal()
    fed.store(*range(1200))
    assert fed.result.get(timeout=20) == list(range(1200))


@pytest.mark.redis
def test_a_connection_killed_while_members_are_sent_loses_none(redis_backend, client):
    fed = Fed(redis_backend)
    fed.grow(5)
    fed.members.look()
    for count in (10, 20, 30):
        client.client_kill_filter(_type="pubsub")
        fed.grow(count, own={count - 1: f"own-{count}"})
        fed.store(*range(count - 10, count))
    fed.seal()
    assert fed.result.get(timeout=20) == list(range(30))


ELSEWHERE = """
import sys
from threading import Event

from celerant.results.backends import open_backend
from celerant.results.handle import attach

backend = open_backend(sys.argv[1], name="other")
sampled = attach(sys.argv[2], backend)
progress = sampled.progress()
print(progress.total, progress.done, progress.failed, progress.margin)
print([(one.exc_type, one.count, one.indices) for one in sampled.failures()])
print(sampled.members.is_watched)
result = attach(sys.argv[2], backend)
print(result.first_failure(timeout=20).index, result.wait(timeout=20, count=4))
print(sorted(member.index for member in result.as_completed(timeout=20)))
ended = Event()
result.on("complete", lambda _: ended.set())
print(ended.wait(20), result.sealed, result.size, result.progress().done)
"""


@pytest.mark.redis
def test_a_handle_answers_in_another_process_what_its_group_can(redis_server):
    url = redis_server().url()
    backend = open_backend(url, name="open")
    result = group_of(5, backend, ignored=[1])
    for index in (0, 2, 3):
        backend.store_result(result[index].id, index, "SUCCESS")
    backend.store_result(result[4].id, ValueError("no"), "FAILURE")
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, url, result.handle],
        capture_output=True,
        text=True,
        check=False,
    )
    backend.close()
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "5 5 1 0",
        "[('ValueError', 1, (4,))]",
        "False",
        "4 5",
        "[0, 1, 2, 3, 4]",
        "True True 5 5",
    ]


@pytest.mark.rabbitmq
def test_members_come_over_rpc_as_they_are_sent(rabbitmq_url):
    with Celerant("open-rpc", broker=rabbitmq_url, result_backend="rpc://") as app:
        backend = app.backend
        queue = backend.reply_to(is_needed=True)
        fed = Fed(backend)
        fed.members.look()

        def reply(index):
            task_id = fed.members.roster.id(index)
            request = Request(
                id=task_id, task="t", reply_to=queue, correlation_id=task_id
            )
            backend.store_result(task_id, index, "SUCCESS", request=request)

        for count in (1, 3, 700):
            fed.grow(count, own={count - 1: f"own-{count}"})
            reply(count - 1)
            until(lambda at=count - 1: fed.members.is_done(at))
        fed.seal()
        for index in range(700):
            reply(index)
        assert fed.result.get(timeout=20) == list(range(700))
