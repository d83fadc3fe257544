"""SQLAlchemy: rows are selected together, and Celery's own code decodes each."""

from __future__ import annotations

import contextlib
from typing import Any

from celery import states

from celerant.celery.bulk.unread import UnreadError

__all__ = ["read"]


def read(backend: Any, ids: list[str]) -> dict[str, Any]:
    """See `celerant.celery.bulk.reader.Reader`; one SELECT."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - not everybody has it

    task = backend.task_cls
    decode = type(backend)._get_task_meta_for  # noqa: SLF001 - Celery has no public one
    try:
        with contextlib.closing(backend.ResultSession()) as session:
            rows = session.query(task).filter(
                task.task_id.in_(ids), task.status.in_(states.READY_STATES)
            )
            return {
                row.task_id: decode(_OneRow(backend, row), row.task_id) for row in rows
            }
    except SQLAlchemyError as exc:
        raise UnreadError from exc


class _OneRow:
    """A backend, and its session, that finds one row for every id."""

    def __init__(self, backend: Any, row: Any) -> None:
        self._backend = backend
        self._row = row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def _query_task(self, _session: Any, _task_id: str) -> Any:
        # Celery 5.7 looks for the row like this.
        return self._row

    def ResultSession(self) -> _OneRow:  # noqa: N802 - Celery's name
        return self

    def query(self, _table: Any) -> _OneRow:
        # Older versions look like this.
        return self

    def filter(self, _condition: Any) -> list[Any]:
        return [self._row]

    def rollback(self) -> None:
        """Change nothing: the row belongs to a session that others close."""

    close = rollback
