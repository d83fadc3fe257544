"""Options that are None take away what the task has where Celery does so."""

from __future__ import annotations

import pytest

from harness.capture import drain
from harness.oracle import QUEUE, URL, both_sides, comparable

QUEUES = (QUEUE, "own-queue", "other")


def _anything(*args):
    """Take any arguments."""


@pytest.fixture
def sides():
    with both_sides() as both:
        for side in (both.celery, both.celerant):
            kept = {"shared": False} if side is both.celery else {}
            side.own = side.app.task(
                _anything,
                name="own",
                queue="own-queue",
                priority=7,
                expires=60,
                time_limit=30,
                **kept,
            )
            side.silent = side.app.task(
                _anything, name="silent", ignore_result=True, **kept
            )
        # Celery's `send_task` knows no other tasks.
        both.celery.app.finalize()
        yield both


def _by_call(side, options):
    side.own.apply_async((1,), **options)


def _by_name(side, options):
    # Only ours looks at the task for it.
    side.app.send_task("own", (1,), ignore_result=False, **options)


def _by_set(side, options):
    side.own.s(1).set(**options).apply_async()


def _by_clone(side, options):
    side.own.s(1).clone(**options).apply_async()


def _of_canvas(side, options):
    side.own.s(1).apply_async(**options)


def _of_canvas_with_its_own(side, options):
    chosen = dict.fromkeys(options, 5)
    chosen = {**chosen, "queue": "other"} if "queue" in chosen else chosen
    side.own.s(1).set(**chosen).apply_async(**options)


def _in_group(side, options):
    side.group([side.own.s(1).set(**options), side.own.s(2)]).apply_async()


def _in_chain(side, options):
    side.chain(side.own.s(1).set(**options), side.own.s(2)).apply_async()


@pytest.mark.parametrize(
    "options",
    [
        {"queue": None},
        {"priority": None},
        {"expires": None},
        {"time_limit": None},
        {"priority": None, "expires": None, "time_limit": None, "queue": None},
    ],
    ids="-".join,
)
@pytest.mark.parametrize(
    "send",
    [
        _by_call,
        _by_name,
        _by_set,
        _by_clone,
        _of_canvas,
        _of_canvas_with_its_own,
        _in_group,
        _in_chain,
    ],
)
def test_none_means_what_it_means_in_celery(sides, send, options):
    found = []
    for side in (sides.celery, sides.celerant):
        send(side, options)
        found.append({name: comparable(drain(URL, name)) for name in QUEUES})
    assert found[1] == found[0]


@pytest.mark.parametrize("is_set", [True, False])
def test_none_stores_the_result_of_a_task_that_ignores_it(sides, is_set):
    found = []
    for side in (sides.celery, sides.celerant):
        if is_set:
            side.silent.s(1).set(ignore_result=None).apply_async()
        else:
            side.silent.apply_async((1,), ignore_result=None)
        found.append(comparable(drain(URL, QUEUE)))
    assert found[1] == found[0]
