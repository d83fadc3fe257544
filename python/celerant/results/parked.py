"""Store groups under names, for tokens that must not hold a handle.

A handle lets its holder read results and revoke tasks. A name is of no use without the
store. A group that is parked again has the same name.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from celerant.errors import HandleError
from celerant.results.handle import attach, rebuilt, snapshot

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult

__all__ = ["park", "parked"]

_ASIDE = "web-"
_DIGEST_SIZE = 16


def park(result: GroupResult[Any]) -> str:
    """Store a group under a name, for as long as its results; return the name.

    Raises:
        CelerantError: The store keeps no such data, or is not reachable.
        CanvasError: The group is still being sent, and its results are in this process
            only.
    """
    backend, seed = result.backend, result.roster.seed
    name = hashlib.blake2b(seed, digest_size=_DIGEST_SIZE).hexdigest()
    if backend.supports_handles:
        payload = result.handle.encode()
    else:
        len(result)  # raises if the group is still being sent
        payload = orjson.dumps({**snapshot(result), "seed": seed.hex()})
    backend.put_aside(f"{_ASIDE}{name}", payload)
    return name


def parked(name: str, backend: Backend) -> GroupResult[Any]:
    """Return the result of the group that was parked under a name.

    Raises:
        HandleError: The group's results have expired, or the name is unknown.
        CelerantError: The store is not reachable.
    """
    payload = backend.take_aside(f"{_ASIDE}{name}")
    if payload is None:
        msg = "the results of this token's group have expired"
        raise HandleError(msg)
    if backend.supports_handles:
        return attach(payload.decode(), backend)
    kept = orjson.loads(payload)
    return rebuilt(backend, **{**kept, "seed": bytes.fromhex(kept["seed"])})
