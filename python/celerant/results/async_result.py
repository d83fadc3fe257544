"""One task's result."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from celerant._core import Barrier
from celerant.context.apps import current_app
from celerant.errors import ResultTimeout
from celerant.results.backends.disabled import DisabledBackend
from celerant.results.base import Result
from celerant.results.familiar import FamiliarResult
from celerant.results.recorded import fields, traceback_in
from celerant.results.tracking.awaiting import wait_in_loop
from celerant.results.tracking.exceptions import RemoteTraceback, with_exception
from celerant.results.tracking.following import Line
from celerant.results.tracking.listening import WaitHooks
from celerant.results.tracking.member_values import STATE_NAMES
from celerant.results.tracking.members import Members
from celerant.results.tracking.waiting import because, refuse_inside_task
from celerant.results.tree import member_parent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from celerant.results.backends.base import Backend
    from celerant.results.wait_options import TaskWaitOptions

__all__ = ["AsyncResult"]

R = TypeVar("R")

#: Stands for a parent that is not made yet.
_UNKNOWN = object()


class AsyncResult(FamiliarResult, Generic[R], kind="task"):
    """A view on one task, by its id or as a member of a group.

    Args:
        id: The task's id.
        backend: The store of its result; None is the app's.
        task_name: Ignored, as in Celery.
        app: The app that has the task; None is the app made last.
        parent: The result of the task before it, if there is one.
        members: The members that it belongs to; None if it stands alone.
        index: Its position there.

    Raises:
        ValueError: The id is no text.
        RuntimeError: There is neither a backend nor an app.
    """

    __slots__ = ("_parent", "id", "members", "position")

    #: The error of `get` if the time passed.
    TimeoutError = ResultTimeout
    #: Whether a group's results are waited for together.
    supports_native_join = True

    def __init__(  # noqa: PLR0913 - Celery's, and a place in a group
        self,
        id: str,  # noqa: A002 - Celery's name
        backend: Backend | None = None,
        task_name: str | None = None,  # noqa: ARG002 - Celery's
        app: Any = None,
        parent: Any = None,
        *,
        members: Members | None = None,
        index: int = 0,
    ) -> None:
        self.id = id
        # The parent of a group's member is made when the property is read.
        self._parent = _UNKNOWN if parent is None and members is not None else parent
        if members is None:
            if not isinstance(id, str):
                msg = f"a result is found by its task's id, a text, not {id!r}"
                raise ValueError(msg)
            if backend is None:
                owner: Any = current_app() if app is None else app
                backend = getattr(owner, "backend", None)
            members = Members.of_ids([id], backend or DisabledBackend("disabled://"))
        self.members: Members = members
        self.position: int = index

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.id

    @property
    def index(self) -> int | None:
        """The task's position in its group; None if it is not in one."""
        return self.position if self.members.is_group else None

    @property
    def app(self) -> Any:
        """The app that has the task; None if that app was collected."""
        return self.backend.app()

    @overload
    def get(
        self,
        timeout: float | None = None,
        propagate: Literal[True] = True,  # noqa: FBT002 - Celery's order
        interval: float | None = None,
        **options: Unpack[TaskWaitOptions],
    ) -> R: ...
    @overload
    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        **options: Unpack[TaskWaitOptions],
    ) -> R | BaseException: ...
    def get(  # noqa: PLR0913, PLR0917 - Celery's
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        no_ack: bool = True,  # noqa: ARG002, FBT001, FBT002 - Celery's; nothing is acknowledged
        follow_parents: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,  # noqa: FBT001, FBT002 - Celery's order
    ) -> R | BaseException:
        """Wait for the task and return its value.

        Args:
            timeout: Seconds; 0 checks once, None waits for ever.
            propagate: Whether to raise the task's exception; False returns it.
            interval: Seconds between two calls of `on_interval`; None is half a
                second. The wait itself does not poll.
            no_ack: Ignored.
            follow_parents: Whether to raise at once if a task before this one raises.
                Without `propagate` it has no effect.
            callback: Called with the id and the value before this returns.
            on_message: Called with each record that comes in, as a dict, even of
                states such as PROGRESS.
            on_interval: Called at intervals during the wait.
            disable_sync_subtasks: Whether to refuse the wait inside a task.

        Returns:
            The value; None at once if the task's result is ignored.

        Raises:
            ResultTimeout: The task is not done in time.
            NotSent: The task never reached the broker.
            RuntimeError: This was called inside a task, or inside the transaction
                at whose commit the task is sent.
            Exception: The exception of the task, or of one before it.
        """
        if self.ignored:
            return None  # type: ignore[return-value]  # the task has no value
        members, index = self.members, self.position
        refuse_inside_task(is_refused=disable_sync_subtasks and not members.were_done)
        members.check_waiting()
        hooks = WaitHooks.given(on_message, on_interval, interval)
        follows = propagate and follow_parents and self.parent is not None
        line = None
        if follows or hooks is not None:
            line = Line(members, index, self._above() if follows else iter(()))
        if not (
            line.wait(timeout, hooks)
            if line is not None
            else members.wait_for(index, timeout)
        ):
            where = f" ({members.path}[{index}])" if members.path else ""
            what = f"task {self.id}{where} is not done after {timeout} s"
            raise ResultTimeout(because(members.backend, what), remaining=1)
        if line is not None:
            line.raise_failure()
        value = members.value(index)
        if propagate and self._code != Barrier.SUCCESS:
            raise value
        if callback is not None:
            callback(self.id, value)
        return value  # type: ignore[no-any-return]  # the task's own type

    wait = get

    def __await__(self) -> Generator[Any, None, R]:
        """Wait in an event loop and return the value: ``await result``.

        It does what `get` does, without a thread. The wait may be cancelled.

        Raises:
            NotSent: The task never reached the broker.
            RuntimeError: The result was awaited inside a task.
            Exception: The exception of the task.
        """
        return self._awaited().__await__()

    async def _awaited(self) -> R:
        if not self.ignored:
            refuse_inside_task(is_refused=not self.members.were_done)
            line = Line(self.members, self.position, self._above())
            if line.is_long:
                await line.wait_in_loop()
                line.raise_failure()
            else:
                await wait_in_loop(self.members, self._is_done, self.position)
            value = self.members.value(self.position)
            if self._code != Barrier.SUCCESS:
                raise value
            return value  # type: ignore[no-any-return]  # the task's own type
        return None  # type: ignore[return-value]  # the task has no value

    def _above(self) -> Iterator[tuple[Members, int]]:
        """Yield the tasks before this one, the nearest first."""
        result = self.parent
        while result is not None:
            if isinstance(result, AsyncResult):
                yield result.members, result.position
            result = result.parent

    @property
    def parent(self) -> Any:
        """The result before this one: an `AsyncResult`, a `GroupResult` or None."""
        if self._parent is _UNKNOWN:
            self._parent = member_parent(self.members, self.position)
        return self._parent

    @parent.setter
    def parent(self, parent: Any) -> None:
        self._parent = parent

    @property
    def ignored(self) -> bool:
        """Whether the task's result is not stored."""
        return self._code == Barrier.IGNORED

    @ignored.setter
    def ignored(self, value: bool) -> None:
        if value:
            self.settle(Barrier.IGNORED)

    @property
    def state(self) -> str:
        """Celery's name of the task's state.

        Until the task is done, each access reads its record, which may say STARTED,
        RETRY or a custom state.
        """
        record = self._look()
        if self._is_done():
            control = self.members.control(self.position)
            return STATE_NAMES[self._code] if control is None else control.state
        return str(record.get("status") or "PENDING")

    status = state

    @property
    def result(self) -> R | Any:
        """The value, the exception that failed or retried it, or its data so far."""
        record = self._look()
        if self._is_done():
            control = self.members.control(self.position)
            return self.members.value(self.position) if control is None else control
        return with_exception(record).get("result")

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback in the worker, as text, also of a run that is retried."""
        record = self._look()
        if not self.failed() and self._code != Barrier.REVOKED:
            return traceback_in(record)
        cause = self.members.exception(self.position).__cause__
        return cause.text if isinstance(cause, RemoteTraceback) else None

    def ready(self) -> bool:
        """Whether the task is done, successfully or not."""
        self._see()
        return self._is_done()

    def successful(self) -> bool:
        """Whether the task returned a value."""
        self._see()
        return self._code == Barrier.SUCCESS

    def failed(self) -> bool:
        """Whether the task raised, was never sent, or its result expired."""
        self._see()
        return self._code in (Barrier.FAILURE, Barrier.NOT_SENT, Barrier.EXPIRED)

    def then(
        self,
        callback: Callable[[AsyncResult[R]], Any],
        on_error: Callable[[AsyncResult[R]], Any] | None = None,
        weak: bool = False,  # noqa: ARG002, FBT001, FBT002 - Celery's
    ) -> None:
        """Call `callback` with this result once it is done.

        It runs in the consumer's thread, or in this one if the task is done already.
        Its errors are logged.

        Args:
            callback: Called when the task is done.
            on_error: Called instead if the task failed.
            weak: Ignored.
        """

        def call() -> None:
            is_error = self._code not in (Barrier.SUCCESS, Barrier.IGNORED)
            (on_error if is_error and on_error is not None else callback)(self)

        self.members.when(self.position, call)

    def forget(self) -> None:
        """Delete the stored result, and the results before it.

        A value that this process has stays.
        """
        ids, result = [], self
        while isinstance(result, AsyncResult):
            ids.append(result.id)
            result = result.parent
        self.backend.forget(ids)
        if result is not None:
            result.forget()

    def revoke(  # noqa: PLR0913 - Celery's
        self,
        connection: Any = None,
        terminate: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        signal: str | int | None = None,
        wait: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        timeout: float | None = None,
        *,
        follow_parents: bool = False,
    ) -> None:
        """Keep the task from running.

        A worker that gets its message discards it and stores REVOKED.

        Args:
            connection: kombu's, to use instead of a new one.
            terminate: Whether to end the task if it runs in a process.
            signal: The signal that ends it, by name or number; SIGTERM by default.
            wait: Whether to wait for the workers' answers.
            timeout: Seconds to wait for each next answer; None is one second.
            follow_parents: Whether to revoke all tasks before it too, as of a chain.
        """
        ids = self.as_list() if follow_parents else [self.id]
        self.backend.revoke(
            ids,
            terminate=terminate,
            signal=signal,
            connection=connection,
            reply=wait,
            timeout=timeout,
        )

    def settle(self, state: int) -> None:
        """End the task in `state` for the waiters of this process."""
        self.members.settle([self.position], state)

    def member_forms(self) -> None:
        """Return None: a single task has no members."""

    def task_ids(self) -> list[str]:
        """Return the id."""
        return [self.id]

    def _is_done(self) -> bool:
        return self.members.barrier.state(self.position) != Barrier.PENDING

    @property
    def _code(self) -> int:
        return self.members.barrier.state(self.position)

    def _see(self) -> None:
        # A done result may be read even if a look is forbidden, as in a callback.
        if not self._is_done():
            self.members.look()

    def _look(self) -> dict[str, Any]:
        """Check whether the task is done; if it is not, return its record."""
        self._see()
        if self._is_done():
            return {}
        members = self.members
        # Absorbed here: two reads must agree, even if the consumer hears of it later.
        record = members.take(self.position)
        return {} if self._is_done() else fields(self.backend, record)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    __hash__ = Result.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"
