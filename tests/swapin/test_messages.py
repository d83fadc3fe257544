"""The messages are Celery's, to the field and in Celery's order."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone

import celery
import pytest
from celery import chain, chord, group, signals, signature
from celery.canvas import StampingVisitor
from kombu.serialization import register, unregister

from harness.tasks import TUNED_QUEUE

BROKERS = ["memory", "redis", "rabbitmq"]
ETA = datetime.now(timezone.utc) + timedelta(1)


class Tenant(StampingVisitor):
    def on_signature(self, sig, **headers):  # noqa: ARG002 - Celery's
        return {"tenant": "t1", "stamped_headers": ["tenant"]}


def stamped(canvas):
    canvas.stamp(Tenant())
    return canvas


def in_levels(s):
    inner = group([s.add.s(3, 3), s.add.s(4, 4), group([s.echo.s("deep")])])
    # Older versions refuse them.
    empty = [chain([])] if celery.VERSION >= (5, 7) else []
    return group([s.add.s(1, 1), inner, *empty, s.add.s(2, 2)])


def cut(s):
    long = "word " * 250
    values = [[long], [[long, [1]]], {"k": [long]}, [long, [[]]], [[[long, [[1]]]]]]
    return group(
        [
            *(s.echo.s(value, 1) for value in values),
            *(s.echo.s("x" * n, [[]]) for n in range(1015, 1024)),
            *(s.echo.s("x" * n, [[[1]]], {}) for n in range(1013, 1020)),
        ]
    )


def by_name(s):
    return group(s.app.signature(f"elsewhere.{i % 2}", (i,)) for i in range(4))


def in_dicts(s):
    def member(i):
        return {**s.add.s(i, i), "args": [i, i]}

    inner = group([member(i) for i in range(3)], app=s.app)
    return group([member(3), inner, s.add.s(4, 4)], app=s.app)


def frozen(s):
    canvas = group([s.add.s(1, 1), s.add.s(2, 2)])
    canvas.freeze()
    return canvas


CANVASES = {
    "list": lambda s: group([s.add.s(i, i) for i in range(7)]),
    "generator": lambda s: group(s.add.s(i, i) for i in range(100)),
    "kinds": lambda s: group(
        [s.add.s(1, 2), s.echo.s("é", k=[1, {"a": None}]), s.ignored.s()]
    ),
    "levels": in_levels,
    "names": by_name,
    "dicts": in_dicts,
    "frozen": frozen,
    "options": lambda s: group(
        [
            s.add.s(1, 1).set(priority=3, headers={"x": 1}, shadow="other"),
            s.add.s(2, 2).set(time_limit=9, soft_time_limit=5, retries=1),
            s.add.s(3, 3).set(ignore_result=True, task_id=str(uuid.UUID(int=5))),
            s.add.s(4, 4).set(queue=s.queue, routing_key="k"),
        ]
    ),
    "links": lambda s: group(
        [
            s.add.s(1, 1).set(link=[s.echo.s()], link_error=s.echo.si("e")),
            s.add.s(2, 2),
        ]
    ),
    "group's own options": lambda s: group([s.add.s(1, 1), s.echo.s()]).set(
        priority=4, link=s.echo.s()
    ),
    "immutable": lambda s: group([s.echo.si(1), s.echo.s(2)]),
    "serializers": lambda s: group(
        [
            s.pickled.s({1, 2}),
            s.echo.s(1).set(serializer="yaml"),
            s.echo.s(1).set(serializer="msgpack"),
            s.echo.s("x" * 99).set(compression="zlib"),
        ]
    ),
    "not plain": lambda s: group(
        [s.echo.s(ETA, uuid.UUID(int=1), b"b"), s.echo.s((1,))]
    ),
    "time": lambda s: group(
        [
            s.add.s(1, 1).set(countdown=90),
            s.add.s(1, 1).set(eta=ETA, expires=ETA + timedelta(1)),
            s.add.s(1, 1).set(expires=300),
        ]
    ),
    "cut": cut,
    "stamps": lambda s: stamped(group([s.add.s(1, 1), s.echo.s(2)])),
    "chunks": lambda s: s.add.chunks([(i, i) for i in range(10)], 3),
    "maps": lambda s: group([s.echo.map([1, 2]), s.add.starmap([(1, 2)]), s.echo.s()]),
    "mixed": lambda s: group(
        [
            *(s.add.s(i, i) for i in range(3)),
            chain(s.add.s(1, 1), s.echo.s()),
            s.add.s(4, 4),
            s.add.s(5, 5).set(app_id="a"),
            *(s.add.s(i, i) for i in range(6, 9)),
        ]
    ),
    "parts of chords": lambda s: group(
        [
            s.add.s(1, 1),
            s.add.s(2, 2).set(chord=s.echo.s("first")),
            s.add.s(3, 3).set(chord=s.echo.s("second")),
        ]
    ),
    "chord": lambda s: chord([s.add.s(i, i) for i in range(5)], s.echo.s("body")),
    "chord in levels": lambda s: chord(in_levels(s).tasks, s.echo.s()),
    "chord of a generator": lambda s: chord(
        (s.add.s(i, i) for i in range(40)), s.echo.s()
    ),
    "chord of groups of chains": lambda s: chord(
        [s.add.s(1, 1), chain(s.add.s(1, 1), s.add.s(2)), s.add.s(2, 2)], s.echo.s()
    ),
    "chain that is a group": lambda s: chain(group([s.add.s(1, 1), s.add.s(2, 2)])),
    "chain through groups": lambda s: chain(
        group([s.add.s(1, 1), s.add.s(2, 2)]),
        group([s.echo.s(), s.echo.s(1)]),
        s.echo.s(),
    ),
}
CALLS = {
    "plain": ((), {}, {}),
    "arguments": ((0,), {"z": 1}, {}),
    "options": ((), {}, {"priority": 7, "headers": {"h": 1}, "serializer": "json"}),
    "countdown": ((), {}, {"countdown": 60, "shadow": None}),
    "index": ((), {}, {"group_index": 7}),
    "task_id": ((), {}, {"task_id": str(uuid.UUID(int=9))}),
}


def same(side, both_ways, canvas, call=((), {}, {})):
    args, kwargs, options = call
    # `Task` of the app is a `Signature` each time: nothing of one way is in the other.
    stock, ours = both_ways(
        side,
        lambda: canvas(side).apply_async(args, dict(kwargs), **options),
        TUNED_QUEUE,
    )
    assert ours == stock
    assert len(stock) > 1


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("name", CANVASES)
def test_canvases_are_sent_as_by_celery(make_app, both_ways, volleys, broker, name):
    side = make_app(broker, backend="cache+memory://")
    side.app.set_current()
    same(side, both_ways, CANVASES[name])
    assert volleys
    assert all(volleys)


def mark(headers, body, **told):
    headers.update(heard=headers["group_index"], shadow="mine")
    body[1]["heard"] = [headers["group_index"]]


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("name", CANVASES)
def test_canvases_that_are_heard_of(make_app, both_ways, volleys, broker, name):
    side = make_app(broker, backend="cache+memory://")
    side.app.set_current()
    signals.before_task_publish.connect(mark)
    try:
        same(side, both_ways, CANVASES[name])
    finally:
        signals.before_task_publish.disconnect(mark)
    assert volleys
    assert all(volleys)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["list", "levels", "options", "mixed", "chunks"])
def test_calls(make_app, both_ways, volleys, name, call):
    side = make_app(task_default_priority=2)
    side.echo.typing = side.add.typing = False
    same(side, both_ways, CANVASES[name], CALLS[call])
    assert volleys
    assert all(volleys)


def by_argument(name, args, kwargs, options, task=None, **more):
    return {"priority": args[0]} if args and name == "celerant_test.add" else None


@pytest.mark.parametrize(
    "settings",
    [
        {"task_routes": {"celerant_test.add": {"priority": 6}}},
        {"task_routes": (by_argument,)},
        {"task_serializer": "pickle", "task_compression": "zlib"},
        {"task_default_delivery_mode": "transient", "task_queue_max_priority": 9},
        {"task_default_exchange": "ex", "task_default_exchange_type": "topic"},
        {"timezone": "Europe/Zurich", "enable_utc": False},
        {"task_repr_maxlevels": 1, "task_ignore_result": True},
    ],
    ids="route router serializer transient topic zone ignored".split(),
)
@pytest.mark.parametrize("broker", BROKERS)
def test_settings_change_messages_as_in_celery(
    make_app, both_ways, volleys, broker, settings
):
    side = make_app(broker, accept_content=["json", "pickle"], **settings)
    canvas = group([side.add.s(i, i).set(countdown=90) for i in range(4)])
    same(side, both_ways, lambda _: group([*canvas.tasks, side.echo.s([[[1]]])]))
    assert volleys == [5]


def test_a_serializer_of_the_users_own_is_used(make_app, both_ways, volleys):
    def encode(value):
        return json.dumps(value)[::-1]

    def decode(text):
        return json.loads(text[::-1])

    register("backwards", encode, decode, content_type="application/x-backwards")
    try:
        side = make_app("redis", task_serializer="backwards")
        same(side, both_ways, CANVASES["kinds"])
    finally:
        unregister("backwards")
    assert volleys == [3]


def test_a_task_of_many_settings_is_sent_as_by_celery(make_app, both_ways, volleys):
    side = make_app("redis")
    same(side, both_ways, lambda s: group([s.tuned.s(i) for i in range(3)]))
    assert volleys == [3]


def test_members_sent_inside_a_task_have_the_task_as_parent(
    make_app, both_ways, volleys
):
    side = make_app(task_inherit_parent_priority=True)
    children = []

    @side.app.task(name="parent", bind=True, shared=False)
    def parent(self):
        result = group([side.add.s(i, i) for i in range(3)]).apply_async()
        children.append(self.request.children == [result])
        return result

    stock, ours = both_ways(side, lambda: parent.apply(task_id="p", priority=3).result)
    assert ours == stock
    assert ours[0]["headers"]["parent_id"] == "p"
    assert children == [True, True]
    assert volleys == [3]


@pytest.mark.skipif(celery.VERSION < (5, 7), reason="new in Celery 5.7")
def test_groups_that_a_worker_sends_after_a_task_leave_in_volleys(make_app, volleys):
    side = make_app()
    canvas = group([side.add.s(i, i) for i in range(3)])
    with celery_installed():
        side.app.amqp._retry_publish(canvas.apply_async)
    assert volleys == [3]


NAMED = {
    "flat": lambda app: group([signature("a"), signature("b")], app=app),
    "in a group": lambda app: group(
        [signature("a"), group([signature("b"), dict(signature("c"))])], app=app
    ),
    "in a group with an app": lambda app: group(
        [signature("a"), group([signature("b"), dict(signature("c"))], app=app)],
        app=app,
    ),
    "in a generator with an app": lambda app: group(
        [signature("a"), group((signature(x) for x in "bc"), app=app)], app=app
    ),
    "in a header": lambda app: chord(
        [signature("a"), group([signature("b")])], signature("c"), app=app
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_tasks_by_name_are_sent_by_the_app_that_celery_sends_them_by(
    make_app, both_ways, name
):
    """A group's app sends its members if the group is copied: not at the top."""
    side, current = make_app(backend="cache+memory://"), make_app()
    current.app.set_current()
    stock, ours = both_ways(
        side, lambda: NAMED[name](side.app).apply_async(), current.queue
    )
    assert ours == stock


def test_ids_can_be_random(make_app, volleys):
    side = make_app()
    with celery_with_uuid4():
        result = group([side.add.s(i, i) for i in range(3)]).apply_async()
    assert volleys == [3]
    versions = [uuid.UUID(one.id).version for one in result]
    assert versions == [4, 4, 4]
    assert len({one.id[:8] for one in result}) == 3


def celery_with_uuid4():
    from celerant.celery import install

    return install(uuid4=True)


def test_a_generator_leaves_while_it_is_read(make_app, volleys):
    side = make_app()
    seen = []

    def members():
        for i in range(200):
            seen.append(sum(volleys))
            yield side.add.s(i, i)

    with celery_installed():
        lazy = group(members())
        assert len(lazy.apply_async()) == 200
        assert seen[-1] > 0
        # As in Celery it keeps the members that it read.
        assert len(lazy.apply_async()) == 200
    assert len(seen) == 200


def celery_installed():
    from celerant.celery import install

    return install()


def test_the_result_is_celerys_class(make_app):
    side = make_app()
    with celery_installed():
        result = group([side.add.s(1, 1)]).apply_async()
    assert isinstance(result, celery.result.GroupResult)
    assert isinstance(result, side.app.GroupResult)
    assert type(result[0]) is side.app.AsyncResult
