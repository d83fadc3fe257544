"""A function that workers run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from celerant.canvas.data import positional
from celerant.canvas.mapping import chunks, mapped
from celerant.canvas.signature import Signature
from celerant.common.listing import without
from celerant.context.apps import task_by_name
from celerant.context.call import Call, given
from celerant.context.request import (
    Request,
    current_request,
    direct_request,
    enter,
    own_request,
)
from celerant.errors import MaxRetriesExceeded, PublishError, Retry
from celerant.tasks.attributes import INTERNAL, AppMadeLast, FromSetting
from celerant.tasks.call_order import of_apply, of_apply_async
from celerant.tasks.hooks import TaskHooks
from celerant.tasks.noting import NOTING, note_one
from celerant.tasks.options import HOOKS, OPTIONS, SENT, cleared
from celerant.tasks.replace import extend_chord, hand_over, replacement
from celerant.tasks.retry import ask_again, ask_retry
from celerant.tasks.state import store_state

if TYPE_CHECKING:
    from datetime import datetime

    from typing_extensions import Self, Unpack

    from celerant.canvas.options import ApplyOptions, MessageOptions, SendOptions
    from celerant.context.host import App
    from celerant.results.async_result import AsyncResult
    from celerant.results.backends.base import Backend

__all__ = ["Task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(TaskHooks, Generic[P, R]):
    """A registered function: call it, make signatures of it, send it.

    Made by ``@app.task``. `delay`, `si` and calling take the function's arguments;
    `s` takes anything, for partial arguments. With ``bind=True`` the function gets the
    task as first argument, for `request`, `retry`, `replace` and `update_state`.

    A class of your own derives from it: ``@app.task(base=MyTask)`` makes a task of that
    class. Its attributes named like options are options; it may have an ``__init__``
    without arguments, properties, a ``__call__`` that goes on to this one's, and the
    hooks `before_start`, `on_success`, `on_retry`, `on_failure` and `after_return`.
    """

    #: The last error of `retry`, for ``except self.MaxRetriesExceededError``.
    MaxRetriesExceededError = MaxRetriesExceeded
    #: The error of sending if the broker cannot be reached.
    OperationalError = PublishError

    #: Its name in the registry.
    name: str = ""
    #: The app that has it; if it is not registered, the app made last.
    app: App = cast("App", AppMadeLast())
    #: Whether the function gets the task as its first argument.
    bind: bool = False
    #: Whether it was made of a function, not of a class of the user's own.
    is_decorated: bool = False
    #: The parameters for arguments (without `self` of a bound task), if checked.
    parameters: inspect.Signature | None = None
    #: Writes models among the arguments; None if the task takes none.
    dump_models: Callable[[Any, Any], tuple[Any, Any]] | None = None
    #: The parameters that are annotated `GroupResult`, and get one for its handle.
    of_results: Collection[str] = ()
    #: Whether the first positional parameter is among them.
    takes_header: bool = False
    #: The methods for classes of your own that a subclass has replaced.
    hooks: frozenset[str] = frozenset()
    #: The shared tasks that stand for it: their receivers of signals hear of it.
    stand_ins: tuple[Any, ...] = ()

    if TYPE_CHECKING:

        def __getattr__(self, option: str) -> Any: ...

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work: the decorated function, or a method of a class of your own."""
        msg = f"task {self.name}: its class has no method 'run'"
        raise NotImplementedError(msg)

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if cls.apply_async is not Task.apply_async:
            note_one()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in SENT:
            self.__dict__.pop("_given_options", None)
        elif name == "apply_async":
            # As tests do that replace it.
            note_one()
        elif name in HOOKS:
            super().__setattr__("hooks", self.hooks | {name})

    def own_option(self, name: str) -> Any:
        """Return an option as the task or its class gives it; None: neither does."""
        if name in self.__dict__:
            return self.__dict__[name]
        for cls in type(self).__mro__:
            if cls is Task:
                return None
            if name in cls.__dict__:
                value = getattr(self, name)
                return None if cls.__dict__[name] is vars(Task).get(name) else value
        return None

    def given_options(self) -> dict[str, Any]:
        """Return the task's own options that go into its messages."""
        given: dict[str, Any] | None = self.__dict__.get("_given_options")
        if given is None:
            found = ((name, self.own_option(name)) for name in SENT)
            given = {name: value for name, value in found if value is not None}
            self.__dict__["_given_options"] = given
        return given

    def sent_options(self) -> dict[str, Any]:
        """Return the fields of messages that the task's options set.

        All names are there, None included, as in Celery's exec options.
        """
        values = {**dict.fromkeys(SENT), **self.given_options()}
        for name in _SENT_BY_SETTING:
            if values[name] is None:
                values[name] = getattr(self, name)
        return values

    @property
    def request(self) -> Request:
        """The request this task runs under; an empty one if it was only called."""
        for request in (own_request.get(), current_request.get()):
            if request is not None and request.task == self.name:
                return request
        return direct_request(self.name)

    @property
    def backend(self) -> Backend:
        """The store of the task's results."""
        backend: Backend = self.app.backend
        return backend

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here."""
        token = enter(self.name, args, kwargs)
        try:
            value: R = self.run(*args, **kwargs)
            return value
        finally:
            own_request.reset(token)

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
        so that the reader sees the end.

        Args:
            args: Instead of this run's positional arguments.
            kwargs: Instead of its keyword arguments.
            exc: The reason; raised once the task may not be retried again.
            throw: Raise the Retry; False returns it, and the task goes on.
            eta: The time of the next run, a datetime.
            countdown: Seconds from now; by default the task's ``default_retry_delay``.
            max_retries: For this call; by default the task's own; None is without
                limit.
            options: Options of `apply_async`, over those of this run's message.
        Returns:
            The error that is raised otherwise.
        Raises:
            Retry: It tells the worker that the task is retried.
            MaxRetriesExceeded: It was retried too often, and there is no `exc`.
            BaseException: `exc`, if it was retried too often or no worker runs the
                task.
        """
        given = {**options, "eta": eta, "countdown": countdown}
        asked = ask_retry(
            self, args, kwargs, exc=exc, max_retries=max_retries, options=given
        )
        if throw:
            raise asked
        return asked

    def retry_lost(self, request: Request, exc: Any) -> Retry | None:
        """Let the worker send the task again after its process died.

        Returns:
            None if it was retried as often as it may be.
        """
        return ask_again(self, request, exc)

    def replace(self, sig: Any) -> Any:
        """Let `sig` take the place of this task: its id, callbacks, chain and chord.

        Write ``return`` or ``raise self.replace(...)``: nothing after it runs.

        Args:
            sig: A signature, group, chain or chord. A group's results come as a list.
        Raises:
            Ignore: The worker sends `sig` once the function has ended; in place it
                has been run, and the task has its value.
            CanvasError: The canvas is in a chord, or is an empty chain.
        """
        return self.on_replace(replacement(self, sig))

    def on_replace(self, sig: Any) -> Any:
        """Send or run the canvas that replaces this task; subclasses may add to it."""
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
        """Store a state of your own while the task runs, such as ``"PROGRESS"``.

        Args:
            task_id: By default this task's.
            state: Its name.
            meta: The value of `AsyncResult.info`; any value that a result can have.
        Raises:
            ValueError: There is no state, or no task runs.
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
        """Make a signature with these arguments, which may be partial."""
        return Signature.of_call(self.name, args, kwargs, self.app)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """Make a signature that ignores arguments of a call or a previous task."""
        made = Signature.of_call(self.name, args, kwargs, self.app)
        made["immutable"] = True
        return made

    def signature(
        self,
        args: tuple[Any, ...] | list[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **more: Unpack[SendOptions],
    ) -> Signature[R]:
        """Make a signature with arguments and options, which may be named."""
        return Signature(
            self.name,
            tuple(args or ()),
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
        args: tuple[Any, ...] | list[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        *more: Any,
        **options: Unpack[SendOptions],
    ) -> AsyncResult[R]:
        """Send it with arguments and options; see `Signature.apply_async`.

        A class of your own may have another `apply_async`, which goes on to this one.
        It is called for each send of the task: in groups, chains and chords too, by
        callbacks and retries. `more` are options by position, in Celery's order.
        """
        noted, named = NOTING.get(), of_apply_async(more, options)
        if noted is not None and noted.task is self and noted.call is None:
            result: AsyncResult[R] = noted.take(args, kwargs, named)
        else:
            call = Call(positional(args), kwargs or {}, given(named))
            signature = self.s()
            signature.options.update(cleared(named))
            result = self.app.sender.send_one(signature, call)
        return result

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
        args: tuple[Any, ...] | list[Any] | None = (),
        kwargs: Mapping[str, Any] | None = None,
        *more: Any,
        **options: Unpack[ApplyOptions],
    ) -> AsyncResult[R]:
        """Run it here and return its finished result."""
        return self.s().apply(args or (), kwargs, **of_apply(more, options))

    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result of this task by its id."""
        result: AsyncResult[R] = self.app.AsyncResult(task_id, **options)
        return result

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # There is one of its name in its app.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A task is pickled by name: the other process has its own app.
        return task_by_name, (self.app.name, self.name)

    def __dir__(self) -> list[str]:
        return without(self, INTERNAL)

    def __repr__(self) -> str:
        app = self.own_option("app")
        return f"<@task: {self.name} of {app.name}>" if app else "<unregistered task>"


for _name, _option in OPTIONS.items():
    if _option.setting is not None:
        setattr(Task, _name, FromSetting(_option.setting))
    elif _option.treatment != "refused" and not hasattr(Task, _name):
        setattr(Task, _name, _option.default)

_SENT_BY_SETTING = [name for name in SENT if OPTIONS[name].setting is not None]
