"""A function that workers run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar

from celerant.apps import task_by_name
from celerant.canvas.request import Request, current_request
from celerant.canvas.signature import Signature
from celerant.config import nearest
from celerant.errors import CelerantError, SettingError

if TYPE_CHECKING:
    from celerant.app import Celerant
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
    `s` takes anything, for partial arguments.
    """

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
                near = nearest(option, frozenset(TASK_OPTIONS))
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
        functools.update_wrapper(self, function)
        hard, soft = self.time_limit, self.soft_time_limit
        if hard and soft and soft > hard:
            msg = f"task {name}: soft_time_limit {soft} s is over time_limit {hard} s"
            raise SettingError(msg, name="soft_time_limit")

    def __getattr__(self, option: str) -> Any:
        # Only reached for what is no real attribute: a task option.
        if option.startswith("__") or option not in TASK_OPTIONS:
            raise AttributeError(option)
        value = self.options.get(option, TASK_OPTIONS[option])
        if value is None and option in _FROM_SETTINGS:
            return getattr(self.app.conf, f"task_{option}")
        return value

    def sent_options(self) -> dict[str, Any]:
        """Return what the task's own options put into its messages.

        All names are there, None included, as in Celery's exec options.
        """
        values = {name: self.options.get(name) for name in SENT_OPTIONS}
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
    def request(self) -> Request | None:
        """The request this task runs under; None outside of a worker."""
        return current_request.get()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here."""
        if self.bind:
            return self.run(self, *args, **kwargs)
        return self.run(*args, **kwargs)

    def retry(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: only Celery's workers retry, where `self` is Celery's own task.

        Raises:
            CelerantError: Always.
        """
        msg = (
            f"task {self.name}: self.retry works in Celery's workers "
            "(app.to_celery()), not in the embedded one yet"
        )
        raise CelerantError(msg)

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
        *,
        immutable: bool = False,
        **options: Any,
    ) -> Signature[R]:
        """Make a signature with arguments and options."""
        return Signature(
            self.name,
            tuple(args),
            dict(kwargs or {}),
            options,
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
        **options: Any,
    ) -> AsyncResult[R]:
        """Send it with arguments and options; see `Signature.apply_async`."""
        return self.s().apply_async(args, kwargs, **options)

    def apply(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Run it here and now and return its finished result."""
        return self.s().apply(args, kwargs, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        # A task travels by name: the other process has its own app.
        return task_by_name, (self.app.name, self.name)

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self.app.name}>"
