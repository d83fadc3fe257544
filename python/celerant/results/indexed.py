"""The index of an app's groups, which senders write and the web page reads.

The result store keeps it, for as long as results are kept and with a limited number of
entries. A group that is sent bit by bit gets two entries, at its beginning and at its
end, and the later one counts.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from celerant.common.per_process import PerProcess
from celerant.errors import HandleError
from celerant.results.handle import attach, rebuilt, snapshot

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult

__all__ = ["Entry", "entries", "entry_of", "live", "put", "result_of"]

#: Results in the index that this process holds, by their rosters' ids.
_live: PerProcess[weakref.WeakValueDictionary[str, GroupResult[Any]]] = PerProcess(
    weakref.WeakValueDictionary
)
#: The most names of tasks in an entry.
_TASKS_MOST = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A group in the index, as its sender wrote it."""

    id: str
    #: Names of some of its tasks.
    tasks: tuple[str, ...]
    #: How many members it has; None if it was still being sent.
    size: int | None
    #: Seconds since the epoch.
    sent_at: float
    noted_at: float
    #: None if its results are in one process only.
    handle: str | None
    #: The id of its roster, which finds the result in its sender's process.
    uuid: str
    #: The host and the process that sent it.
    sender: str
    #: A snapshot from which a store in memory makes the result.
    kept: Any = None


def put(result: GroupResult[Any], tasks: Sequence[str]) -> None:
    """Add a group to the index of its app.

    Raises:
        CelerantError: The store keeps no index, or is not reachable.
    """
    members, backend = result.members, result.backend
    barrier, uuid = members.barrier, members.roster.uuid
    _live.get()[uuid] = result
    is_sealed, handle, kept = barrier.is_sealed, None, None
    if backend.supports_handles and (is_sealed or result.feeding is not None):
        handle = result.handle
    elif is_sealed:
        kept = snapshot(result)
    noted = {
        "id": result.id,
        "tasks": tasks[:_TASKS_MOST],
        "size": len(barrier) if is_sealed else None,
        "sent_at": members.sent_at,
        "noted_at": time.time(),
        "handle": handle,
        "uuid": uuid,
        "sender": f"{socket.gethostname()}:{os.getpid()}",
    }
    backend.add_to_index(orjson.dumps(noted), kept)


def entries(backend: Backend) -> list[Entry]:
    """Return the groups of the index, each once, the last sent first.

    Raises:
        CelerantError: The store keeps no index, or is not reachable.
    """
    found: dict[str, Entry] = {}
    for payload, kept in backend.index():
        entry = _read(payload, kept)
        before = None if entry is None else found.get(entry.id)
        if entry is not None and (before is None or before.noted_at < entry.noted_at):
            found[entry.id] = entry
    return sorted(found.values(), key=lambda entry: entry.sent_at, reverse=True)


def _read(payload: bytes, kept: object) -> Entry | None:
    # A later release may write more fields, and another program may write anything.
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        told = orjson.loads(payload)
        size = told["size"]
        return Entry(
            id=str(told["id"]),
            tasks=tuple(map(str, told["tasks"])),
            size=None if size is None else int(size),
            sent_at=float(told["sent_at"]),
            noted_at=float(told["noted_at"]),
            handle=told.get("handle"),
            uuid=str(told["uuid"]),
            sender=str(told["sender"]),
            kept=kept,
        )
    return None


def entry_of(backend: Backend, group_id: str) -> Entry:
    """Return the entry of one group.

    Raises:
        HandleError: The index does not have the group.
        CelerantError: The store keeps no index, or is not reachable.
    """
    for entry in entries(backend):
        if entry.id == group_id:
            return entry
    msg = (
        f"group {group_id} is not in the index: it was sent too long ago, or without "
        "celerant_index_groups"
    )
    raise HandleError(msg)


def result_of(entry: Entry, backend: Backend) -> GroupResult[Any] | None:
    """Return the result of a group; None if only another process has it.

    Raises:
        HandleError: The group's handle was not made on this store.
        ResultExpired: The data stored beside its results are gone.
        CelerantError: The store is not reachable.
    """
    found = live(entry.uuid)
    if found is not None:
        return found
    if entry.handle is not None:
        return attach(entry.handle, backend)
    if entry.kept is not None:
        return rebuilt(backend, **entry.kept)
    return None


def live(uuid: str) -> GroupResult[Any] | None:
    """Return the result of a group that this process has sent and still holds, or None.

    Unlike others, this result has the group's feeding and its members' arguments.
    """
    return _live.get().get(uuid)
