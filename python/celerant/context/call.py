"""The arguments and options of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Call", "given"]


class Call(NamedTuple):
    """The arguments and options of one call of `apply_async` or `apply`."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    #: The call's own dict: the sender takes out options that are no part of a message.
    options: dict[str, Any]


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a canvas's call without those that are None.

    As in Celery, these are not given. In a signature's own options, and in a call of a
    task, None is given in place of the task's own option.
    """
    return {name: value for name, value in options.items() if value is not None}
