"""kombu's event loop (its hub), for connections that can use one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu.asynchronous import Hub

from celerant.worker.silence import give_up_on_silence

if TYPE_CHECKING:
    from celerant.common.waker import Waker
    from celerant.worker.mailbox import MailboxNode

__all__ = ["joined_hub", "turns"]

#: Heartbeats are checked twice in their interval, as the protocol advises.
_HEARTBEAT_RATE = 2


@contextmanager
def joined_hub(connection: Any, waker: Waker) -> Iterator[Hub]:
    """Enter a hub that reads a connection, keeps its heartbeats and hears `waker`."""
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
    """Run the loop of a hub, one turn for each item.

    Raises:
        Exception: The connection is lost, or the channel that brings tasks.
    """
    loop = hub.create_loop()
    while True:
        try:
            if mailbox is not None:
                mailbox.turn()
            next(loop)
            if mailbox is not None:
                mailbox.turn()
        except StopIteration:
            loop = hub.create_loop()
        except connection.channel_errors:
            # If remote control lost its channel, the channel of the tasks is whole.
            if mailbox is None or not mailbox.mend():
                raise
            loop = hub.create_loop()
        yield
