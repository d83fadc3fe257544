"""Tools that watch what Celery sends, known well enough to stay in a volley.

Each has a module of its own. What none of them knows, Celery's own path serves.
"""

from __future__ import annotations

from celerant.celery.adapters.opentelemetry import Spans, is_tracer
from celerant.celery.adapters.sentry import publishing, unwrapped

__all__ = ["Spans", "is_tracer", "publishing", "unwrapped"]
