"""django-celery-results: rows are selected together, its own code decodes each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery import states

from celerant.celery.bulk.unread import UnreadError

__all__ = ["read"]


def read(backend: Any, ids: list[str]) -> dict[str, Any]:
    """See `celerant.celery.bulk.reader.Reader`; one SELECT."""
    from django.db import Error  # noqa: PLC0415 - not everybody has it

    decode = type(backend)._get_task_meta_for  # noqa: SLF001 - Celery has no public one
    model = backend.TaskModel
    try:
        rows = model._default_manager.filter(  # noqa: SLF001 - Django's public name
            task_id__in=ids, status__in=states.READY_STATES
        )
        return {row.task_id: decode(_OneRow(backend, row), row.task_id) for row in rows}
    except Error as exc:
        raise UnreadError from exc


class _OneRow:
    """A backend whose model has one row, and finds it for every id."""

    def __init__(self, backend: Any, row: Any) -> None:
        self._backend = backend
        manager = SimpleNamespace(get_task=lambda _task_id: row)
        self.TaskModel = SimpleNamespace(_default_manager=manager)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)
