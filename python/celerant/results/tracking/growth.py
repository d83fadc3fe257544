"""The protocol of a group that another process sends: learn of it, and steer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Growth"]


class Growth(Protocol):
    """A group that another process sends; any thread may call it."""

    def look(self, members: Members) -> None:
        """Add the members that were sent by now, and end the group if all were.

        Raises:
            Exception: The store's own.
        """

    def pause(self) -> None:
        """Ask its sender to send no more members until `resume`.

        Raises:
            Exception: The store's own.
        """

    def resume(self) -> None:
        """Ask its sender to go on after `pause`.

        Raises:
            Exception: The store's own.
        """
