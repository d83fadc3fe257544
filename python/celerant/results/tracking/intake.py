"""Read the records that the core leaves to kombu."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.common.printable import line, shown
from celerant.errors import TaskError

if TYPE_CHECKING:
    from celerant.results.tracking.member_backend import MemberBackend

__all__ = ["read", "tells_end", "unreadable"]

_READY = {
    "SUCCESS": Barrier.SUCCESS,
    "FAILURE": Barrier.FAILURE,
    "REVOKED": Barrier.REVOKED,
}


def unreadable(task_id: str, exc: BaseException) -> TaskError:
    """Return the error of a task whose record cannot be read."""
    error = TaskError(
        f"the stored result of {task_id} cannot be read: {line(exc)}",
        exc_type=type(exc).__name__,
        exc_module=type(exc).__module__,
    )
    error.__cause__ = exc
    return error


def read(
    backend: MemberBackend, task_id: str, record: bytes | None
) -> tuple[int, Any] | None:
    """Return the state of a task that is done, and the object to keep.

    The object is the value of a success, the record of a failure, or the error of an
    unreadable record. None if the task is not done.
    """
    try:
        status, kept = _read(backend, record)
    except Exception as exc:  # noqa: BLE001 - a serializer may raise anything
        return Barrier.FAILURE, unreadable(task_id, exc)
    state = _READY.get(status)
    return None if state is None else (state, kept)


def tells_end(backend: MemberBackend, task_id: str, record: bytes | None) -> bool:
    """Whether there is a record, and it says that the task is done."""
    return record is not None and read(backend, task_id, record) is not None


def _read(backend: MemberBackend, record: bytes | None) -> tuple[str, Any]:
    """Return the state of a record, and the object to keep.

    Raises:
        Exception: The record is not a task's.
    """
    meta = backend.codec.decode(record or b"")
    status = meta.get("status") if isinstance(meta, dict) else None
    if not isinstance(status, str):
        msg = f"it is no record with a status but {shown(meta, 80)}"
        raise TypeError(msg)
    return status, meta.get("result") if status == "SUCCESS" else record
