"""The protocol by which members learn of more members that another process sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Growth"]


class Growth(Protocol):
    """Tells what another process has sent of a group."""

    def look(self, members: Members) -> None:
        """Add the members that were sent by now, and end the group if all were.

        Any thread may call it.

        Raises:
            Exception: The store's own.
        """
