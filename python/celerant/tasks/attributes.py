"""Attributes of a task that its app gives, and names of those that users do not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.context.apps import current_app
from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.context.host import App

__all__ = ["INTERNAL", "AppMadeLast", "FromSetting"]

#: Public for other rooms of the package only.
INTERNAL = frozenset(
    {
        "dump_models",
        "given_options",
        "hooks",
        "is_decorated",
        "of_results",
        "own_option",
        "parameters",
        "retry_lost",
        "sent_options",
        "stand_ins",
        "takes_header",
    }
)


class FromSetting:
    """The value of an option that the task leaves to the app's settings."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    def __get__(self, task: Any, owner: type) -> Any:
        return None if task is None else getattr(task.app.conf, self._setting)


class AppMadeLast:
    """The app of a task that was not registered, as Celery has it."""

    def __get__(self, task: Any, owner: type) -> App:
        if task is not None and not task.name:
            msg = (
                f"a task of class {owner.__name__} has no name: register it with "
                "app.register_task, or give its class an attribute `name`"
            )
            raise CelerantError(msg)
        return current_app()
