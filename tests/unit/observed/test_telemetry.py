from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from celerant import PublishError, chord, group, telemetry
from celerant.testing import Sent
from harness.until import until
from harness.without_package import error_without


@pytest.fixture
def spans():
    """Tracing is on; returns the finished spans."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    uninstall = telemetry.install(provider)
    yield exporter.get_finished_spans
    uninstall()


def of_kind(spans, kind):
    return [span for span in spans if span.kind == kind]


def test_a_dispatch_is_one_span_and_its_context_is_in_every_message(app, spans):
    @app.task(name="add")
    def add(x, y):
        return x + y

    sent = Sent()
    with sent.recording():
        group(add.s(i, i) for i in range(1000)).apply_async()
    (span,) = spans()
    assert span.kind == SpanKind.PRODUCER
    assert span.name == "send add"
    assert span.attributes["messaging.batch.message_count"] == 1000
    assert span.attributes["messaging.operation.type"] == "send"
    assert span.attributes["messaging.destination.name"] == app.name
    (parent,) = {message.headers["traceparent"] for message in sent}
    told = span.get_span_context()
    assert parent.startswith(f"00-{told.trace_id:032x}-{told.span_id:016x}-")


def test_each_dispatch_of_a_single_task_has_a_context_of_its_own(app, spans):
    @app.task(name="add")
    def add(x, y):
        return x + y

    sent = Sent()
    with sent.recording():
        add.delay(1, 1)
        add.delay(1, 1)
    parents = [message.headers["traceparent"] for message in sent]
    ids = [f"{span.get_span_context().span_id:016x}" for span in spans()]
    assert [parent.split("-")[2] for parent in parents] == ids
    assert len(set(ids)) == 2


def test_a_dispatch_is_a_child_of_the_callers_span(app, spans):
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("outer") as outer:
        app.send_task("any")
    (span,) = spans()
    assert span.parent.span_id == outer.get_span_context().span_id


def test_a_members_own_headers_win(app, spans):
    sent = Sent()
    with sent.recording():
        app.send_task("any", headers={"traceparent": "mine"})
    assert [message.headers["traceparent"] for message in sent] == ["mine"]


def test_a_dispatch_that_fails_says_so(app, spans):
    def members():
        yield app.signature("any")
        raise ValueError("the source is dry")

    with pytest.raises(PublishError, match="dry"):
        group(members()).apply_async()
    (span,) = spans()
    assert span.status.status_code == StatusCode.ERROR
    assert span.attributes["error.type"] == "celerant.errors.PublishError"


def test_tasks_are_spans_that_link_to_their_dispatch(app, spans):
    @app.task(name="add")
    def add(x, y):
        return x + y

    with app.worker(concurrency=2):
        group(add.s(i, i) for i in range(3))().get(timeout=10)
        until(lambda: len(spans()) == 4)
    (sent,) = of_kind(spans(), SpanKind.PRODUCER)
    ran = of_kind(spans(), SpanKind.CONSUMER)
    assert {span.name for span in ran} == {"process add"}
    assert sorted(span.attributes["celerant.group_index"] for span in ran) == [0, 1, 2]
    for span in ran:
        (link,) = span.links
        assert link.context.span_id == sent.get_span_context().span_id
        assert span.parent is None
        assert span.attributes["celerant.state"] == "SUCCESS"


def test_a_task_that_fails_is_a_failed_span(app, spans):
    @app.task(name="halve")
    def halve(x):
        return 1 / x

    with app.worker(concurrency=1):
        halve.delay(0).get(timeout=10, propagate=False)
        until(lambda: len(spans()) == 2)
    (span,) = of_kind(spans(), SpanKind.CONSUMER)
    assert span.status.status_code == StatusCode.ERROR
    assert span.attributes["error.type"] == "builtins.ZeroDivisionError"
    assert span.events[0].name == "exception"


def test_dispatch_inside_a_task_is_a_child_of_its_span(app, spans):
    @app.task(name="add")
    def add(x, y):
        return x + y

    @app.task(name="total")
    def total(xs):
        return sum(xs)

    with app.worker(concurrency=2):
        chord([add.s(1, 1), add.s(2, 2)], total.s())().get(timeout=10)
        until(lambda: len(spans()) == 5)
    by_name = {span.name: span for span in spans()}
    body = by_name["send total"]
    ids = {
        span.get_span_context().span_id for span in spans() if "add" in span.name
    } - {by_name["send add"].get_span_context().span_id}
    assert body.parent.span_id in ids


def test_tasks_may_be_in_the_trace_of_their_dispatch(app):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    uninstall = telemetry.install(provider, in_one_trace=True)
    try:
        app.task(name="any")(lambda: None)
        with app.worker(concurrency=1):
            app.send_task("any").get(timeout=10)
            until(lambda: len(exporter.get_finished_spans()) == 2)
    finally:
        uninstall()
    ids = {span.get_span_context().trace_id for span in exporter.get_finished_spans()}
    assert len(ids) == 1


def test_uninstalled_telemetry_makes_no_spans(app):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.install(provider)()
    app.task(name="any")(lambda: None)
    sent = Sent()
    with sent.recording(), app.worker(concurrency=1):
        app.send_task("any").get(timeout=10)
    assert exporter.get_finished_spans() == ()
    assert "traceparent" not in sent[0].headers


def test_a_watcher_that_fails_stops_no_dispatch(app, spans, monkeypatch, caplog):
    def fail(*_args, **_kwargs):
        raise RuntimeError("no tracer today")

    monkeypatch.setattr(telemetry._Producer, "begin", fail)
    assert app.send_task("any").id
    assert "not watched" in caplog.text
    assert spans() == ()


def test_telemetry_names_its_extra():
    told = error_without(
        ["opentelemetry"], "from celerant import telemetry", "telemetry.install()"
    )
    assert "pip install 'celerant[otel]'" in told
