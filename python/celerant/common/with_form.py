"""Results as values: if a task returns one, its form is stored."""

from __future__ import annotations

import sys
from typing import Any

from celerant.common.foreign import is_a

__all__ = ["WithForm", "plain_value"]


class WithForm:
    """A result of a message or canvas that was sent."""

    __slots__ = ()

    def as_tuple(self) -> Any:
        """Return the form; see `celerant.results.tracking.forms`."""
        raise NotImplementedError


def plain_value(value: Any, serializer: str) -> Any:
    """Return a task's value for a serializer."""
    return value.as_tuple() if serializer != "pickle" and _is_result(value) else value


def _is_result(value: Any) -> bool:
    """Whether a value is the result of a task's send, ours or Celery's."""
    # Its class decides: a Decimal has an `as_tuple` too.
    theirs: Any = sys.modules.get("celery.result")
    return is_a(value, WithForm) or (
        theirs is not None and is_a(value, theirs.ResultBase)
    )
