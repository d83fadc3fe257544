"""Remote control of a worker's slots, queues and time limits.

Source: ``celery.worker.control`` of celery 5.7.0.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kombu import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.worker.panel import Panel

__all__ = ["ADJUSTMENTS"]

logger = logging.getLogger("celerant.worker")


def pool_grow(panel: Panel, n: int = 1, **_: Any) -> Any:
    """Run `n` more tasks side by side."""
    panel.resize(int(n))
    return {"ok": "pool will grow"}


def pool_shrink(panel: Panel, n: int = 1, **_: Any) -> Any:
    """Run `n` fewer tasks side by side; running ones go on."""
    panel.resize(-int(n))
    return {"ok": "pool will shrink"}


def pool_restart(panel: Panel, **_: Any) -> Any:
    """Replace each child process once its running task has ended."""
    if not panel.app.conf.worker_pool_restarts:
        msg = "Pool restarts not enabled"
        raise ValueError(msg)
    if not panel.engine.restart():
        return {"error": "threads cannot be restarted; use pool='processes'"}
    logger.info("the pool is restarted")
    return {"ok": "reload started"}


def autoscale(_panel: Panel, **_: Any) -> Any:
    """Refuse the command: the worker does not scale itself."""
    msg = "Autoscale not enabled"
    raise ValueError(msg)


def add_consumer(
    panel: Panel,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> Any:
    """Consume one more queue; an unknown queue is made with these options."""
    queues = panel.app.queues
    is_new = queue not in queues
    if is_new:
        made = Queue.from_dict(
            queue,
            exchange=exchange or queue,
            exchange_type=exchange_type or "direct",
            routing_key=routing_key or queue,
            **options,
        )
        queues.include(made)
    try:
        panel.source.add_queue(queues[queue])
    except BaseException:
        if is_new:
            queues.pop(queue, None)
        raise
    return {"ok": f"add consumer {queue}"}


def cancel_consumer(panel: Panel, queue: str, **_: Any) -> Any:
    """Stop consuming a queue."""
    queues = panel.app.queues
    panel.source.cancel_queue(queues[queue].name if queue in queues else queue)
    return {"ok": f"no longer consuming from {queue}"}


def rate_limit(panel: Panel, task_name: str, **_: Any) -> Any:
    """Refuse the command: the worker limits no rates."""
    if task_name not in panel.app.tasks:
        return {"error": "unknown task"}
    return {
        "error": "the embedded worker limits no rates; use a celery worker "
        "(app.to_celery()) for tasks with a rate_limit"
    }


def time_limit(
    panel: Panel,
    task_name: str,
    hard: float | None = None,
    soft: float | None = None,
    **_: Any,
) -> Any:
    """Set the time limits of a task's messages that have none of their own.

    Args:
        panel: The worker's.
        task_name: The task.
        hard: Seconds after which the process is killed; None is without limit.
        soft: Seconds after which the task gets a SoftTimeLimitExceeded.
    """
    if task_name not in panel.app.tasks:
        return {"error": "unknown task"}
    if not panel.engine.limit(task_name, hard, soft):
        return {"error": "threads cannot keep time limits; use pool='processes'"}
    logger.info("time limits of %s: soft %s s, hard %s s", task_name, soft, hard)
    return {"ok": "time limits set successfully"}


ADJUSTMENTS: dict[str, Callable[..., Any]] = {
    command.__name__: command
    for command in (
        pool_grow,
        pool_shrink,
        pool_restart,
        autoscale,
        add_consumer,
        cancel_consumer,
        rate_limit,
        time_limit,
    )
}
