"""From settings to a kombu connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu import Connection

from celerant.common.extras import need_redis
from celerant.common.stalls import limit_stalls
from celerant.common.tls import checked_options
from celerant.common.urls import AMQP, check, masked, split
from celerant.config import Settings
from celerant.errors import SettingError

__all__ = ["make_connection"]


class _Connection(Connection):  # type: ignore[misc]
    """A connection that checks certificates by default and shows no password."""

    def _init_params(self, *args: Any, **params: Any) -> None:
        # Called for each URL of a failover list when its turn comes.
        transport = params.get("transport") or "amqp"
        params["ssl"] = checked_options(transport, params.get("ssl"))
        super()._init_params(*args, **params)

    def as_uri(
        self,
        include_password: bool = False,  # noqa: FBT001, FBT002 - kombu's own
        mask: str = "**",
        **more: Any,
    ) -> str:
        # A transport that reads its URL itself hides the password itself.
        is_shown = self.password or self.transport.can_parse_url
        uri: str = super().as_uri(include_password, mask if is_shown else "", **more)
        return uri if include_password else masked(uri)


def make_connection(
    conf: Settings, urls: str | list[str], **options: Any
) -> Connection:
    """Return a connection to the first of `urls` that answers, not yet connected.

    Args:
        conf: ``broker_use_ssl``, ``broker_transport_options`` and the like.
        urls: A URL, or a failover list: several, or one with ``;`` between.
        options: More of kombu's own.

    Raises:
        SettingError: TLS options that the broker's transport does not know, or a URL
            that cannot be read.
        CelerantError: redis-py is not installed, and a URL is of a Redis.
    """
    check("broker_url", urls)
    need_redis(urls)
    connection = _Connection(
        # kombu warns about a URL without a host, and memory needs none.
        "memory://localhost//" if split(urls) == ["memory://"] else urls,
        ssl=conf.broker_use_ssl,
        connect_timeout=conf.broker_connection_timeout or conf.celerant_stall_timeout,
        login_method=conf.broker_login_method,
        failover_strategy=conf.broker_failover_strategy,
        transport_options=dict(conf.broker_transport_options or {}),
        **options,
    )
    _check_tls(connection, urls)
    return limit_stalls(connection, conf.celerant_stall_timeout)


def _check_tls(connection: Connection, urls: str | list[str]) -> None:
    """Refuse Redis's names of TLS options; a URL's query may have them too.

    py-amqp would raise a `TypeError` that does not name settings.
    """
    given = connection.ssl
    if connection.transport_cls not in AMQP or not isinstance(given, Mapping):
        return
    for name in given:
        if name.startswith("ssl_"):
            known = name.removeprefix("ssl_")
            msg = (
                f"broker_use_ssl: AMQP has no option {name!r}, for {masked(urls)!r}; "
                f"set broker_use_ssl={{{known!r}: ...}}, which a URL cannot say"
            )
            raise SettingError(msg, name="broker_use_ssl", nearest=known)
