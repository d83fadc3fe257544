"""What a class of tasks may do beside the task's function, as Celery's classes do."""

from __future__ import annotations

from typing import Any

__all__ = ["TaskHooks"]


class TaskHooks:
    """Methods that do nothing until a subclass of `Task` says what."""

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Do something once a task of this class is made for `app`."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Do something before the function; an error of this fails the task."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Do something once the task's value is stored."""

    def on_retry(
        self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Do something if the task asked to run again; `exc` is the reason."""

    def on_failure(
        self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Do something if the task failed; ``str(einfo)`` is the traceback."""

    def after_return(  # noqa: PLR0913, PLR0917 - Celery's form
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Any,
        kwargs: Any,
        einfo: Any,
    ) -> None:
        """Do something after a success or failure; `retval` is value or exception."""

    def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str | None:
        """Return the name that logs and monitors show; None: the task's own."""
