"""Options that Celery's methods of a task take by their position too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["of_apply", "of_apply_async"]

#: After `args` and `kwargs`, as in ``celery.app.task`` of celery 5.7.0.
_APPLY_ASYNC = ("task_id", "producer", "link", "link_error", "shadow")
_APPLY = (
    "link",
    "link_error",
    "task_id",
    "retries",
    "throw",
    "logfile",
    "loglevel",
    "headers",
)


def of_apply_async(
    given: tuple[Any, ...], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the options of a call of `Task.apply_async`.

    Args:
        given: What came by position after `args` and `kwargs`; None is not given.
        options: Those by name.
    Raises:
        TypeError: There are too many, or one came by name too.
    """
    return _joined("apply_async", _APPLY_ASYNC, given, options)


def of_apply(given: tuple[Any, ...], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a call of `Task.apply`; see `of_apply_async`."""
    return _joined("apply", _APPLY, given, options)


def _joined(
    method: str,
    names: tuple[str, ...],
    given: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Mapping[str, Any]:
    if not given:
        return options
    if len(given) > len(names):
        msg = (
            f"{method}() takes args, kwargs and up to {len(names)} options as "
            f"positional arguments, but {len(given)} options were given"
        )
        raise TypeError(msg)
    for name in names[: len(given)]:
        if name in options:
            msg = f"{method}() got multiple values for argument {name!r}"
            raise TypeError(msg)
    by_position = zip(names, given, strict=False)
    return {**options, **{name: one for name, one in by_position if one is not None}}
