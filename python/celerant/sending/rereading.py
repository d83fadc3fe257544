"""A source of members that are sent once more: checked first, and then read again."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from copy import copy
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from celerant._core import Roster, unroll
from celerant.canvas.parts import is_group, walk
from celerant.canvas.readable import readable
from celerant.canvas.source import Mapped, Stream, stream_in
from celerant.dispatch.checking import Check
from celerant.errors.report import runs_of

if TYPE_CHECKING:
    from celerant.errors.report import Intervals
    from celerant.results.group_result import GroupResult
    from celerant.results.tracking.members import Members
    from celerant.sending.call import SentCall
    from celerant.sending.outgoing import Outgoing

__all__ = ["checked"]


def checked(
    outgoing: Outgoing,
    result: GroupResult[Any],
    source: Any,
    call: SentCall,
    indices: list[int],
) -> Any:
    """Compare a source with what was sent; return one that gives the same members.

    A generator is read as far as a list is that waits for its check: the rest of a
    long one is compared as it is sent.

    Args:
        outgoing: By what they will be sent.
        result: Of the group.
        source: All its members, in order.
        call: With what they will be sent.
        indices: The members that are sent once more, ascending.

    Raises:
        CanvasError: It is another source, or they cannot be sent once more.
        PublishError: No broker answers.
    """
    only = runs_of(indices)
    passing = _Passing(source, only)
    scratch = _scratch(result.members)
    order = outgoing.order_again(passing.first, scratch, copy(call), result, only)
    is_whole = Check(order).look(outgoing.open(), is_kept=passing.is_kept)
    prints = result.members.prints
    if prints is not None:
        prints.restart()
    return passing.again(is_whole=is_whole)


def _scratch(members: Members) -> Roster:
    """Return a roster with the same ids.

    Reading notes the tasks inside of members there, and another source has others.
    """
    roster = members.roster
    made = Roster(roster.seed, len(members.barrier))
    for index, task_id in roster.own().items():
        if index < len(made):
            made.adopt(index, task_id)
    return made


class _Passing:
    """A source that is read twice.

    Of one that can be read once the wanted members are kept as they pass.

    Args:
        source: The source.
        only: Half-open ranges of the members that are wanted.
    """

    def __init__(self, source: Any, only: Intervals) -> None:
        self._source = source
        self._only = only
        stream = stream_in(source)
        #: Whether nothing has to be kept.
        self.is_kept = stream is None
        #: What is read first.
        self.first = source
        self._kept: list[Any] = []
        self._filler: Any = None
        self._rest: Iterator[Any] = iter(())
        if stream is not None:
            self.first = self._like(Stream(self._pass(stream)))
        elif not isinstance(source, Mapped):
            for item in source:
                _hold(item)

    def again(self, *, is_whole: bool) -> Any:
        """Return what is read the second time.

        Args:
            is_whole: Whether all that is wanted was read the first time.
        """
        if self.is_kept:
            return self._source
        if is_whole:
            return self._like(self._kept)
        return self._like(Stream(itertools.chain(self._kept, self._rest)))

    def _like(self, items: Any) -> Any:
        source = self._source
        if not isinstance(source, Mapped):
            return items
        return Mapped(source.task, items, source.options, star=source.star)

    def _pass(self, stream: Stream) -> Iterator[Any]:
        self._rest = iter(stream)
        # Its items are arguments.
        is_mapped = isinstance(self._source, Mapped)
        at = 0
        for item in self._rest:
            if not is_mapped:
                _hold(item)
            count = 1 if is_mapped or not is_group(item) else _count(item)
            if count == 1 and not self._wants(at):
                # It only has to be passed over: its neighbours may be millions.
                self._filler = item if self._filler is None else self._filler
                self._kept.append(self._filler)
            else:
                self._kept.append(item)
            at += count
            yield item

    def _wants(self, index: int) -> bool:
        only = self._only
        after = bisect_right(only, index, key=itemgetter(0))
        return after > 0 and index < only[after - 1][1]


def _hold(item: Any) -> None:
    """Keep the members of generators in a member, which is read again."""
    if isinstance(item, dict) and item.get("subtask_type"):
        for _ in walk(item, hold=True):
            pass


def _count(item: Any) -> int:
    return len(unroll([item], readable()))
