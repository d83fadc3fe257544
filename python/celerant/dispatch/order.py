"""An order: the request to a dispatch, with its hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from kombu import Producer

from celerant._core import ChordSize, Chunk, Ledger, Prints, Roster, Rules
from celerant.dispatch.connections import Patience
from celerant.dispatch.drawing import Drawer
from celerant.dispatch.journaling import Journal, Resumed
from celerant.dispatch.rendering import Renderer
from celerant.errors.report import Intervals

__all__ = ["Hooks", "Listener", "Order", "Tally"]


class Listener(Protocol):
    """Hears of each member whose `Blueprint` says so, before and after it leaves."""

    def leaving(self, chunk: Chunk, renderer: Renderer) -> Chunk:
        """Return what leaves instead of `chunk`: the same members, changed or not."""

    def left(self, ledger: Ledger) -> None:
        """Hear which of this chunk's members have left; `ledger` knows."""


class Tally(Protocol):
    """Hears of the members before any of them leaves."""

    def grow(self, count: int) -> None:
        """Hear that there are `count` members by now."""

    def settle(self, indices: range, state: int) -> None:
        """Hear of members that will have no result: IGNORED or NOT_SENT."""

    def seal(self, count: int) -> None:
        """Hear that there are `count` members and no more."""


def _vet_none(_canvas: Any, _has_chords: bool) -> bool:  # noqa: FBT001 - called by position alone
    return False


@dataclass(slots=True, frozen=True)
class Hooks:
    """Functions that are called on the way of an order."""

    #: Tells the result backend how many results each chord waits for.
    announce: Callable[[Sequence[ChordSize]], None] | None = None
    #: Called before anything leaves.
    before_first: Callable[[], None] | None = None
    #: Called with the number of results before the last chunk leaves: a chord's last
    #: member is held back until it is known to be the last.
    before_last: Callable[[int], None] | None = None
    #: Called with each member that is a chain or chord and whether there is a chord in
    #: it: raises to refuse it, and says whether its result is ignored.
    vet: Callable[[Any, bool], bool] = _vet_none
    #: Is told what members are sent with; None: that is not kept.
    prints: Prints | None = None
    #: Whether it knows already, and another member is refused: nothing leaves before
    #: as many were looked at as a list may hold.
    is_again: bool = False
    #: Names each chunk before it leaves; None: nothing is kept of the dispatch.
    journal: Journal | None = None
    #: What another process has sent of it; None: nothing.
    resumed: Resumed | None = None
    #: None: members have no listener.
    listener: Listener | None = None


_NO_HOOKS = Hooks()
_NO_KWARGS: Mapping[str, Any] = {}


class Order(NamedTuple):
    """Members to send, with their ids; `Plan` reads it too.

    Cost: 0.6 us, of the 90 of a task by itself; a frozen dataclass takes 2.6.
    """

    #: A list or tuple of members, or something to iterate once.
    source: Any
    roster: Roster
    blueprints: Drawer
    rules: Rules
    patience: Patience
    #: The fates of the members so far.
    ledger: Ledger
    #: Prepended to the arguments of every member that is not immutable.
    args: tuple[Any, ...] = ()
    #: Override the keywords of every member that is not immutable.
    kwargs: Mapping[str, Any] = _NO_KWARGS
    #: False for a single task, which has no group.
    grouped: bool = True
    #: The caller's own; None takes a carrier.
    producer: Producer | None = None
    #: Half-open ranges to send; None sends all.
    only: Intervals | None = None
    #: ``group_index`` of each member; None: its number among all.
    positions: list[int] | None = None
    hooks: Hooks = _NO_HOOKS
    #: Hears of the members; None: nobody does.
    tally: Tally | None = None
