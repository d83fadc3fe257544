"""Sentry and OpenTelemetry as they watch Celery, with their data kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import billiard.pool
import celery
import celery.app.trace
import celery.beat
import kombu
import sentry_sdk
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

__all__ = ["Kept", "opentelemetry", "sentry"]

#: All that Sentry wraps, for as long as the process lives.
_WRAPPED: tuple[tuple[Any, str], ...] = (
    (celery.Task, "apply_async"),
    (celery.Celery, "send_task"),
    (kombu.Producer, "publish"),
    (celery.app.trace, "build_tracer"),
    (celery.beat.Scheduler, "apply_entry"),
    (billiard.pool.Worker, "workloop"),
)


class Kept(Transport):
    """Keeps transactions."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: list[dict[str, Any]] = []
        #: Spans that are sent one by one.
        self.streamed: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep its contents."""
        for item in envelope.items:
            found: Any = item.payload.json
            if item.type == "transaction":
                self.transactions.append(dict(found))
            elif item.type == "span":
                self.streamed += found["items"]

    @property
    def spans(self) -> list[dict[str, Any]]:
        """The spans of all transactions."""
        return [span for one in self.transactions for span in one["spans"]]


@contextmanager
def sentry(
    kept: Kept | None = None, *, streams: bool = False, **options: Any
) -> Iterator[Kept]:
    """Initialise Sentry, and take all of it away again.

    Args:
        kept: Gets its data.
        streams: Whether spans are sent one by one.
        **options: Of its `CeleryIntegration`.
    """
    was = {(owner, name): vars(owner)[name] for owner, name in _WRAPPED}
    kept = kept or Kept()
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:1/1",
        transport=kept,
        traces_sample_rate=1.0,
        default_integrations=False,
        integrations=[CeleryIntegration(**options)],
        enable_backpressure_handling=False,
        trace_lifecycle="stream" if streams else "static",
    )
    if celery.Task.apply_async is was[celery.Task, "apply_async"]:
        # It wraps only the first time.
        CeleryIntegration.setup_once()
    try:
        yield kept
    finally:
        sentry_sdk.get_client().close(timeout=0)
        sentry_sdk.get_global_scope().set_client(None)
        for (owner, name), value in was.items():
            setattr(owner, name, value)


@contextmanager
def opentelemetry(
    exporter: SpanExporter | None = None,
) -> Iterator[InMemorySpanExporter]:
    """Instrument Celery, and take that away again.

    Args:
        exporter: Gets spans, too.
    """
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    for one in (kept, exporter):
        if one is not None:
            provider.add_span_processor(SimpleSpanProcessor(one))
    instrumentor: Any = CeleryInstrumentor()  # type: ignore[no-untyped-call] # it has no types there
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield kept
    finally:
        instrumentor.uninstrument()
        provider.shutdown()
