"""Learn which members other processes have sent, on behalf of the consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.results.consuming.feed import ConsumerBackend
    from celerant.results.tracking.members import Members

__all__ = ["learn"]


def learn(members: Members, backend: ConsumerBackend) -> CelerantError | None:
    """Learn which members were sent by now; return why that is not possible any more.

    Raises:
        Exception: The store's own, if it is not reachable.
    """
    growth = members.growth
    if growth is None or members.barrier.is_sealed:
        return None
    try:
        growth.look(members)
    except CelerantError as exc:
        if isinstance(exc.__cause__, backend.connection_errors):
            raise exc.__cause__ from None
        # What was stored of this group is gone or was changed: others go on.
        return exc
    return None
