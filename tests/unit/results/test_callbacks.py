"""A `then` callback's questions to results, on the thread that takes them in."""

from __future__ import annotations

import asyncio
import threading
import uuid

import pytest

from celerant import Celerant, ResultSet
from celerant.results.async_result import AsyncResult

WAIT = 10


@pytest.fixture
def called(fake):
    """Calls a function on the consumer's thread; gives its value or exception."""

    def call(ask):
        ended, found = threading.Event(), []

        def callback(_):
            try:
                found.append(ask())
            except Exception as exc:  # noqa: BLE001 - the test looks at it
                found.append(exc)
            ended.set()

        first = AsyncResult(uuid.uuid4().hex, fake)
        assert not first.ready()
        first.then(callback)
        fake.push(first.id, 1)
        assert ended.wait(WAIT), "it waits for itself"
        return found[0]

    return call


async def awaited(result):
    return await result


async def next_of(group):
    return await anext(aiter(group))


WAITS = {
    "get": lambda result: result.get(),
    "get with a timeout": lambda result: result.get(timeout=60),
    "get with a hook": lambda result: result.get(on_interval=lambda: None, interval=60),
    "await": lambda result: asyncio.run(awaited(result)),
}


@pytest.mark.parametrize("is_watched", [False, True], ids=["new", "watched"])
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("kind", ["one", "group", "set", "line"])
def test_waiting_inside_a_callback_is_refused(
    called, fake, group_of, kind, wait, is_watched
):
    one, parent = AsyncResult("one", fake), AsyncResult("parent", fake)
    result = {
        "one": one,
        "group": group_of(2, fake),
        "set": ResultSet([one, parent]),
        "line": AsyncResult("last", fake, parent=parent),
    }[kind]
    if kind == "set" and wait is WAITS["await"]:
        pytest.skip("a set is waited for in threads")
    if is_watched:
        assert not result.ready()
    raised = called(lambda: wait(result))
    assert isinstance(raised, RuntimeError)
    assert "inside a `then` callback" in str(raised)


def test_members_as_they_arrive_are_refused_inside_a_callback(called, fake, group_of):
    raised = called(lambda: asyncio.run(next_of(group_of(2, fake))))
    assert "inside a `then` callback" in str(raised)


def test_results_that_came_are_read_inside_a_callback(called, fake, group_of):
    group, one = group_of(2, fake), AsyncResult("one", fake)
    assert not group.ready()
    assert not one.ready()
    for result in (*group, one):
        fake.push(result.id, 5)
    assert (group.get(timeout=WAIT), one.get(timeout=WAIT)) == ([5, 5], 5)
    assert called(lambda: [group.get(), one.get(), one.ready()]) == [[5, 5], 5, True]


def test_member_that_came_tells_its_state_inside_its_callback(memory, group_of):
    group, told, ended = group_of(2, memory), [], threading.Event()
    memory.store_result(group[1].id, 5, "SUCCESS")

    def callback(result):
        told.extend([result.ready(), result.successful(), result.failed()])
        told.extend([result.state, result.result])
        ended.set()

    group[1].then(callback)
    assert ended.wait(WAIT), told
    assert told == [True, True, False, "SUCCESS", 5]


def test_a_callback_waits_for_results_of_another_app():
    one, other = [Celerant(n, task_default_queue=n) for n in ("called", "waited")]
    with one, other:
        values, ended = [], threading.Event()
        waited = other.task(name="other.task")(abs).delay(-2)

        def callback(_):
            values.append(waited.get(timeout=WAIT))
            ended.set()

        task = one.task(name="one.task")(abs)
        result = task.delay(-1)
        assert not result.ready()
        result.then(callback)
        with other.worker(concurrency=1), one.worker(concurrency=1):
            assert ended.wait(WAIT)
    assert values == [2]
