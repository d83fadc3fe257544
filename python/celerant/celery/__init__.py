"""Celery's own groups through Celerant: nothing else of a Celery project changes.

    import celerant.celery

    celerant.celery.install()

From then on ``celery.group(...).apply_async()``, chord headers, ``Task.chunks`` and
groups inside chains leave as one volley. `docs/celery.md` tells which members do, and
why others take Celery's own path.
"""

from __future__ import annotations

import celerant.celery.needed  # noqa: F401 - before any module that imports Celery

# isort: split
from celerant.celery.canvas import group
from celerant.celery.explaining import Explanation, Reason, explain
from celerant.celery.installing import Installation, install, uninstall
from celerant.celery.loader import Loader

__all__ = [
    "Explanation",
    "Installation",
    "Loader",
    "Reason",
    "explain",
    "group",
    "install",
    "uninstall",
]
