"""Packages that only an extra installs, imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

from celerant.common.urls import scheme, split
from celerant.errors import ExtraError

__all__ = ["extra", "need_redis"]

#: Schemes of URLs that redis-py serves, as a broker or a store.
_REDIS = frozenset({"redis", "rediss", "redis+socket", "sentinel", "socket"})


def extra(module: str, *, of: str, needed_by: str) -> ModuleType:
    """Import a module that the extra `of` installs.

    Args:
        module: Its dotted name.
        of: The name of the extra.
        needed_by: What the user asked for: ``"the command line"``.

    Raises:
        ExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        msg = (
            f"{needed_by} needs the package {exc.name}; install it with "
            f"pip install 'celerant[{of}]'"
        )
        raise ExtraError(msg, name=exc.name) from exc


def need_redis(urls: str | Sequence[str] | None) -> None:
    """Refuse URLs of a Redis if redis-py is not installed.

    Raises:
        ExtraError: As of `extra`.
    """
    for url in split(urls):
        if (kind := scheme(url)) in _REDIS:
            extra("redis", of="redis", needed_by=f"{kind}://")
