"""The same canvas sent by stock Celery and by Celerant, as comparable messages."""

from __future__ import annotations

import copy
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import celery
import celery.canvas
from celery import _state
from celery.canvas import StampingVisitor as StockVisitor

import celerant
from harness.canvases import NAMES, Call
from harness.capture import Captured, drain
from harness.normal_form import hides, in_seconds, maps_as_tasks

__all__ = ["both_sides", "comparable", "difference", "sent", "stamps_apart"]

URL = "memory://"
QUEUE = f"celerant-oracle-{uuid.uuid4().hex[:8]}"

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MUTABLE = (list, dict)


def _anything(*args: Any, **kwargs: Any) -> None:
    """Take what comes."""


def _side(
    app: Any, library: Any, visitor: type, *, flat: bool, **common: Any
) -> SimpleNamespace:
    # One function, because two sides have one app.
    tasks = {name: app.task(_anything, name=name, **common) for name in NAMES}
    return SimpleNamespace(
        app=app,
        tasks=tasks,
        group=library.group,
        chain=library.chain,
        chord=library.chord,
        signature=library.signature,
        visitor=visitor,
        flat=flat,
    )


@contextmanager
def both_sides() -> Iterator[SimpleNamespace]:
    """Yield `celery`, `celerant` and `nested`, which leaves nested groups nested."""
    before = _state._tls.current_app
    # Celery sends a lone member of a group in dict form through its current app.
    stock = celery.Celery("oracle", broker=URL, backend="cache+memory://")
    ours = celerant.Celerant("oracle", broker=URL)
    stock.conf.task_default_queue = ours.conf.task_default_queue = QUEUE
    visitor = celerant.StampingVisitor
    yield SimpleNamespace(
        celery=_side(stock, celery, StockVisitor, flat=True, shared=False),
        celerant=_side(ours, celerant, visitor, flat=True),
        nested=_side(ours, celerant, visitor, flat=False),
    )
    ours.close()
    stock.close()
    _state._set_current_app(before)


@contextmanager
@hides(
    "a stamp that is a list, or a name that a visitor gives one member",
)
def stamps_apart() -> Iterator[None]:
    """Keep stock Celery from changing lists of stamps that several tasks share.

    A visitor's stamps of one task would come to the next ones too, and be refused or
    sent without a value.
    """
    stock = celery.canvas._merge_dictionaries

    def merge(
        d1: dict[str, Any], d2: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        d1.update(copy.deepcopy({k: v for k, v in d1.items() if type(v) in _MUTABLE}))
        stock(d1, copy.deepcopy(d2), *args, **kwargs)

    with mock.patch.object(celery.canvas, "_merge_dictionaries", merge):
        yield


def sent(canvas: Any, call: Call | None = None) -> list[dict[str, Any]]:
    """Send a canvas; return its messages."""
    call = Call() if call is None else call
    try:
        canvas.apply_async(call.args, dict(call.kwargs), **call.options)
    finally:
        found = drain(URL, QUEUE)
    return comparable(found)


@hides("ids", "the order of `stamped_headers`")
def comparable(messages: Iterable[Captured], *more: Any) -> list[Any]:
    """Return messages as plain data, ids named in the order in which they appear.

    Args:
        messages: The sent ones, oldest first.
        *more: Other plain data that tells ids; it comes behind the messages.
    """
    names: dict[str, str] = {}

    def walk(value: Any, key: str | None = None) -> Any:
        if isinstance(value, str) and _UUID.fullmatch(value):
            return names.setdefault(value, f"<id {len(names)}>")
        if key == "stamped_headers" and value:
            # Celery's come in the order of a set.
            return sorted(value)
        if isinstance(value, dict):
            value = maps_as_tasks(value)
            return {k: walk(v, k) for k, v in sorted(value.items())}
        if isinstance(value, (list, tuple)):
            return [walk(item) for item in value]
        return value

    found: list[Any] = []
    for message in messages:
        moments = {k: in_seconds(message.headers[k]) for k in ("eta", "expires")}
        headers = {**message.headers, **moments}
        properties = dict(message.properties)
        if not isinstance(properties.get("delivery_tag"), str):
            # RabbitMQ numbers its deliveries.
            properties.pop("delivery_tag", None)
        found.append(
            walk(
                {
                    "headers": headers,
                    "properties": properties,
                    "body": json.loads(message.body),
                    "content_type": message.content_type,
                    "content_encoding": message.content_encoding,
                    "delivery_info": message.delivery_info,
                }
            )
        )
    return [*found, *map(walk, more)]


def difference(found: Any, expected: Any, path: str = "it") -> str:
    """Return where two values differ first, and how; "" if they are equal."""
    if found == expected:
        return ""
    if isinstance(found, dict) and isinstance(expected, dict):
        pairs: Iterable[Any] = sorted({*found, *expected}, key=str)
        parts = ((found.get(key), expected.get(key), key) for key in pairs)
    elif (
        isinstance(found, (list, tuple))
        and isinstance(expected, (list, tuple))
        and len(found) == len(expected)
    ):
        parts = (
            (*both, at) for at, both in enumerate(zip(found, expected, strict=True))
        )
    else:
        return f"{path} is {found!r} and not {expected!r}"
    told = (difference(mine, other, f"{path}[{key!r}]") for mine, other, key in parts)
    return next(filter(None, told), f"{path} has other keys")
