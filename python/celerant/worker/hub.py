"""The event loop of a connection that has one: kombu's hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu.asynchronous import Hub

from celerant.worker.silence import give_up_on_silence

if TYPE_CHECKING:
    from celerant.worker.mailbox import MailboxNode
    from celerant.worker.waker import Waker

__all__ = ["joined_hub", "turns"]

#: Heartbeats are looked at twice in their interval, as the protocol advises.
_HEARTBEAT_RATE = 2


@contextmanager
def joined_hub(connection: Any, waker: Waker) -> Iterator[Hub]:
    """Enter a hub that reads from a connection, wakes and keeps its heartbeats."""
    hub = Hub()
    hub.propagate_errors = connection.connection_errors
    try:
        hub.add_reader(waker.fileno(), waker.drain)
        if connection.transport.driver_type == "redis":
            give_up_on_silence(connection)
        connection.register_with_event_loop(hub)
        interval = connection.get_heartbeat_interval()
        if interval and connection.supports_heartbeats:
            hub.call_repeatedly(interval / _HEARTBEAT_RATE, connection.heartbeat_check)
        yield hub
    finally:
        hub.close()


def turns(hub: Hub, connection: Any, mailbox: MailboxNode | None) -> Iterator[None]:
    """Let the loop of a hub run, one turn for each item.

    Raises:
        Exception: The connection is lost, or the channel of tasks.
    """
    loop = hub.create_loop()
    while True:
        try:
            next(loop)
        except StopIteration:
            loop = hub.create_loop()
        except connection.channel_errors:
            # Of remote control's channel it says nothing of the tasks'.
            if mailbox is None or not mailbox.mend():
                raise
            loop = hub.create_loop()
        yield
