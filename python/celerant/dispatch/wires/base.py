"""What the dispatcher asks of a wire."""

from __future__ import annotations

from abc import ABC, abstractmethod

from celerant._core import Chunk, Form
from celerant.dispatch.blueprints import Drawn

__all__ = ["Broken", "Wire"]


class Broken(Exception):  # noqa: N818 - a signal between two modules, not a user's error
    """The wire gave up; the ledger says what became of whom."""

    def __init__(self, message: str, *, recoverable: bool) -> None:
        super().__init__(message)
        self.recoverable = recoverable


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
