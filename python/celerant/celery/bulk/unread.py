"""When reading in bulk did not work out."""

from __future__ import annotations

__all__ = ["UnreadError"]


class UnreadError(Exception):
    """The database refused: Celery's own methods try again, and raise the error."""
