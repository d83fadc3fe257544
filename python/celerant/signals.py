"""Celery's signals, which tell connected receivers of tasks and workers.

If Celery is installed, these are Celery's own objects, so that receivers connected to
``celery.signals`` hear of Celerant's tasks and the other way round. If it is not, they
are equal ones::

    from celerant.signals import task_failure


    @task_failure.connect
    def tell(sender, task_id, exception, **rest): ...

Source: ``celery.signals`` of celery 5.7.0: names and arguments.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from celerant.common.receivers import SIGNALS, Signal

__all__ = [
    "after_task_publish",
    "before_task_publish",
    "celeryd_after_setup",
    "celeryd_init",
    "import_modules",
    "task_failure",
    "task_internal_error",
    "task_postrun",
    "task_prerun",
    "task_received",
    "task_rejected",
    "task_retry",
    "task_revoked",
    "task_sent",
    "task_success",
    "task_unknown",
    "worker_before_create_process",
    "worker_init",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutdown",
    "worker_shutting_down",
]

if TYPE_CHECKING:  # made below
    after_task_publish: Signal
    before_task_publish: Signal
    celeryd_after_setup: Signal
    celeryd_init: Signal
    import_modules: Signal
    task_failure: Signal
    task_internal_error: Signal
    task_postrun: Signal
    task_prerun: Signal
    task_received: Signal
    task_rejected: Signal
    task_retry: Signal
    task_revoked: Signal
    task_sent: Signal
    task_success: Signal
    task_unknown: Signal
    worker_before_create_process: Signal
    worker_init: Signal
    worker_process_init: Signal
    worker_process_shutdown: Signal
    worker_ready: Signal
    worker_shutdown: Signal
    worker_shutting_down: Signal


def _made() -> dict[str, Any]:
    try:
        theirs = import_module("celery.signals")
    except ImportError:
        return {name: Signal(name) for name in SIGNALS}
    return {name: getattr(theirs, name) for name in SIGNALS}


globals().update(_made())
