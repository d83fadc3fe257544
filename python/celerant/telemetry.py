"""Traces for OpenTelemetry: a span for each dispatch, and for each running task.

`install` switches them on. It needs ``opentelemetry-api``, the extra ``otel``. The
application chooses provider and exporter.

Source: OpenTelemetry's semantic conventions for messaging spans (kinds, links, and the
names that begin with ``messaging.``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerant.common.extras import extra
from celerant.context.request import current_request
from celerant.dispatch.watching import WATCHERS
from celerant.signals import task_failure, task_postrun, task_prerun, task_retry

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

    from celerant.context.request import Request
    from celerant.dispatch.watching import Departure
    from celerant.errors.report import Report

__all__ = ["install"]

_NAME = "celerant"
#: The most names of tasks or queues in an attribute.
_MOST = 20


def install(
    tracer_provider: TracerProvider | None = None, *, in_one_trace: bool = False
) -> Callable[[], None]:
    """Trace dispatches and the embedded worker's tasks from now on.

    A dispatch has one producer span for any number of messages, and its context is in
    the headers of each message. A running task has a consumer span, which links to the
    dispatch's. A dispatch inside a task is a child of the task's span.

    ``opentelemetry-instrumentation-celery`` makes spans of the same tasks. With both,
    tasks of the embedded worker have two spans, so use one of them.

    Args:
        tracer_provider: The provider; by default OpenTelemetry's global one.
        in_one_trace: Whether a task's span is also a child of the dispatch's. All
            members of a group share one trace then, which may be large.

    Returns:
        A function that switches the traces off again.

    Raises:
        CelerantError: ``opentelemetry-api`` is not installed.

    Cost: some 170 us a dispatch with OpenTelemetry's SDK, whatever its size; nothing
    if it is not called.
    """
    trace = extra("opentelemetry.trace", of="otel", needed_by="celerant.telemetry")
    tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
    producer = _Producer(tracer)
    consumer = _Consumer(tracer, in_one_trace=in_one_trace)
    WATCHERS.append(producer)
    consumer.connect()

    def uninstall() -> None:
        WATCHERS.remove(producer)
        consumer.disconnect()

    return uninstall


class _Producer:
    """Makes a span for each dispatch: a `Watcher`."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer
        self._open: dict[int, Span] = {}

    def begin(self, departure: Departure) -> None:
        from opentelemetry import propagate, trace  # noqa: PLC0415 - an extra

        what = "task" if departure.group_id is None else "group"
        span = self._tracer.start_span(
            f"send {what}",
            kind=trace.SpanKind.PRODUCER,
            attributes={
                "messaging.system": _NAME,
                "messaging.operation.type": "send",
                "messaging.operation.name": "send",
                "celerant.app": departure.app_name,
            },
        )
        if departure.group_id is not None:
            span.set_attribute("celerant.group_id", departure.group_id)
        self._open[id(departure)] = span
        propagate.inject(departure.headers, trace.set_span_in_context(span))

    def end(
        self,
        departure: Departure,
        report: Report | None,
        error: BaseException | None,
    ) -> None:
        span = self._open.pop(id(departure))
        if not span.is_recording():
            span.end()
            return
        tasks, queues = sorted(departure.tasks), sorted(departure.queues)
        if len(tasks) == 1:
            span.update_name(f"send {tasks[0]}")
        span.set_attribute("celerant.tasks", tasks[:_MOST])
        if len(queues) == 1:
            span.set_attribute("messaging.destination.name", queues[0])
        elif queues:
            span.set_attribute("celerant.queues", queues[:_MOST])
        if report is not None:
            span.set_attribute("messaging.batch.message_count", report.total)
            for state, count in report.counts().items():
                if count and state != "confirmed":
                    span.set_attribute(f"celerant.{state}", count)
        if error is not None:
            _fail(span, error)
        span.end()


class _Consumer:
    """Makes a span for each running task, by Celery's signals."""

    def __init__(self, tracer: Any, *, in_one_trace: bool) -> None:
        self._tracer = tracer
        self._is_child = in_one_trace
        #: The span and its context token, by the task's id and the thread that runs it.
        self._open: dict[tuple[str, int], tuple[Span, Any]] = {}

    def connect(self) -> None:
        """Connect receivers of Celery's signals."""
        task_prerun.connect(self._begin, weak=False)
        task_failure.connect(self._failed, weak=False)
        task_retry.connect(self._retried, weak=False)
        task_postrun.connect(self._end, weak=False)

    def disconnect(self) -> None:
        """Disconnect these receivers."""
        task_prerun.disconnect(self._begin)
        task_failure.disconnect(self._failed)
        task_retry.disconnect(self._retried)
        task_postrun.disconnect(self._end)

    def _begin(self, *, task_id: str, task: Any, **_: Any) -> None:
        from opentelemetry import context, propagate, trace  # noqa: PLC0415 - an extra

        request: Request | None = current_request.get()
        if request is None or request.is_eager or request.id != task_id:
            # A stock worker runs it, or its caller's process runs it in place.
            return
        sent = propagate.extract(request.headers or {})
        origin = trace.get_current_span(sent).get_span_context()
        attributes: dict[str, Any] = {
            "messaging.system": _NAME,
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.message.id": task_id,
            "celerant.task": task.name,
        }
        queue = (request.delivery_info or {}).get("routing_key")
        told = {
            "messaging.destination.name": queue,
            "messaging.message.conversation_id": request.root_id,
            "celerant.group_id": request.group,
            "celerant.group_index": request.group_index,
            "celerant.retries": request.retries or None,
        }
        attributes |= {name: value for name, value in told.items() if value is not None}
        span = self._tracer.start_span(
            f"process {task.name}",
            context=sent if self._is_child else context.Context(),
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=[trace.Link(origin)] if origin.is_valid else (),
        )
        token = context.attach(trace.set_span_in_context(span))
        self._open[task_id, threading.get_ident()] = span, token

    def _failed(self, *, task_id: str, exception: BaseException, **_: Any) -> None:
        found = self._open.get((task_id, threading.get_ident()))
        if found is not None:
            _fail(found[0], exception)

    def _retried(self, *, request: Request, reason: object, **_: Any) -> None:
        found = self._open.get((request.id, threading.get_ident()))
        if found is not None:
            found[0].add_event("retry", {"reason": str(reason)})

    def _end(self, *, task_id: str, state: str | None = None, **_: Any) -> None:
        from opentelemetry import context  # noqa: PLC0415 - an extra

        found = self._open.pop((task_id, threading.get_ident()), None)
        if found is None:
            return
        span, token = found
        span.set_attribute("celerant.state", str(state))
        span.end()
        context.detach(token)


def _fail(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

    span.record_exception(error)
    kind = type(error)
    span.set_attribute("error.type", f"{kind.__module__}.{kind.__qualname__}")
    span.set_status(Status(StatusCode.ERROR, str(error)))
