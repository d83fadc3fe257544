"""A group's results, as a view on its barrier."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from celerant._core import Roster
from celerant.errors import CanvasError, ResultTimeout
from celerant.results.async_result import AsyncResult
from celerant.results.base import Result
from celerant.results.feeding import FedResult
from celerant.results.handle import make_handle
from celerant.results.living import Living
from celerant.results.reporting import Reporting
from celerant.results.result_set import ResultSet
from celerant.results.saving import delete, forget_records, restore, save
from celerant.results.showing import Showing
from celerant.results.tracking.arrivals import Arrivals
from celerant.results.tracking.awaiting import wait_in_loop
from celerant.results.tracking.forms import form_of, line_in, task_ids
from celerant.results.tracking.listening import Listening, WaitHooks
from celerant.results.tracking.members import Members
from celerant.results.tracking.waiting import because, refuse_inside_task
from celerant.results.tree import from_line

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.errors.report import Report
    from celerant.results.backends.base import Backend

__all__ = ["GroupResult"]

R = TypeVar("R")


class GroupResult(FedResult, Showing, Result, Reporting[R], ResultSet[R], kind="group"):
    """The results of a dispatched group: n members in the order of their indices.

    The first look starts the process's consumer and returns after one sweep. Later
    looks are O(1) and ask no store.

    Args:
        group_id: The group's id.
        members: The states and values of its members.
        report: Which members were sent and which were not.
        parent: The result before the group, if there is one.
    """

    __slots__ = (
        "__weakref__",
        "_handle",
        "feeding",
        "id",
        "index",
        "members",
        "report",
    )

    position = None
    wait = Living.wait  # type: ignore[assignment] # a set's is its `get`

    def __init__(
        self,
        group_id: str,
        members: Members,
        *,
        report: Report | None = None,
        parent: Any = None,
    ) -> None:
        super().__init__([])
        self.id = group_id
        self.parent = parent
        self.report: Report | None = report
        self._handle: str | None = None
        self.feeding = None
        self.members: Members = members
        #: Its position in the outer group; None if it is in none.
        self.index: int | None = None

    @property
    def roster(self) -> Roster:
        """The members' ids."""
        return self.members.roster

    def _were_done(self) -> bool:
        return self.members.were_done

    def _own_app(self) -> Any:
        return self.backend.app()

    # Waiting.

    def _all_values(
        self,
        deadline: float | None,
        timeout: float | None,
        hooks: WaitHooks | None,
        *,
        propagate: bool,
    ) -> list[Any]:
        members = self.members
        members.check_waiting()
        is_done = self._is_settled if propagate else self._is_complete
        if not self._wait(is_done, deadline, timeout, hooks):
            remaining, total = members.barrier.remaining, len(members.barrier)
            where = f" ({members.path})" if members.path else ""
            so_far = "" if members.barrier.is_sealed else " so far, and later ones,"
            what = f"{remaining} of {total} results{so_far} of group {self.id}{where}"
            what += f" are missing after {timeout} s"
            text = because(members.backend, what, has_none=remaining == total)
            raise ResultTimeout(text, remaining=remaining)
        if propagate:
            self._raise_first()
        return members.collect()

    def _arrived(
        self, deadline: float | None, timeout: float | None, hooks: WaitHooks | None
    ) -> Iterator[Any]:
        """Yield each member once, as it is done, those included that are still sent."""
        if not self.sealed:
            if hooks is None:
                members, first = self.members, self._first
                yield from Arrivals(members, first, timeout=timeout, is_refused=False)
                return
            if not self._wait(lambda: self.sealed, deadline, timeout, hooks):
                what = f"group {self.id} is still being sent after {timeout} s"
                left = self.members.barrier.remaining
                raise ResultTimeout(because(self.backend, what), remaining=left)
        yield from super()._arrived(deadline, timeout, hooks)

    def _wait(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        timeout: float | None,
        hooks: WaitHooks | None,
    ) -> bool:
        members = self.members
        if is_done():
            return True
        if hooks is not None:
            with Listening([members], hooks) as listening:
                return listening.wait(is_done, deadline)
        members.look(timeout)
        if not is_done():
            members.backend.tell_obstacle()
        return members.wait(is_done, deadline)

    def __await__(self) -> Generator[Any, None, list[R]]:
        """Wait in an event loop and return all values: ``await result``.

        It does what `get` does, without a thread. The wait may be cancelled.

        Raises:
            NotSent: A member never reached the broker; `group.resume` sends it.
            RuntimeError: The result was awaited inside a task.
            Exception: The exception of the first failure that arrives.
        """
        return self._awaited().__await__()

    async def _awaited(self) -> list[R]:
        refuse_inside_task(is_refused=not self.members.were_done)
        await wait_in_loop(self.members, self._is_settled)
        self._raise_first()
        return self.members.collect()

    def __aiter__(self) -> Arrivals[AsyncResult[R]]:
        """Iterate over the members as they arrive: ``async for member in result``.

        Each member comes once, failed ones too. Members that have arrived before come
        first, in the group's order. The loop may be left early.
        """
        return self.as_completed()

    def _raise_first(self) -> None:
        if self.members.has_failed():
            raise self.members.first_exception()

    def then(
        self,
        callback: Callable[[GroupResult[R]], Any],
        on_error: Callable[[GroupResult[R]], Any] | None = None,
        weak: bool = False,  # noqa: ARG002, FBT001, FBT002 - Celery's
    ) -> None:
        """Call `callback` with this result once all members are done.

        It runs in the consumer's thread, or in this one if all are done already. Its
        errors are logged.

        Args:
            callback: Called when all members are done.
            on_error: Called instead if a member failed.
            weak: Ignored.
        """
        members = self.members

        def call() -> None:
            is_error = on_error is not None and members.has_failed()
            (on_error if is_error and on_error is not None else callback)(self)

        members.when(None, call)

    # Members.

    @property
    def results(self) -> list[AsyncResult[R]]:
        """A view on each member, in order; a `GroupResult` if it ends in a group."""
        return [*iter(self)]

    children = results

    def _changeable(self) -> NoReturn:
        msg = (
            f"the members of group {self.id} are those that were sent; for others "
            "beside them make a set: ResultSet([*result, more])"
        )
        raise TypeError(msg)

    @overload
    def __getitem__(self, index: int) -> AsyncResult[R]: ...
    @overload
    def __getitem__(self, index: slice) -> list[AsyncResult[R]]: ...
    def __getitem__(self, index: int | slice) -> AsyncResult[R] | list[AsyncResult[R]]:
        n = len(self.members.barrier)
        if isinstance(index, slice):
            ends = index.indices(len(self) if _counts_from_end(index) else n)
            return [self._member(i) for i in range(*ends)]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < n:
            so_far = "" if self.sealed else " so far"
            msg = f"no member {index}: group {self.id} has {n}{so_far}"
            raise IndexError(msg)
        return self._member(at)

    def __iter__(self) -> Iterator[AsyncResult[R]]:
        """Iterate over the members so far, in order.

        If the group is still being sent, `as_completed` waits for later members too.
        """
        return map(self._member, range(len(self.members.barrier)))

    def __len__(self) -> int:
        """Return how many members there are.

        Raises:
            CanvasError: The group is still being sent; `size` is None then.
        """
        barrier = self.members.barrier
        if not self.sealed:
            msg = (
                f"group {self.id} is still being sent: it has {len(barrier)} members "
                "so far; ask `result.size`, or `result.sealed` first"
            )
            raise CanvasError(msg)
        return len(barrier)

    def __bool__(self) -> bool:
        return True  # as in Celery: an empty group's result is still a result

    def _member(self, index: int) -> AsyncResult[R]:
        members = self.members
        if index in members.nested:
            # If the member ends in a group, its result is a group's, its value a list.
            return cast("AsyncResult[R]", members.nested.view(index, self._inner))
        return AsyncResult(members.roster.id(index), members=members, index=index)

    def _inner(self, index: int, inner: Members) -> GroupResult[Any]:
        line = line_in(self.roster.form(index))
        above = from_line(line[:-1], inner.backend)
        made: GroupResult[Any] = GroupResult(line[-1][0], inner, parent=above)
        made.index = index
        return made

    # Identity.

    def task_ids(self) -> list[str]:
        """Return the ids of all tasks in it, all steps of chains included."""
        return list(task_ids(self.roster))

    @property
    def handle(self) -> str:
        """A short text from which `app.attach` makes this result in any process.

        It has fewer than 200 bytes for any number of members. If it has no room for
        some data, these are stored beside the results, for as long as results are kept.
        The handle of a group that is fed (``window=`` and the like) leads to the
        members that have left, and about once a second to later ones. With
        ``journal=True`` alone it is taken once all of the group is sent.

        Raises:
            CelerantError: The results are in this process only (memory://).
        """
        handle = self._handle or make_handle(self)
        self._handle = handle if self.sealed else None
        return handle

    def forget(self) -> None:
        """Delete the stored results, and those of the tasks before the group.

        Values that this process has stay. `CanvasError`: it is still being sent.
        """
        len(self)  # raises it: what leaves next depends on what has ended
        forget_records(self.backend, task_ids(self.roster))
        if self.parent is not None:
            self.parent.forget()

    def member_forms(self) -> list[Any]:
        """Return the forms of the members."""
        members: list[Any] = form_of(self.roster, self.id)[1]
        return members

    def save(self, backend: Backend | None = None) -> None:
        """Store the group under its id, for `restore` here and in Celery.

        Args:
            backend: The store to use; by default the store of its results.

        Raises:
            CelerantError: The store keeps no groups, as ``rpc://``.
            CanvasError: The group is still being sent.
        """
        len(self)  # raises if the group is still being sent
        save(self, backend or self.backend)

    def delete(self, backend: Backend | None = None) -> None:
        """Undo `save`; the members' results stay."""
        delete(self.id, backend or self.backend)

    @classmethod
    def restore(
        cls,
        id: str,  # noqa: A002 - Celery's name
        backend: Backend | None = None,
        app: Any = None,
    ) -> GroupResult[Any] | None:
        """Return a group that Celerant or Celery saved; None if there is none.

        Args:
            id: The group's id.
            backend: The store that it was saved in; by default that of `app`.
            app: The app; by default the one made last.
        """
        return restore(id, app if backend is None else backend)

    def lone(self) -> GroupResult[R]:
        """Return the result of the only member if that is a group's, as Celery does."""
        if self.size != 1 or 0 not in self.members.nested:
            return self
        lone = cast("GroupResult[R]", self._member(0))
        lone.report = self.report
        lone.members.path = ""
        lone.index = None
        return lone

    def sent_again(self, report: Report) -> None:
        """Take another report, after a resume."""
        self.report = report
        self._handle = None

    def go_on_as(self, sent: Self) -> Self:
        """Become the result of a held group that was sent under the same ids."""
        self.report = sent.report
        return super().go_on_as(sent)

    def settle(self, state: int) -> None:
        """End all members in `state` for the waiters of this process."""
        self.members.settle(range(len(self.members.barrier)), state)

    def settle_member(self, index: int, inner: GroupResult[Any]) -> None:
        """Set the result of a member that ran in place and ended in a group."""
        inner.index = index
        self.members.nested.settle(index, inner.members, inner)

    def _is_settled(self) -> bool:
        members = self.members
        return members.barrier.is_complete or members.has_failed()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return self.id == other.id and self.size == other.size
        return self.id == other if isinstance(other, str) else NotImplemented

    __hash__ = Result.__hash__

    def __repr__(self) -> str:
        # Shows what is known, and does not ask the store.
        barrier = self.members.barrier
        n = len(barrier)
        is_known = self.members.is_watched or barrier.remaining < n or not n
        state = f"{barrier.remaining} pending" if is_known else "not looked at"
        so_far = "" if barrier.is_sealed else " so far"
        return f"<{type(self).__name__}: {self.id} [{n} members{so_far}, {state}]>"


def _counts_from_end(index: slice) -> bool:
    """Whether a slice counts from the end, so that the size is needed."""
    ends = (index.start, index.stop)
    return (index.step or 1) < 0 or any(end is not None and end < 0 for end in ends)
