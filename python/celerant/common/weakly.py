"""Methods that do not keep their object alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar

__all__ = ["weakly"]

_T = TypeVar("_T")


def weakly(call: Callable[..., _T]) -> Callable[..., _T]:
    """Return what calls `call`, and does not keep the object alive whose method it is.

    Raises:
        ReferenceError: By the returned function: the object is gone.
    """
    if not isinstance(call, MethodType):
        return call
    reference = weakref.WeakMethod(call)

    def called(*args: Any) -> _T:
        method: Callable[..., _T] | None = reference()
        if method is None:
            msg = "the app whose results these are is gone"
            raise ReferenceError(msg)
        return method(*args)

    return called
