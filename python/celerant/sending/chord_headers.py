"""A chord's header on its way out, and the rest of an interrupted one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from celerant.errors import CanvasError
from celerant.results.tracking.forms import form_of, has_groups
from celerant.sending.call import to_resend

if TYPE_CHECKING:
    from celerant._core import Ledger
    from celerant.dispatch.run import Dispatched
    from celerant.errors.report import Intervals
    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult
    from celerant.results.tracking.members import Members
    from celerant.sending.call import SentCall
    from celerant.sending.outgoing import Outgoing

__all__ = ["ChordHeader", "forget_unsent", "left_over"]


class ChordHeader:
    """A chord's header on its way out; it can send the rest of it later."""

    def __init__(
        self,
        outgoing: Outgoing,
        members: Members,
        group_id: str,
        call: SentCall,
        size: int | None,
    ) -> None:
        """Keep all that sending it needs.

        Args:
            outgoing: Sends it.
            members: Learn the states of its tasks.
            group_id: The header's.
            call: Its tasks as they were given, and their arguments and options.
            size: How many results the chord waits for; None for a generator.
        """
        self._outgoing = outgoing
        self._members = members
        self._group_id = group_id
        self.call = call
        #: A generator's size is known at its end.
        self.size = size
        self._is_told = False
        #: Its result, once it was sent in part.
        self.result: GroupResult[Any] | None = None

    def begin(self) -> None:
        """Tell the backend how many results to wait for, before the first leaves."""
        if not self._is_told and self.size is not None:
            self._outgoing.backend.set_chord_size(self._group_id, self.size)
        self._is_told = True

    def end(self, results: int) -> None:
        """Tell the size that only a generator's end tells, before the last leaves."""
        if self.size is None:
            # For a short generator this comes before `begin`.
            self.size, self._is_told = results, True
            if results:
                self._outgoing.backend.set_chord_size(self._group_id, results)
        self.keep_form()

    def keep_form(self) -> None:
        """Keep the form that the body's values have, if there are groups in it."""
        roster = self._members.roster
        if has_groups(roster):
            form = form_of(roster, self._group_id)
            self._outgoing.backend.save_group(self._group_id, form)

    def send(
        self, only: Intervals | None = None, ledger: Ledger | None = None
    ) -> Dispatched:
        """Send its tasks, or the rest of them."""
        sent = self._outgoing.dispatch(
            self.call.source,
            self._members.roster,
            self.call,
            self._members,
            group_id=self._group_id,
            only=only,
            ledger=ledger,
            before_first=self.begin,
            before_last=self.end,
        )
        self.call.doubts = sent.doubts
        return sent


def left_over(
    header: ChordHeader | None, shown: str, unknown: Literal["send", "skip"]
) -> Intervals:
    """Return the tasks of a header that are sent again.

    Raises:
        CanvasError: No chord of this result was interrupted here, or its tasks are
            gone.
    """
    if header is None or header.result is None or header.result.report is None:
        msg = (
            f"result {shown} is of no chord that this app has begun to send in this "
            "process; resume takes what PublishError.result is"
        )
        raise CanvasError(msg, path="chord")
    if not isinstance(header.call.source, (list, tuple)):
        msg = (
            "a chord whose header came from a generator or from group.map cannot be "
            "resumed: its tasks are gone, and nobody knows how many they are"
        )
        raise CanvasError(msg, path="chord")
    return to_resend(header.result.report, unknown)


def forget_unsent(result: Any, backend: Backend) -> None:
    """Delete the failures that were stored for waiters elsewhere.

    If the body has run after all, because the broker had more than was known, its
    result stays.
    """
    stored = [
        task_id
        for task_id in result.task_ids()
        if _says_not_sent(backend.decode(backend.read(task_id)))
    ]
    backend.forget(stored)


def _says_not_sent(meta: dict[str, Any]) -> bool:
    said = meta.get("result")
    if meta.get("status") != "FAILURE" or not isinstance(said, dict):
        return False
    return bool(said.get("exc_type") == "NotSent")
