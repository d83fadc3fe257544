"""The app: settings, tasks and connections; joins the way out with the way back."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    overload,
)

from kombu.utils.imports import symbol_by_name

from celerant.app.config_source import read_settings
from celerant.app.familiar import FamiliarApp
from celerant.app.registry import TaskRegistry
from celerant.canvas.base import Canvas
from celerant.canvas.group import group
from celerant.canvas.signature import Signature
from celerant.canvas.signature import signature as make_signature
from celerant.common.listing import without
from celerant.common.per_process import PerProcess
from celerant.common.urls import masked
from celerant.config import Settings, unknown_setting
from celerant.config.default_backend import backend_url
from celerant.context.apps import load_app, register, set_current_app
from celerant.context.call import Call, given
from celerant.markup import table
from celerant.tasks.options import cleared
from celerant.tasks.task import Task as RegisteredTask

if TYPE_CHECKING:
    import celery
    from typing_extensions import Self, Unpack

    from celerant.app.control import Control
    from celerant.canvas.options import GroupOptions, SendOptions
    from celerant.canvas.single import Single
    from celerant.dispatch.routing import Queues, Router
    from celerant.results.async_result import AsyncResult
    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult
    from celerant.results.saving import GroupResults
    from celerant.sending.event_loop import LoopSender
    from celerant.sending.sender import Sender
    from celerant.worker import Worker

__all__ = ["Celerant"]

P = ParamSpec("P")
R = TypeVar("R")

#: The parameters of an app beside settings.
_PARAMETERS = (
    "name",
    "broker",
    "backend",
    "config_source",
    "namespace",
    "set_as_current",
    "task_cls",
)


#: Public for other rooms of the package only.
_INTERNAL = frozenset(
    {"child_setup", "loop_door", "module", "routes", "sender", "unfinished"}
)


class Celerant(TaskRegistry, FamiliarApp):
    """Sends tasks and groups of tasks, and knows their results.

    Args:
        name: The app's name; for ``memory://`` also that of its default queue.
        broker: A kombu URL, or several with ``;`` between, of which the first that
            answers is used; ``memory://`` without one.
        backend: The store of results: ``memory://``, a Redis URL, ``sentinel://``, or
            ``rpc://`` for messages to this process. By default the broker's own:
            ``rpc://`` for ``amqp://``, and none for a failover list of Redis servers.
        config_source: The argument of `config_from_object`.
        namespace: For `config_from_object`, if it is called without one.
        set_as_current: Make this app the one that serves tasks without an app.
        task_cls: The base of tasks without a `base` of their own: a class derived from
            `celerant.Task`, or its name. Also set by ``app.Task = ...``.
        settings: Celery's lower-case names, as on `conf`.
    Raises:
        SettingError: A setting that does not exist, a broker whose transport kombu
            does not have, or a `task_cls` that is no task's class.
    """

    def __init__(  # noqa: PLR0913 - Celery's
        self,
        name: str,
        *,
        broker: str | None = None,
        backend: str | None = None,
        config_source: Any = None,
        namespace: str | None = None,
        set_as_current: bool = True,
        task_cls: type[RegisteredTask[Any, Any]] | str | None = None,
        **settings: Any,
    ) -> None:
        self.name = self.main = name
        self.conf = Settings(name)
        self._namespace = namespace
        self.Task = symbol_by_name(task_cls or RegisteredTask)
        if module := os.environ.get("CELERY_CONFIG_MODULE"):
            self.config_from_object(module)
        if config_source is not None:
            self.config_from_object(config_source)
        if broker is not None:
            self.conf.broker_url = broker
        if backend is not None:
            self.conf.result_backend = backend
        for setting in settings:
            if setting not in self.conf:
                raise unknown_setting(setting, *_PARAMETERS)
        self.conf.update(settings)
        #: The module that made it; a child process of a worker imports it.
        self.module = sys._getframe(1).f_globals.get("__name__", "__main__")  # noqa: SLF001 - as namedtuple
        self._fill_registry()
        self._lock = PerProcess(threading.RLock)
        self._routing: tuple[int, Queues, Router] | None = None
        self._backend: Backend | None = None
        self._sender: Sender | None = None
        self._loop_sender: LoopSender | None = None
        register(self)
        if set_as_current:
            set_current_app(self)

    def config_from_object(
        self,
        obj: Any,
        silent: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        force: bool = False,  # noqa: ARG002, FBT001, FBT002 - the same
        namespace: str | None = None,
    ) -> None:
        """Set the values of an object, a mapping or a module; they are read now.

        Args:
            obj: The object, or its name, such as ``"django.conf:settings"``.
            silent: A missing module is no error.
            force: Ignored: it is always read now.
            namespace: The begin of the names: ``"CELERY"``; by default the app's.
        Raises:
            SettingError: A setting that does not exist.
            ImportError: There is no such module.
        """
        namespace = namespace or self._namespace
        self.conf.configure(read_settings(obj, namespace, silent=silent))

    # -- sending ----------------------------------------------------------------------

    def signature(
        self,
        name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> Signature[Any]:
        """Make a signature of a task by name; its code need not be here."""
        made: Signature[Any] = make_signature(name, args, kwargs, app=self, **options)
        return made

    def send_task(
        self,
        name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> AsyncResult[Any]:
        """Send a task by name; its code need not be here."""
        signature = self.signature(name, args, kwargs, **cleared(options))
        return self.sender.send_one(signature, Call((), {}, given(options)))

    @overload
    async def asend(
        self, canvas: group[R], **options: Unpack[GroupOptions]
    ) -> GroupResult[R]: ...
    @overload
    async def asend(
        self, canvas: Single[R], **options: Unpack[SendOptions]
    ) -> AsyncResult[R]: ...
    @overload
    async def asend(
        self, canvas: Canvas[Any], **options: Unpack[SendOptions]
    ) -> Any: ...
    async def asend(self, canvas: Any, **options: Unpack[GroupOptions]) -> Any:
        """Send a canvas from an event loop, which goes on meanwhile.

        It works like ``canvas.apply_async(**options)``, on one thread for all loops:
        canvases leave in the order of the calls. The result can be awaited, and
        iterated over with ``async for``. If it is cancelled before its turn, nothing is
        sent. If it has begun, no other chunk of members leaves, and the error has
        `result` and `report`: `group.resume` sends the rest.

        Raises:
            Exception: As `apply_async`.
        """
        door = self.loop_door
        door.open(canvas, self)
        return await door.send(partial(canvas.apply_async, **options))

    @property
    def sender(self) -> Sender:
        """The sender, which sends, runs, freezes and holds canvases."""
        # First without the lock: each task that is sent asks.
        sender = self._sender
        if sender is not None:
            return sender
        from celerant.sending.sender import Sender  # noqa: PLC0415 - heavy

        with self._lock.get():
            if self._sender is None:
                self._sender = Sender(self)
            return self._sender

    @property
    def loop_door(self) -> LoopSender:
        """Return the sender for event loops."""
        from celerant.sending.event_loop import LoopSender  # noqa: PLC0415 - asyncio

        with self._lock.get():
            if self._loop_sender is None:
                self._loop_sender = LoopSender()
            return self._loop_sender

    # -- routes and queues----------------------------------------------------

    def routes(self) -> tuple[Queues, Router]:
        """Return queues and router, made anew when a setting has changed."""
        version = self.conf.version
        # First without the lock: each task that is sent asks.
        routing = self._routing
        if routing is not None and routing[0] == version:
            return routing[1:]
        from celerant.dispatch.routing import Queues, Router  # noqa: PLC0415 - heavy

        with self._lock.get():
            if self._routing is None or self._routing[0] != version:
                queues = Queues(self.conf)
                self._routing = version, queues, Router(self.conf, queues)
            return self._routing[1:]

    @property
    def queues(self) -> Queues:
        """Queues by name; asking for an unknown one makes it, if the settings allow."""
        return self.routes()[0]

    # -- the way back ----------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """The store of results."""
        # As in `routes`.
        backend = self._backend
        if backend is not None:
            return backend
        from celerant.app.backend import open_backend  # noqa: PLC0415 - heavy

        with self._lock.get():
            if self._backend is None:
                self._backend = open_backend(self)
            return self._backend

    @property
    def unfinished(self) -> int:
        """How many members this process waits for, of the groups it has looked at."""
        return 0 if self._backend is None else self._backend.unfinished()

    def AsyncResult(  # noqa: N802 - Celery's
        self,
        id: str,  # noqa: A002 - Celery's name
        backend: Backend | None = None,
        task_name: str | None = None,
        app: Any = None,
        parent: Any = None,
    ) -> AsyncResult[Any]:
        """Return the result of a task by its id; see `celerant.AsyncResult`."""
        from celerant.results.async_result import AsyncResult  # noqa: PLC0415 - heavy

        return AsyncResult(id, backend, task_name, app or self, parent)

    def attach(self, handle: str) -> GroupResult[Any]:
        """Return the result of a group from `GroupResult.handle`, in any process.

        Raises:
            CelerantError: It is no handle, or its results are in another process's
                memory.
        """
        from celerant.results.handle import attach  # noqa: PLC0415 - heavy

        return attach(handle, self.backend)

    @property
    def GroupResult(self) -> GroupResults:  # noqa: N802 - Celery's name
        """Restores saved groups: ``app.GroupResult.restore(id)``, as in Celery."""
        from celerant.results.saving import GroupResults  # noqa: PLC0415 - heavy

        return GroupResults(self)

    # -- brokers and workers -----------------------------------------------------------

    def worker(
        self,
        concurrency: int | None = None,
        pool: Literal["threads", "processes"] = "threads",
        **options: Any,
    ) -> Worker:
        """Return a worker that runs this app's tasks in this process while entered.

        Args:
            concurrency: Tasks at a time; by default the number of cores.
            pool: ``"threads"``, or ``"processes"`` (spawned) for CPU-bound tasks.
            options: `queues` to consume from, `hostname`.
        """
        from celerant.worker import Worker  # noqa: PLC0415 - senders need no worker

        self.import_tasks()
        return Worker(self, concurrency=concurrency, pool=pool, **options)

    @property
    def child_setup(self) -> Callable[[], None]:
        """A function that makes this app and its tasks known in another process."""
        return partial(load_app, self.name, self.module)

    @cached_property
    def control(self) -> Control:
        """Commands to running workers: `revoke`, `ping`, `shutdown`."""
        from celerant.app.control import Control  # noqa: PLC0415 - heavy

        return Control(self)

    def to_celery(self) -> celery.Celery:
        """Return a `celery.Celery` with the same tasks and settings.

        For ``celery -A module:attribute worker``.
        Raises:
            CelerantError: Celery is not installed.
        """
        from celerant.app.to_celery import to_celery  # noqa: PLC0415 - an extra

        return to_celery(self)

    def close(self) -> None:
        """Close connections and stop the consumer; the app can be used again."""
        for sender in (self._loop_sender, self._sender):
            if sender is not None:
                sender.close()
        with self._lock.get():
            backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()

    def __getattr__(self, name: str) -> Any:
        # It is called for missing attributes: Celery's tools ask for Celery's own.
        msg = (
            f"{type(self).__name__!r} object has no attribute {name!r}; where Celery "
            "wants its own app, give it app.to_celery(), as in "
            "celery -A module:celery_app worker"
        )
        raise AttributeError(msg)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __dir__(self) -> list[str]:
        return without(self, _INTERNAL)

    def _repr_html_(self) -> str:
        """Return it for a notebook; asks no server."""
        names = [name for name in self.tasks if not name.startswith("celery.")]
        listed = ", ".join(sorted(names)[:10]) + (", ..." if len(names) > 10 else "")  # noqa: PLR2004 - a few lines
        rows = {
            "broker": masked(self.conf.broker_url),
            "results": masked(backend_url(self.conf) or "nowhere"),
            "default queue": self.conf.task_default_queue,
            "tasks": f"{len(names)}: {listed}" if names else "none",
        }
        return table(f"Celerant {self.name}", rows.items())

    def __repr__(self) -> str:
        return f"<Celerant {self.name}: {masked(self.conf.broker_url)}>"
