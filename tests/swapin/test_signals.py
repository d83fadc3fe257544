"""Receivers of signals hear of each member, and their changes leave."""

from __future__ import annotations

import contextvars
import copy
import json
import re
from datetime import datetime, timezone

import pytest
from celery import chord, group, signals

import celerant.celery
from harness.capture import drain

BROKERS = ["memory", "redis", "rabbitmq"]
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def members(s):
    return group(
        [
            *(s.add.s(i, i) for i in range(5)),
            s.echo.s([1, [2]], k={"a": None}),
            s.add.s(5, 5).set(task_id="00000000-0000-0000-0000-000000000005"),
            s.echo.s("linked").set(link=[s.echo.s()], link_error=s.echo.si("e")),
            s.add.s(6, 6).set(priority=3, headers={"own": {"n": [1]}}),
            s.echo.s(datetime(2026, 1, 1, tzinfo=timezone.utc)),
            s.echo.s("x" * 99).set(compression="zlib", serializer="yaml"),
            s.ignored.s(),
        ]
    )


def changes_nothing(**told):
    pass


def one_header(headers, **told):
    headers["tenant"] = "t"


def own_headers(headers, **told):
    n = headers["group_index"]
    headers.update(text=f"é{n}", number=n, float=n / 7, truth=n == 3, none=None)


def too_many_headers(headers, **told):
    headers.update((f"h{i}", f"{i}{headers['group_index']}") for i in range(9))


def header_of_the_id(headers, **told):
    headers["origin"] = headers["again"] = headers["id"]


def header_taken_out(headers, **told):
    del headers["shadow"]


def header_that_looks_the_same(headers, **told):
    headers["retries"] = False


def nested_headers(headers, **told):
    headers["timelimit"][0] = 9
    headers["stamps"]["more"] = [headers["group_index"]]
    if "own" in headers:
        headers["own"]["n"].append(2)


def known_headers(headers, **told):
    headers.update(root_id="r", argsrepr="hidden", group_index=7)


def header_not_plain(headers, **told):
    headers["more"] = {"a": [headers["group_index"]]}


def keyword(body, headers, **told):
    body[1]["z"] = headers["group_index"]


def deep_argument(body, **told):
    for value in body[0]:
        if isinstance(value, list):
            value.append(3)


def not_plain_argument(body, **told):
    body[1]["when"] = datetime(2026, 1, 1, tzinfo=timezone.utc)


def callbacks(body, **told):
    body[2]["callbacks"] = [{"task": "other", "args": [], "options": {}}]


def properties_of_some(properties, headers, **told):
    if headers["group_index"] % 2:
        properties.update(priority=6, app_id="a", reply_to="elsewhere")


def correlation(properties, **told):
    properties["correlation_id"] = "mine"


def failing(headers, **told):
    headers["before"] = 1
    raise ValueError("a receiver that fails")


CHANGES = [
    changes_nothing,
    one_header,
    own_headers,
    too_many_headers,
    header_of_the_id,
    header_taken_out,
    header_that_looks_the_same,
    nested_headers,
    known_headers,
    header_not_plain,
    keyword,
    deep_argument,
    not_plain_argument,
    callbacks,
    properties_of_some,
    correlation,
    failing,
]


@pytest.fixture
def connect():
    """Connect receivers for one test."""
    connected = []

    def connect(signal, receiver, sender=None):
        signal.connect(receiver, sender=sender)
        connected.append((signal, receiver, sender))

    yield connect
    for signal, receiver, sender in connected:
        signal.disconnect(receiver, sender=sender)


def fresh(side, make, **call):
    """Send a fresh canvas on each of the two ways."""
    return lambda: make(side).apply_async(**call)


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("change", CHANGES)
def test_messages_leave_as_receivers_change_them(
    make_app, both_ways, volleys, connect, broker, change
):
    side = make_app(broker)
    connect(signals.before_task_publish, change)
    stock, ours = both_ways(side, fresh(side, members))
    assert ours == stock
    # As text, in which False is not 0.
    texts = [json.dumps(one, default=repr, sort_keys=True) for one in (stock, ours)]
    assert texts[0] == texts[1]
    assert volleys == [12]


def plain(told):
    """Return a receiver's arguments, as they are now, without ids."""
    told = {
        k: copy.deepcopy(v) if k not in {"signal", "declare"} else v
        for k, v in told.items()
    }
    del told["signal"]
    if told.get("declare"):
        told["declare"] = [entity.name for entity in told["declare"]]
    text = json.dumps(told, default=repr, sort_keys=True)
    ids = {}
    return _UUID.sub(lambda found: str(ids.setdefault(found[0], len(ids))), text)


@pytest.mark.parametrize("broker", BROKERS)
def test_receivers_get_celerys_arguments(make_app, both_ways, volleys, connect, broker):
    side = make_app(broker)
    heard = []

    def before(**told):
        heard.append(("before", plain(told)))
        told["headers"]["kept"] = told["headers"]["id"]

    def after(**told):
        heard.append(("after", plain(told)))

    connect(signals.before_task_publish, before)
    connect(signals.after_task_publish, after)
    connect(signals.task_sent, after)
    call = {"args": (0,), "kwargs": {"w": 1}, "priority": 2}
    side.add.typing = side.echo.typing = side.ignored.typing = False
    stock, ours = both_ways(side, fresh(side, members, **call))
    assert ours == stock
    assert volleys == [12]
    first, second = heard[:36], heard[36:]
    for name, n in (("before", 12), ("after", 24)):
        told = [text for kind, text in second if kind == name]
        assert told == [text for kind, text in first if kind == name]
        assert len(told) == n


def test_a_signature_stays_as_it_is(make_app, volleys, connect):
    side = make_app()
    canvas = members(side)
    was = copy.deepcopy(canvas)
    connect(signals.before_task_publish, keyword)
    connect(signals.before_task_publish, nested_headers)
    connect(signals.before_task_publish, callbacks)
    with celerant.celery.install():
        canvas.apply_async()
    assert volleys == [12]
    assert canvas == was


def test_after_hears_once_the_broker_has_a_chunk(make_app, volleys, connect):
    side = make_app("redis")
    events, kept = [], {}

    def before(headers, body, **told):
        events.append(("before", headers["group_index"]))
        kept[headers["id"]] = headers, body

    def after(headers, body, **told):
        if not any(kind == "after" for kind, _ in events):
            # All of the chunk, and nothing else.
            waiting.append(len(drain(side.url, side.queue)))
        events.append(("after", headers["group_index"]))
        was = kept[headers["id"]]
        assert headers is was[0]
        assert body is was[1]

    waiting = []
    connect(signals.before_task_publish, before)
    connect(signals.after_task_publish, after)
    with celerant.celery.install():
        group([side.add.s(i, i) for i in range(600)]).apply_async()
    chunks = [range(500), range(500, 600)]
    kinds = ("before", "after")
    assert events == [(kind, i) for chunk in chunks for kind in kinds for i in chunk]
    assert waiting == [500]
    assert volleys == [600]


def test_a_context_opened_by_one_signal_is_closed_by_the_other(
    make_app, volleys, connect
):
    side = make_app()
    variable = contextvars.ContextVar("variable", default="outside")
    opened, seen = {}, []

    def before(headers, **told):
        seen.append(variable.get())
        opened[headers["id"]] = variable.set(headers["id"])

    def after(headers, **told):
        seen.append(variable.get() == headers["id"])
        variable.reset(opened.pop(headers["id"]))

    connect(signals.before_task_publish, before)
    connect(signals.after_task_publish, after)
    with celerant.celery.install():
        members(side).apply_async()
    assert seen == ["outside"] * 12 + [True] * 12
    assert variable.get() == "outside"
    assert volleys == [12]


@pytest.mark.parametrize(
    "name", ["before_task_publish", "after_task_publish", "task_sent"]
)
def test_only_the_task_that_a_receiver_asks_for_is_heard_of(
    make_app, volleys, connect, name
):
    side = make_app()
    heard = []

    def receive(sender, **told):
        heard.append(sender)

    connect(getattr(signals, name), receive, sender=side.add.name)
    with celerant.celery.install():
        members(side).apply_async()
    assert heard == [side.add.name] * 7
    assert volleys == [12]


def test_headers_of_chords_are_heard_of(make_app, both_ways, volleys, connect):
    side = make_app(backend="cache+memory://")
    side.app.set_current()
    connect(signals.before_task_publish, own_headers)
    stock, ours = both_ways(
        side,
        fresh(side, lambda s: chord([s.add.s(i, i) for i in range(5)], s.echo.s("b"))),
    )
    assert ours == stock
    assert volleys == [5]


def test_an_argument_that_a_receiver_spoils_is_kombus_error(make_app, connect):
    side = make_app()

    def spoil(body, **told):
        body[1]["x"] = object()

    connect(signals.before_task_publish, spoil)
    import kombu

    with celerant.celery.install(), pytest.raises(kombu.exceptions.EncodeError):
        members(side).apply_async()
    assert not drain(side.url, side.queue)


def test_a_property_named_like_an_argument_is_celerys_error(make_app, connect):
    side = make_app()

    def clash(properties, **told):
        properties["exchange"] = "x"

    connect(signals.before_task_publish, clash)
    with celerant.celery.install(), pytest.raises(TypeError, match="multiple values"):
        members(side).apply_async()
