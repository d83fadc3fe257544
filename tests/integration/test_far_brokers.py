from __future__ import annotations

import base64
import json

import pytest

from celerant import Celerant, group
from celerant.dispatch.wires import chunk_limits
from harness.redis_transactions import COMMITTED, OPENED
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy

QUEUE = "celerant-test-far"
SIZE = 5_000
#: Seconds: from this on a chunk is four times as long as of a near server.
DISTANCE = 0.003


@pytest.fixture
def near():
    """The distance counts here."""


@pytest.fixture(autouse=True)
def grown(monkeypatch):
    # However far a busy machine finds it.
    monkeypatch.setattr(chunk_limits, "MOST", 4)


def _transactions(stream):
    return stream.count(b"LPUSH")


def _send(port):
    with Celerant("celerant-test-far", broker=f"redis://127.0.0.1:{port}") as app:
        app.conf.update(task_default_queue=QUEUE, task_ignore_result=True)
        tasks = define_tasks(app)
        return group([tasks.add.s(i, 0) for i in range(SIZE)]).apply_async().report


def _numbers(client):
    bodies = [json.loads(raw)["body"] for raw in client.lrange(QUEUE, 0, -1)]
    return [json.loads(base64.b64decode(body))[0][0] for body in reversed(bodies)]


@pytest.mark.parametrize(("distance", "transactions"), [(0, 10), (DISTANCE, 3)])
def test_chunks_grow_with_the_round_trip(
    redis_server, monkeypatch, distance, transactions
):
    if not distance:
        monkeypatch.setattr(chunk_limits, "FAR", 60)
    server, seen = redis_server(), []

    def look(stream):
        seen.append(_transactions(stream))
        return False

    with TcpProxy(server.port, lose_request=look, distance=distance) as proxy:
        assert _send(proxy.port).complete
    assert max(seen) == transactions
    with server.client() as client:
        assert _numbers(client) == list(range(SIZE))


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
def test_each_member_of_a_grown_chunk_is_in_the_queue_exactly_once(
    redis_server, lost, number
):
    server = redis_server()

    def is_written(stream):
        return stream.count(COMMITTED) >= number

    with TcpProxy(server.port, **{lost: is_written}, distance=DISTANCE) as proxy:
        report = _send(proxy.port)
        assert proxy.cuts == 1
    assert report.confirmed == [(0, SIZE)]
    with server.client() as client:
        assert _numbers(client) == list(range(SIZE))


def _until_opened(*numbers):
    """Return whether replies wait until chunks of these numbers have come, once each.

    Only the end of such a chunk is still to come then.
    """
    left = set(numbers)

    def holds(stream):
        number = stream.count(COMMITTED) + 1
        if stream.endswith(OPENED):
            left.discard(number)
        return number in left

    return holds


def test_the_next_chunk_is_written_while_the_reply_is_under_way(redis_server):
    server, opened = redis_server(), []

    def look(stream):
        if stream.endswith(OPENED):
            opened.append(_transactions(stream))
        return False

    ways = {"lose_request": look, "holds": _until_opened(2, 3)}
    with TcpProxy(server.port, distance=DISTANCE, **ways) as proxy:
        assert _send(proxy.port).complete
    # The first one waits for none.
    assert opened == [2, 3]
    with server.client() as client:
        assert _numbers(client) == list(range(SIZE))


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
def test_each_member_is_in_the_queue_once_if_a_chunk_has_no_end_yet(
    redis_server, lost, number
):
    server = redis_server()

    def is_opened(stream):
        return _transactions(stream) == number and stream.endswith(OPENED)

    ways = {lost: is_opened, "holds": _until_opened(number)}
    with TcpProxy(server.port, distance=DISTANCE, **ways) as proxy:
        report = _send(proxy.port)
        assert proxy.cuts == 1
    assert report.confirmed == [(0, SIZE)]
    with server.client() as client:
        assert _numbers(client) == list(range(SIZE))


def test_a_chunk_without_its_end_waits_for_a_discarded_one(redis_server):
    server, deleted = redis_server(), []

    def touch(stream):
        if _transactions(stream) == 1 and not deleted:
            with server.client() as client:
                deleted.append(client.delete(*client.scan_iter("_kombu.celerant.*")))
        return False

    ways = {"lose_request": touch, "holds": _until_opened(2)}
    with TcpProxy(server.port, distance=DISTANCE, **ways) as proxy:
        assert _send(proxy.port).confirmed == [(0, SIZE)]
    assert deleted == [1]
    with server.client() as client:
        assert _numbers(client) == list(range(SIZE))
