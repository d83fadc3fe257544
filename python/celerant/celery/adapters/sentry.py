"""sentry-sdk 2: wraps `Task.apply_async`, `Celery.send_task` and `Producer.publish`.

The first two add headers. A kind's message is drawn through them, so that what Sentry
adds is its own, with a span per kind. The third adds a span per message; here its code
runs once, around the volley.

Nothing of Sentry is imported: where it wraps nothing there is nothing to do.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

import kombu.messaging

from celerant.dispatch.dispatcher import Sent

__all__ = ["publishing", "unwrapped"]

_MODULE = "sentry_sdk.integrations.celery"
#: Names of the wrappers in its code, and of what they wrap.
_WRAPPERS = {"apply_async": "f", "sentry_publish": "original_publish"}
_VERSION = "2."
#: Transports for which messages are made here.
_WIRED = frozenset({"redis", "amqp"})


def unwrapped(function: Any) -> Any:
    """Return what Sentry's wrappers wrap; a function that is none of them itself."""
    while (name := _wraps(function)) is not None:
        plain = getattr(function, "__func__", function)
        function = _cells(plain)[name].cell_contents
    return function


def publishing(
    count: Callable[[], Counter[str]], app: Any, send: Callable[[], Sent]
) -> Sent:
    """Send a volley within the span that Sentry has for publishing.

    Args:
        count: Counts the members of each task.
        app: Sends them.
        send: Sends them; what it raises, or says in `error`, is the span's too.
    """
    wrapper = kombu.messaging.Producer.publish
    if _wraps(wrapper) is None:
        return send()
    connection = app.connection_for_write()
    if connection.transport.driver_type not in _WIRED:
        # kombu publishes one by one, and so Sentry's wrapper runs for each.
        return send()
    counts = count()
    sent: list[Sent] = []

    def publish(*_: Any, **__: Any) -> None:
        _tell(sum(counts.values()))
        sent.append(send())
        if sent[0].error is not None:
            raise sent[0].error

    # All that it asks of a producer.
    producer = SimpleNamespace(connection=connection)
    task = next(iter(counts)) if len(counts) == 1 else "group"
    try:
        _around(wrapper, publish)(producer, headers={"task": task})
    except BaseException:
        if not sent:
            raise
    return sent[0]


def _tell(messages: int) -> None:
    """Say in the current span how many messages it is about."""
    import sentry_sdk  # noqa: PLC0415 - it is there: its wrapper runs

    scope = sentry_sdk.get_current_scope()
    streamed = getattr(scope, "streamed_span", None)
    name = "messaging.batch.message_count"
    if streamed is not None:
        streamed.set_attribute(name, messages)
    elif scope.span is not None:
        scope.span.set_data(name, messages)


def _wraps(function: Any) -> str | None:
    """Return the name under which a wrapper of Sentry's knows what it wraps."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    module = sys.modules.get(_MODULE)
    if code is None or module is None or code.co_filename != module.__file__:
        return None
    name = _WRAPPERS.get(code.co_name)
    version = getattr(sys.modules.get("sentry_sdk"), "VERSION", "")
    is_known = str(version).startswith(_VERSION) and code.co_freevars == (name,)
    return name if is_known else None


def _cells(function: Any) -> dict[str, CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))


def _around(wrapper: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same wrapper around another function."""
    return FunctionType(
        wrapper.__code__,
        wrapper.__globals__,
        wrapper.__name__,
        wrapper.__defaults__,
        (CellType(function),),
    )
