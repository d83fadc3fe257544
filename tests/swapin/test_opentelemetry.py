"""With OpenTelemetry, groups still leave in volleys, and every message is traced."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import celery
import pytest
from celery import chord, group, signals
from opentelemetry import baggage, context, trace

import celerant.celery
from harness.capture import drain
from harness.tracing import opentelemetry

BROKERS = ["memory", "redis", "rabbitmq"]
_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def members(s):
    return group(
        [
            *(s.add.s(i, i) for i in range(5)),
            s.echo.s("a").set(headers={"own": 1, "traceparent": "theirs"}),
            s.echo.s("b").set(priority=3),
            s.app.signature("celerant_test.elsewhere", (1,)),
        ]
    )


def without_ids(message):
    headers = dict(message.headers)
    assert _PARENT.fullmatch(headers["traceparent"])
    return replace(message, headers={**headers, "traceparent": "?"})


@pytest.fixture
def in_baggage():
    """Send with baggage, which is to be carried along."""

    def send(canvas):
        token = context.attach(baggage.set_baggage("user", "u"))
        try:
            return canvas.apply_async()
        finally:
            context.detach(token)

    return send


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("broker", BROKERS)
def test_messages_are_those_of_celery_when_traced(
    make_app, one_way, volleys, in_baggage, broker, order
):
    side = make_app(broker)
    side.app.set_current()
    send = functools.partial(one_way, side, seen=without_ids)
    with opentelemetry():
        stock = send(lambda: in_baggage(members(side)))
    assert not volleys
    if order == "before":
        with opentelemetry(), celerant.celery.install():
            ours = send(lambda: in_baggage(members(side)))
    else:
        with celerant.celery.install(), opentelemetry():
            ours = send(lambda: in_baggage(members(side)))
    assert ours == stock
    assert volleys == [8]


def told(span):
    """Return the fields of a producer's span, but for its one message."""
    found = dict(span.attributes)
    found.pop("messaging.message.id", None)
    return span.name, span.kind, found


@pytest.mark.parametrize("broker", BROKERS)
def test_each_task_has_a_span_that_its_messages_continue(make_app, volleys, broker):
    side = make_app(broker)
    side.app.set_current()
    with opentelemetry() as kept:
        members(side).apply_async()
        stock = {span.name: told(span) for span in kept.get_finished_spans()}
        drain(side.url, side.queue)
        kept.clear()
        with celerant.celery.install():
            members(side).apply_async()
        spans = {span.name: span for span in kept.get_finished_spans()}
    assert len(kept.get_finished_spans()) == 3
    counts = {"add": 5, "echo": 2, "elsewhere": 1}
    assert spans.keys() == stock.keys()
    for name, span in spans.items():
        was = stock[name]
        count = counts[name.rpartition(".")[2]]
        attributes = {**was[2], "messaging.batch.message_count": count}
        assert told(span) == (*was[:2], attributes)
    found = drain(side.url, side.queue)
    assert len(found) == 8
    for message in found:
        sent = spans[f"apply_async/{message.headers['task']}"].context
        parent = f"00-{sent.trace_id:032x}-{sent.span_id:016x}-"
        assert message.headers["traceparent"].startswith(parent)
    assert volleys == [8]


def test_spans_are_siblings_inside_the_senders(make_app, volleys):
    side = make_app()
    with opentelemetry() as kept, celerant.celery.install():
        instrumentor = signals.before_task_publish.receivers[0][1].__self__
        with instrumentor._tracer.start_as_current_span("sender") as outer:
            members(side).apply_async()
            assert trace.get_current_span() is outer
    *spans, last = kept.get_finished_spans()
    assert last.name == "sender"
    assert [span.parent.span_id for span in spans] == [last.context.span_id] * 3
    assert volleys == [8]


def test_beside_another_receiver_each_member_has_its_span(make_app, one_way, volleys):
    side = make_app("redis", backend="cache+memory://")
    side.app.set_current()

    def receive(headers, **told):
        headers["heard"] = headers["group_index"]

    def send():
        return chord([side.add.s(i, i) for i in range(4)], side.echo.s()).apply_async()

    signals.before_task_publish.connect(receive)
    try:
        with opentelemetry() as kept:
            stock = one_way(side, send, seen=without_ids)
            kept.clear()
            with celerant.celery.install():
                ours = one_way(side, send, seen=without_ids)
    finally:
        signals.before_task_publish.disconnect(receive)
    assert ours == stock
    assert volleys == [4]
    spans = kept.get_finished_spans()
    assert len(spans) == 4
    assert {span.parent for span in spans} == {None}


def test_a_lost_broker_is_in_the_span(make_app, monkeypatch):
    side = make_app("redis")
    from celerant.dispatch.wires.base import Broken
    from celerant.dispatch.wires.redis import RedisWire

    def send(self, chunk):
        raise Broken("lost", recoverable=True)

    monkeypatch.setattr(RedisWire, "send", send)
    with (
        opentelemetry() as kept,
        celerant.celery.install(),
        pytest.raises(celery.exceptions.OperationalError),
    ):
        group([side.add.s(1, 1)]).apply_async()
    [span] = kept.get_finished_spans()
    assert not span.status.is_ok
    assert span.events[0].name == "exception"


def test_a_tracer_that_fails_stops_nothing(make_app, volleys, monkeypatch, caplog):
    side = make_app()
    from opentelemetry.instrumentation.celery import utils

    def fail(span, context):
        raise ValueError("no attributes")

    monkeypatch.setattr(utils, "set_attributes_from_context", fail)
    with opentelemetry(), celerant.celery.install():
        group([side.add.s(1, 1)]).apply_async()
    assert volleys == [1]
    assert len(drain(side.url, side.queue)) == 1
    assert "without a trace" in caplog.text


def test_nothing_is_traced_after_uninstrumenting(make_app, volleys):
    side = make_app()
    with celerant.celery.install():
        with opentelemetry():
            pass
        group([side.add.s(1, 1)]).apply_async()
    [message] = drain(side.url, side.queue)
    assert "traceparent" not in message.headers
    assert volleys == [1]
