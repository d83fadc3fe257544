"""The destination of a task that names an alias, a broadcast, an exchange or a key."""

from __future__ import annotations

import logging
import uuid

import pytest
from kombu import Exchange, Queue
from kombu.common import Broadcast

from celerant import Celerant, SettingError
from harness.capture import drain


@pytest.fixture
def name():
    return f"celerant-test-{uuid.uuid4().hex[:8]}"


def sent_to(app, lies_in, /, **options):
    app.signature("t.x").apply_async(**options)
    return len(drain("memory://", lies_in))


def test_an_alias_is_another_name_of_its_queue(name):
    with Celerant(name, task_queues=[Queue(name, alias="nick")]) as app:
        assert sent_to(app, name, queue="nick") == 1
        assert app.queues["nick"] is app.queues[name]
        assert "nick" in app.queues
        assert [*app.queues] == [name]
        assert app.worker(queues="nick").queues == [name]


def test_a_worker_runs_messages_to_an_alias_and_to_a_broadcast(name):
    queues = [Queue(name, alias="nick"), Broadcast(f"{name}-all")]
    with Celerant(name, task_queues=queues) as app:
        add = app.task(name="add")(lambda x, y: x + y)
        with app.worker(queues=f"nick, {name}-all"):
            for queue in ("nick", f"{name}-all"):
                assert add.apply_async((1, 2), queue=queue).get(timeout=20) == 3


def test_a_mapping_of_queues_is_consumed_by_the_queues_own_names(name):
    with Celerant(name, task_queues={"key": Queue(name)}) as app:
        assert app.worker().queues == [name]


def test_queues_by_comma_are_several(app):
    assert app.worker(queues="a, b,a").queues == ["a", "b"]


def test_a_route_that_says_nothing_leaves_the_default_queue(name):
    with Celerant(name, task_routes={"t.x": {}}) as app:
        assert sent_to(app, name) == 1


@pytest.mark.parametrize("options", [{}, {"queue": None}, {"exchange_type": "direct"}])
def test_an_exchange_alone_is_refused(app, options):
    with pytest.raises(SettingError, match="'video' is named without a routing key"):
        app.signature("t.x").apply_async(exchange="video", **options)
    app.conf.task_routes = {"t.x": {"exchange": "video"}}
    with pytest.raises(SettingError, match="'video' is named without a routing key"):
        app.signature("t.x").apply_async(**options)


def test_an_exchange_of_the_tasks_own_alone_is_refused(app):
    task = app.task(name="t.own", exchange="video")(print)
    with pytest.raises(SettingError, match="'video' is named without a routing key"):
        task.delay()


def test_an_exchange_of_another_type_needs_no_key(name):
    fanout = Exchange(f"{name}-fan", type="fanout")
    queue = Queue(f"{name}-ear", fanout)
    with Celerant(name, task_queues=[Queue(name), queue]) as app:
        channel = app.connection_for_write().default_channel
        queue(channel).declare()
        assert sent_to(app, queue.name, exchange=fanout) == 1
        told = {"exchange": fanout.name, "exchange_type": "fanout"}
        assert sent_to(app, queue.name, **told) == 1
        assert drain("memory://", name) == []


def test_the_default_queues_own_exchange_leads_to_it(name):
    with Celerant(name) as app:
        assert sent_to(app, name, exchange=name) == 1


def test_a_key_alone_that_is_passed_over_is_said_once(name, caplog):
    with Celerant(name) as app, caplog.at_level(logging.WARNING, "celerant"):
        for _ in range(3):
            assert sent_to(app, name, routing_key=f"{name}.video") == 1
        assert sent_to(app, name, routing_key=name) == 1
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"{name}.video" in said


def test_router_is_asked_by_a_name_alone(name):
    seen = []

    def route(asked, args, kwargs, options, **rest):
        seen.append((asked, args, kwargs))

    with Celerant(name, task_routes=[route, {"feed.*": {"queue": "feeds"}}]) as app:
        look_up = app.amqp.router.route
        assert look_up({}, "feed.read")["queue"].name == "feeds"
        assert look_up({"queue": "own"}, "feed.read")["queue"].name == "own"
    assert seen == [("feed.read", (), {})] * 2
