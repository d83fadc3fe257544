"""The error of a read in bulk that did not work."""

from __future__ import annotations

__all__ = ["UnreadError"]


class UnreadError(Exception):
    """The database refused: Celery's own methods try again, and raise the error."""
