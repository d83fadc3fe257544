"""What tasks and settings ask for that the embedded worker does not do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celerant.config import CELERY, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celerant.config import Settings

__all__ = ["tell_unsupported"]

logger = logging.getLogger("celerant.worker")

#: Options of ``@app.task``.
_OPTIONS = ("rate_limit",)
#: What settings of workers and tasks begin with; others are of beat and of backends.
_OF_WORKERS = ("broker_", "control_", "event_", "task_", "worker_")
_ADVICE = "use a celery worker (app.to_celery()) where that matters"


def tell_unsupported(tasks: Mapping[str, Any], conf: Settings) -> None:
    """Log once for each task, and once for the settings, what is not honoured."""
    for name, task in sorted(tasks.items()):
        asked = [option for option in _OPTIONS if getattr(task, option, None)]
        if asked:
            logger.warning(
                "task %s: this worker does not honour %s; %s",
                name,
                " and ".join(asked),
                _ADVICE,
            )
    passed_over = [
        name
        for name, value in conf.changed().items()
        if name.startswith(_OF_WORKERS)
        and SETTINGS[name].reader == CELERY
        and value != SETTINGS[name].default
    ]
    if passed_over:
        logger.warning(
            "this worker does not honour %s; %s", ", ".join(passed_over), _ADVICE
        )
