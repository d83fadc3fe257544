"""Wait in a thread for the records of several views, and tell a user of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.results.tracking.exceptions import with_exception
from celerant.results.tracking.waiters import Waiter
from celerant.results.tracking.waiting import refuse_inside_callback

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.tracking.members import Members

__all__ = ["Listening", "WaitHooks"]

#: Seconds between two calls of `on_interval`, if the caller gives none: Celery's.
_INTERVAL = 0.5


class WaitHooks:
    """Functions that a wait calls, in the thread that waits.

    Args:
        on_message: Called with each record that comes in, as a dict in which
            exceptions are made again. A record may be of a task that is not done, for
            instance of a custom state.
        on_interval: Called at intervals while no record comes.
        interval: Seconds between two such calls; None is half a second.
    """

    __slots__ = ("interval", "on_interval", "on_message")

    def __init__(
        self,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        interval: float | None = None,
    ) -> None:
        self.on_message = on_message
        self.on_interval = on_interval
        self.interval = _INTERVAL if interval is None else max(interval, 0.001)

    @classmethod
    def given(
        cls,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
        interval: float | None,
    ) -> WaitHooks | None:
        """Return the hooks; None if there is no function to call."""
        if on_message is None and on_interval is None:
            return None
        return cls(on_message, on_interval, interval)


class Listening:
    """Hears of the records of views, from `__enter__` to `__exit__`.

    Args:
        views: The members of tasks and groups; duplicates are allowed.
        hooks: Functions to call meanwhile.
    """

    def __init__(
        self, views: Iterable[Members], hooks: WaitHooks | None = None
    ) -> None:
        self._views = list({id(view): view for view in views}.values())
        self._backends = {view.backend for view in self._views}
        self._hooks = hooks or WaitHooks()
        self._event = threading.Event()
        #: Views that may have changed, and views with the indices of new records.
        self._woken: deque[Members] = deque()
        self._noted: deque[tuple[Members, Sequence[int]]] = deque()
        self._records: deque[tuple[Members, int, bytes]] = deque()
        self._seen: dict[tuple[int, int], bytes] = {}
        self._ears = [_Ear(self, view) for view in self._views]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for view, ear in zip(self._views, self._ears, strict=True):
            waiter = Waiter(partial(self._wake, view), hears_all=True)
            view.waiters.add(waiter)
            self._stack.callback(view.waiters.discard, waiter)
            view.follow(ear)
        if len(self._views) > 1:
            # All begin before the wait for one of them.
            for view in self._views:
                view.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def taken(self) -> list[tuple[Members, Sequence[int]]]:
        """Return the views and members with records since the last call."""
        found = []
        while self._noted:
            found.append(self._noted.popleft())
        return found

    def has_news(self) -> bool:
        """Whether `taken` would return members."""
        return bool(self._noted)

    def wait(self, is_done: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until `is_done` holds; return False if `deadline` (monotonic) passed.

        Each view is swept once, even if the deadline has passed.

        Raises:
            CelerantError: A backend is not reached within its retry policy.
            RuntimeError: Inside a `then` callback.
        """
        hooks, event = self._hooks, self._event
        self._look(is_done, deadline)
        call_at = monotonic() + hooks.interval
        while True:
            # Cleared before the check, so that no wake is lost.
            event.clear()
            while self._woken:
                view = self._woken.popleft()
                view.raise_error()
                # A member may be done without a record, or its record was read before.
                self._noted.append((view, ()))
            self._tell()
            if is_done():
                return True
            now = monotonic()
            if deadline is not None and now >= deadline:
                return False
            if hooks.on_interval is not None and now >= call_at:
                hooks.on_interval()
                call_at = monotonic() + hooks.interval
                continue
            ends = [deadline, call_at if hooks.on_interval is not None else None]
            left = [end - now for end in ends if end is not None]
            for backend in self._backends:
                refuse_inside_callback(backend)
            event.wait(min(left) if left else None)

    def _look(self, is_done: Callable[[], bool], deadline: float | None) -> None:
        for view in self._views:
            if not view.is_watched and not view.barrier.is_complete:
                left = None if deadline is None else deadline - monotonic()
                view.look(None if left is None else max(left, 0))
        if not is_done():
            for backend in self._backends:
                backend.tell_obstacle()

    def _tell(self) -> None:
        """Call `on_message` once for each record; a sweep may have read it again."""
        while self._records:
            view, index, record = self._records.popleft()
            at = id(view), index
            if self._hooks.on_message is not None and self._seen.get(at) != record:
                self._seen[at] = record
                self._hooks.on_message(with_exception(view.backend.decode(record)))

    def hear(
        self, view: Members, indices: Sequence[int], records: Sequence[bytes | None]
    ) -> None:
        """Note that records came in; any thread calls it."""
        self._noted.append((view, indices))
        if self._hooks.on_message is not None:
            self._records.extend(
                (view, index, record)
                for index, record in zip(indices, records, strict=False)
                if record is not None
            )

    def _wake(self, view: Members) -> None:
        self._woken.append(view)
        self._event.set()


class _Ear:
    """Follows one view for a `Listening`, which holds it; the view does not."""

    def __init__(self, listening: Listening, view: Members) -> None:
        self._listening = listening
        self._view = view

    def note(
        self, indices: Sequence[int], records: Sequence[bytes | None] = ()
    ) -> None:
        self._listening.hear(self._view, indices, records)
