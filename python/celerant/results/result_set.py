"""Results of tasks that were sent one by one, to check and wait for together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from celerant._core import Barrier
from celerant.errors import ResultTimeout
from celerant.results.async_result import AsyncResult
from celerant.results.collection import Collection
from celerant.results.missing import Missing
from celerant.results.tracking.listening import Listening, WaitHooks
from celerant.results.tracking.waiting import (
    because,
    deadline_after,
    refuse_inside_task,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from celerant.results.wait_options import WaitOptions

__all__ = ["ResultSet"]

R = TypeVar("R")


class ResultSet(Collection[R]):
    """Results of tasks and groups, in an order.

    Args:
        results: The results that `delay` and the like returned. A list is used itself,
            so it changes with the set.
        app: The app that has the tasks; None is the first result's, else the app made
            last.
        ready_barrier: Ignored; Celery has it.
    """

    __slots__ = ()

    # Waits.

    @overload
    def get(
        self,
        timeout: float | None = None,
        propagate: Literal[True] = True,  # noqa: FBT002 - Celery's order
        interval: float | None = None,
        callback: None = None,
        **options: Unpack[WaitOptions],
    ) -> list[R]: ...
    @overload
    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        callback: None = None,
        **options: Unpack[WaitOptions],
    ) -> list[R | BaseException]: ...
    @overload
    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        *,
        callback: Callable[[str, Any], Any],
        **options: Unpack[WaitOptions],
    ) -> None: ...
    def get(  # noqa: PLR0913, PLR0917 - Celery's
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,  # noqa: ARG002, FBT001, FBT002 - Celery's; nothing is acknowledged
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        on_interval: Callable[[], Any] | None = None,
    ) -> Any:
        """Wait for all members and return their values.

        Shape: a new list of n values, in which item i is the value of member i. It is
            None for a member whose result is ignored, and a list for a member that ends
            in a group.

        Args:
            timeout: Seconds for all together; 0 checks once, None waits for ever.
            propagate: Whether to raise the first failure that arrives; False waits for
                all and returns exceptions as values.
            interval: Seconds between two calls of `on_interval`; None is half a
                second. The wait itself does not poll.
            callback: Called with the id and the value of each member as it arrives;
                None is returned then.
            no_ack: Ignored.
            on_message: Called with each record that comes in, as a dict, even of
                states such as PROGRESS.
            disable_sync_subtasks: Whether to refuse the wait inside a task.
            on_interval: Called at intervals during the wait.

        Raises:
            ResultTimeout: Not all are done in time; ``exc.remaining`` are missing.
            NotSent: A member never reached the broker; `group.resume` sends it.
            RuntimeError: This was called inside a task, or inside the transaction
                at whose commit a member is sent.
            Exception: The exception of a member's task.
        """
        refuse_inside_task(is_refused=disable_sync_subtasks and not self._were_done())
        hooks = WaitHooks.given(on_message, on_interval, interval)
        deadline = deadline_after(timeout)
        if callback is None:
            return self._all_values(deadline, timeout, hooks, propagate=propagate)
        for result in self._arrived(deadline, timeout, hooks):
            failed, value = _outcome(result)
            if failed and propagate:
                raise value
            callback(result.id, value)
        return None

    wait = get
    join = get

    def join_native(  # noqa: PLR0913, PLR0917 - Celery's
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,  # noqa: FBT001, FBT002 - Celery's order
    ) -> Any:
        """Wait for all members and return their values; see `get`."""
        get: Any = self.get
        return get(
            timeout,
            propagate,
            interval,
            callback,
            no_ack,
            on_message,
            disable_sync_subtasks,
            on_interval,
        )

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float | None = None,
        no_ack: bool = True,  # noqa: ARG002, FBT001, FBT002 - Celery's; nothing is acknowledged
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Yield (id, fields) of each member as it arrives.

        Args:
            timeout: Seconds for all together.
            interval: As for `get`.
            no_ack: As for `get`.
            on_message: As for `get`.
            on_interval: As for `get`.

        Yields:
            The id of each member, with a dict of its `status`, `result`, `traceback`
            and `task_id`. A member that is a group has a list of its results instead.

        Raises:
            ResultTimeout: Not all members arrive in time.
        """
        hooks = WaitHooks.given(on_message, on_interval, interval)
        for result in self._arrived(deadline_after(timeout), timeout, hooks):
            if not isinstance(result, AsyncResult):
                yield result.id, result.results
                continue
            fields = {
                "status": result.state,
                "result": result.result,
                "traceback": result.traceback,
                "task_id": result.id,
            }
            yield result.id, fields

    def _were_done(self) -> bool:
        """Whether all were done when this was made, so that a task may wait for it."""
        return False

    def maybe_throw(
        self,
        callback: Callable[[str, Any], Any] | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
    ) -> None:
        """Raise the exception of the first member in order that has one.

        Args:
            callback: Called with the id and the value of each member before that one.
            propagate: False raises no exception.
        """
        for result in self.results:
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def _all_values(
        self,
        deadline: float | None,
        timeout: float | None,
        hooks: WaitHooks | None,
        *,
        propagate: bool,
    ) -> list[Any]:
        values: dict[int, Any] = {}
        for result in self._arrived(deadline, timeout, hooks):
            failed, value = _outcome(result)
            if failed and propagate:
                raise value
            values[id(result)] = value
        return [values[id(result)] for result in self.results]

    def _arrived(
        self, deadline: float | None, timeout: float | None, hooks: WaitHooks | None
    ) -> Iterator[Any]:
        """Yield each result once, as it is done."""
        missing = Missing(self.results)
        yield from missing.done()
        if not missing.left:
            return
        with Listening(missing.views(), hooks) as listening:
            # Checked after it is registered, so that no arrival is missed.
            yield from missing.done()
            while missing.left:
                if not listening.wait(listening.has_news, deadline):
                    left = missing.left
                    what = (
                        f"{left} of {len(self)} results are missing after {timeout} s"
                    )
                    reason = because(self.backend, what)
                    raise ResultTimeout(reason, remaining=left)
                for view, indices in listening.taken():
                    yield from missing.done_of(view, indices)

    # States.

    def ready(self) -> bool:
        """Whether all results are done, successfully or not."""
        self._begin()
        return all(result.ready() for result in self.results)

    def waiting(self) -> bool:
        """Whether any result is not done."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all results are done and none failed."""
        self._begin()
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """Whether any result failed."""
        self._begin()
        return any(result.failed() for result in self.results)

    def completed_count(self) -> int:
        """Return how many results are successful."""
        self._begin()
        return sum(result.successful() for result in self.results)

    def _begin(self) -> None:
        """Let all members be watched, before the results are read one by one."""
        for view in {id(r.members): r.members for r in self.results}.values():
            view.begin()

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[Any], Any] | None = None,
        weak: bool = False,  # noqa: ARG002, FBT001, FBT002 - Celery's
    ) -> None:
        """Call `callback` with this set once all of its present results are done.

        Args:
            callback: Called when all are done.
            on_error: Called instead if any failed.
            weak: Ignored.
        """
        left = {id(result) for result in self.results}

        def call(result: Any) -> None:
            left.discard(id(result))
            if not left:
                is_error = on_error is not None and self.failed()
                (on_error if is_error and on_error is not None else callback)(self)

        if not left:
            callback(self)
        for result in {id(result): result for result in self.results}.values():
            result.then(call)

    def forget(self) -> None:
        """Delete the stored results."""
        for result in self.results:
            result.forget()

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        signal: str | int | None = None,
        wait: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        timeout: float | None = None,
    ) -> None:
        """Keep the tasks from running; a broadcast names many of them.

        Args:
            connection: kombu's, to use instead of a new one.
            terminate: Whether to end tasks that run in processes.
            signal: The signal that ends them, by name or number; SIGTERM by default.
            wait: Whether to wait for the workers' answers.
            timeout: Seconds to wait for each next answer; None is one second.
        """
        if not len(self):
            return
        self.backend.revoke(
            self.task_ids(),
            terminate=terminate,
            signal=signal,
            connection=connection,
            reply=wait,
            timeout=timeout,
        )

    def task_ids(self) -> list[str]:
        """Return the ids of all tasks in it, all steps of chains included."""
        return [task_id for result in self.results for task_id in result.task_ids()]


def _outcome(result: Any) -> tuple[bool, Any]:
    """Return whether a done result has failed, and its value or exception."""
    view, index = result.members, result.position
    if index is None:
        failed = view.has_failed()
        return failed, view.first_exception() if failed else view.collect()
    state = view.barrier.state(index)
    return state not in {Barrier.SUCCESS, Barrier.IGNORED}, view.value(index)
