"""Names of Celery's app that code written for Celery uses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celerant.app.broker import make_connection
from celerant.context.apps import set_current_app
from celerant.context.request import current_request, own_request
from celerant.dispatch.clock import zone_of

if TYPE_CHECKING:
    from kombu import Connection, Exchange, Producer, Queue

    from celerant.app import Celerant
    from celerant.dispatch.routing import Queues, Router
    from celerant.results.result_set import ResultSet
    from celerant.tasks.task import Task

__all__ = ["FamiliarApp"]


class FamiliarApp:
    """The part of `Celerant` that exists for code written for Celery."""

    #: An app is ready when it is made.
    configured = finalized = True

    def finalize(self, auto: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's form
        """Do nothing: an app is ready when it is made."""

    def config_from_envvar(
        self,
        variable_name: str,
        silent: bool = False,  # noqa: FBT001, FBT002 - Celery's form
    ) -> bool:
        """Set the values of the module that an environment variable names; read now.

        Args:
            variable_name: The environment variable's.
            silent: Do nothing if it is not set, or its module is not there.
        Returns:
            Whether it was set.
        Raises:
            LookupError: It is not set.
        """
        module = os.environ.get(variable_name)
        if module:
            _app(self).config_from_object(module, silent=silent)
        elif not silent:
            msg = f"the environment has no {variable_name}: set it to a module's name"
            raise LookupError(msg)
        return bool(module)

    # -- the time ------------------------------------------------------------------

    @property
    def timezone(self) -> tzinfo:
        """The zone of ``timezone``; UTC, or this machine's, if none is set."""
        zone = zone_of(_app(self).conf)
        return datetime.now(timezone.utc).astimezone().tzinfo if zone is None else zone  # type: ignore[return-value]  # aware: it has one

    def now(self) -> datetime:
        """Return the time now, in the app's zone."""
        return datetime.now(timezone.utc).astimezone(self.timezone)

    def uses_utc_timezone(self) -> bool:
        """Whether the app's zone is UTC."""
        return self.timezone == timezone.utc

    # -- which app, which task -------------------------------------------------------

    def set_current(self) -> None:
        """Make this app the one that serves tasks without an app."""
        set_current_app(_app(self))

    set_default = set_current

    @property
    def current_task(self) -> Task[Any, Any] | None:
        """The task whose function runs here; None outside of tasks."""
        request = own_request.get() or current_request.get()
        return None if request is None else _app(self).tasks.get(request.task)

    @property
    def current_worker_task(self) -> Task[Any, Any] | None:
        """The task that a worker runs here, also inside its calls; None outside."""
        request = current_request.get()
        return None if request is None else _app(self).tasks.get(request.task)

    # -- results -----------------------------------------------------------------------

    def ResultSet(self, results: Iterable[Any], **options: Any) -> ResultSet[Any]:  # noqa: N802 - Celery's name
        """Return results as a set; see `celerant.ResultSet`."""
        from celerant.results.result_set import ResultSet  # noqa: PLC0415 - heavy

        return ResultSet(results, app=self, **options)

    # -- the broker --------------------------------------------------------------------

    def connection_for_write(self, url: str | None = None) -> Connection:
        """Return a new kombu connection for sending, not yet connected.

        Args:
            url: Instead of the app's broker; its other settings hold.
        """
        conf = _app(self).conf
        return make_connection(conf, url or conf.broker_write_url)

    def connection_for_read(self, url: str | None = None) -> Connection:
        """Return a new kombu connection for consuming, not yet connected.

        Args:
            url: Instead of the app's broker; its other settings hold.
        """
        # A broker that is silent for two heartbeats is lost; 0 turns heartbeats off.
        conf = _app(self).conf
        most = max(1, int(conf.celerant_stall_timeout / 2))
        heartbeat = min(conf.broker_heartbeat or 0, most)
        return make_connection(conf, url or conf.broker_read_url, heartbeat=heartbeat)

    def connection(self, url: str | None = None) -> Connection:
        """Return a new kombu connection to the broker, not yet connected.

        Args:
            url: Instead of the app's broker; its other settings hold.
        """
        return _app(self).connection_for_write(url)

    broker_connection = connection

    @contextmanager
    def connection_or_acquire(
        self, connection: Connection | None = None, *_: Any, **__: Any
    ) -> Iterator[Connection]:
        """Return a connection for a ``with`` block: this one, or a new one."""
        if connection is not None:
            yield connection
            return
        with _app(self).connection_for_write() as made:
            yield made

    default_connection = connection_or_acquire

    @contextmanager
    def producer_or_acquire(
        self, producer: Producer | None = None
    ) -> Iterator[Producer]:
        """Return a kombu producer for a ``with`` block: this one, or a new one."""
        if producer is not None:
            yield producer
            return
        with _app(self).connection_for_write() as connection:
            yield connection.Producer(serializer=_app(self).conf.task_serializer)

    default_producer = producer_or_acquire

    @cached_property
    def amqp(self) -> Messaging:
        """The app's queues and routes."""
        return Messaging(_app(self))


class Messaging:
    """Queues and routes of an app, by the names of Celery's ``app.amqp``."""

    def __init__(self, app: Celerant) -> None:
        self.app = app

    @property
    def queues(self) -> Queues:
        """Queues by name."""
        return self.app.queues

    @property
    def router(self) -> Router:
        """The router, which finds a task's queue."""
        return self.app.routes()[1]

    @property
    def default_queue(self) -> Queue:
        """The queue of tasks without a route."""
        return self.queues[self.app.conf.task_default_queue]

    @property
    def default_exchange(self) -> Exchange:
        """The exchange of the default queue."""
        return self.queues.default_exchange


def _app(familiar: Any) -> Celerant:
    app: Celerant = familiar
    return app
