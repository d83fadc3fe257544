"""An app as another process has it."""

from __future__ import annotations

from celerant import Celerant

__all__ = ["app_elsewhere"]


def app_elsewhere(app: Celerant) -> Celerant:
    """Return another app of the same name, with the same broker, store and queue."""
    return Celerant(
        app.name,
        broker=app.conf.broker_url,
        backend=app.conf.result_backend,
        task_default_queue=app.conf.task_default_queue,
        control_exchange=app.name,
        set_as_current=False,
    )
