"""opentelemetry-instrumentation-celery: receives `before_` and `after_task_publish`.

Its receivers make a span per message. A volley makes one per task instead, with the
same name and attributes and the number of messages, and all messages of that task have
its context in their headers.

OpenTelemetry is not imported: without its receivers there is nothing to do.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from celery import signals

__all__ = ["Spans", "is_tracer"]

logger = logging.getLogger("celerant")

_MODULE = "opentelemetry.instrumentation.celery"
_RECEIVERS = frozenset({"_trace_before_publish", "_trace_after_publish"})
_BEFORE = "_trace_before_publish"


def is_tracer(receiver: Any) -> bool:
    """Whether a receiver of a signal is one of the instrumentation's own."""
    code = getattr(getattr(receiver, "__func__", receiver), "__code__", None)
    module = sys.modules.get(_MODULE)
    return (
        code is not None
        and module is not None
        and code.co_filename == module.__file__
        and code.co_name in _RECEIVERS
        # The parts of the instrumentation that are used here.
        and hasattr(getattr(module, "utils", None), "set_attributes_from_context")
        and (code.co_name != _BEFORE or hasattr(_instrumentor(receiver), "_tracer"))
    )


def _instrumentor(receiver: Any) -> Any:
    return getattr(receiver, "__self__", None)


class Spans:
    """The producer spans of one volley.

    Args:
        count: Counts the members of each task.
    """

    def __init__(self, count: Callable[[], Counter[str]]) -> None:
        self._count = count
        self._open: dict[str, Any] = {}

    def drawn(self, name: str, told: dict[str, Any]) -> None:
        """Put the context of a task's span into the headers of its messages.

        Args:
            name: The task's.
            told: The arguments of receivers of `before_task_publish`.
        """
        try:
            self._inject(name, told)
        except Exception:
            # Celery does the same if a receiver fails.
            logger.exception("the messages of %s are sent without a trace", name)

    def _inject(self, name: str, told: dict[str, Any]) -> None:
        tracer = _tracer(name)
        if tracer is None:
            return
        from opentelemetry import propagate, trace  # noqa: PLC0415 - it is there
        from opentelemetry.instrumentation.celery import utils  # noqa: PLC0415 - so too

        span = self._open.get(name)
        if span is None:
            span = self._open[name] = tracer.start_span(
                f"apply_async/{name}",
                kind=trace.SpanKind.PRODUCER,
                attributes={
                    "celery.action": "apply_async",
                    "celery.task_name": name,
                    "messaging.batch.message_count": self._count()[name],
                },
            )
            utils.set_attributes_from_context(span, told)
        propagate.inject(told["headers"], trace.set_span_in_context(span))

    def end(self, error: BaseException | None) -> None:
        """End the spans of a volley that has left; `error` tells why not all of it."""
        for span in self._open.values():
            if error is not None:
                span.record_exception(error)
                span.set_status(_failed(error))
            span.end()


def _tracer(name: str) -> Any:
    for receiver in signals.before_task_publish._live_receivers(name):  # noqa: SLF001 - Celery tells only whether there are any
        if is_tracer(receiver):
            return _instrumentor(receiver)._tracer  # noqa: SLF001 - the instrumentation has no public one
    return None


def _failed(error: BaseException) -> Any:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - it is there

    return Status(StatusCode.ERROR, str(error))
