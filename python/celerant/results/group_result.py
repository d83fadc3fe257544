"""A group's results, as a view on its barrier."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from celerant._core import Barrier, Roster
from celerant.common.with_form import WithForm
from celerant.errors import ResultTimeout
from celerant.results.arrivals import Arrivals
from celerant.results.awaiting import wait_in_loop
from celerant.results.forms import (
    form_of,
    form_with_parents,
    ids_in,
    task_ids,
)
from celerant.results.handle import make_handle
from celerant.results.listening import Hooks, Listening
from celerant.results.members import STATE_NAMES, Members
from celerant.results.result import AsyncResult
from celerant.results.result_set import ResultSet
from celerant.results.saving import delete, reduced_group, restore, save
from celerant.results.waiting import because, refuse_inside_task

if TYPE_CHECKING:
    from celerant.errors.report import Report
    from celerant.results.backends.base import Backend
    from celerant.results.graph import ResultGraph

__all__ = ["GroupResult"]

R = TypeVar("R")

_FORGET_CHUNK = 10_000


class GroupResult(WithForm, ResultSet[R]):
    """The results of a dispatched group: n members in the order of their index.

    The first look starts the process's consumer and returns after one sweep; from
    then on looking is O(1) and asks nobody.

    Args:
        roster: The members' ids.
        group_id: The group's id.
        barrier: Which members are done; the dispatcher lets those that were never sent
            or whose result is ignored arrive.
        backend: Where results are stored.
        report: What was sent and what was not.
        ignored: Members whose result is not stored, where the barrier does not know.
        parent: The result this one was made from, if any.
        values: The values of members that have arrived already (eager mode); a
            failure's is its exception.
        sent_at: When it was sent, seconds since the epoch; None: now.
        losses: The backend's `losses` before the first message left; None: now.
    """

    __slots__ = ("__weakref__", "_handle", "_members", "id", "index", "report")

    def __init__(  # noqa: PLR0913 - what a dispatch leaves behind
        self,
        *,
        roster: Roster,
        group_id: str,
        barrier: Barrier,
        backend: Backend,
        report: Report | None = None,
        ignored: Iterable[int] = (),
        parent: Any = None,
        values: list[Any] | None = None,
        sent_at: float | None = None,
        losses: int | None = None,
    ) -> None:
        for index in ignored:
            barrier.arrive(index, Barrier.IGNORED)
        super().__init__([])
        self.id = group_id
        self.parent = parent
        self.report: Report | None = report
        self._handle: str | None = None
        self._members = Members(
            roster, barrier, backend, values=values, sent_at=sent_at, losses=losses
        )
        self._members.is_group = True
        #: Its position in the group that it is a member of; None outside of one.
        self.index: int | None = None

    @property
    def backend(self) -> Backend:
        """Where the results are stored."""
        return self._members.backend

    @property
    def roster(self) -> Roster:
        """The members' ids."""
        return self._members.roster

    def _own_app(self) -> Any:
        return self.backend.app()

    # Waiting.

    def _all_values(
        self,
        deadline: float | None,
        timeout: float | None,
        hooks: Hooks | None,
        *,
        propagate: bool,
    ) -> list[Any]:
        members = self._members
        if members.refuse_waiting is not None:
            members.refuse_waiting()
        is_done = self._is_settled if propagate else self._is_complete
        if not self._wait(is_done, deadline, timeout, hooks):
            remaining = members.barrier.remaining
            where = f" ({members.path})" if members.path else ""
            what = (
                f"{remaining} of {len(self)} results of group {self.id}{where} "
                f"are missing after {timeout} s"
            )
            raise ResultTimeout(because(members.backend, what), remaining=remaining)
        if propagate:
            self._raise_first()
        return members.collect()

    def _wait(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        timeout: float | None,
        hooks: Hooks | None,
    ) -> bool:
        members = self._members
        if hooks is not None:
            with Listening([members], hooks) as listening:
                return listening.wait(is_done, deadline)
        members.look(timeout)
        if not is_done():
            members.backend.tell_obstacle()
        return members.wait(is_done, deadline)

    def __await__(self) -> Generator[Any, None, list[R]]:
        """Wait in an event loop and return all values: ``await result``.

        As `get`, without a thread; a cancelled wait leaves nothing behind.
        Raises:
            NotSent: A member never reached the broker; `group.resume` sends it.
            RuntimeError: Awaited inside a task.
            Exception: What a member's task raised, the first that arrives.
        """
        return self._awaited().__await__()

    async def _awaited(self) -> list[R]:
        refuse_inside_task(is_refused=True)
        await wait_in_loop(self._members, self._is_settled)
        self._raise_first()
        return self._members.collect()

    def __aiter__(self) -> Arrivals[AsyncResult[R]]:
        """Iterate over the members as they arrive: ``async for member in result``.

        Each member comes once, failed ones too; those that had arrived before come
        first, in their own order. To leave early is fine.
        """
        return Arrivals(self._members, self._member)

    def _raise_first(self) -> None:
        if self._members.failed_member() is not None:
            raise self._members.first_exception()

    def then(
        self,
        callback: Callable[[GroupResult[R]], Any],
        on_error: Callable[[GroupResult[R]], Any] | None = None,
        weak: bool = False,  # noqa: ARG002, FBT001, FBT002 - Celery's
    ) -> None:
        """Call `callback` with this result once all members are done.

        Runs on the consumer's thread, or here where all are done already; what it
        raises is logged.

        Args:
            callback: Called when all are done.
            on_error: Called in its place where a member failed.
            weak: Of no meaning here.
        """
        members = self._members

        def call() -> None:
            is_error = on_error is not None and members.has_failed()
            (on_error if is_error and on_error is not None else callback)(self)

        members.when(self._is_complete, call)

    # Looking.

    def ready(self) -> bool:
        """Whether all members are done, in whatever way."""
        self._members.look()
        return self._is_complete()

    def waiting(self) -> bool:
        """Whether any member is not done."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all members are done and none failed; true for an empty group."""
        return self.ready() and not self._members.has_failed()

    def failed(self) -> bool:
        """Whether any member raised, was never sent, or its result expired."""
        self._members.look()
        count = self._members.barrier.count
        return any(map(count, (Barrier.FAILURE, Barrier.NOT_SENT, Barrier.EXPIRED)))

    def completed_count(self) -> int:
        """Return how many members are done without failure.

        Those whose result is ignored count: nothing more is to come from them.
        """
        self._members.look()
        count = self._members.barrier.count
        return count(Barrier.SUCCESS) + count(Barrier.IGNORED)

    def counts(self) -> dict[str, int]:
        """Return how many members are in each state, by the states' names.

        All names are there: PENDING, SUCCESS, FAILURE, REVOKED (Celery's), and
        IGNORED, NOT_SENT, EXPIRED.
        """
        self._members.look()
        return dict(zip(STATE_NAMES, self._members.barrier.counts(), strict=True))

    # Members.

    @property
    def results(self) -> list[AsyncResult[R]]:
        """A view on each member, in order; a `GroupResult` of one that ends in one."""
        return list(self)

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
        n = len(self)
        if isinstance(index, slice):
            return [self._member(i) for i in range(*index.indices(n))]
        at = index + n if index < 0 else index
        if not 0 <= at < n:
            msg = f"no member {index}: group {self.id} has {n}"
            raise IndexError(msg)
        return self._member(at)

    def __iter__(self) -> Iterator[AsyncResult[R]]:
        return map(self._member, range(len(self)))

    def __len__(self) -> int:
        return len(self._members.barrier)

    def __bool__(self) -> bool:
        return True  # as in Celery: an empty group's result is still a result

    def _member(self, index: int) -> AsyncResult[R]:
        members = self._members
        if index in members.nested:
            # A list in the place of a value, and a group in the place of a task.
            return cast("AsyncResult[R]", members.nested[index])
        return AsyncResult(
            members.roster.id(index), members.backend, members=members, index=index
        )

    # Identity.

    def _task_ids(self) -> list[str]:
        """Return the ids of all tasks in it, steps of chains too."""
        return list(task_ids(self.roster))

    @property
    def handle(self) -> str:
        """A short text from which `app.attach` makes this result in any process.

        Below 200 bytes for any number of members. What it cannot say is stored once
        beside the results and lives as long as they.

        Raises:
            CelerantError: The results live in this process alone (memory://).
        """
        if self._handle is None:
            self._handle = make_handle(self._members, self.id, self.parent)
        return self._handle

    def forget(self) -> None:
        """Delete the stored results, and those that the group follows.

        What is known here stays.
        """
        ids = task_ids(self.roster)
        while chunk := list(islice(ids, _FORGET_CHUNK)):
            self.backend.forget(chunk)
        if self.parent is not None:
            self.parent.forget()

    def as_tuple(self) -> tuple[tuple[str, Any], list[Any]]:
        """Return Celery's form: ``((id, parent), [each member's])``."""
        form: tuple[tuple[str, Any], list[Any]] = form_with_parents(self)
        return form

    def _member_forms(self) -> list[Any]:
        members: list[Any] = form_of(self.roster, self.id)[1]
        return members

    def as_list(self) -> list[str]:
        """Return the ids of all tasks in it and of all that it follows."""
        return list(ids_in(self.as_tuple()))

    def build_graph(
        self,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - Celery's form
    ) -> ResultGraph:
        """Return the tree that this result is in; see `AsyncResult.build_graph`."""
        from celerant.results.graph import ResultGraph  # noqa: PLC0415 - it imports this module

        return ResultGraph(self, intermediate=intermediate)

    @property
    def graph(self) -> ResultGraph:
        """The tree that this result is in, done as it is; see `build_graph`."""
        return self.build_graph()

    def save(self, backend: Backend | None = None) -> None:
        """Keep the group under its id, for `restore` here and in Celery.

        Args:
            backend: Where; by default where its results are.

        Raises:
            CelerantError: Nothing can be kept there, as on ``rpc://``.
        """
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
        """Return a group that was saved, here or by Celery; None where none was.

        Args:
            id: Of the group.
            backend: Where it was saved; by default where `app` has its results.
            app: By default the one made last.
        """
        return restore(id, app if backend is None else backend)

    def _lone(self) -> GroupResult[R]:
        """Return the result of the one member if that is a group's: as Celery does."""
        if len(self) != 1 or 0 not in self._members.nested:
            return self
        lone: GroupResult[R] = self._members.nested[0]
        lone.report = self.report
        lone._members.path = ""
        lone.index = None
        return lone

    def _renew(self, barrier: Barrier, report: Report) -> None:
        """Go on with a barrier in which members that were never sent are pending."""
        self._members.renew(barrier)
        self.report = report
        self._handle = None

    def _go_on_as(self, sent: GroupResult[R]) -> GroupResult[R]:
        """Be the result of what was held and has been sent under the same ids."""
        self._members.adopt(sent._members)
        self.report = sent.report
        return self

    def _nest(self, index: int, inner: GroupResult[Any]) -> None:
        """Have `inner` in the place of a member that ran here and ended in a group."""
        self._members.nested.settle(index, inner)

    def _is_complete(self) -> bool:
        return self._members.barrier.is_complete

    def _is_settled(self) -> bool:
        members = self._members
        return members.barrier.is_complete or members.has_failed()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return self.id == other.id and len(self) == len(other)
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        # Says what is known; asks nobody.
        barrier, n = self._members.barrier, len(self)
        is_known = self._members.is_watched or barrier.remaining < n or not n
        state = f"{barrier.remaining} pending" if is_known else "not looked at"
        return f"<{type(self).__name__}: {self.id} [{n} members, {state}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced_group(self)
