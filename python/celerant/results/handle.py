"""Make a handle of a group's result, and a result of the handle."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster
from celerant.common.printable import line
from celerant.errors import CelerantError, TaskRevoked
from celerant.errors.report import runs_of
from celerant.results.announced import Announced, aside_of, end_of, fill
from celerant.results.handle_format import (
    HAS_ASIDE,
    IS_DONE,
    IS_OPEN,
    IS_STAMPED,
    HandleData,
    packed,
    proven,
    sealed_name,
    text_of,
)
from celerant.results.tracking.members import Members
from celerant.results.tree import CLASSES, from_line, line_of

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.backends.handle_store import HandleStore
    from celerant.results.group_result import GroupResult

__all__ = [
    "NotAnnounced",
    "attach",
    "keep_handle",
    "make_handle",
    "prints_name",
    "rebuilt",
    "seed_of",
    "short_name",
    "snapshot",
]

#: Bytes of a user's group id; a longer one is stored aside, to keep handles short.
_ID_MOST = 64
#: The most bytes of prints that are stored beside a handle: those of two million
#: members.
_PRINTS_MOST = 4 << 20


class NotAnnounced(CelerantError):  # noqa: N818 - named after what is known
    """What the sender of a group announces while it sends is not in the store."""


def make_handle(
    result: GroupResult[Any], store: HandleStore | None = None, *, is_done: bool = False
) -> str:
    """Return the handle of a group's result, and store data that have no room in it.

    The handle of a group that is fed leads to the members that have left, and later to
    all of them.

    Args:
        result: A group's result.
        store: Keeps the key and the data; None is the result's backend, if it is
            shared between processes.
        is_done: Whether all members are done, so that a task may wait for them.

    Raises:
        CelerantError: The results are in this process only, or the group is being sent
            by another thread and not fed.
    """
    members, group_id = result.members, result.id
    backend, barrier, roster = result.backend, members.barrier, members.roster
    if store is None:
        backend.refuse_handles()
        store = backend
    named, long_id = short_name(group_id, roster.uuid)
    key, sent_at = store.handle_key(), int(members.sent_at)
    flags = IS_STAMPED if members.stamps else 0
    feeding = None if barrier.is_sealed else result.feeding
    if feeding is not None:
        feeding.announce(group_id, backend)
    if not barrier.is_sealed:
        has_handle = members.survival is not None and members.survival.has_handle
        if feeding is None and not has_handle and members.growth is None:
            msg = f"group {group_id} is still being sent: its handle comes with its end"
            raise CelerantError(msg)
        return text_of(HandleData(flags | IS_OPEN, roster.seed, 0, sent_at, named), key)
    aside = _aside(result)
    if long_id:
        aside["group_id"] = long_id
    if aside:
        store.put_aside(roster.uuid, packed(key, roster.seed, aside))
    if members.prints is not None:
        prints = members.prints.pack()
        if len(prints) <= _PRINTS_MOST:
            store.put_aside(prints_name(roster.uuid), prints)
    flags |= HAS_ASIDE if aside else 0
    flags |= IS_DONE if is_done else 0
    return text_of(HandleData(flags, roster.seed, len(barrier), sent_at, named), key)


def short_name(group_id: str, uuid: str) -> tuple[str, str]:
    """Return a user's group id as a handle has it, and as is stored aside; or "".

    Args:
        group_id: The group's id.
        uuid: That of its roster, which is the group's if the user chose none.
    """
    if group_id == uuid:
        return "", ""
    return ("", group_id) if len(group_id.encode()) > _ID_MOST else (group_id, "")


def keep_handle(group_id: str, members: Members) -> None:
    """Store a group's handle for those who have one from before the group's end.

    Does nothing if the group is not sent whole.
    """
    if not members.barrier.is_sealed:
        return
    made: GroupResult[Any] = CLASSES["group"](group_id, members)
    name = sealed_name(members.roster.uuid)
    made.backend.put_aside(name, make_handle(made).encode())


def seed_of(handle: str, backend: Backend) -> bytes:
    """Return the seed of the group that a handle stands for.

    Raises:
        HandleError: It is no handle, or no app on this store has made it.
        CelerantError: `backend` is not shared between processes.
    """
    return proven(handle, backend, None)[0].seed


def prints_name(uuid: str) -> str:
    """Return the name under which a group's prints are stored."""
    return f"prints-{uuid}"


def attach(
    handle: str, backend: Backend, store: HandleStore | None = None
) -> GroupResult[Any]:
    """Return the result that `handle` stands for.

    Args:
        handle: A text of `make_handle`.
        backend: The store of its results.
        store: As for `make_handle`.

    Raises:
        HandleError: The text is no handle, or no app on this store has made it.
        ResultExpired: The data stored beside the results are gone.
        NotAnnounced: Nothing is known of a group that was being sent: nothing yet, or
            its sender has died and the store has dropped what it announced.
        CelerantError: `backend` is not shared between processes.
    """
    told, store, key = proven(handle, backend, store)
    uuid = Roster(told.seed).uuid
    growth = None
    if told.flags & IS_OPEN:
        announced = Announced(uuid, told.seed, backend, store, key)
        whole = announced.whole()
        if whole is not None:
            told, aside = whole
        else:
            aside = _so_far(announced, uuid)
            told, growth = replace(told, count=aside["count"]), announced
    else:
        aside = aside_of(told, backend, store, key)
    made = rebuilt(
        backend,
        seed=told.seed,
        count=told.count,
        sent_at=float(told.sent_at),
        group_id=told.named or aside.get("group_id") or uuid,
        aside=aside,
        stamped=bool(told.flags & IS_STAMPED),
        growth=growth,
    )
    made.members.were_done = bool(told.flags & IS_DONE)
    return made


def _so_far(announced: Announced, uuid: str) -> dict[str, Any]:
    aside = announced.so_far()
    if aside is None:
        msg = (
            f"group {uuid} was still being sent when this handle was made, and its "
            "sender has not come to its end: attach later, or go on with it by "
            "group(source).resume(handle)"
        )
        raise NotAnnounced(msg)
    return aside


def snapshot(result: GroupResult[Any]) -> dict[str, Any]:
    """Return the arguments of `rebuilt` for a group's result."""
    members = result.members
    return {
        "seed": members.roster.seed,
        "count": len(members.barrier),
        "sent_at": members.sent_at,
        "group_id": result.id,
        "aside": _aside(result),
        "stamped": bool(members.stamps),
    }


def rebuilt(  # noqa: PLR0913 - what a handle says
    backend: Backend,
    *,
    seed: bytes,
    count: int,
    sent_at: float,
    group_id: str,
    aside: dict[str, Any],
    stamped: bool = False,
    growth: Announced | None = None,
) -> GroupResult[Any]:
    """Return the result of a snapshot; `growth` tells of more members."""
    members = Members(Roster(seed), backend, is_group=True)
    fill(members, count, aside)
    members.sent_at = members.sent_since = sent_at
    end_of(members, aside)
    if growth is None:
        members.seal(count)
    members.growth = growth
    parent = from_line(aside["parent"], backend) if "parent" in aside else None
    if stamped:
        members.stamps = aside.get("stamps", [group_id])
    made: GroupResult[Any] = CLASSES["group"](group_id, members, parent=parent)
    return made


def _aside(result: GroupResult[Any]) -> dict[str, Any]:
    members, parent = result.members, result.parent
    barrier = members.barrier
    aside: dict[str, Any] = {}
    own = members.roster.own()
    if own:
        aside["own"] = sorted(own.items())
    shapes = members.roster.shapes()
    if shapes:
        aside["outcomes"] = shapes
    if members.stamps and members.stamps != [result.id]:
        aside["stamps"] = members.stamps
    if parent is not None:
        aside["parent"] = line_of(parent)
    states = {}
    for state in (Barrier.IGNORED, Barrier.NOT_SENT):
        if barrier.count(state):
            found = barrier.select(state, 0, len(barrier))
            states[str(state)] = runs_of(found)
    if states:
        aside["states"] = states
    if members.cut_short is not None:
        error = members.cut_short
        aside["cut_short"] = {
            "revoked": isinstance(error, TaskRevoked),
            "text": line(error)
            if isinstance(error, CelerantError)
            else f"{type(error).__name__}: {line(error)}",
            "by": result.stopped_by,
        }
    return aside
