"""TLS options, which by default check certificates and host names.

kombu takes any certificate if a ``rediss://`` URL has no options, and py-amqp takes one
of any host unless it is told the name.

Source: ``kombu.transport.pyamqp``, ``kombu.transport.redis`` of kombu 5.7.0,
``amqp.transport.SSLTransport`` of py-amqp 5.4, ``redis.connection.SSLConnection``.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from celerant.common.urls import AMQP

__all__ = ["checked_options", "redis_options"]

#: kombu's names of the transports that take redis-py's options.
_REDIS = frozenset({"redis", "rediss", "sentinel"})
#: The transports that use TLS without an option.
_SECURE = frozenset({"amqps", "rediss"})
_OFF = {ssl.CERT_NONE, "CERT_NONE", "none"}


class _Checked(dict[str, Any]):
    """Options with defaults.

    A failover list has many hosts, so `given` has no host name.
    """

    def __init__(self, options: Mapping[str, Any], given: Any) -> None:
        super().__init__(options)
        self.given = given


def checked_options(transport: Any, given: Any) -> Any:
    """Return kombu's ``ssl`` for a connection: `given`, and checks by default.

    Args:
        transport: kombu's name of it.
        given: ``broker_use_ssl``, or kombu's reading of a URL's query.
    """
    given = given.given if isinstance(given, _Checked) else given
    if not given and transport not in _SECURE:
        return given
    options = dict(given) if isinstance(given, Mapping) else {}
    if transport in _REDIS:
        return _Checked(redis_options(options), given)
    if transport in AMQP:
        return _Checked(_amqp_options(options), given)
    return given


def redis_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return redis-py's options for a connection by TLS."""
    options = {"ssl_cert_reqs": ssl.CERT_REQUIRED, **given}
    # Some releases of redis-py leave this check out, although the other one needs it.
    options.setdefault("ssl_check_hostname", options["ssl_cert_reqs"] not in _OFF)
    return options


def _amqp_options(given: dict[str, Any]) -> dict[str, Any]:
    names = given.pop("check_hostname", True)
    context = given.get("context")
    if isinstance(context, Mapping):
        given["context"] = {"check_hostname": names, **context}
        # kombu replaces None by the name of the host.
        return {"server_hostname": None, **given}
    options = {"cert_reqs": ssl.CERT_REQUIRED, **given}
    if names and options["cert_reqs"] not in _OFF:
        options.setdefault("server_hostname", None)
    return options
