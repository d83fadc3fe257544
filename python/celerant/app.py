"""The app: settings, tasks and connections; joins the way out with the way back."""

from __future__ import annotations

import importlib
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from kombu import Connection
from kombu.common import oid_from
from kombu.utils.url import maybe_sanitize_url

from celerant._core import Ledger, Roster
from celerant.canvas.group import group
from celerant.canvas.host import set_current_app
from celerant.canvas.request import current_request
from celerant.canvas.signature import Signature
from celerant.canvas.signature import signature as make_signature
from celerant.config import Settings
from celerant.dispatch.blueprints import Blueprints, Lineage
from celerant.dispatch.clock import zone_of
from celerant.dispatch.dispatcher import Dispatcher, Order, Sent
from celerant.dispatch.options import check_options
from celerant.dispatch.routing import Queues, Router
from celerant.eager import run_group, run_signature
from celerant.errors import CanvasError, CelerantError, ForkError, PublishError
from celerant.freezing import freeze
from celerant.results.backends import open_backend
from celerant.results.group_result import GroupResult
from celerant.results.handle import attach
from celerant.results.result import AsyncResult
from celerant.task import Task

if TYPE_CHECKING:
    import celery
    from typing_extensions import Self

    from celerant.results.backends.base import Backend
    from celerant.worker import Worker

__all__ = ["Celerant", "task_by_name"]

P = ParamSpec("P")
R = TypeVar("R")

_apps: weakref.WeakSet[Celerant] = weakref.WeakSet()


class Celerant:
    """Sends tasks and groups of tasks, and knows their results.

    Args:
        name: The app's name; for ``memory://`` also that of its default queue.
        broker: A kombu URL; ``memory://`` without one.
        backend: Where results are: ``memory://`` or a Redis URL. By default what
            the broker is, where it can hold results.
        settings: Celery's lower-case names, as on `conf`.
    Raises:
        SettingError: A setting that does not exist.
    """

    def __init__(
        self,
        name: str,
        *,
        broker: str | None = None,
        backend: str | None = None,
        **settings: Any,
    ) -> None:
        self.name = self.main = name
        self.conf = Settings(
            broker_url="memory://",
            # Two apps in one process share kombu's memory: only the names differ.
            **({"task_default_queue": name} if not broker else {}),
        )
        if broker is not None:
            self.conf.broker_url = broker
        if backend is not None:
            self.conf.result_backend = backend
        self.conf.update(settings)
        self._tasks: dict[str, Task[Any, Any]] = {}
        self._lock = threading.RLock()
        self._local = threading.local()
        self._pid = os.getpid()
        self._routing: tuple[int, Queues, Router] | None = None
        self._backend: Backend | None = None
        self._dispatcher: Dispatcher | None = None
        #: How a result's group was sent, for `resume`.
        self._calls: weakref.WeakKeyDictionary[GroupResult[Any], _Call] = (
            weakref.WeakKeyDictionary()
        )
        _apps.add(self)
        set_current_app(self)

    # -- tasks ---------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = ...,
        bind: Literal[False] = ...,
        **options: Any,
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = ...,
        bind: Literal[True],
        **options: Any,
    ) -> Callable[[Callable[..., R]], Task[..., R]]: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        bind: bool = False,
        **options: Any,
    ) -> Any:
        """Register a function as a task; use as ``@app.task`` or ``@app.task(...)``.

        Args:
            name: By default the function's module and name.
            bind: Pass the task itself as first argument.
            options: Celery's names: `queue`, `serializer`, `ignore_result`, ...
        Raises:
            SettingError: An option that does not exist.
        """

        def register(function: Callable[..., Any]) -> Task[Any, Any]:
            made: Task[Any, Any] = Task(
                function,
                name=name or self._task_name(function),
                app=self,
                bind=bind,
                options=options,
            )
            self._tasks[made.name] = made
            return made

        return register if function is None else register(function)

    def _task_name(self, function: Callable[..., Any]) -> str:
        module = function.__module__
        # A script and the copy of it that a spawned process imports are one.
        if module in {"__main__", "__mp_main__"}:
            module = self.name
        return f"{module}.{function.__name__}"

    @property
    def tasks(self) -> Mapping[str, Task[Any, Any]]:
        """Registered tasks by name."""
        return MappingProxyType(self._tasks)

    def signature(
        self,
        name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature[Any]:
        """Make a signature of a task by name; its code need not be here."""
        made: Signature[Any] = make_signature(name, args, kwargs, app=self, **options)
        return made

    def send_task(
        self,
        name: str,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send a task by name; its code need not be here."""
        return self.signature(name, args, kwargs).apply_async(**options)

    # -- the way out -----------------------------------------------------------------

    def send_signature(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> AsyncResult[Any]:
        """Send one task; see `Signature.apply_async`."""
        if self.conf.task_always_eager and signature.task in self._tasks:
            return run_signature(self, signature, args, kwargs, options)
        check_options(options, f"task {signature.task}")
        roster = Roster(_new_seed())
        task_id = options.pop("task_id", None)
        if task_id:
            signature = signature.clone(task_id=task_id)
        call = _Call(args, kwargs, options)
        sent = self._send([signature], roster, call, group_id=None)
        result: AsyncResult[Any] = self._group_result(roster, None, sent)[0]
        if sent.error is not None:
            raise sent.error
        self._add_to_parent(result, options)
        return result

    def send_group(
        self,
        members: group[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> GroupResult[Any]:
        """Send a group; see `group.apply_async`."""
        if self.conf.task_always_eager:
            return run_group(self, members, args, kwargs, options)
        check_options(options, "group")
        call = _Call(args, kwargs, members.merged_options(options))
        roster = Roster(members._seed or _new_seed())  # noqa: SLF001 - set by our own freeze
        group_id = call.options.pop("task_id", None) or roster.uuid
        sent = self._send(members["kwargs"]["tasks"], roster, call, group_id=group_id)
        result = self._group_result(roster, group_id, sent)
        if sent.error is not None:
            raise self._resumable(sent.error, result, call)
        self._add_to_parent(result, options)
        return result

    def resume_group(
        self, members: group[Any], result: GroupResult[Any], unknown: str
    ) -> GroupResult[Any]:
        """Send what an interrupted dispatch left over; see `group.resume`."""
        if unknown not in {"send", "skip"}:
            msg = f"unknown must be 'send' or 'skip', not {unknown!r}"
            raise ValueError(msg)
        call, report = self._calls.get(result), result.report
        source = members["kwargs"]["tasks"]
        if call is None or report is None:
            msg = "this result is of no interrupted dispatch of this app"
            raise CanvasError(msg, path="group")
        if not isinstance(source, (list, tuple)):
            msg = (
                "a group made from a generator cannot be resumed: its members are gone"
            )
            raise CanvasError(msg, path="group")
        only = report.unsent + report.rejected
        if unknown == "send":
            only += report.unknown
        sent = self._send(
            source,
            result.roster,
            call,
            group_id=result.id,
            only=sorted(only),
            ledger=report.ledger,
        )
        result._renew(sent.barrier, sent.report)  # noqa: SLF001 - the app joins both ways
        if sent.error is not None:
            raise self._resumable(sent.error, result, call)
        return result

    def freeze_group(
        self, members: group[Any], options: dict[str, Any]
    ) -> GroupResult[Any]:
        """Give a group and its members their ids; see `group.freeze`."""
        members.options.update(options)
        roster, barrier = freeze(members, _new_seed())
        return GroupResult(
            roster=roster,
            group_id=members.options["task_id"],
            barrier=barrier,
            backend=self.backend,
        )

    def apply_signature(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> AsyncResult[Any]:
        """Run one task in place."""
        return run_signature(self, signature, args, kwargs, options)

    def apply_group(
        self,
        members: group[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> GroupResult[Any]:
        """Run a group in place."""
        return run_group(self, members, args, kwargs, options)

    def _send(  # noqa: PLR0913 - one dispatch's whole context
        self,
        source: Any,
        roster: Roster,
        call: _Call,
        *,
        group_id: str | None,
        only: list[tuple[int, int]] | None = None,
        ledger: Ledger | None = None,
    ) -> Sent:
        self._refuse_forked_memory()
        queues, router = self._routes()
        options = call.options
        blueprints = Blueprints(
            self.conf,
            queues,
            router,
            self._tasks,
            zone=zone_of(self.conf),
            reply_to=self._reply_to(),
            lineage=Lineage.of(current_request.get()),
            group_id=group_id,
            options=options,
        )
        policy = {
            **self.conf.task_publish_retry_policy,
            **(options.get("retry_policy") or {}),
        }
        retry = options.get("retry")
        order = Order(
            source=source,
            roster=roster,
            blueprints=blueprints,
            args=call.args,
            kwargs=call.kwargs,
            grouped=group_id is not None,
            retry=self.conf.task_publish_retry if retry is None else retry,
            retry_policy=policy,
            producer=options.get("producer"),
            only=only,
            repr_levels=self.conf.task_repr_maxlevels,
            ledger=Ledger() if ledger is None else ledger,
        )
        return self._outbound().dispatch(order)

    def _refuse_forked_memory(self) -> None:
        if os.getpid() != self._pid and str(self.conf.broker_url).startswith("memory:"):
            msg = (
                f"app {self.name!r} sends through memory of process {self._pid}, which "
                f"its forked child {os.getpid()} does not share; use a broker, or make "
                "the app after the fork"
            )
            raise ForkError(msg, created_in_pid=self._pid)

    def _group_result(
        self, roster: Roster, group_id: str | None, sent: Sent
    ) -> GroupResult[Any]:
        return GroupResult(
            roster=roster,
            group_id=group_id or roster.uuid,
            barrier=sent.barrier,
            backend=self.backend,
            report=sent.report,
        )

    def _resumable(
        self, error: BaseException, result: GroupResult[Any], call: _Call
    ) -> BaseException:
        if isinstance(error, PublishError):
            error.result, error.report = result, result.report
            self._calls[result] = call
        return error

    @staticmethod
    def _add_to_parent(result: Any, options: Mapping[str, Any]) -> None:
        request = current_request.get()
        if request is not None and options.get("add_to_parent", True):
            request.children.append(result.as_tuple())

    def _reply_to(self) -> str:
        try:
            oid: str = self._local.oid
        except AttributeError:
            oid = self._local.oid = oid_from(self)
        return oid

    def _routes(self) -> tuple[Queues, Router]:
        version = self.conf.version
        with self._lock:
            if self._routing is None or self._routing[0] != version:
                queues = Queues(self.conf)
                self._routing = version, queues, Router(self.conf, queues)
            return self._routing[1:]

    @property
    def queues(self) -> Queues:
        """Queues by name; asking for an unknown one makes it, if the settings allow."""
        return self._routes()[0]

    def _outbound(self) -> Dispatcher:
        with self._lock:
            if self._dispatcher is None:
                limit = self.conf.broker_pool_limit
                self._dispatcher = Dispatcher(self.connection_for_write, limit)
            return self._dispatcher

    # -- the way back ----------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """Where results are kept."""
        with self._lock:
            if self._backend is None:
                self._backend = self._open_backend()
            return self._backend

    def _open_backend(self) -> Backend:
        conf = self.conf
        return open_backend(
            self._backend_url(),
            name=self.name,
            expires=conf.result_expires,
            failure_expires=conf.result_failure_expires,
            serializer=conf.result_serializer,
            accept=conf.result_accept_content or conf.accept_content,
            compression=conf.result_compression,
            extended=conf.result_extended,
            transport_options=conf.result_backend_transport_options,
            use_ssl=conf.redis_backend_use_ssl,
            connection={
                "max_connections": conf.redis_max_connections,
                "retry_on_timeout": conf.redis_retry_on_timeout,
                "socket_connect_timeout": conf.redis_socket_connect_timeout,
                "socket_keepalive": conf.redis_socket_keepalive,
                "socket_timeout": conf.redis_socket_timeout,
            },
        )

    def _backend_url(self) -> str | None:
        url: str | None = self.conf.result_backend
        if url is None:
            broker = str(self.conf.broker_url)
            if broker.split("://", 1)[0] in {
                "memory",
                "redis",
                "rediss",
                "redis+socket",
            }:
                url = broker
        return url

    def AsyncResult(self, task_id: str) -> AsyncResult[Any]:  # noqa: N802 - Celery's name
        """Return the result of a task by its id."""
        return AsyncResult(task_id, backend=self.backend)

    def attach(self, handle: str) -> GroupResult[Any]:
        """Return the result of a group from `GroupResult.handle`, in any process.

        Raises:
            CelerantError: Not a handle, or results that no other process can see.
        """
        return attach(handle, self.backend)

    # -- brokers and workers -----------------------------------------------------------

    def connection_for_write(self) -> Connection:
        """Return a new kombu connection for sending, not yet connected."""
        return self._connection(self.conf.broker_write_url)

    def connection_for_read(self) -> Connection:
        """Return a new kombu connection for consuming, not yet connected."""
        return self._connection(
            self.conf.broker_read_url, heartbeat=self.conf.broker_heartbeat
        )

    def _connection(self, url: str | None, **options: Any) -> Connection:
        conf = self.conf
        url = url or conf.broker_url
        return Connection(
            # kombu warns where a URL names no host, which memory has no need of.
            "memory://localhost//" if url == "memory://" else url,
            ssl=conf.broker_use_ssl,
            connect_timeout=conf.broker_connection_timeout,
            login_method=conf.broker_login_method,
            failover_strategy=conf.broker_failover_strategy,
            transport_options=dict(conf.broker_transport_options),
            **options,
        )

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

        return Worker(self, concurrency=concurrency, pool=pool, **options)

    def to_celery(self) -> celery.Celery:
        """Return a `celery.Celery` with the same tasks and settings.

        For ``celery -A module:attribute worker``.
        Raises:
            CelerantError: Celery is not installed.
        """
        from celerant.to_celery import to_celery  # noqa: PLC0415 - an extra

        return to_celery(self)

    def close(self) -> None:
        """Close connections and stop the consumer; the app can be used again."""
        with self._lock:
            dispatcher, self._dispatcher = self._dispatcher, None
            backend, self._backend = self._backend, None
        if dispatcher is not None:
            dispatcher.close()
        if backend is not None:
            backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        """Drop what a child must not share with its parent."""
        self._lock = threading.RLock()
        self._local = threading.local()
        if self._dispatcher is not None:
            self._dispatcher.after_fork()

    def __repr__(self) -> str:
        return f"<Celerant {self.name}: {maybe_sanitize_url(self.conf.broker_url)}>"


class _Call:
    """With what a group was sent."""

    __slots__ = ("args", "kwargs", "options")

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self.options = options


def _new_seed() -> bytes:
    return uuid.uuid4().bytes


def task_by_name(app: str, name: str) -> Task[Any, Any]:
    """Return a task of an app of this process: how tasks are unpickled.

    Raises:
        CelerantError: There is no such app or task here.
    """
    for candidate in _named(app):
        if name in candidate.tasks:
            return candidate.tasks[name]
    with suppress(ImportError):
        importlib.import_module(name.rpartition(".")[0])
    for candidate in _named(app):
        if name in candidate.tasks:
            return candidate.tasks[name]
    msg = f"no task {name!r} of app {app!r} here: import its module first"
    raise CelerantError(msg)


def _named(app: str) -> Iterator[Celerant]:
    return (candidate for candidate in list(_apps) if candidate.name == app)


def _after_fork_in_child() -> None:
    for app in list(_apps):
        app._after_fork()  # noqa: SLF001 - the app's own hook


os.register_at_fork(after_in_child=_after_fork_in_child)
