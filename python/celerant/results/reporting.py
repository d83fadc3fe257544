"""What a group's result reports: how far it has come, and what went wrong."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from celerant.results.events import call_on
from celerant.results.failures import Failures, failures_of
from celerant.results.progress import Progress, progress_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.async_result import AsyncResult
    from celerant.results.events import GroupEvent, MemberEvent
    from celerant.results.tracking.members import Members

__all__ = ["Reporting"]

R = TypeVar("R")


class Reporting(Generic[R]):
    """The part of `GroupResult` that reports, to whoever asks or waits to be told."""

    __slots__ = ()

    id: str
    members: Members

    @abstractmethod
    def _member(self, index: int) -> AsyncResult[R]:
        """Return a view on one member."""

    def progress(self) -> Progress:
        """Return how far the group has come.

        Where its results are watched, as after any look or wait in this process, that
        is exact and asks nobody. Of a group on a shared store that nobody here watches,
        as one that was attached to by its handle, a sample of at most 1,000 members is
        read in one round trip; `margin` says how far off `done` may be. What samples
        find done is known from then on, so that the last 1,000 are exact.

        Raises:
            Exception: The store's own.

        Cost: O(1) if watched; else one round trip, and O(n) of a byte.
        """
        return progress_of(self.members)

    def failures(self) -> Failures:
        """Return the failures so far, those that are alike together.

        Alike are those of one exception at one place: the last frame of the user's
        code. Failed are those too that were never sent, or expired; revoked ones are
        not. `str()` of it is a text for a ticket.

        Raises:
            Exception: The store's own.

        Cost: O(failures) if watched; else a read of all n records, of which nothing is
            kept.
        """
        members = self.members
        if not members.backend.supports_handles:
            # What comes to this process alone is taken in, not read beside it.
            members.look()
        return failures_of(members, self.id)

    @overload
    def on(
        self, event: GroupEvent, callback: Callable[[Self], object]
    ) -> Callable[[], None]: ...
    @overload
    def on(
        self, event: MemberEvent, callback: Callable[[AsyncResult[R]], object]
    ) -> Callable[[], None]: ...
    def on(self, event: str, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Have `callback` called at an event; also if it was before this.

        ==================  ========================================  ===============
        event               when                                      called with
        ==================  ========================================  ===============
        ``sealed``          no more members will come                 this result
        ``complete``        all members are done, in whatever way     this result
        ``success``         all members are done and none failed      this result
        ``first_failure``   a member failed, was revoked or not sent  that member
        ``member``          a member is done: for each one            that member
        ==================  ========================================  ===============

        Each event comes once, ``member`` once for each member. Called in an event loop,
        `on` has the callback called in that loop, and a coroutine function may be one.
        Else it runs on the thread that takes in results, or here if it is time
        already; there it must not wait for other results. What it raises is logged.

        Args:
            event: Its name.
            callback: A function of one argument.

        Returns:
            A function that undoes this; called again it does nothing.

        Raises:
            ValueError: There is no such event.
            TypeError: `callback` cannot be called, or only in an event loop.
        """
        return call_on(event, self.members, callback, whole=self, member=self._member)
