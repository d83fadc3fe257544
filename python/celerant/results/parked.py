"""Groups under a name beside their results, for tokens that must not hold a handle.

A handle lets its holder read results and revoke tasks. The name is nothing without the
store, and the same for each time that a group is parked.
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
    """Keep a group under a name, as long as its results; return the name.

    Raises:
        CelerantError: The store keeps nothing beside results, or is not reached.
        CanvasError: The group is still being sent.
    """
    len(result)  # says that more may come
    backend, seed = result.backend, result.roster.seed
    name = hashlib.blake2b(seed, digest_size=_DIGEST_SIZE).hexdigest()
    if backend.supports_handles:
        payload = result.handle.encode()
    else:
        payload = orjson.dumps({**snapshot(result), "seed": seed.hex()})
    backend.put_aside(f"{_ASIDE}{name}", payload)
    return name


def parked(name: str, backend: Backend) -> GroupResult[Any]:
    """Return the result of the group that was parked under a name.

    Raises:
        HandleError: Its results have expired, or it never was.
        CelerantError: The store is not reached.
    """
    payload = backend.take_aside(f"{_ASIDE}{name}")
    if payload is None:
        msg = "the results of this token's group have expired"
        raise HandleError(msg)
    if backend.supports_handles:
        return attach(payload.decode(), backend)
    kept = orjson.loads(payload)
    return rebuilt(backend, **{**kept, "seed": bytes.fromhex(kept["seed"])})
