"""The default store of results, and the way to reach it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celerant.common.tls import redis_options
from celerant.common.urls import AMQP, scheme, split, transport
from celerant.config import Settings

__all__ = ["backend_reach", "backend_url", "keeps_results_here"]

_OWN_STORE = frozenset({"memory", "redis", "rediss", "redis+socket"})
#: Options that are needed to reach the store by the broker's Sentinels.
_SENTINEL_OPTIONS = ("master_name", "min_other_sentinels", "sentinel_kwargs")


def backend_url(conf: Settings) -> str | None:
    """Return ``result_backend``, by default the broker.

    By default results are in this process for ``memory://``, and in the same Redis for
    ``redis://``, ``rediss://``, ``redis+socket://`` and ``sentinel://``. If the broker
    is reached by AMQP, they are messages to the sender (``rpc://``). Other brokers have
    no default. A failover list of Redis servers has none either: the servers are
    separate stores, and a result may be stored on one and looked for on another.
    """
    url: str | None = conf.result_backend
    if url is not None:
        return url
    brokers = split(conf.broker_url)
    name = transport(brokers)
    if name in _OWN_STORE:
        return brokers[0] if len(brokers) == 1 else None
    if name == "sentinel":  # many Sentinels, one store
        return ";".join(brokers)
    return "rpc://" if name in AMQP else None


def keeps_results_here(conf: Settings) -> bool:
    """Whether results are in the memory of the process that stores them."""
    url = backend_url(conf)
    return url is not None and scheme(url) == "memory"


def backend_reach(conf: Settings) -> dict[str, Any]:
    """Return the settings that say how the backend is reached.

    A default backend is reached as its broker is: with ``broker_use_ssl``, and with
    the Sentinel options of ``broker_transport_options``, if there are no others.
    """
    options = dict(conf.result_backend_transport_options or {})
    use_ssl = conf.redis_backend_use_ssl
    if conf.result_backend is None and transport(conf.broker_url) not in AMQP:
        broker = conf.broker_transport_options or {}
        given = {name: broker[name] for name in _SENTINEL_OPTIONS if name in broker}
        options = {**given, **options}
        if not use_ssl and conf.broker_use_ssl:
            given = conf.broker_use_ssl
            use_ssl = dict(given) if isinstance(given, Mapping) else redis_options({})
    return {
        "result_backend_transport_options": options,
        "redis_backend_use_ssl": use_ssl,
    }
