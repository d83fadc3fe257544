"""When reading in bulk did not work out."""

from __future__ import annotations

__all__ = ["UnreadError"]


class UnreadError(Exception):
    """The database refused: Celery's own ways try again, and say what is wrong."""
