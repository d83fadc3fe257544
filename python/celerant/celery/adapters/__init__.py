"""Tools that watch Celery's sends and work in volleys, too.

Each has a module of its own. Unknown wrappers take Celery's own path.
"""

from __future__ import annotations

from celerant.celery.adapters.opentelemetry import Spans, is_tracer
from celerant.celery.adapters.sentry import publishing, unwrapped

__all__ = ["Spans", "is_tracer", "publishing", "unwrapped"]
