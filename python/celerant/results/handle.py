"""Make a short text of a group's result, and a result of the text.

```text
cel2.<base64url>    flags 1 byte, seed 16, count 4, sent_at 4 (seconds since the epoch),
                    group id (utf-8, may be empty), proof 16
```
Numbers are big-endian. Flag 1 says that more data are stored aside, as zlib-compressed
JSON, flag 2 that the group's messages are stamped, and flag 4 that all members were
done when the handle was made. Flag 8 says that it was made while the group was sent
with a journal in Redis: its count is 0, and once all is sent another one is stored.

The proof is an HMAC-SHA256, cut to 16 bytes, under a key that the store keeps. So only
a program with access to the store can make a handle that an app accepts. The data
stored aside begin with such a proof too.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import zlib
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster
from celerant.common.printable import shown
from celerant.errors import CelerantError, HandleError, ResultExpired
from celerant.errors.report import runs_of
from celerant.results.tracking.members import Members
from celerant.results.tree import CLASSES, from_line, line_of

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.backends.handle_store import HandleStore
    from celerant.results.group_result import GroupResult

__all__ = [
    "attach",
    "is_handle",
    "keep_handle",
    "make_handle",
    "prints_name",
    "rebuilt",
    "seed_of",
    "snapshot",
]

_MARK = "cel2."
#: The mark of older handles, which had a checksum instead of a proof.
_MARK_BEFORE = "cel1."
_HAS_ASIDE = 1
_IS_STAMPED = 2
_IS_DONE = 4
_IS_OPEN = 8
_FIXED_LENGTH = 1 + 16 + 4 + 4
_PROOF_LENGTH = 16
#: Bytes of a user's group id; a longer one is stored aside, to keep handles short.
_ID_MOST = 64
_SHOWN_LENGTH = 40
#: The most bytes of prints that are stored beside a handle: those of two million
#: members.
_PRINTS_MOST = 4 << 20
#: The most characters of a handle.
_LENGTH_MOST = 200


def make_handle(
    result: GroupResult[Any], store: HandleStore | None = None, *, is_done: bool = False
) -> str:
    """Return the handle of a group's result, and store data that have no room in it.

    Args:
        result: A group's result; all members were sent.
        store: Keeps the key and the data; None is the result's backend, if it is
            shared between processes.
        is_done: Whether all members are done, so that a task may wait for them.

    Raises:
        CelerantError: The results are in this process only, or the group is still being
            sent.
    """
    members, group_id = result.members, result.id
    backend, barrier, roster = result.backend, members.barrier, members.roster
    if store is None:
        store = _shared(backend)
    has_handle = members.survival is not None and members.survival.has_handle
    if has_handle and not barrier.is_sealed:
        return _text(result, store.handle_key(), _IS_OPEN, 0, "")
    aside = _aside(result)
    if not barrier.is_sealed:
        msg = f"group {group_id} is still being sent: its handle comes with its end"
        raise CelerantError(msg)
    named = "" if group_id == roster.uuid else group_id
    if len(named.encode()) > _ID_MOST:
        aside["group_id"], named = named, ""
    key = store.handle_key()
    if aside:
        packed = zlib.compress(json.dumps(aside, separators=(",", ":")).encode())
        proof = _proof(key, roster.seed, packed)
        store.put_aside(roster.uuid, proof + packed)
    if members.prints is not None:
        packed = members.prints.pack()
        if len(packed) <= _PRINTS_MOST:
            store.put_aside(prints_name(roster.uuid), packed)
    flags = _HAS_ASIDE if aside else 0
    flags |= _IS_STAMPED if members.stamps else 0
    flags |= _IS_DONE if is_done else 0
    return _text(result, key, flags, len(barrier), named)


def _text(
    result: GroupResult[Any], key: bytes, flags: int, count: int, named: str
) -> str:
    members = result.members
    body = b"".join(
        (
            bytes([flags]),
            members.roster.seed,
            count.to_bytes(4, "big"),
            int(members.sent_at).to_bytes(4, "big"),
            named.encode(),
        )
    )
    proof = _proof(key, body)
    return _MARK + base64.urlsafe_b64encode(body + proof).rstrip(b"=").decode()


def is_handle(text: object) -> bool:
    """Whether a text looks like a handle, and not like a path."""
    return isinstance(text, str) and text.startswith((_MARK, _MARK_BEFORE))


def keep_handle(group_id: str, members: Members) -> None:
    """Store a group's handle for those who have one from before the group's end.

    Does nothing if the group is not sent whole.
    """
    if not members.barrier.is_sealed:
        return
    made: GroupResult[Any] = CLASSES["group"](group_id, members)
    name = _sealed_name(members.roster.uuid)
    made.backend.put_aside(name, make_handle(made).encode())


def seed_of(handle: str, backend: Backend) -> bytes:
    """Return the seed of the group that a handle stands for.

    Raises:
        HandleError: It is no handle, or no app on this store has made it.
        CelerantError: `backend` is not shared between processes.
    """
    return _proven(handle, backend, None)[0][1:17]


def _sealed_name(uuid: str) -> str:
    return f"sealed-{uuid}"


def prints_name(uuid: str) -> str:
    """Return the name under which a group's prints are stored."""
    return f"prints-{uuid}"


def _shared(backend: Backend) -> HandleStore:
    backend.refuse_handles()
    return backend


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
        CelerantError: `backend` is not shared between processes.
    """
    body, store, key = _proven(handle, backend, store)
    # The proof is right, so the data are as `make_handle` wrote them.
    flags, seed = body[0], body[1:17]
    if flags & _IS_OPEN:
        uuid = Roster(seed).uuid
        sealed = store.take_aside(_sealed_name(uuid))
        if sealed is None:
            msg = (
                f"group {uuid} was still being sent when this handle was made, and its "
                "sender has not come to its end: attach later, or go on with it by "
                "group(source).resume(handle)"
            )
            raise CelerantError(msg)
        body, _, _ = _proven(sealed.decode(), backend, store)
        flags = body[0]
    count = int.from_bytes(body[17:21], "big")
    sent_at = int.from_bytes(body[21:25], "big")
    named = body[_FIXED_LENGTH:].decode()
    uuid = Roster(seed).uuid
    group_id, aside = named or uuid, {}
    if flags & _HAS_ASIDE:
        aside = _stored_aside(backend, store.take_aside(uuid), key, seed, uuid)
        group_id = aside.get("group_id") or group_id
    made = rebuilt(
        backend,
        seed=seed,
        count=count,
        sent_at=float(sent_at),
        group_id=group_id,
        aside=aside,
        stamped=bool(flags & _IS_STAMPED),
    )
    made.members.were_done = bool(flags & _IS_DONE)
    return made


def _proven(
    handle: str, backend: Backend, store: HandleStore | None
) -> tuple[bytes, HandleStore, bytes]:
    """Return what a handle says, if an app on this store has made it.

    Returns:
        What it says, the store, and the store's key.

    Raises:
        HandleError: The text is no handle, or was made elsewhere.
        CelerantError: `backend` is not shared between processes.
    """
    body, proof = _parts(handle)
    if store is None:
        store = _shared(backend)
    key = store.handle_key()
    if not hmac.compare_digest(_proof(key, body), proof):
        msg = (
            f"handle {_short(handle)} was not made by an app on {backend.as_uri()}, or "
            "was changed on its way; take `result.handle` anew"
        )
        raise HandleError(msg)
    return body, store, key


def _stored_aside(
    backend: Backend, stored: bytes | None, key: bytes, seed: bytes, uuid: str
) -> dict[str, Any]:
    if stored is None:
        msg = (
            f"group {uuid} is gone from {backend.as_uri()}: "
            "what was stored beside its results has expired or was deleted"
        )
        raise ResultExpired(msg)
    proof, packed = stored[:_PROOF_LENGTH], stored[_PROOF_LENGTH:]
    if not hmac.compare_digest(_proof(key, seed, packed), proof):
        msg = (
            f"what is stored on {backend.as_uri()} beside the results of group {uuid} "
            "was changed by somebody else"
        )
        raise HandleError(msg)
    aside: dict[str, Any] = json.loads(zlib.decompress(packed))
    return aside


def _proof(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "sha256")[:_PROOF_LENGTH]


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
) -> GroupResult[Any]:
    """Return the result of a snapshot."""
    roster, barrier = Roster(seed, count), Barrier()
    barrier.grow(count)
    for index, task_id in aside.get("own", ()):
        roster.adopt(index, task_id)
    for start, stop, shape in aside.get("outcomes", ()):
        roster.keep_shapes(start, stop, shape)
    for state, intervals in aside.get("states", {}).items():
        for start, stop in intervals:
            barrier.arrive_range(start, stop, int(state))
    barrier.seal(count)
    parent = from_line(aside["parent"], backend) if "parent" in aside else None
    members = Members(roster, backend, barrier=barrier, sent_at=sent_at, is_group=True)
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
    return aside


def _parts(handle: object) -> tuple[bytes, bytes]:
    """Return the fields of a handle, and its proof.

    Raises:
        HandleError: The text does not look like a handle.
    """
    if isinstance(handle, str) and handle.startswith(_MARK_BEFORE):
        msg = (
            f"handle {_short(handle)} is of an older release, whose handles prove "
            "nothing; take `result.handle` anew"
        )
        raise HandleError(msg)
    if not isinstance(handle, str) or not handle.startswith(_MARK):
        msg = (
            f"{_short(handle)} is no handle: one starts with {_MARK!r}; "
            "take `result.handle`"
        )
        raise HandleError(msg)
    text = handle[len(_MARK) :]
    packed = b""
    if len(handle) <= _LENGTH_MOST:
        # If it is no base64, `packed` stays empty and is refused below.
        with contextlib.suppress(binascii.Error, ValueError):
            padded = text + "=" * (-len(text) % 4)
            packed = base64.b64decode(padded, altchars=b"-_", validate=True)
    body, proof = packed[:-_PROOF_LENGTH], packed[-_PROOF_LENGTH:]
    if len(body) < _FIXED_LENGTH:
        msg = (
            f"handle {_short(handle)} was cut or changed on its way; "
            "take `result.handle` anew"
        )
        raise HandleError(msg)
    return body, proof


def _short(handle: object) -> str:
    return shown(handle, _SHOWN_LENGTH)
