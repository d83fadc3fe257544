"""Options and settings that the embedded worker does not honour."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["tell_unsupported"]

logger = logging.getLogger("celerant.worker")

#: Options of ``@app.task``, and the settings that give them to all tasks.
_OPTIONS = {"rate_limit": "task_default_rate_limit"}
_ADVICE = "use a celery worker (app.to_celery()) if that matters"


def tell_unsupported(tasks: Mapping[str, Any], conf: Any) -> None:
    """Log options that are set, once for each task, and such settings once."""
    for name, task in sorted(tasks.items()):
        asked = [
            option
            for option, setting in _OPTIONS.items()
            if getattr(task, option, None) not in {None, getattr(conf, setting, None)}
        ]
        if asked:
            logger.warning(
                "task %s: this worker does not honour %s; %s",
                name,
                " and ".join(asked),
                _ADVICE,
            )
    asked = [name for name in _OPTIONS.values() if getattr(conf, name, None)]
    if asked:
        logger.warning("this worker does not honour %s; %s", asked, _ADVICE)
