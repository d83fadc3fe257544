from __future__ import annotations

import json

import pytest

from celerant import Celerant, group
from celerant.errors import NotSent, PublishError
from harness.redis_server import free_port
from harness.redis_transactions import COMMITTED
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy

QUEUE = "celerant-test-down"
RETRY_POLICY = {
    "max_retries": 2,
    "interval_start": 0,
    "interval_step": 0.05,
    "interval_max": 0.1,
}
SIZE = 1_700


def _app(url):
    app = Celerant("celerant-test-down", broker=url, backend=None)
    app.conf.task_default_queue = QUEUE
    app.conf.task_publish_retry_policy = RETRY_POLICY
    app.conf.broker_connection_timeout = 1
    return app


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hidden@127.0.0.1:{port}/0",
        "amqp://user:hidden@127.0.0.1:{port}//",
    ],
)
def test_a_broker_that_is_down_fails_within_the_retry_policy(url, caplog):
    port = free_port()
    with _app(url.format(port=port)) as app:
        app.conf.task_ignore_result = True
        tasks = define_tasks(app)

        with pytest.raises(PublishError) as caught:
            group([tasks.add.s(i, 1) for i in range(10)]).apply_async()

    # Three attempts, each refused at once.
    tries = [r.getMessage() for r in caplog.records if "broker lost" in r.message]
    assert [told.rpartition("; ")[2] for told in tries] == [
        "try 2 follows",
        "try 3 follows",
    ]
    assert "hidden" not in caplog.text
    message = str(caught.value)
    assert f"127.0.0.1:{port}" in message
    assert "hidden" not in message
    assert "hidden" not in repr(caught.value)
    assert caught.value.__cause__ is not None
    assert caught.value.report.counts()["unsent"] == 10


def test_a_single_task_fails_the_same_way():
    port = free_port()
    with _app(f"redis://user:hidden@127.0.0.1:{port}/0") as app:
        app.conf.task_ignore_result = True
        tasks = define_tasks(app)
        with pytest.raises(PublishError, match=str(port)) as caught:
            tasks.add.delay(1, 2)
    assert "hidden" not in str(caught.value)


class _Interrupted:
    """A server behind a proxy that loses every transaction from the third on."""

    def __init__(self, redis_server):
        self.server = redis_server()
        self.proxy = TcpProxy(self.server.port, lose_request=self._cut, times=-1)
        self.begun = False
        self.over = False

    def _cut(self, stream):
        if self.over:
            return False
        # Its EXEC leaves once the second one is answered.
        self.begun = self.begun or stream.count(COMMITTED) >= 3
        return self.begun and b"EXEC" in stream


@pytest.fixture
def interrupted(redis_server):
    case = _Interrupted(redis_server)
    with case.proxy:
        yield case


def test_unsent_members_count_as_failed_until_resumed(interrupted):
    server = interrupted.server
    with _app(server.url(port=interrupted.proxy.port)) as app:
        tasks = define_tasks(app)
        members = group([tasks.add.s(i, 1) for i in range(SIZE)])

        with pytest.raises(PublishError) as caught:
            members.apply_async()

        result = caught.value.result
        counts = caught.value.report.counts()
        assert counts["confirmed"] == 1_000
        assert counts["confirmed"] + counts["unsent"] + counts["unknown"] == SIZE
        assert len(result) == SIZE
        if counts["unsent"]:
            with pytest.raises(NotSent):
                result[SIZE - 1].get(timeout=5)

        for wrong in ("", "maybe", None):
            with pytest.raises(ValueError, match="unknown"):
                members.resume(result, unknown=wrong)
        interrupted.over = True
        ids = [member.id for member in result]
        resumed = members.resume(result)

        assert resumed.report.complete
        assert [member.id for member in resumed] == ids
    with server.client() as client:
        assert client.llen(QUEUE) == SIZE
        sent = {json.loads(raw)["headers"]["id"] for raw in client.lrange(QUEUE, 0, -1)}
    assert sent == set(ids)
