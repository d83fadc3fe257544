"""Results of tasks that were sent one by one, to look at and await together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from celerant._core import Barrier
from celerant.errors import ResultTimeout
from celerant.results.async_result import AsyncResult
from celerant.results.collection import Collection
from celerant.results.missing import Missing
from celerant.results.tracking.listening import Hooks, Listening
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
    """Results of tasks and groups, in an order; a group's own is a `GroupResult`.

    Args:
        results: The results that `delay` and the like returned; a list is kept and
            grows with it.
        app: The app that has the tasks; None: the first result's, else the app made
            last.
        ready_barrier: Ignored; Celery has it.
    """

    __slots__ = ()

    # Waiting.

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

        Shape: a new list of n values; the value of member i at i, None for a member
        whose result is ignored, a list for one that ends in a group.

        Args:
            timeout: Seconds for all together; 0 looks once, None waits for ever.
            propagate: Raise at the first failure that arrives; False waits for all
                and puts the exceptions in their places.
            interval: Seconds between two calls of `on_interval`; None: half a second.
                Nothing is polled here.
            callback: Called with the id and the value of each member as it arrives;
                nothing is returned then.
            no_ack: Ignored.
            on_message: Called with each record that comes in, as a dict, even for
                states such as PROGRESS.
            disable_sync_subtasks: Refuse to wait inside a task.
            on_interval: Called again and again while it waits.

        Raises:
            ResultTimeout: Not done in time; ``exc.remaining`` are missing.
            NotSent: A member never reached the broker; `group.resume` sends it.
            RuntimeError: Called inside a task, or inside the transaction at whose
                commit it is sent.
            Exception: What a member's task raised.
        """
        refuse_inside_task(is_refused=disable_sync_subtasks and not self._were_done())
        hooks = Hooks.given(on_message, on_interval, interval)
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
            interval: As `get`.
            no_ack: As `get`.
            on_message: As `get`.
            on_interval: As `get`.

        Yields:
            A dict with `status`, `result`, `traceback` and `task_id`; for a member that
            is a group, the list of its results.

        Raises:
            ResultTimeout: Not all arrived in time.
        """
        hooks = Hooks.given(on_message, on_interval, interval)
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
        """Whether all were done when this was made: nobody waits for a worker."""
        return False

    def maybe_throw(
        self,
        callback: Callable[[str, Any], Any] | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
    ) -> None:
        """Raise the first exception of the members that raised, in their order.

        Args:
            callback: Called with the id and the value of each member before it.
            propagate: False raises nothing.
        """
        for result in self.results:
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def _all_values(
        self,
        deadline: float | None,
        timeout: float | None,
        hooks: Hooks | None,
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
        self, deadline: float | None, timeout: float | None, hooks: Hooks | None
    ) -> Iterator[Any]:
        """Yield each result once, as it is done."""
        missing = Missing(self.results)
        yield from missing.done()
        if not missing.left:
            return
        with Listening(missing.views(), hooks) as listening:
            # Registered first, looked second, so that nothing is missed in between.
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

    # Looking.

    def ready(self) -> bool:
        """Whether all are done, in whatever way."""
        self._begin()
        return all(result.ready() for result in self.results)

    def waiting(self) -> bool:
        """Whether any is not done."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all are done and none failed."""
        self._begin()
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """Whether any failed."""
        self._begin()
        return any(result.failed() for result in self.results)

    def completed_count(self) -> int:
        """Return how many have succeeded."""
        self._begin()
        return sum(result.successful() for result in self.results)

    def _begin(self) -> None:
        """Look at all together, before each one is asked."""
        for view in {id(r.members): r.members for r in self.results}.values():
            view.begin()

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[Any], Any] | None = None,
        weak: bool = False,  # noqa: ARG002, FBT001, FBT002 - Celery's
    ) -> None:
        """Call `callback` with this set once all results now in it are done.

        Args:
            callback: Called when all are done.
            on_error: Called instead if one failed.
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
        """Keep the tasks from running; one broadcast names many of them.

        Args:
            connection: kombu's, instead of a new one.
            terminate: Also end tasks that run in processes.
            signal: The signal that ends them, by name or number; SIGTERM by default.
            wait: Return once workers have answered.
            timeout: Seconds to wait for one more answer; None: one.
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
        """Return the ids of all tasks in it, with all steps of chains."""
        return [task_id for result in self.results for task_id in result.task_ids()]


def _outcome(result: Any) -> tuple[bool, Any]:
    """Return whether a result that is done failed, and its value or exception."""
    view, index = result.members, result.position
    if index is None:
        failed = view.has_failed()
        return failed, view.first_exception() if failed else view.collect()
    state = view.barrier.state(index)
    return state not in {Barrier.SUCCESS, Barrier.IGNORED}, view.value(index)
