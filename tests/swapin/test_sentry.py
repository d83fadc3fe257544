"""With Sentry, groups still leave in volleys, and every message has its headers."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import replace

import celery
import pytest
import sentry_sdk
from celery import chord, group, signals

import celerant.celery
from harness.capture import drain
from harness.tracing import sentry

BROKERS = ["memory", "redis", "rabbitmq"]
_OWN = ("sentry-trace", "baggage", "sentry-task-enqueued-time")


def members(s):
    return group(
        [
            *(s.add.s(i, i) for i in range(5)),
            s.echo.s("a").set(headers={"own": 1, "baggage": "other=1"}),
            s.echo.s("b").set(priority=3, headers={"headers": {"inner": 1}}),
            s.echo.s("quiet").set(headers={"sentry-propagate-traces": False}),
            s.app.signature("celerant_test.elsewhere", (1,)),
        ]
    )


def shape_of(headers):
    """Return headers with the kind of each of Sentry's values in its place."""
    found = dict(headers)
    for name in _OWN:
        if name in found:
            value = found[name]
            assert value
            found[name] = (
                # Its names, and not its values.
                re.sub(r"=[^,]*", "", value)
                if name == "baggage"
                else type(value).__name__
            )
    if isinstance(found.get("headers"), dict):
        found["headers"] = shape_of(found["headers"])
    return found


def without_values(message):
    return replace(message, headers=shape_of(message.headers))


def in_transaction(send):
    with sentry_sdk.start_transaction(name="sender"):
        return send()


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("broker", BROKERS)
def test_messages_are_those_of_celery_under_sentry(
    make_app, one_way, volleys, broker, order
):
    side = make_app(broker)
    send = functools.partial(in_transaction, lambda: members(side).apply_async())
    with sentry():
        stock = one_way(side, send, seen=without_values)
    assert not volleys
    if order == "before":
        with sentry(), celerant.celery.install():
            ours = one_way(side, send, seen=without_values)
    else:
        with celerant.celery.install(), sentry():
            ours = one_way(side, send, seen=without_values)
    assert ours == stock
    assert volleys == [9]


@pytest.mark.parametrize("broker", BROKERS)
def test_every_message_continues_a_span_of_the_senders(make_app, volleys, broker):
    side = make_app(broker)
    with sentry() as kept, celerant.celery.install():
        in_transaction(lambda: members(side).apply_async())
    messages = drain(side.url, side.queue)
    [transaction] = kept.transactions
    trace = transaction["contexts"]["trace"]["trace_id"]
    spans = {span["span_id"]: span for span in kept.spans}
    assert len(messages) == 9
    for message in messages:
        trace_id, span_id, sampled = message.headers["sentry-trace"].split("-")
        assert (trace_id, sampled) == (trace, "1")
        assert spans[span_id]["op"] == "queue.submit.celery"
        assert spans[span_id]["description"] == message.headers["task"]
    names = {span["description"] for span in kept.spans}
    assert names == {"group", *(message.headers["task"] for message in messages)}
    ops = Counter(span["op"] for span in kept.spans)
    # Two for each of five kinds, but one if there is no task, and for the quiet one:
    # Sentry asks it in `Task.apply_async` alone.
    assert ops == {"queue.publish": 1, "queue.submit.celery": 8}
    [publish] = [span for span in kept.spans if span["op"] == "queue.publish"]
    assert publish["description"] == "group"
    assert publish["data"]["messaging.batch.message_count"] == 9
    assert publish["data"]["messaging.destination.name"] == side.queue
    assert publish["data"]["messaging.system"] == broker.replace("rabbitmq", "amqp")
    assert volleys == [9]


def test_streamed_spans_are_continued(make_app, volleys):
    side = make_app("redis")
    with sentry(streams=True) as kept, celerant.celery.install():
        with sentry_sdk.traces.start_span(name="sender"):
            group([side.add.s(i, i) for i in range(3)]).apply_async()
        sentry_sdk.flush()
    found = {m.headers["sentry-trace"] for m in drain(side.url, side.queue)}
    spans = {span["span_id"]: span for span in kept.streamed}
    [said] = found
    trace_id, span_id, _ = said.split("-")
    assert spans[span_id]["name"] == side.add.name
    assert {span["trace_id"] for span in kept.streamed} == {trace_id}
    told = [span["attributes"] for span in kept.streamed]
    ops = [said.get("sentry.op", {}).get("value") for said in told]
    publish = told[ops.index("queue.publish")]
    assert sorted(filter(None, ops)) == ["queue.publish", *["queue.submit.celery"] * 2]
    assert publish["messaging.batch.message_count"]["value"] == 3
    assert publish["messaging.destination.name"]["value"] == side.queue
    assert volleys == [3]


def test_headers_without_a_transaction_are_as_in_celery(make_app, both_ways, volleys):
    side = make_app("redis")
    with sentry():
        stock, ours = both_ways(
            side, lambda: group([side.add.s(1, 1)]).apply_async(), seen=without_values
        )
    assert ours == stock
    assert volleys == [1]


@pytest.mark.parametrize(
    ("options", "header", "is_there"),
    [
        ({"propagate_traces": False}, "sentry-task-enqueued-time", False),
        ({"monitor_beat_tasks": True}, "sentry-monitor-start-timestamp-s", True),
    ],
    ids=["propagate_traces", "monitor_beat_tasks"],
)
def test_settings_of_the_integration_hold(make_app, volleys, options, header, is_there):
    side = make_app("redis")
    with sentry(**options), celerant.celery.install():
        in_transaction(group([side.add.s(i, i) for i in range(3)]).apply_async)
    found = [header in message.headers for message in drain(side.url, side.queue)]
    assert found == [is_there] * 3
    assert volleys == [3]


def test_a_signature_keeps_its_headers(make_app, volleys):
    side = make_app("redis")
    quiet = {"sentry-propagate-traces": False, "headers": {"inner": 1}}
    canvas = group([side.add.s(i, i).set(headers=quiet) for i in range(2)])
    plain = group([side.add.s(i, i) for i in range(2)])
    with sentry(), celerant.celery.install():
        canvas.apply_async()
        plain.apply_async(headers=quiet)
    assert len(drain(side.url, side.queue)) == 4
    assert quiet == {"sentry-propagate-traces": False, "headers": {"inner": 1}}
    assert volleys == [2, 2]


def test_chords_and_receivers_are_traced_too(make_app, one_way, volleys):
    side = make_app("redis", backend="cache+memory://")
    side.app.set_current()

    def receive(headers, **told):
        headers["heard"] = headers["group_index"]

    def send():
        members = [side.add.s(i, i) for i in range(4)]
        return in_transaction(chord(members, side.echo.s()).apply_async)

    signals.before_task_publish.connect(receive)
    try:
        with sentry():
            stock = one_way(side, send, seen=without_values)
            with celerant.celery.install():
                ours = one_way(side, send, seen=without_values)
    finally:
        signals.before_task_publish.disconnect(receive)
    assert ours == stock
    assert volleys == [4]


def test_a_lost_broker_is_in_the_span(make_app):
    side = make_app("redis")
    side.app.conf.broker_url = "redis://127.0.0.1:1/0"
    with (
        sentry() as kept,
        celerant.celery.install(),
        pytest.raises(celery.exceptions.OperationalError),
    ):
        in_transaction(
            lambda: group([side.add.s(1, 1)]).apply_async(retry=False),
        )
    [publish] = [span for span in kept.spans if span["op"] == "queue.publish"]
    assert publish["status"] == "internal_error"


@pytest.mark.parametrize("name", ["apply_async", "send_task", "publish"])
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
def test_another_wrapper_beside_sentrys_is_called(make_app, volleys, name, inside):
    import kombu

    owner = {"send_task": celery.Celery, "publish": kombu.Producer}
    owner = owner.get(name, celery.Task)
    original = vars(owner)[name]
    called = []

    @functools.wraps(original)
    def wrapper(*args, **kwargs):
        called.append(name)
        return wrapped(*args, **kwargs)

    side = make_app()
    wrapped = original
    try:
        if inside:
            setattr(owner, name, wrapper)
        with sentry():
            if not inside:
                wrapped = vars(owner)[name]
                setattr(owner, name, wrapper)
            with celerant.celery.install():
                group([side.add.s(i, i) for i in range(3)]).apply_async()
    finally:
        setattr(owner, name, original)
    assert called == [name] * 3
    assert volleys == []
    assert len(drain(side.url, side.queue)) == 3
