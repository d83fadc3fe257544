"""sentry-sdk 2: wraps `Task.apply_async`, `Celery.send_task` and `Producer.publish`.

The first two add headers. The message of a task is drawn through them, so that Sentry
itself adds its headers, with one span for the task. The third adds a span per message;
here its code runs once, around the volley.

Sentry is not imported: if it wraps nothing, there is nothing to do.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

import kombu.messaging

from celerant.celery.functions import bare
from celerant.dispatch.run import Dispatched

__all__ = ["publishing", "unwrapped"]

_CELERY, _UTILS = "sentry_sdk.integrations.celery", "sentry_sdk.utils"
#: Wrappers by their names in Sentry's code: its module, and their free variables, of
#: which the first is the wrapped function. Up to 2.6x a `runner` is around the second.
_WRAPPERS = {
    "apply_async": (_CELERY, ("f",)),
    "sentry_publish": (_CELERY, ("original_publish",)),
    "runner": (_UTILS, ("original_function", "integration", "sentry_patched_function")),
}
_INNER = "sentry_patched_function"
_VERSION = "2."
#: Transports for which messages are made here.
_WIRED = frozenset({"amqp", "memory", "redis"})


def unwrapped(function: Any) -> Any:
    """Return the function under Sentry's wrappers; any other function itself."""
    while (name := _wraps(function)) is not None:
        plain = getattr(function, "__func__", function)
        function = _cells(plain)[name].cell_contents
    return function


def publishing(
    count: Callable[[], Counter[str]],
    routes: AbstractSet[tuple[str, str]],
    app: Any,
    send: Callable[[], Dispatched],
) -> Dispatched:
    """Send a volley within the span that Sentry has for publishing.

    Args:
        count: Counts the members of each task.
        routes: Exchanges and routing keys, known once it is sent.
        app: Sends them.
        send: Sends them; the span also gets its exception, or its `error`.
    """
    wrapper = kombu.messaging.Producer.publish
    if _wraps(wrapper) is None:
        return send()
    connection = app.connection_for_write()
    if connection.transport.driver_type not in _WIRED:
        # kombu publishes one by one, and so Sentry's wrapper runs for each.
        return send()
    counts = count()
    sent: list[Dispatched] = []

    def publish(*_: Any, **__: Any) -> None:
        _tell("messaging.batch.message_count", sum(counts.values()))
        sent.append(send())
        exchange, routing_key = next(iter(routes)) if len(routes) == 1 else ("-", "")
        if not exchange:
            # Then it is the name of the queue.
            _tell("messaging.destination.name", routing_key)
        if sent[0].error is not None:
            raise sent[0].error

    # It needs no more of a producer.
    producer = SimpleNamespace(connection=connection)
    task = next(iter(counts)) if len(counts) == 1 else "group"
    try:
        _around(wrapper, publish)(producer, headers={"task": task})
    except BaseException:
        if not sent:
            raise
    return sent[0]


def _tell(name: str, value: Any) -> None:
    """Write data into the current span."""
    import sentry_sdk  # noqa: PLC0415 - it is imported, since its wrapper runs

    span = sentry_sdk.get_current_span()
    if span is not None:
        span.set_data(name, value)
        return
    streamed = getattr(sentry_sdk.get_current_scope(), "streamed_span", None)
    if streamed is not None:
        streamed.set_attribute(name, value)


def _wraps(function: Any) -> str | None:
    """Return the name under which a wrapper of Sentry's knows its function."""
    found = bare(function)
    code = None if found is None else found.__code__
    where, variables = _WRAPPERS.get(getattr(code, "co_name", ""), ("", ("",)))
    module = sys.modules.get(where)
    version = getattr(sys.modules.get("sentry_sdk"), "VERSION", "")
    if (
        code is None
        or module is None
        or code.co_filename != module.__file__
        or set(code.co_freevars) != set(variables)
        or not str(version).startswith(_VERSION)
    ):
        return None
    if _INNER in variables and _wraps(_cells(found)[_INNER].cell_contents) is None:
        # It wraps another function of Sentry's.
        return None
    return variables[0]


def _cells(function: Any) -> dict[str, CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))


def _around(wrapper: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same wrapper around another function."""
    cells = _cells(wrapper)
    cells[str(_wraps(wrapper))] = CellType(function)
    if _INNER in cells:
        cells[_INNER] = CellType(_around(cells[_INNER].cell_contents, function))
    return FunctionType(
        wrapper.__code__,
        wrapper.__globals__,
        wrapper.__name__,
        wrapper.__defaults__,
        tuple(cells.values()),
    )
