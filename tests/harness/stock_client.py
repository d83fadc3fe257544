"""An app of stock Celery's that sends, and leaves no socket behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import celery

__all__ = ["stock_client"]


@contextlib.contextmanager
def stock_client(
    *, broker: str, backend: str, queue: str, **settings: Any
) -> Iterator[celery.Celery]:
    """Make a client whose tasks go to `queue`; closed at the end."""
    client = celery.Celery(
        "client", broker=broker, backend=backend, set_as_current=False
    )
    client.conf.update(settings, task_default_queue=queue, result_expires=600)
    client.conf.task_default_exchange = client.conf.task_default_routing_key = queue
    try:
        yield client
    finally:
        client.backend.result_consumer.stop()
        # A result that goes later would connect again, to unsubscribe.
        client.backend.result_consumer._pubsub = None
        client.backend.client.connection_pool.disconnect()
        client.close()
