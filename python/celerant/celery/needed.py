"""Names the extra ``celery``, before a module that imports Celery is loaded."""

from __future__ import annotations

from celerant.common.extras import extra

extra("celery", of="celery", needed_by="celerant.celery")
