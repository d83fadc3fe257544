"""From stored records to members that have arrived. Used by the consumer's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.errors import TaskError

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.members import Members

__all__ = ["absorb"]

_READY = {
    "SUCCESS": Barrier.SUCCESS,
    "FAILURE": Barrier.FAILURE,
    "REVOKED": Barrier.REVOKED,
}


def absorb(
    backend: Backend,
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


def _absorb_by_kombu(
    backend: Backend, members: Members, index: int, record: bytes | None
) -> None:
    value: Any
    try:
        meta = backend.decode(record)
    except Exception as exc:  # noqa: BLE001 - any serializer's own errors
        value = TaskError(
            f"the stored result of {members.roster.id(index)} cannot be read: {exc}",
            exc_type=type(exc).__name__,
            exc_module=type(exc).__module__,
        )
        value.__cause__ = exc
        state = Barrier.FAILURE
    else:
        found = _READY.get(str(meta.get("status")))
        if found is None:
            return
        state = found
        value = meta.get("result") if state == Barrier.SUCCESS else record
    if members.barrier.state(index) != Barrier.PENDING:
        return
    members.values[index] = value
    members.barrier.arrive(index, state)
    if state != Barrier.SUCCESS and members.first_failure is None:
        members.first_failure = index
