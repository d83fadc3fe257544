"""A function that workers run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from celerant.apps import task_by_name
from celerant.canvas.mapping import chunks, mapped
from celerant.canvas.request import Request, current_request, enter, own_request
from celerant.canvas.signature import Signature
from celerant.config import nearest
from celerant.errors import MaxRetriesExceeded, PublishError, Retry, SettingError
from celerant.tasks.replace import extend_chord, hand_over, replacement
from celerant.tasks.retry import ask_retry, check_retry_options, with_autoretry
from celerant.tasks.state import store_state

if TYPE_CHECKING:
    from datetime import datetime

    from typing_extensions import Unpack

    from celerant.app import Celerant
    from celerant.canvas.options import ApplyOptions, MessageOptions, SendOptions
    from celerant.results.backends.base import Backend
    from celerant.results.result import AsyncResult

__all__ = ["SENT_OPTIONS", "TASK_OPTIONS", "Task"]

P = ParamSpec("P")
R = TypeVar("R")

#: Task options that go with every message of the task (Celery's exec options).
SENT_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)

#: What ``@app.task`` takes, with defaults; None means the app's setting decides.
TASK_OPTIONS: dict[str, Any] = {
    **dict.fromkeys(SENT_OPTIONS),
    "acks_late": None,
    "acks_on_failure_or_timeout": None,
    "autoretry_for": (),
    "default_retry_delay": 180,
    "dont_autoretry_for": (),
    "ignore_result": None,
    "max_retries": 3,
    "rate_limit": None,
    "reject_on_worker_lost": None,
    "retry_backoff": False,
    "retry_backoff_max": 600,
    "retry_jitter": True,
    "retry_kwargs": {},
    "send_events": None,
    "store_errors_even_if_ignored": None,
    "throws": (),
    "track_started": None,
    "typing": True,
}

#: Options whose default is the app's setting of the same name with ``task_``.
_FROM_SETTINGS = {
    "acks_late",
    "ignore_result",
    "reject_on_worker_lost",
    "soft_time_limit",
    "store_errors_even_if_ignored",
    "time_limit",
    "track_started",
}


class Task(Generic[P, R]):
    """A registered function: call it, make signatures of it, send it.

    Made by ``@app.task``. `delay`, `si` and calling take what the function takes;
    `s` takes anything, for partial arguments. With ``bind=True`` the function gets the
    task as first argument, for `request`, `retry`, `replace` and `update_state`.
    """

    #: What `retry` raises at the end, for ``except self.MaxRetriesExceededError``.
    MaxRetriesExceededError = MaxRetriesExceeded
    #: What sending raises where the broker is away.
    OperationalError = PublishError

    def __init__(
        self,
        function: Callable[..., R],
        *,
        name: str,
        app: Celerant,
        bind: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Wrap `function`; use ``@app.task`` instead.

        Raises:
            SettingError: An option that tasks don't have, or impossible limits.
        """
        self.options: dict[str, Any] = dict(options or {})
        for option in self.options:
            if option not in TASK_OPTIONS:
                near = nearest(option, frozenset({"bind", "name", *TASK_OPTIONS}))
                hint = f"; did you mean {near!r}" if near else ""
                msg = f"task {name}: unknown option {option!r}{hint}"
                raise SettingError(msg, name=option, nearest=near)
        if inspect.iscoroutinefunction(function):
            msg = (
                f"task {name}: a coroutine function cannot be a task, for no worker "
                "awaits it; call asyncio.run inside a plain function"
            )
            raise TypeError(msg)
        self.name = name
        self.app = app
        self.run = function
        self.bind = bind
        check_retry_options(self)
        self._body: Callable[..., R] = self._run
        if self.autoretry_for:
            self._body = with_autoretry(self, self._run)
        functools.update_wrapper(self, function)
        hard, soft = self.time_limit, self.soft_time_limit
        if hard and soft and soft > hard:
            msg = f"task {name}: soft_time_limit {soft} s is over time_limit {hard} s"
            raise SettingError(msg, name="soft_time_limit")

    def __getattr__(self, option: str) -> Any:
        # Only reached for what is no real attribute: a task option.
        if option not in TASK_OPTIONS:
            raise AttributeError(option)
        value = self.options.get(option, TASK_OPTIONS[option])
        if value is None and option in _FROM_SETTINGS:
            return getattr(self.app.conf, f"task_{option}")
        return value

    def given_options(self) -> dict[str, Any]:
        """Return those of the task's own options that go into its messages."""
        return {
            name: value
            for name, value in self.options.items()
            if value is not None and name in SENT_OPTIONS
        }

    def sent_options(self) -> dict[str, Any]:
        """Return what the task's own options put into its messages.

        All names are there, None included, as in Celery's exec options.
        """
        values = {**dict.fromkeys(SENT_OPTIONS), **self.given_options()}
        if values["priority"] is None:
            values["priority"] = self.app.conf.task_default_priority
        if values["serializer"] is None:
            values["serializer"] = self.app.conf.task_serializer
        return values

    @functools.cached_property
    def parameters(self) -> inspect.Signature | None:
        """What the function takes (without `self` of a bound task), if it says so."""
        try:
            found = inspect.signature(self.run)
        except (TypeError, ValueError):
            return None
        if self.bind:
            rest = list(found.parameters.values())[1:]
            found = found.replace(parameters=rest)
        return found

    @property
    def request(self) -> Request:
        """The request this task runs under; an empty one where it was only called."""
        for request in (own_request.get(), current_request.get()):
            if request is not None and request.task == self.name:
                return request
        return Request("", self.name, called_directly=True)

    @property
    def backend(self) -> Backend:
        """Where the task's results are kept."""
        return self.app.backend

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here."""
        token = enter(self.name, args, kwargs)
        try:
            return self._body(*args, **kwargs)
        finally:
            own_request.reset(token)

    def _run(self, *args: Any, **kwargs: Any) -> R:
        # Looked up each time: tests put another function in its place.
        if self.bind:
            return self.run(self, *args, **kwargs)
        return self.run(*args, **kwargs)

    def retry(  # noqa: PLR0913, PLR0917 - Celery's signature
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Unpack[MessageOptions],
    ) -> Retry:
        """Run this task again later, under the same id and in the same place.

        The worker sends it once the function has ended. Write ``raise self.retry()``,
        so that the reader sees where it ends.

        Args:
            args: In place of this run's positional arguments.
            kwargs: In place of its keyword arguments.
            exc: Why; raised once the task may not be retried again.
            throw: Raise the Retry; False returns it, and the task goes on.
            eta: When, a datetime.
            countdown: Seconds from now; by default the task's ``default_retry_delay``.
            max_retries: For this call; by default the task's own, where None is
                without limit.
            options: As of `apply_async`, over those of this run's message.
        Returns:
            What is raised otherwise.
        Raises:
            Retry: The worker knows by it that the task is retried.
            MaxRetriesExceeded: It was retried too often, and there is no `exc`.
            BaseException: `exc`, for that reason or where no worker runs the task.
        """
        given = {**options, "eta": eta, "countdown": countdown}
        asked = ask_retry(
            self, args, kwargs, exc=exc, max_retries=max_retries, options=given
        )
        if throw:
            raise asked
        return asked

    def replace(self, sig: Any) -> Any:
        """Let `sig` take the place of this task: its id, callbacks, chain and chord.

        Write ``return`` or ``raise self.replace(...)``: nothing after it runs.

        Args:
            sig: A signature, group, chain or chord. A group's results come as a list.
        Raises:
            Ignore: The worker sends `sig` once the function has ended; in place it
                has been run, and the task has its value.
            CanvasError: A canvas that is in a chord, or an empty chain.
        """
        return self.on_replace(replacement(self, sig))

    def on_replace(self, sig: Any) -> Any:
        """Send or run what replaces this task; for subclasses to add to."""
        return hand_over(self, sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:  # noqa: FBT001, FBT002 - Celery's form
        """Add a member to the chord whose header this task is in.

        Args:
            sig: The member; it gets this task's place in the order.
            lazy: Only count it, and return it to be sent by hand.
        Raises:
            ValueError: The task is in no chord's header.
        """
        return extend_chord(self, sig, lazy=lazy)

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None
    ) -> None:
        """Store a state of one's own while the task runs, such as ``"PROGRESS"``.

        Args:
            task_id: By default this task's.
            state: Its name.
            meta: What `AsyncResult.info` gives; anything that results can be.
        Raises:
            ValueError: No state, or no task that runs.
            ForkError: The results are in the memory of another process.
        """
        store_state(self, task_id, state, meta)

    def map(self, it: Iterable[Any]) -> Signature[list[R]]:
        """Make one signature that calls the task with each item, in one worker.

        (`group.map` makes one message for each item.)
        """
        return mapped(self.s(), it, star=False)

    def starmap(self, it: Iterable[Iterable[Any]]) -> Signature[list[R]]:
        """Make one signature that calls the task with each item's arguments."""
        return mapped(self.s(), it, star=True)

    def chunks(self, it: Iterable[Iterable[Any]], n: int) -> chunks:
        """Make a group of `starmap` signatures of up to `n` items each."""
        return chunks(self.s(), it, n, app=self.app)

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Make a signature with these arguments, also partial ones."""
        return Signature(self.name, args, kwargs, app=self.app)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """Make a signature that ignores what a call or a previous task adds."""
        return Signature(self.name, args, kwargs, immutable=True, app=self.app)

    def signature(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **more: Unpack[SendOptions],
    ) -> Signature[R]:
        """Make a signature with arguments and options, also by name."""
        return Signature(
            self.name,
            tuple(args),
            dict(kwargs or {}),
            {**(options or {}), **more},
            immutable=immutable,
            app=self.app,
        )

    subtask = signature

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send it with these arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> AsyncResult[R]:
        """Send it with arguments and options; see `Signature.apply_async`."""
        return self.s().apply_async(args, kwargs, **options)

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send it with these arguments once Django's transaction is committed."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: str | None = None,
        **options: Unpack[SendOptions],
    ) -> AsyncResult[R]:
        """Send it at commit; see `Signature.apply_async_on_commit`."""
        return self.s().apply_async_on_commit(args, kwargs, using=using, **options)

    def apply(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[ApplyOptions],
    ) -> AsyncResult[R]:
        """Run it here and now and return its finished result."""
        return self.s().apply(args, kwargs, **options)

    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result of this task by its id."""
        return self.app.AsyncResult(task_id, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        # A task travels by name: the other process has its own app.
        return task_by_name, (self.app.name, self.name)

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self.app.name}>"
