"""A `celery worker` that Sentry and OpenTelemetry watch, and that prints their data."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from sentry_sdk.envelope import Envelope

from harness import tracing

__all__ = ["MARK", "app"]

#: Begins each line with such data.
MARK = "TRACED "


def say(**seen: Any) -> None:
    """Print past Celery, which takes `sys.stdout` for its log."""
    assert sys.__stdout__ is not None
    print(MARK + json.dumps(seen), file=sys.__stdout__, flush=True)


class Said(SpanExporter):
    """Prints the parent of each span of OpenTelemetry's."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Say it."""
        for span in spans:
            parent = span.parent.span_id if span.parent else 0
            say(
                tool="opentelemetry",
                name=span.name,
                trace=f"{span.context.trace_id:032x}",
                parent=f"{parent:016x}",
            )
        return SpanExportResult.SUCCESS


class SaidBySentry(tracing.Kept):
    """Prints the parent of each transaction of Sentry's."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Say it."""
        super().capture_envelope(envelope)
        for transaction in self.transactions:
            trace = transaction["contexts"]["trace"]
            say(
                tool="sentry",
                name=transaction["transaction"],
                trace=trace["trace_id"],
                parent=trace.get("parent_span_id"),
            )
        self.transactions.clear()


# For as long as the process lives.
_watching = tracing.sentry(kept=SaidBySentry()), tracing.opentelemetry(Said())
for _one in _watching:
    _one.__enter__()

# Celery's imports have to come after Sentry's.
from harness.stock_worker import app  # noqa: E402
