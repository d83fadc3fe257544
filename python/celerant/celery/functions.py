"""Functions and apps themselves, not the objects that stand in for them."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

__all__ = ["actual", "bare"]


def bare(function: Any) -> FunctionType | None:
    """Return a plain function, or the function of a method.

    Returns:
        None for an object that only looks like one. A wrapper of wrapt, for example,
        shows the code of the wrapped function and even claims its class.
    """
    if type(function) is MethodType:
        function = function.__func__
    return function if type(function) is FunctionType else None


def actual(app: Any) -> Any:
    """Return the app that a proxy of Celery's stands for now; any other is itself."""
    current = getattr(app, "_get_current_object", None)
    return app if current is None else current()
