"""Results in Redis, with Celery's keys and records.

Source: ``celery.backends.redis.RedisBackend`` of celery 5.7.0. Its keys are
``celery-task-meta-<id>``, it stores by ``MULTI; SETEX; PUBLISH; EXEC``, and the channel
has the key's name.
"""

from __future__ import annotations

import inspect
import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from kombu.utils.functional import retry_over_time
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from celerant.common.printable import line
from celerant.common.redis_refusals import is_passing
from celerant.errors import CelerantError
from celerant.results.backends.base import RETRY_POLICY, Backend
from celerant.results.backends.beside import INDEX_MOST
from celerant.results.backends.redis_chord import RedisChords
from celerant.results.backends.redis_feed import RedisFeed
from celerant.results.backends.redis_url import connection_params
from celerant.results.backends.redis_volleys import Volleys, put_record
from celerant.states import RETRY

if TYPE_CHECKING:
    from celerant.context.request import Request

__all__ = ["RedisBackend"]

logger = logging.getLogger("celerant")

_T = TypeVar("_T")

#: Keys of one command: enough to hide the round trip, few enough not to hold up the
#: server's other clients.
CHUNK = 1000
#: Records of one script; each takes three of its arguments.
_VOLLEY = 500
#: Bytes of the key for proofs of handles.
_KEY_LENGTH = 32


class RedisBackend(Backend):
    """Results in Redis; stock Celery clients and workers read and write the same.

    Args:
        url: A URL as of Celery's ``result_backend``.
        use_ssl: ``redis_backend_use_ssl``.
        connection: Keyword arguments for redis-py's connections, e.g.
            ``socket_timeout`` (s), ``socket_connect_timeout`` (s), ``max_connections``.
        settings: Those of `Backend`. It reads the transport options
            ``global_keyprefix`` and ``retry_policy``.

    Raises:
        SettingError: The URL is impossible.
    """

    supports_handles = stores_many = keeps_index = True
    connection_errors = (RedisConnectionError, RedisTimeoutError, OSError)

    def __init__(
        self,
        url: str,
        *,
        use_ssl: Mapping[str, Any] | None = None,
        connection: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        name = settings.pop("name", "")
        super().__init__(url, **settings)
        defaults = {"socket_timeout": 120.0, **(connection or {})}
        defaults = {key: value for key, value in defaults.items() if value is not None}
        params = self._params(url, use_ssl, defaults)
        params["decode_responses"] = False  # records are bytes, whatever the URL says
        self._pool = self._make_pool(params)
        # The feed speaks protocol 2 in any case. redis-py before 5.0 knows no other.
        # This pool only makes parameters.
        if "protocol" in inspect.signature(redis.Redis).parameters:
            params["protocol"] = 2
        params.pop("health_check_interval", None)
        self._feed_pool = self._make_pool(params)
        # redis-py's types allow str too, which only `decode_responses` returns.
        self._client: Any = redis.Redis(connection_pool=self._pool)
        prefix = self.transport_options.get("global_keyprefix") or ""
        if prefix and prefix[-1] not in ":_-.":
            prefix += "_"
        self._aside_prefix = f"{prefix}celerant-aside-"
        self._handle_key = f"{prefix}celerant-handle-key"
        self._index_key = f"{prefix}celerant-index-{name}"
        self.key_prefix = f"{prefix}celery-task-meta-"
        policy = self.transport_options.get("retry_policy") or {}
        self.retry_policy = {**RETRY_POLICY, **policy}
        self._volleys = Volleys(self._client, self.key_prefix, self.expires_of)
        group_prefix = f"{prefix}celery-taskset-meta-"
        self._chords = RedisChords(self, self._client, group_prefix, self._retried)

    @property
    def client(self) -> Any:
        """redis-py's client of this store, for checks of the server."""
        return self._client

    def _params(
        self, url: str, use_ssl: Mapping[str, Any] | None, defaults: Mapping[str, Any]
    ) -> dict[str, Any]:
        return connection_params(url, use_ssl=use_ssl, defaults=defaults)

    def _make_pool(self, params: Mapping[str, Any]) -> redis.ConnectionPool:
        return redis.ConnectionPool(**params)

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the stored records of `ids`, by an `MGET` for each 1,000 keys."""
        prefix = self.key_prefix
        found: list[bytes | None] = []
        for start in range(0, len(ids), CHUNK):
            keys = [prefix + task_id for task_id in ids[start : start + CHUNK]]
            found += self._client.mget(keys)
        return found

    def count_stored(self, ids: Sequence[str]) -> int:
        """Return how many of `ids` have a record; no record is read."""
        return sum(
            self._retried(partial(self._client.exists, *keys))
            for start in range(0, len(ids), CHUNK)
            if (keys := [self.key_prefix + one for one in ids[start : start + CHUNK]])
        )

    def read(self, task_id: str) -> bytes | None:
        """Return one stored record, under the retry policy.

        Raises:
            CelerantError: Redis refused, or is not reachable within the retry policy.
        """
        return self._retried(partial(self.fetch, [task_id]))[0]

    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store and publish a record in one transaction, under the retry policy.

        Raises:
            CelerantError: Redis refused, or is not reachable within the retry policy.
        """
        self._retried(partial(self._store, self.key_prefix + task_id, payload, expires))

    def _store(self, key: str, payload: bytes, expires: int) -> None:
        with self._client.pipeline(transaction=True) as pipe:
            put_record(pipe, key, payload, expires)
            pipe.execute()

    def store_retry(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store a retry by a transaction that fails if another record comes first.

        Raises:
            CelerantError: Redis refused, or is not reachable within the retry policy.
        """
        key = self.key_prefix + task_id

        def put(pipe: Any) -> None:
            if self.may_replace(pipe.get(key), RETRY):
                pipe.multi()
                put_record(pipe, key, payload, expires)

        try:
            self._retried(partial(self._client.transaction, put, key))
        except CelerantError as exc:
            if not isinstance(exc.__cause__, ResponseError):
                raise
            # The user or the server may not use WATCH.
            super().store_retry(task_id, payload, expires=expires)

    def store_many(
        self,
        records: Sequence[tuple[str, bytes, str]],
        requests: Sequence[Request] = (),  # noqa: ARG002 - the interface's
    ) -> None:
        """Store and publish records, in volleys if scripts are permitted.

        Raises:
            CelerantError: Redis refused, or is not reachable within the retry policy.
        """
        for start in range(0, len(records), _VOLLEY):
            volley = records[start : start + _VOLLEY]
            known = self._retried(partial(self._volleys.store, volley))
            if known:
                self._retried(partial(self._replace, known))

    def _replace(self, records: Sequence[tuple[str, bytes, str]]) -> None:
        """Store records of tasks that may have others, as `store_encoded` does."""
        ids = [task_id for task_id, _, _ in records]
        # As if they were stored one after the other: a task may be among them twice.
        stored = dict(zip(ids, self.fetch(ids), strict=True))
        last: dict[str, tuple[str, bytes, str]] = {}
        for record in records:
            task_id, payload, state = record
            if self.may_replace(stored[task_id], state):
                stored[task_id], last[task_id] = payload, record
        self._volleys.replace(list(last.values()))

    def is_away(self, exc: Exception) -> bool:
        """Whether Redis is not reachable, or takes no records now."""
        cause = exc.__cause__ if isinstance(exc, CelerantError) else exc
        return super().is_away(exc) or is_passing(cause)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records of `ids`."""
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            keys = [self.key_prefix + task_id for task_id in chunk]
            self._retried(partial(self._client.delete, *keys))

    def chord_counter(self) -> RedisChords:
        """Return the counter of chords under Celery's keys."""
        return self._chords

    def handle_key(self) -> bytes:
        """Return the key for proofs of handles; the store keeps the first one made."""
        # Read each time, because an emptied store has another key.
        return self._retried(self._read_handle_key)

    def _read_handle_key(self) -> bytes:
        found: bytes | None = self._client.get(self._handle_key)
        if found is None:
            made = secrets.token_bytes(_KEY_LENGTH)
            self._client.set(self._handle_key, made, nx=True)
            found = self._client.get(self._handle_key)
        if not found:
            msg = f"{self.as_uri()} does not keep the key that proves handles"
            raise CelerantError(msg)
        return found

    def put_aside(self, name: str, payload: bytes) -> None:
        """Store `payload` under its own key, for as long as results are kept."""
        key = self._aside_prefix + name
        expires = self.expires or None
        self._retried(partial(self._client.set, key, payload, ex=expires))

    def put_asides(self, payloads: Mapping[str, bytes]) -> None:
        """Store many payloads, 1,000 in each round trip."""
        named = list(payloads.items())
        for start in range(0, len(named), CHUNK):
            self._retried(partial(self._put_asides, named[start : start + CHUNK]))

    def _put_asides(self, named: list[tuple[str, bytes]]) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for name, payload in named:
                pipe.set(self._aside_prefix + name, payload, ex=self.expires or None)
            pipe.execute()

    def take_aside(self, name: str) -> bytes | None:
        """Return a payload that was put aside; None if it is gone."""
        get = partial(self._client.get, self._aside_prefix + name)
        found: bytes | None = self._retried(get)
        return found

    def add_to_index(self, payload: bytes, kept: object) -> None:  # noqa: ARG002 - for memory
        """Add an entry and drop old and surplus ones, in one round trip."""
        self._retried(partial(self._add_to_index, payload, time.time()))

    def _add_to_index(self, payload: bytes, now: float) -> None:
        key = self._index_key
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zadd(key, {payload: now})
            pipe.zremrangebyrank(key, 0, -INDEX_MOST - 1)
            if self.expires:
                pipe.zremrangebyscore(key, "-inf", now - self.expires)
                pipe.expire(key, self.expires)
            pipe.execute()

    def index(self) -> list[tuple[bytes, object]]:
        """Return the entries, in one round trip."""
        least = time.time() - self.expires if self.expires else "-inf"
        read = partial(self._client.zrangebyscore, self._index_key, least, "+inf")
        return [(payload, None) for payload in self._retried(read)]

    def open_feed(self) -> RedisFeed:
        """Return a feed with its own connection."""
        return RedisFeed(partial(_connection, self._feed_pool), self.key_prefix)

    def close(self) -> None:
        """Stop the consumer and disconnect.

        What another thread has begun goes on: it connects anew.
        """
        super().close()
        self.forget_connections()
        # redis-py's `disconnect` takes away the buffers that another thread reads. A
        # socket that ends is an error that this thread knows.
        for connection in tuple(self._pool._in_use_connections):  # noqa: SLF001 - redis-py has no public way to them
            _end(connection)

    def forget_connections(self) -> None:
        """Close the idle connections, because a dead one is rarely alone."""
        self._pool.disconnect(inuse_connections=False)

    def _retried(self, act: Callable[[], _T]) -> _T:
        try:
            result: _T = retry_over_time(
                act,
                self.connection_errors,
                callback=self.forget_connections,
                errback=self._told_away,
                **self.retry_policy,
            )
        except (RedisError, OSError) as exc:
            raise self.failure_of(exc) from exc
        return result

    def _told_away(self, exc: Exception, pauses: Iterator[float], tries: int) -> float:
        """Say once that the store is away; return the seconds until the next try."""
        if tries == 1:  # one lost connection is usual
            uri, told = self.as_uri(), line(exc)
            logger.warning("result backend %s is away, and tried again: %s", uri, told)
        return next(pauses)


def _end(connection: Any) -> None:
    used = connection._sock  # noqa: SLF001 - as above
    if used is not None:
        with suppress(OSError):
            used.shutdown(socket.SHUT_RDWR)


def _connection(pool: redis.ConnectionPool) -> redis.Connection:
    made: redis.Connection = pool.connection_class(**pool.connection_kwargs)
    return made
