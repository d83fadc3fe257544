"""The index of an app's groups: what sending notes of each, and the page reads.

It is kept by the result store, for as long as results live and `MOST` entries at most.
A group that is sent bit by bit is noted twice, as it begins and at its end; the later
note counts.
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

#: Results of this process that are held by somebody, by their rosters' ids.
_live: PerProcess[weakref.WeakValueDictionary[str, GroupResult[Any]]] = PerProcess(
    weakref.WeakValueDictionary
)
#: Names of tasks that an entry tells.
_TASKS_MOST = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A group of the index, as its sender saw it."""

    id: str
    #: Names of some of its tasks.
    tasks: tuple[str, ...]
    #: Members; None: more were to be sent.
    size: int | None
    #: Seconds since the epoch.
    sent_at: float
    noted_at: float
    #: None: more were to be sent, or the results live in one process.
    handle: str | None
    #: Names it among the results of its sender's process.
    uuid: str
    #: The host and the process that sent it.
    sender: str
    #: What a store in memory keeps to make the result again.
    kept: Any = None


def put(result: GroupResult[Any], tasks: Sequence[str]) -> None:
    """Note a group in the index of the app that its results belong to.

    Raises:
        CelerantError: The store keeps no index, or is not reached.
    """
    members, backend = result.members, result.backend
    barrier, uuid = members.barrier, members.roster.uuid
    _live.get()[uuid] = result
    is_sealed, handle, kept = barrier.is_sealed, None, None
    if is_sealed and backend.supports_handles:
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
    """Return the groups of the index, the last sent first, each once.

    Raises:
        CelerantError: The store keeps no index, or is not reached.
    """
    found: dict[str, Entry] = {}
    for payload, kept in backend.index():
        entry = _read(payload, kept)
        before = None if entry is None else found.get(entry.id)
        if entry is not None and (before is None or before.noted_at < entry.noted_at):
            found[entry.id] = entry
    return sorted(found.values(), key=lambda entry: entry.sent_at, reverse=True)


def _read(payload: bytes, kept: object) -> Entry | None:
    # A later release may note more, and another program anything.
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
        HandleError: The index does not have it.
        CelerantError: The store keeps no index, or is not reached.
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
    """Return the result of a group; None while another process is sending it.

    Raises:
        HandleError: Its handle was not made on this store.
        ResultExpired: What was stored beside its results is gone.
        CelerantError: The store is not reached.
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
    """Return the result that this process sent and holds, if it noted it.

    That one knows what feeds the group, and what its members were.
    """
    return _live.get().get(uuid)
