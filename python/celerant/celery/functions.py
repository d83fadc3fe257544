"""Functions as they are, and apps: not what stands in for them."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

__all__ = ["actual", "bare"]


def bare(function: Any) -> FunctionType | None:
    """Return a plain function, of a method its own.

    Returns:
        None for what only looks like one: wrappers of wrapt, for one, show the code of
        what they wrap and even say that they are of its class.
    """
    if type(function) is MethodType:
        function = function.__func__
    return function if type(function) is FunctionType else None


def actual(app: Any) -> Any:
    """Return the app that a proxy of Celery's stands for now; any other is itself."""
    current = getattr(app, "_get_current_object", None)
    return app if current is None else current()
