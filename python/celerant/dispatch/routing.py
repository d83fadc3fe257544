"""The queue, exchange and routing key of a task.

Source: ``celery.app.routes`` and ``celery.app.amqp.Queues`` of celery 5.7.0.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

from kombu import Exchange, Queue
from kombu.utils.imports import symbol_by_name

from celerant.config import Settings
from celerant.errors import SettingError

__all__ = ["Queues", "Router"]

logger = logging.getLogger("celerant")


class Queues(dict[str, Queue]):
    """Queues by name; an unknown name makes one, unless the settings say no.

    Raises:
        SettingError: An unknown queue while ``task_create_missing_queues`` is off.
    """

    def __init__(self, conf: Settings) -> None:
        super().__init__()
        #: Counts the changes, so that a template can tell whether its queue has
        #: changed.
        self.version = 0
        self._conf = conf
        #: The name of the default queue.
        self.default = default = conf.task_default_queue
        self.default_exchange = Exchange(
            conf.task_default_exchange or default, conf.task_default_exchange_type
        )
        self._default_key = conf.task_default_routing_key or default
        self._aliases: dict[str, Queue] = {}
        declared = conf.task_queues
        if not declared:
            quorum = conf.task_default_queue_type == "quorum"
            declared = [
                Queue(
                    default,
                    self.default_exchange,
                    routing_key=self._default_key,
                    queue_arguments={"x-queue-type": "quorum"} if quorum else None,
                )
            ]
        if isinstance(declared, Mapping):
            declared = [
                queue if isinstance(queue, Queue) else _from_dict(name, queue)
                for name, queue in declared.items()
            ]
        for queue in declared:
            self.include(queue)
        #: Names that a worker consumes from by default.
        self.declared: tuple[str, ...] = tuple(self)

    def __setitem__(self, name: str, queue: Queue) -> None:
        self.version += 1
        super().__setitem__(name, queue)
        # A `Broadcast` too is known by the alias: its own name is made up.
        if queue.alias:
            self._aliases[queue.alias] = queue

    def __getitem__(self, name: str) -> Queue:
        aliased = self._aliases.get(name)
        return super().__getitem__(name) if aliased is None else aliased

    def __contains__(self, name: object) -> bool:
        return name in self._aliases or super().__contains__(name)

    def include(self, queue: Queue) -> Queue:
        """Add a queue, and fill in the settings' values."""
        if queue.exchange is None or queue.exchange.name == "":
            queue.exchange = self.default_exchange
        if not queue.routing_key:
            queue.routing_key = self._default_key
        limit = self._conf.task_queue_max_priority
        if limit is not None:
            arguments = dict(queue.queue_arguments or {})
            arguments.setdefault("x-max-priority", limit)
            queue.queue_arguments = arguments
        self[queue.name] = queue
        return queue

    def __missing__(self, name: str) -> Queue:
        conf = self._conf
        if not conf.task_create_missing_queues:
            msg = (
                f"queue {name!r} is not in task_queues, and "
                "task_create_missing_queues is off"
            )
            raise SettingError(msg, name="queue")
        queue_type = conf.task_create_missing_queue_type or "classic"
        if queue_type not in {"classic", "quorum"}:
            msg = f"task_create_missing_queue_type {queue_type!r}: classic or quorum"
            raise SettingError(msg, name="task_create_missing_queue_type")
        exchange_type = conf.task_create_missing_queue_exchange_type
        exchange = Exchange(name, exchange_type) if exchange_type else Exchange(name)
        arguments = {"x-queue-type": queue_type} if queue_type == "quorum" else None
        return self.include(Queue(name, exchange, name, queue_arguments=arguments))


def _from_dict(name: str, options: Mapping[str, Any]) -> Queue:
    options = dict(options)
    options.setdefault("routing_key", options.get("binding_key") or name)
    return Queue.from_dict(name, **options)


class Router:
    """Applies ``task_routes`` and the default queue to the options of a send."""

    def __init__(self, conf: Settings, queues: Queues) -> None:
        self._conf = conf
        self._queues = queues
        routes = conf.task_routes or ()
        if not isinstance(routes, (list, tuple)):
            routes = (routes,)
        self._routes = [_prepare(route) for route in routes]
        #: Whether a route may depend on the arguments of a task.
        self.reads_arguments = any(not isinstance(r, _Map) for r in self._routes)

    def route(
        self,
        options: dict[str, Any],
        name: str,
        args: Any = (),
        kwargs: Any = None,
        task: Any = None,
    ) -> dict[str, Any]:
        """Return the options, with a declared `kombu.Queue` as `queue` if one applies.

        Options of the send go before routes, and routes before the default queue.
        """
        options = self._expand(options)
        found = self._look_up(name, args, kwargs or {}, options, task)
        if found:
            options = _overlay(self._expand(found), options)
        if "queue" in options:
            return options
        # If a route leads to no queue, Celery asks for none.
        queue = None if found else self._queues[self._queues.default]
        options = _unless_lost(options, queue)
        return options if queue is None else _overlay({"queue": queue}, options)

    def _look_up(
        self, name: str, args: Any, kwargs: Any, options: dict[str, Any], task: Any
    ) -> Any:
        for router in self._routes:
            found = router(name, args, kwargs, options, task=task)
            if found is not None:
                return found
        return None

    def _expand(self, destination: Any) -> dict[str, Any]:
        if isinstance(destination, str):
            return {"queue": self._queues[destination]}
        expanded = dict(destination)
        queue = expanded.pop("queue", None)
        if queue:
            named = isinstance(queue, Queue)
            expanded["queue"] = queue if named else self._queues[queue]
        return expanded


def _unless_lost(options: dict[str, Any], queue: Queue | None) -> dict[str, Any]:
    """Return options without a queue as Celery reads them, or refuse them.

    Celery passes over an exchange that is named without a routing key and may be a
    direct one, which needs a key; it takes the default queue. Here it is refused. A
    `kombu.Exchange` tells its type. A key without an exchange is passed over here too,
    and the log says so once.

    Args:
        options: After routing.
        queue: The default queue, if that comes next.
    """
    exchange, key = options.get("exchange"), options.get("routing_key")
    bound = None if queue is None else queue.exchange
    exchange_type = options.get("exchange_type") or (bound and bound.type) or "direct"
    name = getattr(exchange, "name", exchange)
    if exchange_type != "direct":
        return options
    own = getattr(exchange, "type", exchange_type)
    if name and own != exchange_type and not options.get("exchange_type"):
        return {**options, "exchange_type": own}
    if name and not key and name != (bound and bound.name):
        msg = (
            f"exchange {name!r} is named without a routing key or a queue, so nothing "
            "says which of its queues is meant; name routing_key= or queue= too, or "
            "exchange_type= where it is a fanout or topic exchange"
        )
        raise SettingError(msg, name="exchange")
    if key and not name and queue is not None and key != queue.routing_key:
        _say_passed_over(key, queue.name)
    return options


@lru_cache(maxsize=1_000)
def _say_passed_over(key: str, queue: str) -> None:
    """Log it, once for each."""
    logger.warning(
        "routing key %r is named without an exchange or a queue: the message goes to "
        "the default queue %s, whose exchange is direct; name exchange= or queue= too",
        key,
        queue,
    )


def _overlay(low: dict[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Return `low` with the values of `high` laid over it that are not None."""
    return {**low, **{name: value for name, value in high.items() if value is not None}}


class _Map:
    """A route from a mapping: exact names first, then patterns in order."""

    def __init__(self, routes: Any) -> None:
        items = routes.items() if isinstance(routes, Mapping) else routes
        self._exact: dict[str, Any] = {}
        self._patterns: list[tuple[re.Pattern[str], Any]] = []
        for key, value in items:
            if isinstance(key, re.Pattern):
                self._patterns.append((key, value))
            elif "*" in key:
                self._patterns.append((re.compile(fnmatch.translate(key)), value))
            else:
                self._exact[key] = value

    def __call__(self, name: str, *_args: Any, **_kwargs: Any) -> Any:
        if name in self._exact:
            return _as_route(self._exact[name])
        for pattern, route in self._patterns:
            if pattern.match(name):
                return _as_route(route)
        return None


def _as_route(route: Any) -> dict[str, Any]:
    return {"queue": route} if isinstance(route, str) else dict(route)


def _prepare(route: Any) -> Callable[..., Any]:
    if isinstance(route, (Mapping, list, tuple)):
        return _Map(route)
    if isinstance(route, str):
        route = symbol_by_name(route)
    if hasattr(route, "route_for_task"):
        router = route() if isinstance(route, type) else route
        found: Callable[..., Any] = router.route_for_task
        return lambda name, args, kwargs, *_rest, **_more: found(name, args, kwargs)
    if not callable(route):
        msg = f"task_routes: {type(route).__name__} is no route; use a dict or callable"
        raise SettingError(msg, name="task_routes")
    return cast("Callable[..., Any]", route)
