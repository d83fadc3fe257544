"""Whether a source is the one whose members were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant._core import unroll
from celerant.canvas.comparing import same_members
from celerant.canvas.readable import readable
from celerant.canvas.source import Mapped, stream_in
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from celerant.results.group_result import GroupResult
    from celerant.sending.call import SentCall

__all__ = ["check_origin", "is_kept"]


def is_kept(source: Any) -> bool:
    """Whether members can be read again: they are in a list, or made of one."""
    return isinstance(source, (list, tuple, Mapped)) and stream_in(source) is None


def check_origin(
    source: Any,
    result: GroupResult[Any],
    call: SentCall | None,
    frozen_id: str | None = None,
) -> int:
    """Refuse a result of another group: its ids would go to these members.

    Members may have been mended, but in the list that was sent.

    Args:
        source: Of the group that is to be sent again.
        result: Of the one that was sent.
        call: With what it was sent, if that is known.
        frozen_id: The group's own id.
    Returns:
        How many members it has: of one made by `group.map` more than were sent, if its
        feeding was stopped.
    Raises:
        CanvasError: It is another's.
    """
    known = source.size if isinstance(source, Mapped) else None
    count = len(unroll(source, readable())) if known is None else known
    size = len(result.members.barrier)
    is_longer = count > size and isinstance(source, Mapped)
    if count != size and not is_longer:
        reason = f"it has {size} members, the group {count}"
    elif call is not None and call.source is source:
        return count
    elif frozen_id not in {None, result.id}:
        reason = f"the group was frozen as {frozen_id}"
    elif call is None or frozen_id is not None or _are_same(source, call.source):
        return count
    else:
        reason = "its members are others"
    msg = (
        f"result {result.id} is not of this group: {reason}; resume with the group "
        "that was sent"
    )
    raise CanvasError(msg, path="group")


def _are_same(source: Any, sent: Any) -> bool:
    if isinstance(source, Mapped) and isinstance(sent, Mapped):
        of_source = source.task, source.star, source.items
        return of_source == (sent.task, sent.star, sent.items)
    if isinstance(source, Mapped) or isinstance(sent, Mapped):
        return False
    return same_members(source, sent)
