"""The parameters of a task's function."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["parameters_of_call", "taken_by"]


def taken_by(
    function: Callable[..., Any], *, follow_wrapped: bool = False
) -> inspect.Signature | None:
    """Return the parameters of a function; None if it tells none.

    Args:
        function: Any callable.
        follow_wrapped: Of a decorated function, return those of the function inside,
            which the decorator may have changed.
    """
    told: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        # Names that only type checkers import cannot be evaluated.
        import annotationlib  # noqa: PLC0415 - new in Python 3.14

        told["annotation_format"] = annotationlib.Format.STRING
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped, **told)
    except (TypeError, ValueError):
        return None


def parameters_of_call(
    function: Callable[..., Any], *, bind: bool
) -> inspect.Signature | None:
    """Return the parameters of a function as it is called, decorators included.

    Celery too counts the parameters of the wrapper, not of the function inside.
    """
    found = taken_by(function)
    if found is not None and bind:
        rest = list(found.parameters.values())
        if rest and rest[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            found = found.replace(parameters=rest[1:])
    return found
