"""Redis, memcached and other stores that give several keys at once."""

from __future__ import annotations

from typing import Any

from celery import states

__all__ = ["read"]


def read(backend: Any, ids: list[str]) -> dict[str, Any]:
    """See `celerant.celery.bulk.reader.Reader`; one `mget`."""
    payloads = backend.mget([backend.get_key_for_task(task_id) for task_id in ids])
    found = {}
    for task_id, payload in zip(ids, _in_order(backend, ids, payloads), strict=True):
        meta = backend.decode(payload) if payload else None
        if meta is not None and meta["status"] in states.READY_STATES:
            found[task_id] = meta
    return found


def _in_order(backend: Any, ids: list[str], payloads: Any) -> list[Any]:
    """Return payloads in the order of `ids`: some stores answer with a dict."""
    if not hasattr(payloads, "items"):
        return list(payloads)
    by_id = {
        backend._strip_prefix(key): value  # noqa: SLF001 - Celery has no public one
        for key, value in payloads.items()
    }
    return [by_id.get(task_id) for task_id in ids]
