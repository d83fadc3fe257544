"""Brokers that fall silent while the connection is open.

A frozen server, or a proxy that has lost its other end, answers nothing and closes
nothing: a wait without a limit never ends.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from functools import cache
from typing import Any

from kombu import Connection

__all__ = ["limit_stalls"]

#: kombu's own limit for Redis, in seconds.
_HEALTH_CHECK_INTERVAL = 25.0
#: How often to look for a silent broker within the limit.
_HEALTH_CHECKS = 3


def limit_stalls(connection: Connection, seconds: float) -> Connection:
    """Make a connection count as lost if its broker is silent for so long.

    A wait for the broker then raises the error of a broken connection. This is for
    Redis and AMQP: kombu's other transports have limits of their own.

    Args:
        connection: kombu's, not yet connected.
        seconds: Of silence during a wait.

    Returns:
        The same connection.
    """
    cls: Any = type(connection)
    connection.__class__ = _limited(cls)
    connection.stall_timeout = seconds
    return connection


@cache
def _limited(cls: Hashable) -> Any:
    """Return a class of connections as `cls`, with a limit."""
    base: Any = cls

    class Limited(base):  # type: ignore[misc]
        #: Seconds.
        stall_timeout: float
        transport_options: Any
        _transport: Any
        _connection: Any
        _do_close_self: Any
        _do_close_transport: Any

        def _establish_connection(self) -> Any:
            driver = self.transport.driver_type
            if driver == "redis":
                self.transport_options = _redis_options(
                    self.transport_options, self.stall_timeout
                )
            opened = super()._establish_connection()
            if driver == "amqp":
                _limit_amqp(opened, self.stall_timeout)
            return opened

        def collect(self, socket_timeout: float | None = None) -> None:
            """Drop the rest of a connection that is lost, or not needed any more.

            For most transports kombu's own gives all new sockets of the process a
            timeout meanwhile. If two threads are in it, one puts back what the other
            has set, and it stays.
            """
            transport = self._transport
            if hasattr(transport, "_collect"):
                super().collect(socket_timeout)
                return
            with suppress(TimeoutError):
                self._do_close_self()
            self._do_close_transport()
            self._connection = None

        def clone(self, **changes: Any) -> Any:
            made = super().clone(**changes)
            made.stall_timeout = self.stall_timeout
            return made

    return Limited


def _redis_options(given: Any, seconds: float) -> dict[str, Any]:
    options = dict(given or {})
    own = options.get("socket_timeout")
    options["socket_timeout"] = seconds if own is None else min(own, seconds)
    interval = options.get("health_check_interval", _HEALTH_CHECK_INTERVAL)
    options["health_check_interval"] = interval and min(
        interval, seconds / _HEALTH_CHECKS
    )
    return options


def _limit_amqp(opened: Any, seconds: float) -> None:
    from amqp import Connection as AmqpConnection  # noqa: PLC0415 - for brokers that speak it

    # librabbitmq does not give its socket.
    if isinstance(opened, AmqpConnection):
        # Reads and writes without a limit of their own get this one.
        opened.transport.sock.settimeout(seconds)
