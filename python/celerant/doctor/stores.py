"""Check that the store of results is reachable and keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from celerant.common.printable import line
from celerant.common.urls import masked_text, scheme
from celerant.config.default_backend import backend_url
from celerant.doctor.finding import Finding, note, ok, problem
from celerant.doctor.redis_servers import Server

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.doctor.brokers import Reach
    from celerant.results.backends.redis import RedisBackend

__all__ = ["check"]


def check(app: Celerant, reach: Reach) -> Iterator[Finding]:
    """Connect to the store and check it."""
    kind = scheme(backend_url(app.conf) or "disabled")
    if kind in {"disabled", "none", ""}:
        yield note(
            "store",
            "there is no result store: get() gives nothing, and chords are refused",
            "set result_backend if you want results",
        )
    elif kind == "rpc":
        yield note(
            "store",
            "rpc://: results come only to the process that sent the tasks, and chords "
            "are refused",
            "set result_backend to a Redis to read results elsewhere",
        )
    elif kind in {"memory", "cache+memory"}:
        yield note(
            "store",
            "memory://: results stay in this process and end with it",
            "set result_backend to share them",
        )
    else:
        yield from _of_redis(app, reach)


def _of_redis(app: Celerant, reach: Reach) -> Iterator[Finding]:
    backend: RedisBackend = app.backend  # type: ignore[assignment]  # by its scheme
    server = Server(backend.client, "store")
    uri = backend.as_uri()
    try:
        backend.client.ping()
    except Exception as exc:  # noqa: BLE001 - redis-py may raise anything
        name = type(exc).__name__
        is_refusal = name in {"AuthenticationError", "NoPermissionError"}
        remedy = (
            "check user and password in result_backend"
            if is_refusal
            else "start it, or correct host and port in result_backend"
        )
        text = f"{uri} does not answer: {name}: {line(masked_text(str(exc)))}"
        yield problem("store", text, remedy)
        return
    yield ok("store", f"{uri} answers")
    if server.place != reach.redis:
        yield from server.examined()
    yield from server.store_rights(backend.key_prefix)
