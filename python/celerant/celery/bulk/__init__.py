"""Reading the results of many tasks at once, in a way for each result store."""

from __future__ import annotations

from celerant.celery.bulk.reader import AT_ONCE, Reader, reader_of
from celerant.celery.bulk.replies import are_replies, receive
from celerant.celery.bulk.unread import UnreadError

__all__ = ["AT_ONCE", "Reader", "UnreadError", "are_replies", "reader_of", "receive"]
