"""Check that workers store results where an app looks for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kombu.utils.url import url_to_parts

from celerant.common.printable import line
from celerant.common.urls import masked, scheme, split
from celerant.config.default_backend import backend_url
from celerant.doctor.finding import Finding, ok, problem, warning

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["check"]

#: Default ports of the ways to reach a Redis, by schemes; a socket has none.
_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379}
_SOCKET = "redis+socket"
_SOCKETS = frozenset({"socket", _SOCKET})
_HERE = "localhost"
_NAMES_OF_HERE = frozenset({"", "127.0.0.1", "::1", _HERE})
#: Begins the names of settings that only the embedded worker has.
_OWN_SETTINGS = "celerant_"
#: No store.
_NOWHERE = "disabled"
#: A Celery worker's store in its report, which knows its environment too.
_REPORTED = re.compile(r"\bresults:(\S+)")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a store is."""

    kind: str
    #: Hosts and ports of a Redis, or of its Sentinels; a socket's path has port 0.
    addresses: frozenset[tuple[str, int]] = frozenset()
    #: None: not known, or the store has none.
    database: str | None = None

    def __str__(self) -> str:
        named = ",".join(starmap(_address, sorted(self.addresses)))
        end = "" if self.database is None else f"/{self.database}"
        return line(f"{self.kind}://{named}{end}")

    def is_same(self, other: _Place) -> bool:
        """Whether both are one store, as far as the names tell."""
        if not self.addresses:
            return self == other
        here = (self.addresses, self.database)
        return here == (other.addresses, other.database)

    def may_be(self, other: _Place) -> bool:
        """Whether both may be one store, under two names or by two ways."""
        if not (self.addresses and other.addresses):
            return False
        if len({self.database, other.database} - {None}) > 1:
            return False
        return self.kind != other.kind or self._hosts() != other._hosts()

    def _hosts(self) -> set[str]:
        return {host for host, port in self.addresses if port}


def check(
    app: Celerant,
    confs: Sequence[tuple[str, Any]],
    reports: Callable[[], Sequence[tuple[str, Any]]],
) -> Iterator[Finding]:
    """Compare the stores of workers with the app's.

    Args:
        app: The app.
        confs: Names of workers, and the settings that they have told.
        reports: Asks all workers for their reports; called only if settings of a
            Celery worker do not tell its store.
    """
    ours = backend_url(app.conf) or _NOWHERE
    told = [(name, conf) for name, conf in confs if isinstance(conf, Mapping)]
    silent = any(
        not conf.get("result_backend") and not _is_own(conf) for _, conf in told
    )
    reported = _reported(reports()) if silent else {}
    for worker, conf in sorted(told, key=lambda one: one[0]):
        theirs = conf.get("result_backend") or (
            _default(app, conf, ours) if _is_own(conf) else reported.get(worker)
        )
        if theirs and not (theirs == ours == _NOWHERE):
            yield _compared(line(worker), _place(str(theirs)), _place(ours))


def _is_own(conf: Mapping[str, Any]) -> bool:
    """Whether settings are those of an embedded worker."""
    return any(str(name).startswith(_OWN_SETTINGS) for name in conf)


def _default(app: Celerant, conf: Mapping[str, Any], ours: str) -> str:
    """Return the store of an embedded worker that none was given."""
    if app.conf.result_backend is None:
        # Both are beside the broker by which the worker has answered, whatever name
        # each has for it.
        return ours
    broker = conf.get("broker_url")
    if not isinstance(broker, (str, list)):
        return ""
    known = SimpleNamespace(result_backend=None, broker_url=broker)
    return backend_url(known) or _NOWHERE  # type: ignore[arg-type]  # all that it reads


def _reported(reports: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """Return the stores that Celery workers report."""
    found = {}
    for worker, report in reports:
        text = report.get("ok") if isinstance(report, Mapping) else None
        if isinstance(text, str) and (store := _REPORTED.search(text)):
            found[worker] = store[1]
    return found


def _compared(worker: str, theirs: _Place, ours: _Place) -> Finding:
    if theirs.is_same(ours):
        return ok("store", f"{worker} stores results where they are looked for")
    stores = f"on {theirs}" if theirs.kind != _NOWHERE else "nowhere"
    text = f"{worker} stores results {stores}, and this app looks for them on {ours}"
    if theirs.may_be(ours):
        return warning(
            "store",
            f"{text}: these may be one server under two names",
            "if they are two, give both the same result_backend",
        )
    return problem("store", text, "give both the same result_backend")


def _place(urls: str) -> _Place:
    """Return where a store is, without user, password and query."""
    kind = scheme(urls)
    # A password may stand in any of them, and is hidden first.
    shown = [masked(url if "://" in url else f"{url}://") for url in split(urls)]
    try:
        if kind in _SOCKETS:
            paths = [url_to_parts(url).path or "" for url in shown]
            return _Place(_SOCKET, frozenset((f"/{path}", 0) for path in paths))
        if kind in _PORTS:
            return _of_redis(kind, shown)
    except ValueError:
        # A worker may tell anything.
        pass
    rest = ";".join(url.partition("://")[2].rpartition("@")[2] for url in shown)
    return _Place(kind, database=rest.strip("/") or None)


def _of_redis(kind: str, urls: Sequence[str]) -> _Place:
    parts = [url_to_parts(url) for url in urls]
    addresses = {(_host(one.hostname), one.port or _PORTS[kind]) for one in parts}
    database = (parts[0].path or "").strip("/") or "0"
    return _Place(kind, frozenset(addresses), database)


def _host(name: str | None) -> str:
    host = (name or "").lower().rstrip(".")
    return _HERE if host in _NAMES_OF_HERE else host


def _address(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown
