"""The protocol of a wire, and its errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kombu.common import maybe_declare

from celerant._core import Chunk, Layout, Ledger
from celerant.common.urls import masked
from celerant.dispatch.connections import Patience, recoverable_errors
from celerant.dispatch.envelope import Blueprint
from celerant.dispatch.journaling import Command, Journal
from celerant.dispatch.wires.chunk_limits import NEAR, ChunkLimits
from celerant.errors import EncodeError, JournalError

if TYPE_CHECKING:
    from kombu import Connection

__all__ = [
    "Broken",
    "ConnectionRefused",
    "Dispatch",
    "Doubt",
    "Unavailable",
    "Wire",
    "broken",
    "declare",
    "unfit",
]


class Broken(Exception):  # noqa: N818 - a signal between two modules, not a user's error
    """The wire gave up; the ledger has each member's fate.

    `index` is the refused member's, if one is known.
    """

    def __init__(
        self, message: str, *, recoverable: bool, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.recoverable = recoverable
        self.index = index


class ConnectionRefused(Broken):
    """The broker refuses this connection, or one more of ours; nothing has left."""


class Unavailable(Exception):  # noqa: N818 - a signal, as above
    """A wire lacks a right that kombu's `publish` does not need; nothing has left."""


@dataclass(slots=True, frozen=True)
class Doubt:
    """A chunk that may be in the queue or not, and the key to find out."""

    chunk: Chunk
    #: The mark's key, and its value once the chunk is in.
    mark: bytes
    step: int


@dataclass(slots=True)
class Dispatch:
    """The part of a dispatch that the wire needs which carries it."""

    ledger: Ledger
    patience: Patience
    #: Members that may be in a queue twice.
    maybe_double: set[int] = field(default_factory=set)
    #: Unknown chunks that the broker can be asked about later.
    doubts: list[Doubt] = field(default_factory=list)
    #: Names each chunk before it leaves; None: nothing is kept of the dispatch.
    journal: Journal | None = None


@contextmanager
def broken(connection: Connection) -> Iterator[None]:
    """Raise the transport's errors as `Broken`."""
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

    Cost: kombu copies and binds an entity before it looks whether it is known, which
    takes 20 us; this looks first, by kombu's own key.
    """
    raw = channel.connection
    known = raw.client.declared_entities if raw is not None else ()
    for entity in entities:
        if not (entity.can_cache_declaration and hash(entity) in known):
            maybe_declare(entity, channel)


class Wire(ABC):
    """Renders messages into bytes and hands chunks of them to the broker.

    It carries one dispatch after the other::

        idle -- begin --> carrying: render, send, .., flush -- end --> idle
                          carrying -- abort --> lost -- close --> closed
        idle -- close, leave --> closed

    It tells the ledger each message's fate once, when it is known; the ledger combines
    them if a member is several messages.
    """

    def __init__(self) -> None:
        self._dispatch: Dispatch | None = None

    @property
    def dispatch(self) -> Dispatch:
        """The dispatch that is carried."""
        assert self._dispatch is not None  # noqa: S101 - between `begin` and `end`
        return self._dispatch

    def begin(self, dispatch: Dispatch) -> None:
        """Take up a dispatch."""
        self._dispatch = dispatch

    def end(self) -> None:
        """Forget the dispatch, of which no message is under way."""
        self._dispatch = None

    @property
    def limits(self) -> ChunkLimits:
        """How much the next chunk should hold."""
        return NEAR

    def is_alive(self) -> bool:
        """Whether another dispatch can begin, as far as this side can see."""
        return True

    def declare(self, entities: Iterable[Any]) -> None:  # noqa: B027 - nothing to do is a sound default
        """Declare queues and exchanges that the connection has not declared yet.

        Raises:
            Broken: The broker refuses.
        """

    @abstractmethod
    def render(self, blueprint: Blueprint) -> Layout | None:
        """Declare, and render the members' layout; None: this wire cannot carry it."""

    def header(self, value: Any) -> bytes:
        """Encode a header's value for one of the slots `OWN` of its own layouts."""
        raise NotImplementedError

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
            Broken: As `send`.
        """

    def is_in(self, doubt: Doubt) -> bool | None:  # noqa: ARG002 - other wires use it
        """Ask the broker about a chunk of an earlier dispatch; None: it cannot say.

        If it is not in, it will not come late either.

        Raises:
            Broken: The retry policy is spent.
        """
        return None

    def follow(self) -> None:
        """Go by the journal of the dispatch, which has one, before a chunk leaves.

        Raises:
            JournalError: Another sender goes by it, or it needs a mark.
            Broken: As `send`.
        """
        journal = self.dispatch.journal
        assert journal is not None  # noqa: S101 - the caller looked
        if journal.needs_mark:
            msg = (
                "journal=True needs a mark in Redis, which this broker does not allow: "
                "give the path of a file, as journal='group.journal'"
            )
            raise JournalError(msg)
        journal.begin()

    def tell(self, *commands: Command) -> list[Any] | None:  # noqa: ARG002 - other wires use it
        """Send commands of Redis, and return their replies; None: it is none.

        Their keys are without kombu's prefix. They may be sent twice.

        Raises:
            Broken: The retry policy is spent.
        """
        return None

    def look(self, name: bytes) -> int | None:  # noqa: ARG002 - other wires use it
        """Read the mark of a journal; None: there is none.

        No transaction that was sent before changes it after this.

        Raises:
            Broken: The retry policy is spent.
        """
        return None

    def settle(self) -> None:  # noqa: B027 - nothing to do is a sound default
        """Find out the fate of messages in flight, after an interruption anywhere.

        It takes a short time only, since somebody wants to stop. Other fates are left
        to `abort`, which follows. Raises the transport's errors.
        """

    def abort(self) -> None:  # noqa: B027 - nothing to do is a sound default
        """Leave at once: messages in flight are unknown. Only `close` may follow."""

    def leave(self) -> None:
        """Close, while others go on with the connection."""
        self.close()

    def close(self) -> None:  # noqa: B027 - nothing to do is a sound default
        """Give back all that the wire holds; a second call does nothing."""
