"""The states of a group while its members are sent and run, and waits for them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

from celerant._core import Barrier
from celerant.errors import ResultTimeout
from celerant.results.tracking.arrivals import Arrivals
from celerant.results.tracking.awaiting import wait_in_loop
from celerant.results.tracking.member_values import STATE_NAMES
from celerant.results.tracking.waiting import (
    because,
    deadline_after,
    refuse_inside_task,
)

if TYPE_CHECKING:
    from celerant.results.async_result import AsyncResult
    from celerant.results.tracking.members import Members

__all__ = ["Living"]

R = TypeVar("R")


class Living(Generic[R]):
    """The part of `GroupResult` that is for groups that are sent or run."""

    __slots__ = ()

    id: str
    members: Members

    @abstractmethod
    def _member(self, index: int) -> AsyncResult[R]:
        """Return a view on one member."""

    @property
    def sealed(self) -> bool:
        """Whether all members were read, so that no more will come."""
        self.members.learn()
        return self.members.barrier.is_sealed

    @property
    def size(self) -> int | None:
        """How many members there are; None while the group is being sent."""
        self.members.learn()
        barrier = self.members.barrier
        return len(barrier) if barrier.is_sealed else None

    # States.

    def ready(self) -> bool:
        """Whether all members are done, successfully or not."""
        self.members.look()
        return self._is_complete()

    def waiting(self) -> bool:
        """Whether any member is not done."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all members are done and none failed; True for an empty group."""
        return self.ready() and not self.members.has_failed()

    def failed(self) -> bool:
        """Whether any member raised, was not sent, or has an expired result.

        It is also True if the source of the members raised.
        """
        self.members.look()
        if self.members.cut_short is not None:
            return True
        count = self.members.barrier.count
        return any(map(count, (Barrier.FAILURE, Barrier.NOT_SENT, Barrier.EXPIRED)))

    def completed_count(self) -> int:
        """Return how many members are done without failure.

        Members whose results are ignored count as done.
        """
        self.members.look()
        count = self.members.barrier.count
        return count(Barrier.SUCCESS) + count(Barrier.IGNORED)

    def counts(self) -> dict[str, int]:
        """Return how many members are in each state, by the states' names.

        The dict has all names: Celery's PENDING, SUCCESS, FAILURE and REVOKED, and
        IGNORED, NOT_SENT and EXPIRED.
        """
        self.members.look()
        return dict(zip(STATE_NAMES, self.members.barrier.counts(), strict=True))

    def _is_complete(self) -> bool:
        return self.members.barrier.is_complete

    # Waits.

    @overload
    def as_completed(
        self,
        timeout: float | None = None,
        *,
        batch: Literal[False] = False,
        forget: bool = False,
    ) -> Arrivals[AsyncResult[R]]: ...
    @overload
    def as_completed(
        self,
        timeout: float | None = None,
        *,
        batch: Literal[True],
        forget: bool = False,
    ) -> Arrivals[list[AsyncResult[R]]]: ...
    def as_completed(
        self, timeout: float | None = None, *, batch: bool = False, forget: bool = False
    ) -> Arrivals[AsyncResult[R]] | Arrivals[list[AsyncResult[R]]]:
        """Iterate over the members as they arrive, with ``for`` or ``async for``.

        Each member comes once, failed ones too. The loop ends once no more will come,
        even if the group is still being sent when it begins. Members that have arrived
        before come first, in the group's order. The loop may be left early.

        Args:
            timeout: Seconds for all together, from now on; None waits for ever.
            batch: Whether to yield lists, each with all members that have arrived since
                the one before.
            forget: Whether each step drops the results of the step before, here and in
                the store, so that a stream takes constant memory. Use the values in the
                body of the loop, since they are gone later.

        Raises:
            ResultTimeout: By the iteration, if not all arrive in time. It can go on.
            RuntimeError: By the iteration, inside a task, or inside the transaction at
                whose commit the group is sent.
            CelerantError: By the iteration, if the store is not reachable within its
                retry policy. It can go on.

        Cost: O(1) for each member, without a round trip for each.
        """
        if batch:
            return Arrivals(
                self.members, self._batch, most=None, timeout=timeout, forgets=forget
            )
        return Arrivals(self.members, self._first, timeout=timeout, forgets=forget)

    def _first(self, indices: list[int]) -> AsyncResult[R]:
        return self._member(indices[0])

    def _batch(self, indices: list[int]) -> list[AsyncResult[R]]:
        return [self._member(index) for index in indices]

    def wait(self, timeout: float | None = None, count: int | None = None) -> int:
        """Wait until members are done, successfully or not, and raise no task's error.

        Args:
            timeout: Seconds; 0 checks once, None waits for ever.
            count: How many members to wait for; None is all.

        Returns:
            How many members are done by now; fewer than `count` if there are fewer.

        Raises:
            ResultTimeout: The members are not done in time.
            ValueError: `count` is below 1, or above the size of the group.
            TypeError: `count` is no whole number.
            RuntimeError: This was called inside a task, or inside the transaction at
                whose commit the group is sent.
        """
        self._check_count(count)
        self._wait_until(self._has_arrived(count), timeout, count)
        return self.members.barrier.arrived

    async def await_count(
        self, count: int | None = None, timeout: float | None = None
    ) -> int:
        """Wait in an event loop, as `wait` does in a thread.

        Args:
            count: How many members to wait for; None is all.
            timeout: Seconds; None waits for ever.

        Returns:
            How many members are done by now; fewer than `count` if there are fewer.

        Raises:
            Exception: As for `wait`.
        """
        self._check_count(count)
        await self._await_until(self._has_arrived(count), timeout, count)
        return self.members.barrier.arrived

    def first_failure(self, timeout: float | None = None) -> AsyncResult[R] | None:
        """Wait until a member has failed and return it; None if all are done well.

        A revoked, unsent or expired member counts as failed.

        Args:
            timeout: Seconds; 0 checks once, None waits for ever.

        Raises:
            ResultTimeout: No member has failed in time, and not all are done.
            RuntimeError: As for `wait`.
        """
        self._wait_until(self._has_failed_or_ended, timeout)
        return self._failed_member()

    async def await_first_failure(
        self, timeout: float | None = None
    ) -> AsyncResult[R] | None:
        """Wait in an event loop, as `first_failure` does in a thread.

        Args:
            timeout: Seconds; None waits for ever.

        Raises:
            Exception: As for `first_failure`.
        """
        await self._await_until(self._has_failed_or_ended, timeout)
        return self._failed_member()

    def _failed_member(self) -> AsyncResult[R] | None:
        index = self.members.failed_member()
        return None if index is None else self._member(index)

    def _has_failed_or_ended(self) -> bool:
        members = self.members
        return members.barrier.is_complete or members.failed_member() is not None

    def _has_arrived(self, count: int | None) -> Callable[[], bool]:
        members = self.members

        def has_arrived() -> bool:
            barrier = members.barrier
            if count is not None and barrier.arrived >= count:
                return True
            return barrier.is_complete

        return has_arrived

    def _check_count(self, count: int | None) -> None:
        if count is None:
            return
        if not isinstance(count, int) or isinstance(count, bool):
            msg = f"count must be a number of members, not {count!r}"
            raise TypeError(msg)
        size = self.size
        if count < 1 or (size is not None and count > size):
            has = "" if size is None else f" to {size}, the size of group {self.id}"
            msg = f"count must be from 1{has or ' on'}, not {count}"
            raise ValueError(msg)

    def _wait_until(
        self,
        is_done: Callable[[], bool],
        timeout: float | None,
        count: int | None = None,
    ) -> None:
        self._refuse()
        members, deadline = self.members, deadline_after(timeout)
        if is_done():
            return
        members.look(timeout)
        if not is_done():
            members.backend.tell_obstacle()
        if not members.wait(is_done, deadline, hears_all=count is not None):
            raise self._late(timeout, count)

    async def _await_until(
        self,
        is_done: Callable[[], bool],
        timeout: float | None,
        count: int | None = None,
    ) -> None:
        self._refuse()
        wait = wait_in_loop(self.members, is_done, hears_all=count is not None)
        try:
            await asyncio.wait_for(wait, timeout)
        except asyncio.TimeoutError:
            if not is_done():
                raise self._late(timeout, count) from None

    def _refuse(self) -> None:
        refuse_inside_task(is_refused=not self.members.were_done)
        self.members.check_waiting()

    def _late(self, timeout: float | None, count: int | None) -> ResultTimeout:
        barrier = self.members.barrier
        wanted = "all" if count is None else f"{count}"
        so_far = "" if barrier.is_sealed else " so far"
        what = (
            f"not {wanted} of the {len(barrier)} members{so_far} of group {self.id} "
            f"are done after {timeout} s: {barrier.arrived} are"
        )
        return ResultTimeout(
            because(self.members.backend, what), remaining=barrier.remaining
        )
