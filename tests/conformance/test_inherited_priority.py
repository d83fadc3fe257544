"""A task's messages have its priority with ``task_inherit_parent_priority``."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from celery import _state

from celerant.context.request import Request, current_request
from harness.canvases import Call
from harness.oracle import both_sides, sent

ROOT, PARENT = "root-of-it", "task-that-sends"


def _anything(*args):
    """Take any arguments."""


@pytest.fixture
def sides():
    with both_sides() as both:
        for side in (both.celery, both.celerant):
            side.app.conf.task_inherit_parent_priority = True
            kept = {"shared": False} if side is both.celery else {}
            side.urgent = side.app.task(_anything, name="urgent", priority=8, **kept)
        yield both


@contextmanager
def _inside_celerys(side, **delivery_info):
    task = side.tasks["one"]
    task.push_request(
        id=PARENT,
        root_id=ROOT,
        called_directly=False,
        delivery_info=delivery_info,
        children=[],
    )
    _state._task_stack.push(task)
    try:
        yield
    finally:
        _state._task_stack.pop()
        task.pop_request()


@contextmanager
def _inside_ours(_side, **delivery_info):
    request = Request(
        id=PARENT, task="one", root_id=ROOT, delivery_info=dict(delivery_info)
    )
    token = current_request.set(request)
    try:
        yield
    finally:
        current_request.reset(token)


def _unregistered(side):
    return side.signature("registered.elsewhere", args=(1,), app=side.app)


#: A canvas, options of the call, and the priorities of the messages.
CASES = {
    "task": (lambda side: side.tasks["one"].s(1), {}, [6]),
    "task-not-registered": (_unregistered, {}, [6]),
    "task-with-its-own": (lambda side: side.urgent.s(1), {}, [8]),
    "call": (lambda side: side.tasks["one"].s(1), {"priority": 2}, [2]),
    "call-that-says-zero": (lambda side: side.tasks["one"].s(1), {"priority": 0}, [0]),
    "call-that-knows-its-place": (
        lambda side: side.tasks["one"].s(1),
        {"root_id": "other-root", "parent_id": "other-parent"},
        [0],
    ),
    "group": (
        lambda side: side.group([side.tasks["one"].s(1), side.urgent.s(2)]),
        {},
        [6, 8],
    ),
    "chain": (
        lambda side: side.chain(side.tasks["one"].s(1), side.tasks["one"].s(2)),
        {},
        [6],
    ),
    "chord": (
        lambda side: side.chord([side.tasks["one"].s(1)] * 2, side.tasks["one"].s()),
        {},
        [6, 6],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_messages_of_a_task_have_the_priority_that_celery_gives_them(sides, case):
    canvas, options, priorities = CASES[case]
    call = Call(options=options)
    with _inside_celerys(sides.celery, priority=6):
        expected = sent(canvas(sides.celery), call)
    with _inside_ours(sides.celerant, priority=6):
        ours = sent(canvas(sides.celerant), call)

    assert [message["properties"]["priority"] for message in expected] == priorities
    assert ours == expected


def test_a_task_without_priority_gives_none(sides):
    with _inside_celerys(sides.celery):
        expected = sent(sides.celery.tasks["one"].s(1))
    with _inside_ours(sides.celerant):
        assert sent(sides.celerant.tasks["one"].s(1)) == expected
