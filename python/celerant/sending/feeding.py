"""Groups that are fed: a thread for each sends as many members as there is room for.

`feeding_gate.py` says how many that are.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from celerant._core import monotonic
from celerant.common.printable import line
from celerant.dispatch.interruption import ABANDONED
from celerant.errors import CanvasError, CelerantError, ForkError, TaskRevoked
from celerant.results.announcing import Announcer
from celerant.results.tracking.waiters import Waiter
from celerant.sending.feeding_gate import FeedingGate
from celerant.sending.surviving import end_of_fed

if TYPE_CHECKING:
    from celerant.canvas.feed_options import FeedOptions
    from celerant.dispatch.carriers import Carriers
    from celerant.dispatch.feeding import Fed
    from celerant.errors.report import Report
    from celerant.results.backends.base import Backend
    from celerant.results.tracking.members import Members
    from celerant.sending.breaker import Breaker
    from celerant.sending.call import SentCall
    from celerant.sending.caught import Caught

__all__ = ["Feeder"]

logger = logging.getLogger("celerant")

#: Seconds that a send under way has to end, and then the thread that did it.
_SEND_MOST, _END_MOST = 5.0, 0.5
#: Seconds that sources have to give their next member when the interpreter ends.
_SOURCE_MOST = 2.0


class Feeder(FeedingGate):
    """Feeds one group; `celerant.results.feeding.Feeding`.

    Args:
        members: Of the group.
        options: How many unfinished ones may be in the broker.
        call: With what it is sent.
        breaker: Says when too many have failed; None: never.
    """

    def __init__(
        self,
        members: Members,
        options: FeedOptions,
        call: SentCall,
        breaker: Breaker | None = None,
    ) -> None:
        super().__init__(members, options, breaker)
        self.call = call
        self._pid = os.getpid()
        #: Held by whoever concludes it.
        self._ending = threading.Lock()
        #: Whether it was concluded: nothing leaves any more.
        self.is_over = False
        #: The whole of what is sent: some members may be sent once more.
        self._whole: Fed | None = None
        #: Why it had stopped, before some were.
        self._was: tuple[BaseException | None, str | None] = None, None
        self._caught: Caught | None = None
        #: Of the whole.
        self.caught: Caught | None = None
        self._thread: threading.Thread | None = None
        self.source_error: BaseException | None = None
        #: Called once after it was concluded.
        self.at_end: Callable[[], None] | None = None

    def begin(
        self,
        fed: Fed,
        carriers: Carriers,
        caught: Caught | None,
        *,
        is_whole: bool = True,
    ) -> None:
        """Start the thread.

        Args:
            fed: What is sent.
            carriers: By what.
            caught: Knows what its source raised.
            is_whole: Whether it is not only some members once more.
        """
        self._fed, self._caught = fed, caught
        if is_whole:
            self._whole, self.caught = fed, caught
        # What a task feeds has that task as its parent.
        context = contextvars.copy_context()
        context.run(ABANDONED.set, self.stopping)
        self._thread = threading.Thread(
            target=context.run,
            args=(self._run, fed, carriers),
            name="celerant-feed",
            daemon=True,
        )
        _fed.add(self)
        self._thread.start()

    def go_on(
        self,
        fed: Fed | None,
        carriers: Carriers,
        breaker: Breaker | None,
        caught: Caught | None,
        *,
        is_again: bool = False,
    ) -> Report:
        """Feed once more what was stopped; return what becomes of it.

        Args:
            fed: What is left over; None goes on where it stopped.
            carriers: By what.
            breaker: Counts anew.
            caught: Knows what its source raises.
            is_again: Whether only members are sent that had been sent before.
        """
        self._was = self.source_error, self.stopped_by
        again = self._whole if fed is None else fed
        assert again is not None  # noqa: S101 - it was fed before
        self.breaker = breaker
        self.is_over = self._is_watched = False
        self.source_error = self.stopped_by = None
        self.stopping.clear()
        if self._announcer is not None:
            self._announcer.again()
        self.begin(again, carriers, caught, is_whole=not is_again)
        return again.report

    def await_end(self) -> None:
        """Return once its thread is done with what was stopped.

        Raises:
            CanvasError: It is in its source for long.
        """
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_SEND_MOST)
        if self.is_running:
            msg = "the group's source is still being read: try again once it returns"
            raise CanvasError(msg, path="group")
        # It may be concluded by whoever stopped it.
        with self._ending:
            pass

    def be_whole(self) -> None:
        """Forget why it had stopped: all of its members were sent by now."""
        self.source_error = self.stopped_by = None

    @property
    def sends_again(self) -> bool:
        """Whether it sends members that had been sent before, and not the whole."""
        return self._fed is not self._whole

    @property
    def is_read(self) -> bool:
        """Whether its source was read to its end."""
        return self._whole is not None and self._whole.is_read

    @property
    def is_torn(self) -> bool:
        """Whether members of its source were read that did not leave."""
        return self._whole is not None and self._whole.is_torn

    @property
    def can_go_on(self) -> bool:
        """Whether it stands between two members of a source that is still there."""
        fed, error = self._whole, self._was[0] or self.source_error
        return (
            fed is not None and error is None and not (self.is_running or fed.is_torn)
        )

    def at_hand(self) -> int | None:
        """Return how many members can be read without waiting; None: nobody knows."""
        return None if self._caught is None else self._caught.at_hand

    def _run(self, fed: Fed, carriers: Carriers) -> None:
        waiter = Waiter(self._hear, hears_all=True)
        self._members.waiters.add(waiter)
        try:
            sent = fed.over(carriers)
            error, self.call.doubts = sent.error, sent.doubts
        except BaseException as exc:  # noqa: BLE001 - whoever waits must not wait on
            error = exc
        self._members.waiters.discard(waiter)
        if error is None and self._caught is not None:
            error = self._caught.error
        if error is not None and self._caught is not None:
            # Nobody reads it any more.
            self._caught.close()
        self._conclude(error, is_over=True)

    @property
    def is_running(self) -> bool:
        """Whether its thread runs: it may be in its source after it was stopped."""
        return self._thread is not None and self._thread.is_alive()

    # -- results.feeding.Feeding ---------------------------------------------------

    def pause(self) -> None:
        """Let nothing more leave for now; waits for what is leaving."""
        self._refuse_forked()
        if not self.stopping.is_set():
            self._open.clear()
            self._let_pass()
        if self.stopping.is_set():
            self._open.set()

    def resume(self) -> None:
        """Undo `pause`."""
        self._refuse_forked()
        self._open.set()
        self._news.set()

    def stop(self, why: str) -> None:
        """Let nothing more leave, for good; the group ends with what has left."""
        self._refuse_forked()
        if self.is_over:
            return
        self.stopped_by = self.stopped_by or why
        self.stopping.set()
        self.resume()
        if self.caught is not None:
            self.caught.close()
        self._let_pass()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END_MOST)
        # In its source it may be for long: nothing leaves when it comes back.
        self._conclude(None, is_over=False)

    def announce(self, group_id: str, backend: Backend) -> None:
        """Tell other processes from now on how many members have left."""
        self._refuse_forked()
        # If it is being concluded, all of it is known afterwards.
        with self._ending:
            if self._announcer is None and not self.is_over:
                announcer = Announcer(group_id, self._members, backend)
                announcer.begin()
                self._announcer = announcer
                # It looks for requests of other processes from now on.
                self._news.set()

    def close(self) -> None:
        """Stop it, for its app is closed; in a forked child it is the parent's."""
        if os.getpid() == self._pid:
            self.stop("close")

    def leave_source(self, deadline: float) -> None:
        """Wait until its thread has left the source; no longer than `deadline`."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(deadline - monotonic(), 0))

    def _let_pass(self) -> None:
        """Wait for what is leaving."""
        if self._thread is threading.current_thread():
            return
        if self._sending.acquire(timeout=_SEND_MOST):
            self._sending.release()

    def _conclude(self, error: BaseException | None, *, is_over: bool) -> None:
        with self._ending:
            fed, members = self._fed, self._members
            if self.is_over or fed is None:
                return
            self.is_over = True
            self.stopping.set()
            if error is None and fed.is_read and self.sends_again:
                # What had cut the whole short has done so still.
                error = members.cut_short
                if error is not None:
                    self.source_error, self.stopped_by = self._was
            else:
                self.source_error = error
                if error is None and not fed.is_read:
                    error = _stopped(members.roster.uuid, self.stopped_by)
            members.cut_short, members.stopped_by = error, self.stopped_by
            fed.conclude(error, is_over=is_over)
            is_ours = self.sends_again or end_of_fed(
                self.call, fed, error, self.stopped_by, is_over=is_over
            )
            # Of a group that is cut short the end is known before its members'.
            members.waiters.wake_for_news()
            announcer = self._announcer
            if announcer is not None and is_ours:
                announcer.end()
            elif announcer is not None:
                announcer.leave()
        at_end, self.at_end = self.at_end, None
        if at_end is not None:
            at_end()

    def _refuse_forked(self) -> None:
        if os.getpid() != self._pid:
            msg = (
                f"this group is fed by process {self._pid}, not by its forked child "
                f"{os.getpid()}: steer it there"
            )
            raise ForkError(msg, created_in_pid=self._pid)


_fed: weakref.WeakSet[Feeder] = weakref.WeakSet()


def _end_all() -> None:
    """End all threads before the interpreter does.

    It ends a daemon thread where it stands. In a source that stands in the core, which
    cannot be left that way: the process would abort.
    """
    feeders = [feeder for feeder in _fed if feeder.is_running]
    for feeder in feeders:
        feeder.stopping.set()
    deadline = monotonic() + _SOURCE_MOST
    for feeder in feeders:
        try:
            feeder.close()
        except BaseException as exc:  # noqa: BLE001 - the others have to end, too
            logger.error("the feeding of a group does not end: %s", line(exc))  # noqa: TRY400 - a traceback tells nothing more
        feeder.leave_source(deadline)


# As of a worker's pools (`worker/pool.py`): `atexit` comes later.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # noqa: SLF001 - Python has no public one


def _stopped(group_id: str, why: str | None) -> CelerantError:
    """Return what those get that wait for all of a group that has no end."""
    if why == "cancel":
        return TaskRevoked(f"group {group_id} was cancelled before all of it was sent")
    return CelerantError(
        f"the feeding of group {group_id} was stopped ({why}): not all of its source "
        "was sent; `group(source).resume(result)` goes on"
    )
