"""Chains of tasks inside groups and headers leave in volleys, as the same messages."""

from __future__ import annotations

import json

import celery
import pytest
from celery import chain, chord, group, signals
from celery.canvas import StampingVisitor, _chain

import celerant.celery
from harness.capture import drain
from swapin.conftest import RESULTS


class Tenant(StampingVisitor):
    def on_signature(self, sig, **headers):  # noqa: ARG002 - Celery's
        return {"tenant": "t1", "stamped_headers": ["tenant"]}


@pytest.fixture
def side(make_app):
    return make_app(backend=RESULTS)


def line(side, i=0, steps=3):
    return chain(side.add.s(i, i), *[side.add.s(step) for step in range(1, steps)])


def linked(side):
    made = line(side)
    made.link(side.echo.s("done"))
    made.link_error(side.echo.si("failed"))
    made.tasks[1].link_error(side.echo.s("second"))
    return made


def stamped(made):
    made.stamp(Tenant())
    return made


def named(side):
    made = chain(side.add.s(1, 1).set(task_id="00000000-0000-4000-8000-000000000001"))
    return made | side.add.s(1).set(task_id="00000000-0000-4000-8000-000000000002")


#: Canvases, and how their members leave.
CANVASES = {
    "alike": (lambda s: group([line(s, i) for i in range(5)]), [5]),
    # How many leave together is a matter of time, but for the first.
    "a generator": (lambda s: group(line(s, i) for i in range(20)), None),
    "among tasks": (
        lambda s: group([s.add.s(0, 0), line(s, 1), s.echo.s(), line(s, 2, 4)]),
        [4],
    ),
    "in levels": (
        lambda s: group(
            [s.echo.s(), group([s.echo.s(), line(s), group([line(s, 1)])]), line(s, 2)]
        ),
        [5],
    ),
    "linked": (lambda s: group([linked(s), line(s)]), [2]),
    "stamped": (lambda s: stamped(group([line(s), linked(s)])), [2]),
    "options": (
        lambda s: group(
            [
                line(s).set(priority=3, countdown=60),
                chain(s.add.s(1, 1).set(queue=s.queue), s.add.s(1).set(priority=2)),
            ]
        ).set(time_limit=9),
        [2],
    ),
    "immutable": (
        lambda s: group([chain(s.add.si(1, 1), s.add.si(2, 2)), line(s)]),
        [2],
    ),
    "ids of their own": (lambda s: group([named(s), line(s)]), [2]),
    "values that JSON lacks": (
        lambda s: group([chain(s.echo.s(1j), s.echo.s()), line(s)]).set(
            serializer="pickle"
        ),
        [2],
    ),
    "a header": (
        lambda s: chord([*[line(s, i) for i in range(4)], s.add.s(1, 1)], s.echo.s()),
        [5],
    ),
    "a header in levels": (
        lambda s: chord([s.echo.s(), group([line(s), line(s, 1)])], s.echo.s()),
        [3],
    ),
    "a header that chains follow": (
        lambda s: chain(group([line(s, i) for i in range(4)]), s.echo.s(), s.echo.s()),
        [4],
    ),
}


@pytest.mark.parametrize("name", CANVASES)
def test_groups_of_chains_leave_as_by_celery(side, both_ways, volleys, name):
    make, expected = CANVASES[name]
    stock, ours = both_ways(side, lambda: make(side).apply_async())
    assert ours == stock
    if expected is None:
        assert volleys[0] == 1
        assert sum(volleys) == 20
    else:
        assert volleys == expected


@pytest.mark.parametrize(
    "call",
    [
        {"args": (7,)},
        {"kwargs": {"z": 1}},
        {"countdown": 60},
        {"priority": 4, "expires": 60, "headers": {"x": 1}},
        {"task_id": "00000000-0000-4000-8000-000000000003"},
    ],
    ids=str,
)
def test_options_of_the_call_apply_to_the_first_tasks_of_chains(
    side, both_ways, volleys, call
):
    def send():
        steps = [chain(side.echo.s(i), side.echo.s()) for i in range(3)]
        return group([*steps, side.echo.s()]).apply_async(**call)

    stock, ours = both_ways(side, send)
    assert ours == stock
    assert volleys == [4]


def test_results_of_chains_follow_one_another(side, volleys):
    with celerant.celery.install():
        result = group([line(side, 1), side.add.s(1, 1), line(side, 2, 2)])()
    assert volleys == [3]
    first, plain, short = result.results
    sent = drain(side.url, side.queue)
    assert [m.headers["id"] for m in sent] == [
        first.parent.parent.id,
        plain.id,
        short.parent.id,
    ]
    later = [
        [step["options"]["task_id"] for step in json.loads(m.body)[2]["chain"] or ()]
        for m in sent
    ]
    # The next step stands last.
    assert later == [[first.id, first.parent.id], [], [short.id]]
    assert first.parent.parent.parent is plain.parent is short.parent.parent is None
    assert all(found.backend is side.app.backend for found in result.results)


class Chatty(celery.Task):
    abstract = True

    def AsyncResult(self, task_id, **kwargs):  # noqa: N802 - Celery's name
        found = super().AsyncResult(task_id, **kwargs)
        found.chatty = True
        return found


def one(side):
    return _chain(side.add.s(1, 1))


def frozen(side):
    made = line(side)
    made.freeze()
    return made


def subclassed(side):
    class Mine(_chain):
        pass

    return Mine(side.add.s(1, 1), side.add.s(1))


def chatty(side):
    def chatty(value):
        return value

    if "chatty" not in side.app.tasks:
        side.app.task(chatty, name="chatty", base=Chatty, shared=False)
    return chain(side.add.s(1, 1), side.app.tasks["chatty"].s())


#: Chains that Celery prepares itself.
OTHERS = {
    "of one": one,
    "of a group": lambda s: chain(s.add.s(1, 1), group([s.add.s(1), s.add.s(2)])),
    "of a chord": lambda s: chain(s.add.s(1, 1), chord([s.add.s(1)], s.echo.s())),
    "of maps": lambda s: chain(s.add.s(1, 1), s.echo.map([1])),
    "frozen": frozen,
    "of a subclass": subclassed,
    "linking": lambda s: chain(s.add.s(1, 1), s.add.s(1), use_link=True),
    "of tasks with a result of their own": chatty,
    "with an option that is not known": lambda s: line(s).set(app_id="x"),
    "whose task says its place": lambda s: chain(
        s.add.s(1, 1), s.add.s(1).set(group_id="g")
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_members_are_left_to_celery(side, both_ways, volleys, name):
    make = OTHERS[name]

    def send():
        return group([side.echo.s(), make(side), side.echo.s()]).apply_async()

    stock, ours = both_ways(side, send)
    assert ours == stock
    assert 1 in volleys
    assert sum(volleys) <= 2


@pytest.mark.parametrize("method", ["apply_async", "run", "freeze", "prepare_steps"])
def test_a_wrapper_of_a_method_of_chains_is_called(side, volleys, monkeypatch, method):
    called = []
    original = getattr(_chain, method)

    def wrapped(self, *args, **kwargs):
        called.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(_chain, method, wrapped)
    with celerant.celery.install():
        group([side.echo.s(), line(side), line(side)])()
    assert len({*map(id, called)}) == 2
    assert volleys == [1]
    drain(side.url, side.queue)


def test_random_ids_are_celerys(side, volleys):
    with celerant.celery.install(uuid4=True):
        group([side.echo.s(), line(side)])()
    assert volleys == [1]
    ids = [message.headers["id"] for message in drain(side.url, side.queue)]
    assert {found[14] for found in ids} == {"4"}


def test_arguments_that_do_not_fit_are_celerys_error(side):
    wrong = group([line(side), chain(side.add.s(1), side.add.s(1))])
    with pytest.raises(TypeError) as stock:
        wrong.apply_async()
    drain(side.url, side.queue)
    with celerant.celery.install(), pytest.raises(TypeError) as ours:
        wrong.apply_async()
    assert str(ours.value) == str(stock.value)
    drain(side.url, side.queue)


def test_the_callers_chains_stay_as_they_are(side, volleys):
    members = [line(side, i) for i in range(3)]
    before = json.dumps(members)
    with celerant.celery.install():
        group(members)()
        (group(members) | side.echo.s())()
    assert volleys == [3, 3]
    assert json.dumps(members) == before
    assert all(member._frozen is None for member in members)
    assert len({m.headers["id"] for m in drain(side.url, side.queue)}) == 6


@pytest.mark.parametrize("kind", ["group", "chord"])
def test_receivers_hear_of_the_chains_that_leave(side, both_ways, volleys, kind):
    heard = []

    def mark(sender, headers, body, **_):
        heard.append((sender, body[0], len(body[2]["chain"] or ())))
        headers["heard"] = len(heard) % 3

    def make():
        parts = [line(side, 1), side.echo.s(), line(side, 2)]
        return group(parts) if kind == "group" else chord(parts, side.echo.s())

    signals.before_task_publish.connect(mark)
    try:
        stock, ours = both_ways(side, lambda: make().apply_async())
    finally:
        signals.before_task_publish.disconnect(mark)
    assert ours == stock
    assert volleys == [3]
    assert len(heard) == 6
    assert heard[:3] == heard[3:]
