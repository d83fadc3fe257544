"""The bulk reader for each result store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from celery.backends.base import Backend, BaseKeyValueStoreBackend

from celerant.celery.bulk import django_models, key_value, sql_tables

__all__ = ["AT_ONCE", "Reader", "reader_of"]

#: How many results are read together.
AT_ONCE = 1000

#: Takes a backend and up to `AT_ONCE` ids; returns the records of those that are done,
#: by id, as Celery's own `get_task_meta` would.
Reader = Callable[[Any, list[str]], dict[str, Any]]

#: Modules of classes that some installations lack, and their readers.
_DATABASES: tuple[tuple[str, Reader], ...] = (
    ("celery.backends.database", sql_tables.read),
    ("django_celery_results.backends.database", django_models.read),
)


def reader_of(backend: Any) -> Reader | None:
    """Return the bulk reader of a result store; None if only Celery can read it.

    A user's subclass that reads results in its own way is asked for each.
    """
    cls = type(backend)
    if isinstance(backend, BaseKeyValueStoreBackend):
        base = BaseKeyValueStoreBackend
        is_own = (
            cls.get_task_meta is base.get_task_meta
            and cls._get_task_meta_for is base._get_task_meta_for  # noqa: SLF001 - Celery has no public one
        )
        # A store without `mget` gives one key at a time.
        return key_value.read if is_own and cls.mget is not base.mget else None
    if getattr(cls, "get_task_meta", None) is not Backend.get_task_meta:
        return None
    for name, read in _DATABASES:
        # A program with such a backend has imported it.
        known = getattr(sys.modules.get(name), "DatabaseBackend", None)
        if known is not None and isinstance(backend, known):
            own = known._get_task_meta_for  # noqa: SLF001 - Celery has no public one
            return read if cls._get_task_meta_for is own else None
    return None
