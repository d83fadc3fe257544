"""The text of a handle, and the data that are stored beside a group's results for it.

```text
cel2.<base64url>    flags 1 byte, seed 16, count 4, sent_at 4 (seconds since the epoch),
                    group id (utf-8, may be empty), proof 16
```
Numbers are big-endian. Flag 1 says that more data are stored aside, as zlib-compressed
JSON, flag 2 that the group's messages are stamped, and flag 4 that all members were
done when the handle was made. Flag 8 says that it was made while the group was sent:
its count is 0. How many have left is stored aside then (`announcing.py`), and once all
is sent another handle is.

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerant.common.printable import shown
from celerant.errors import HandleError

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.backends.handle_store import HandleStore

__all__ = [
    "HAS_ASIDE",
    "IS_DONE",
    "IS_OPEN",
    "IS_STAMPED",
    "HandleData",
    "is_handle",
    "open_name",
    "packed",
    "proven",
    "sealed_name",
    "stamps_name",
    "steering_name",
    "text_of",
    "unpacked",
]

_MARK = "cel2."
#: The mark of older handles, which had a checksum instead of a proof.
_MARK_BEFORE = "cel1."
HAS_ASIDE, IS_STAMPED, IS_DONE, IS_OPEN = 1, 2, 4, 8
_FIXED_LENGTH = 1 + 16 + 4 + 4
_PROOF_LENGTH = 16
_SHOWN_LENGTH = 40
#: The most characters of a handle.
_LENGTH_MOST = 200


@dataclass(frozen=True, slots=True)
class HandleData:
    """What a handle says."""

    flags: int
    seed: bytes
    count: int
    sent_at: int
    #: The group's id, if a user chose it and there is room for it.
    named: str = ""


def text_of(told: HandleData, key: bytes) -> str:
    """Return the text of a handle.

    Args:
        told: What it says.
        key: The store's.
    """
    body = b"".join(
        (
            bytes([told.flags]),
            told.seed,
            told.count.to_bytes(4, "big"),
            told.sent_at.to_bytes(4, "big"),
            told.named.encode(),
        )
    )
    proof = _proof(key, body)
    return _MARK + base64.urlsafe_b64encode(body + proof).rstrip(b"=").decode()


def is_handle(text: object) -> bool:
    """Whether a text looks like a handle, and not like a path."""
    return isinstance(text, str) and text.startswith((_MARK, _MARK_BEFORE))


def proven(
    handle: str, backend: Backend, store: HandleStore | None
) -> tuple[HandleData, HandleStore, bytes]:
    """Return what a handle says, if an app on this store has made it.

    Returns:
        What it says, the store, and the store's key.

    Raises:
        HandleError: The text is no handle, or was made elsewhere.
        CelerantError: `backend` is not shared between processes.
    """
    body, proof = _parts(handle)
    if store is None:
        backend.refuse_handles()
        store = backend
    key = store.handle_key()
    if not hmac.compare_digest(_proof(key, body), proof):
        msg = (
            f"handle {_short(handle)} was not made by an app on {backend.as_uri()}, or "
            "was changed on its way; take `result.handle` anew"
        )
        raise HandleError(msg)
    # The proof is right, so the data are as `text_of` wrote them.
    told = HandleData(
        body[0],
        body[1:17],
        int.from_bytes(body[17:21], "big"),
        int.from_bytes(body[21:25], "big"),
        body[_FIXED_LENGTH:].decode(),
    )
    return told, store, key


def packed(key: bytes, seed: bytes, aside: dict[str, Any]) -> bytes:
    """Return data as they are stored aside, with their proof."""
    payload = zlib.compress(json.dumps(aside, separators=(",", ":")).encode())
    return _proof(key, seed, payload) + payload


def unpacked(
    stored: bytes, key: bytes, seed: bytes, *, uuid: str, where: str
) -> dict[str, Any]:
    """Return data that were stored aside.

    Args:
        stored: As `packed` made them.
        key: The store's.
        seed: The group's.
        uuid: The group's id, for errors.
        where: The store's address, for errors.

    Raises:
        HandleError: Somebody else has changed them.
    """
    proof, payload = stored[:_PROOF_LENGTH], stored[_PROOF_LENGTH:]
    if not hmac.compare_digest(_proof(key, seed, payload), proof):
        msg = (
            f"what is stored on {where} beside the results of group {uuid} was changed "
            "by somebody else"
        )
        raise HandleError(msg)
    aside: dict[str, Any] = json.loads(zlib.decompress(payload))
    return aside


def sealed_name(uuid: str) -> str:
    """Return the name under which the handle of a group that was sent whole is kept."""
    return f"sealed-{uuid}"


def open_name(uuid: str) -> str:
    """Return the name under which is kept how much of a group has left."""
    return f"open-{uuid}"


def stamps_name(uuid: str) -> str:
    """Return the name under which the stamps of a group's messages are kept."""
    return f"stamps-{uuid}"


def steering_name(uuid: str) -> str:
    """Return the name under which others ask the sender of a group to pause it."""
    return f"steering-{uuid}"


def _proof(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "sha256")[:_PROOF_LENGTH]


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
    decoded = b""
    if len(handle) <= _LENGTH_MOST:
        # If it is no base64, `decoded` stays empty and is refused below.
        with contextlib.suppress(binascii.Error, ValueError):
            padded = text + "=" * (-len(text) % 4)
            decoded = base64.b64decode(padded, altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(decoded).decode() != padded:
                # The last character has bits that say nothing.
                decoded = b""
    body, proof = decoded[:-_PROOF_LENGTH], decoded[-_PROOF_LENGTH:]
    if len(body) < _FIXED_LENGTH:
        msg = (
            f"handle {_short(handle)} was cut or changed on its way; "
            "take `result.handle` anew"
        )
        raise HandleError(msg)
    return body, proof


def _short(handle: object) -> str:
    return shown(handle, _SHOWN_LENGTH)
