"""Results in a Redis that Sentinels watch; the records are those of Redis.

Source: ``celery.backends.redis.SentinelBackend`` of celery 5.7.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from kombu.utils.url import url_to_parts
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from celerant.common.urls import check, masked, split
from celerant.errors import SettingError
from celerant.results.backends.redis import RedisBackend
from celerant.results.backends.redis_url import connection_params

__all__ = ["SentinelBackend"]

#: kombu's default port of a Sentinel; Celery's backend would use 6379.
_PORT = 26379


class SentinelBackend(RedisBackend):
    """Results in the master that Sentinels name; each connection asks them.

    Args:
        url: A URL for each Sentinel, separated by ``;``. The first one's database, user
            and password are the master's.
        settings: Those of `RedisBackend`. The transport option ``master_name`` is
            needed. ``min_other_sentinels`` and ``sentinel_kwargs`` (user, password and
            TLS of the Sentinels themselves) are read too.

    Raises:
        SettingError: As for `RedisBackend`, or there is no ``master_name``.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        options = settings.get("transport_options") or {}
        if not options.get("master_name"):
            msg = (
                f"result_backend {masked(url)!r} needs the name of the master that its "
                "Sentinels watch: set result_backend_transport_options="
                "{'master_name': ...}"
            )
            raise SettingError(msg, name="result_backend_transport_options")
        self._master_name: str = options["master_name"]
        self._sentinel: Sentinel | None = None
        super().__init__(url, **settings)

    def _params(
        self, url: str, use_ssl: Mapping[str, Any] | None, defaults: Mapping[str, Any]
    ) -> dict[str, Any]:
        params = connection_params(split(url)[0], use_ssl=use_ssl, defaults=defaults)
        # The Sentinels tell the master's address.
        del params["host"], params["port"]
        secure = params["connection_class"] is redis.SSLConnection
        params["connection_class"] = (
            SentinelManagedSSLConnection if secure else SentinelManagedConnection
        )
        return params

    def _make_pool(self, params: Mapping[str, Any]) -> redis.ConnectionPool:
        if self._sentinel is None:
            # One for all pools, because it remembers which Sentinel answered last.
            self._sentinel = self._make_sentinel(params)
        made: redis.ConnectionPool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            self._master_name, self._sentinel, **params
        )
        return made

    def _make_sentinel(self, params: Mapping[str, Any]) -> Sentinel:
        options = self.transport_options
        return Sentinel(  # type: ignore[no-untyped-call]
            [self._address(url) for url in split(self._url)],
            min_other_sentinels=options.get("min_other_sentinels", 0),
            sentinel_kwargs={
                # A Sentinel that hangs must not hang the caller. A dead one is skipped,
                # whereas redis-py would try it for seconds.
                **{k: v for k, v in params.items() if k.startswith("socket_")},
                "retry": Retry(NoBackoff(), 0),
                **(options.get("sentinel_kwargs") or {}),
            },
        )

    @staticmethod
    def _address(url: str) -> tuple[str, int]:
        check("result_backend", url)
        parts = url_to_parts(url)
        return parts.hostname or "localhost", parts.port or _PORT

    def close(self) -> None:
        """Stop the consumer and disconnect, from the Sentinels too."""
        super().close()
        for client in self._sentinel.sentinels if self._sentinel else ():
            client.connection_pool.disconnect()
