"""A group by Celerant and one by stock Celery give the same messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from harness.capture import drain, normalised
from harness.tasks import TUNED_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable

# RabbitMQ takes no expiration beyond 2**32 ms.
SOON = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=20)


@dataclass
class Case:
    """A canvas to send: the same code runs with Celery's names and with ours."""

    members: Callable[[Any], Any]
    call: dict[str, Any] = field(default_factory=dict)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    queues: tuple[str, ...] = ()
    nested: bool = False
    without: tuple[str, ...] = ()


def _pair(lib):
    return lib.group([lib.add.s(1, 2), lib.echo.s("ä", None, 1.5, flag=True)])


def _with(**options):
    return lambda lib: lib.group([lib.add.s(1, 2).set(**options), lib.echo.s()])


def _priority_by_name(name, *_args, **_kwargs):
    return {"priority": len(name) % 9}


CASES = {
    "plain": Case(_pair),
    "kwargs": Case(lambda lib: lib.group([lib.echo.s(1, b=2, a={"k": [1, (2, 3)]})])),
    "varargs": Case(lambda lib: lib.group(lib.add.s(1, 2), lib.add.s(3, 4))),
    "generator": Case(lambda lib: lib.group(lib.add.s(i, i) for i in range(5))),
    "single": Case(lambda lib: lib.group([lib.add.s(1, 2)])),
    "countdown": Case(_pair, call={"countdown": 30}),
    "countdown-zero": Case(_pair, call={"countdown": 0}),
    "countdown-member": Case(_with(countdown=12.5)),
    "eta": Case(_pair, call={"eta": SOON}),
    "eta-naive": Case(_pair, call={"eta": SOON.replace(tzinfo=None)}),
    "eta-other-offset": Case(
        _pair, call={"eta": SOON.astimezone(timezone(timedelta(hours=5)))}
    ),
    "eta-timezone-setting": Case(
        _pair,
        call={"eta": SOON.replace(tzinfo=None)},
        settings={"timezone": "Europe/Paris"},
    ),
    "countdown-no-utc": Case(
        _pair,
        call={"countdown": 10},
        settings={"timezone": "Asia/Tokyo", "enable_utc": False},
    ),
    "expires-number": Case(_pair, call={"expires": 120}),
    "expires-float": Case(_pair, call={"expires": 120.25}),
    "expires-date": Case(_pair, call={"expires": SOON}),
    "expires-past": Case(
        _pair,
        call={"expires": datetime(2020, 1, 1, tzinfo=timezone.utc)},
        # It drops expired messages at once.
        without=("rabbitmq",),
    ),
    "priority": Case(_pair, call={"priority": 6}),
    "priority-default": Case(_pair, settings={"task_default_priority": 4}),
    "queue": Case(_pair, call={"queue": "{queue}-b"}, queues=("{queue}-b",)),
    "routing-key": Case(_pair, call={"routing_key": "{queue}"}),
    "exchange": Case(_pair, call={"exchange": "{queue}", "routing_key": "{queue}"}),
    "json": Case(_pair, call={"serializer": "json"}),
    "pickle": Case(_pair, call={"serializer": "pickle"}),
    "yaml": Case(_pair, call={"serializer": "yaml"}),
    "msgpack": Case(_pair, call={"serializer": "msgpack"}),
    "serializer-setting": Case(_pair, settings={"task_serializer": "pickle"}),
    "zlib": Case(_pair, call={"compression": "zlib"}),
    "gzip": Case(_pair, call={"compression": "gzip"}),
    "bzip2-setting": Case(_pair, settings={"task_compression": "bzip2"}),
    "headers": Case(_pair, call={"headers": {"tenant": "acme", "lang": "xx"}}),
    "shadow": Case(_pair, call={"shadow": "other.name"}),
    "time-limits": Case(_pair, call={"time_limit": 30, "soft_time_limit": 20}),
    "ignore-result-call": Case(_pair, call={"ignore_result": True}),
    "ignore-result-task": Case(
        lambda lib: lib.group([lib.ignored.s(1), lib.add.s(1, 2)])
    ),
    "ignore-result-setting": Case(_pair, settings={"task_ignore_result": True}),
    "argsrepr": Case(_pair, call={"argsrepr": "<hidden>", "kwargsrepr": "{...}"}),
    "delivery-mode": Case(_pair, call={"delivery_mode": 1}),
    "delivery-mode-setting": Case(_pair, settings={"task_default_delivery_mode": 1}),
    "retry-options": Case(_pair, call={"retry": False}),
    "member-options": Case(_with(priority=9, shadow="s", headers={"a": 1})),
    "group-options": Case(
        lambda lib: lib.group([lib.add.s(1, 2).set(priority=1)]).set(priority=8)
    ),
    "group-options-constructor": Case(
        lambda lib: lib.group([lib.add.s(1, 2).set(shadow="member")], shadow="group")
    ),
    "call-over-group-over-member": Case(
        lambda lib: lib.group([lib.add.s(1, 2).set(priority=1)]).set(priority=8),
        call={"priority": 5},
    ),
    "call-none": Case(
        lambda lib: lib.group([lib.add.s(1, 2).set(priority=1)]),
        call={"priority": None},
    ),
    "partial-args": Case(
        lambda lib: lib.group([lib.add.s(1), lib.echo.s(2, k=1)]),
        args=(10,),
    ),
    "partial-kwargs": Case(
        lambda lib: lib.group([lib.echo.s(1, a=1), lib.echo.s()]),
        kwargs={"a": 2, "b": 3},
    ),
    "immutable": Case(
        lambda lib: lib.group([lib.add.si(1, 2), lib.echo.s(3)]), args=(10,)
    ),
    "nested": Case(
        lambda lib: lib.group(
            [
                lib.add.s(1, 1),
                lib.group([lib.add.s(2, 2), lib.group([lib.add.s(3, 3)])]),
                lib.add.s(4, 4),
            ]
        ),
        nested=True,
    ),
    "nested-options": Case(
        lambda lib: lib.group(
            [lib.group([lib.add.s(2, 2)], priority=2), lib.add.s(4, 4)], priority=7
        ),
        nested=True,
    ),
    "task-options": Case(
        lambda lib: lib.group([lib.tuned.s(1), lib.tuned.s(2).set(priority=8)]),
        queues=(TUNED_QUEUE,),
    ),
    "task-serializer": Case(
        lambda lib: lib.group([lib.pickled.s((1, 2)), lib.add.s(1, 2)])
    ),
    "routes-dict": Case(
        _pair,
        settings={
            "task_routes": {"celerant_test.add": {"queue": TUNED_QUEUE, "priority": 2}}
        },
        queues=(TUNED_QUEUE,),
    ),
    "routes-glob": Case(
        _pair,
        settings={"task_routes": {"celerant_test.e*": TUNED_QUEUE}},
        queues=(TUNED_QUEUE,),
    ),
    "routes-function": Case(
        _pair,
        settings={"task_routes": (_priority_by_name,)},
    ),
    "plain-dicts": Case(
        lambda lib: lib.group(
            [dict(lib.add.s(1, 2)), dict(lib.echo.s(x=1))], app=lib.app
        )
    ),
    "own-task-id": Case(_with(task_id="order-17")),
    "group-task-id": Case(_pair, call={"task_id": "volley-1"}),
    "link-member": Case(
        lambda lib: lib.group(
            [lib.add.s(1, 2).set(link=[dict(lib.echo.si("done"))]), lib.add.s(3, 4)]
        )
    ),
    "link-error-member": Case(
        lambda lib: lib.group([lib.add.s(1, 2).set(link_error=[dict(lib.echo.s())])])
    ),
    "extra-property": Case(_pair, call={"message_id": "m-1", "user_id": "guest"}),
    "long-arguments": Case(
        lambda lib: lib.group([lib.echo.s("x" * 5_000, list(range(2_000)))])
    ),
    "deep-arguments": Case(
        lambda lib: lib.group(
            [lib.echo.s([[[[[["deep"]]]]]], k={"a": {"b": {"c": {}}}})]
        )
    ),
    "quotes": Case(lambda lib: lib.group([lib.echo.s('it\'s "so"\n\t\x00é\u2028😀')])),
}


def _installed(serializer):
    modules = {"yaml": "yaml", "msgpack": "msgpack"}
    if serializer in modules:
        pytest.importorskip(modules[serializer])


def _sent(side, case, url, queues):
    case_call = {
        key: value.replace("{queue}", queues[0]) if isinstance(value, str) else value
        for key, value in case.call.items()
    }
    members = case.members(side)
    members.apply_async(case.args or None, case.kwargs or None, **case_call)
    return [m for queue in queues for m in normalised(drain(url, queue))]


@pytest.mark.parametrize(
    ("name", "broker"),
    [
        pytest.param(name, broker, id=f"{name}-{broker}")
        for name, case in CASES.items()
        for broker in ("memory", "redis", "rabbitmq")
        if broker not in case.without
    ],
)
def test_messages_are_celerys(pair, broker, name):
    case = CASES[name]
    _installed(case.call.get("serializer"))
    both = pair(broker, **case.settings)
    queues = [both.queue, *(q.replace("{queue}", both.queue) for q in case.queues)]
    both.queues |= set(queues)

    theirs = _sent(both.celery, case, both.url, queues)
    ours = _sent(both.celerant, case, both.url, queues)

    assert theirs, "the case sends something"
    if case.nested:
        indices = [m["headers"].pop("group_index") for m in ours]
        assert indices == list(range(len(ours)))
        for message in theirs:
            del message["headers"]["group_index"]
    assert ours == theirs


def test_ids_are_linked_as_celery_links_them(pair):
    both = pair("memory")
    result = _pair(both.celerant).apply_async()

    messages = drain(both.url, both.queue)

    for index, message in enumerate(messages):
        headers = message.headers
        assert headers["id"] == result[index].id
        assert headers["root_id"] == headers["id"]
        assert message.properties["correlation_id"] == headers["id"]
        assert headers["group"] == result.id
        assert headers["origin"].startswith("gen")
        assert isinstance(message.properties["reply_to"], str)
    tags = [m.properties["delivery_tag"] for m in messages]
    assert len({*tags, *(m.headers["id"] for m in messages)}) == 4


@pytest.mark.parametrize("broker", ["memory", "redis", "rabbitmq"])
def test_a_single_task_is_celerys(pair, broker):
    both = pair(broker)

    def sent(side):
        side.add.apply_async((1, 2), priority=3)
        side.app.send_task("other.task", (1,), {"k": 2})
        return normalised(drain(both.url, both.queue))

    theirs = sent(both.celery)
    assert len(theirs) == 2
    assert sent(both.celerant) == theirs
