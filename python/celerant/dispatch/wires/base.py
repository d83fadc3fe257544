"""What the dispatcher asks of a wire."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu.common import maybe_declare

from celerant._core import Chunk, Form
from celerant.dispatch.blueprints import Drawn
from celerant.dispatch.connections import recoverable_errors
from celerant.errors import EncodeError
from celerant.urls import masked

if TYPE_CHECKING:
    from kombu import Connection

__all__ = ["Broken", "Wire", "broken", "declare", "unfit"]


class Broken(Exception):  # noqa: N818 - a signal between two modules, not a user's error
    """The wire gave up; the ledger says what became of whom."""

    def __init__(self, message: str, *, recoverable: bool) -> None:
        super().__init__(message)
        self.recoverable = recoverable


@contextmanager
def broken(connection: Connection) -> Iterator[None]:
    """Raise what the transport raises as `Broken`."""
    try:
        yield
    except connection.channel_errors as exc:
        message = f"the broker at {connection.as_uri()} refuses: {exc}"
        raise Broken(message, recoverable=False) from exc
    except recoverable_errors(connection) as exc:
        message = f"no broker at {_tried(connection)}: {exc}"
        raise Broken(message, recoverable=True) from exc
    except connection.connection_errors as exc:
        message = f"the broker at {connection.as_uri()} refuses: {exc}"
        raise Broken(message, recoverable=False) from exc


def _tried(connection: Connection) -> str:
    """Return all URLs of a failover list, or the only one."""
    return masked(connection.alt) if connection.alt else str(connection.as_uri())


def unfit(exc: Exception) -> EncodeError:
    """Return the error of a header or property that no message can carry."""
    return EncodeError(f"a header or property of the message cannot be sent: {exc}")


def declare(entities: Iterable[Any], channel: Any) -> None:
    """Declare the queues and exchanges that this connection has not declared yet.

    Cost: kombu copies and binds an entity before it looks whether it is known, 20 us
    each; here is looked first, by kombu's own key.
    """
    raw = channel.connection
    known = raw.client.declared_entities if raw is not None else ()
    for entity in entities:
        if not (entity.can_cache_declaration and hash(entity) in known):
            maybe_declare(entity, channel)


class Wire(ABC):
    """Renders messages into bytes and hands chunks of them to the broker.

    A wire marks each member in the ledger once its fate is known.
    """

    @abstractmethod
    def render(self, drawn: Drawn) -> Form | None:
        """Render what members share; None where this wire cannot carry it."""

    @abstractmethod
    def send(self, chunk: Chunk) -> None:
        """Send a chunk; its fate may be known only after `flush`.

        Raises:
            Broken: The retry policy is spent, or the broker refused.
        """

    @abstractmethod
    def flush(self) -> None:
        """Wait until the fate of everything sent is known.

        Raises:
            Broken: As for `send`.
        """

    def abort(self) -> None:  # noqa: B027 - nothing to do is a sound default
        """Leave at once: what is in flight is unknown."""

    def close(self) -> None:  # noqa: B027 - nothing to do is a sound default
        """Give back what the wire holds."""
