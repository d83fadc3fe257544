"""From stored records to members that have arrived. Used by the consumer's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.common.printable import line, shown
from celerant.errors import TaskError

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members
    from celerant.results.tracking.source import Source

__all__ = ["absorb", "unreadable"]

_READY = {
    "SUCCESS": Barrier.SUCCESS,
    "FAILURE": Barrier.FAILURE,
    "REVOKED": Barrier.REVOKED,
}


def absorb(
    backend: Source,
    members: Members,
    indices: list[int],
    records: list[bytes | None],
) -> None:
    """Let members arrive whose record says that they are done, and keep their values.

    Args:
        backend: What reads the records that the core leaves to kombu.
        members: Who they belong to; nobody is notified yet.
        indices: A member for each record.
        records: As stored; None where there is none.
    """
    members.reserve()
    _, failed, deferred = members.barrier.absorb(indices, records, members.values)
    if members.first_failure is None and failed is not None:
        members.first_failure = failed
    for position in deferred:
        _absorb_by_kombu(backend, members, indices[position], records[position])


def unreadable(task_id: str, exc: BaseException) -> TaskError:
    """Return the failure of a task whose record makes no sense."""
    error = TaskError(
        f"the stored result of {task_id} cannot be read: {line(exc)}",
        exc_type=type(exc).__name__,
        exc_module=type(exc).__module__,
    )
    error.__cause__ = exc
    return error


def _absorb_by_kombu(
    backend: Source, members: Members, index: int, record: bytes | None
) -> None:
    value: Any
    try:
        status, value = _read(backend, record)
    except Exception as exc:  # noqa: BLE001 - any serializer's own errors
        status, value = "FAILURE", unreadable(members.roster.id(index), exc)
    state = _READY.get(status)
    if state is None or members.barrier.state(index) != Barrier.PENDING:
        return
    members.values[index] = value
    members.barrier.arrive(index, state)
    if state != Barrier.SUCCESS and members.first_failure is None:
        members.first_failure = index


def _read(backend: Source, record: bytes | None) -> tuple[str, Any]:
    """Return the state of a record and what is kept of it.

    Raises:
        Exception: It is no record of a task's.
    """
    meta = backend.codec.decode(record or b"")
    status = meta.get("status") if isinstance(meta, dict) else None
    if not isinstance(status, str):
        msg = f"it is no record with a status but {shown(meta, 80)}"
        raise TypeError(msg)
    return status, meta.get("result") if status == "SUCCESS" else record
