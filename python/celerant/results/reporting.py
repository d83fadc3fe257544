"""A group's progress, failures and callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from celerant.results.events import call_on
from celerant.results.failures import Failures, failures_of
from celerant.results.living import Living
from celerant.results.progress import Progress, progress_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.async_result import AsyncResult
    from celerant.results.events import GroupEvent, MemberEvent

__all__ = ["Reporting"]

R = TypeVar("R")


class Reporting(Living[R]):
    """The part of `GroupResult` that reports progress, failures and events."""

    __slots__ = ()

    def progress(self) -> Progress:
        """Return how far the group has come.

        If this process watches its results, as it does after any look or wait, the
        progress is exact and asks no store. If it does not, as for a group that was
        attached by its handle, a sample of at most 1,000 members is read from the
        store in one round trip. `margin` says how far off `done` may be. Members that a
        sample finds done are known from then on, so the progress is exact once no more
        than 1,000 are left.

        Raises:
            Exception: The store's own.

        Cost: O(1) if watched; else one round trip, and O(n) of a byte.
        """
        return progress_of(self.members)

    def failures(self) -> Failures:
        """Return the failures so far, with like failures together.

        Failures are alike if one exception was raised at one place, which is the last
        frame of the user's code. Unsent and expired members count as failed; revoked
        ones do not. `str()` gives a text for a ticket.

        Raises:
            Exception: The store's own.

        Cost: O(failures) if the group is watched; else a read of all n records, which
            are not kept.
        """
        members = self.members
        members.learn()
        if not members.backend.supports_handles:
            # Records that come to this process only must be absorbed, not read aside.
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
        """Have `callback` called at an event, or now if the event has been.

        ==================  ========================================  ===============
        event               when                                      called with
        ==================  ========================================  ===============
        ``sealed``          no more members will come                 this result
        ``complete``        all members are done, well or not         this result
        ``success``         all members are done and none failed      this result
        ``first_failure``   a member failed, was revoked or not sent  that member
        ``member``          a member is done: for each one            that member
        ==================  ========================================  ===============

        Each event comes once, but ``member`` comes once for each member. If `on` is
        called in an event loop, the callback runs in that loop and may be a coroutine
        function. Otherwise it runs in the thread that takes in results, or in this one
        if the event has been, and must not wait for other results. Its errors are
        logged.

        Args:
            event: The event's name.
            callback: A function of one argument.

        Returns:
            A function that removes the callback; a second call does nothing.

        Raises:
            ValueError: There is no such event.
            TypeError: `callback` is not callable, or needs an event loop.
        """
        return call_on(event, self.members, callback, whole=self, member=self._member)
