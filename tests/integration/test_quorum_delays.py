"""Quorum queues, and messages of a stock sender that RabbitMQ holds back for them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from kombu import Exchange, Queue

from celerant import Celerant, group
from celerant.worker import delays

pytestmark = pytest.mark.timeout(150)
QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture(scope="module")
def node(own_node):
    """A node of its own: delayed delivery declares exchanges for all of a broker."""
    return own_node


@pytest.fixture
def make_app(node, redis_url):
    made = []

    def make(name, exchange_type):
        exchange = Exchange(f"{name}-{exchange_type}", exchange_type)
        app = Celerant(
            name,
            broker=node.url(),
            backend=redis_url["backend"],
            task_queues=[Queue(name, exchange, name, queue_arguments=QUORUM)],
            task_default_queue=name,
            task_default_exchange=exchange.name,
            task_default_exchange_type=exchange_type,
            task_default_routing_key=name,
            result_expires=600,
        )
        made.append(app)

        @app.task(name="where", bind=True)
        def where(self):
            return self.request.delivery_info["routing_key"]

        return app

    yield make
    for app in made:
        app.close()


def test_rabbitmq_holds_delayed_messages_of_a_stock_client(make_app):
    app = make_app("delayed", "topic")
    with app.worker(concurrency=1) as worker, app.to_celery() as stock:
        results = [stock.tasks["where"].apply_async(countdown=2) for _ in range(20)]
        at_once = stock.tasks["where"].delay()
        # More than the prefetch count, which is fixed here: none of them is in the way.
        assert at_once.get(timeout=30) == "delayed"
        assert worker.panel.unstarted() == []
        keys = {result.get(timeout=30) for result in results}
    assert {len(key) for key in keys} == {len("0." * 28 + "delayed")}
    assert all(key.endswith("1.0.delayed") for key in keys)


def test_rabbitmq_holds_our_delayed_messages(make_app):
    app = make_app("ours", "topic")
    with app.worker(concurrency=1), app.to_celery() as stock:
        where = app.tasks["where"]
        results = group(where.s() for _ in range(20)).apply_async(countdown=2)
        soon = datetime.now(timezone.utc) + timedelta(seconds=2)
        dated = where.apply_async(eta=soon)
        # Not long enough to be held: the worker waits.
        short = where.apply_async(countdown=0.5)
        theirs = stock.tasks["where"].apply_async(countdown=2)
        keys = set(results.get(timeout=30))
        assert keys == {theirs.get(timeout=30)}
        assert dated.get(timeout=30) in {f"{'0.' * 28}ours", f"{'0.' * 27}1.ours"}
        assert short.get(timeout=30) == "ours"


def test_a_direct_exchange_has_no_delays_and_needs_none(make_app, caplog):
    app = make_app("direct", "direct")
    with app.worker(concurrency=1):
        result = app.tasks["where"].apply_async(countdown=0.1)
        assert result.get(timeout=30) == "direct"
    assert "native delayed delivery" not in caplog.text
    assert "lost" not in caplog.text
    # The log says so at the send.
    assert "direct-direct is a direct exchange" in caplog.text


def test_a_worker_without_delays_still_works(make_app, caplog, monkeypatch):
    app = make_app("misused", "topic")

    def refuse(*_args):
        raise ValueError("no such type of queue")

    declare = "declare_native_delayed_delivery_exchanges_and_queues"
    monkeypatch.setattr(delays, declare, refuse)
    with app.worker(concurrency=1):
        assert app.tasks["where"].delay().get(timeout=30) == "misused"
    assert "no native delayed delivery to misused (ValueError" in caplog.text
