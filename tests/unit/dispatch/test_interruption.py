"""An interruption passes through a dispatch, with result and report added."""

from __future__ import annotations

import asyncio
import pkgutil
import sys
import threading

import pytest

from celerant import Celerant, Retry, chain, chord, group
from celerant.errors import PublishError, SoftTimeLimitExceeded
from harness.capture import drain
from harness.tasks import define_tasks
from harness.until import until_in_loop

INTERRUPTIONS = [
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    SoftTimeLimitExceeded,
    Retry,
]


@pytest.fixture
def shop(app):
    tasks = define_tasks(app)
    tasks.app = app
    yield tasks
    drain("memory://", app.conf.task_default_queue)


def _sent(shop):
    return len(drain("memory://", shop.app.conf.task_default_queue))


@pytest.mark.parametrize("kind", INTERRUPTIONS)
def test_a_group_that_is_interrupted_while_its_members_come(shop, kind):
    raised = kind("stop")

    def members():
        yield from (shop.add.s(i, i) for i in range(700))
        raise raised

    with pytest.raises(kind) as caught:
        group(members()).apply_async()

    assert caught.value is raised
    # Whole chunks, which are smaller on a slow machine.
    count = raised.report.counts()["confirmed"]
    assert raised.result.report is raised.report
    assert raised.report.total == 700
    if sys.version_info >= (3, 11):
        (note,) = raised.__notes__
        assert f"700 members: {count} confirmed" in note
    assert _sent(shop) == count > 0


@pytest.mark.parametrize("kind", INTERRUPTIONS)
def test_a_list_that_is_interrupted_before_anything_left(shop, kind):
    members = [shop.add.s(i, i) for i in range(3)]

    def interrupt(*_args, **_kwargs):
        raise kind

    shop.app.conf.task_routes = [interrupt]
    with pytest.raises(kind) as caught:
        group(members).apply_async()
    assert caught.value.report.unsent == [(0, 3)]
    assert _sent(shop) == 0
    shop.app.conf.task_routes = None
    result = group(members).resume(caught.value.result)
    assert result.report.complete
    assert _sent(shop) == 3


@pytest.mark.parametrize("make", ["task", "chain", "chord", "group of chains"])
def test_every_kind_of_canvas_that_is_interrupted(shop, make):
    canvas = {
        "task": lambda: shop.add.s(1, 2),
        "chain": lambda: chain(shop.add.s(1, 2), shop.add.s(3)),
        "chord": lambda: chord([shop.add.s(1, 2)] * 3, shop.echo.s()),
        "group of chains": lambda: group([chain(shop.add.s(1, 2), shop.add.s(3))] * 2),
    }[make]()

    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    shop.app.conf.task_routes = [interrupt]
    with pytest.raises(KeyboardInterrupt) as caught:
        canvas.apply_async()
    report = caught.value.report
    assert report.counts()["confirmed"] == 0
    assert caught.value.result is not None
    assert _sent(shop) == 0


@pytest.mark.parametrize(
    "step",
    [
        "celerant.results.tracking.members.Members.seal",
        "celerant.results.tracking.members.Members.settle",
        "celerant.results.group_result.GroupResult.lone",
        "celerant.sending.outgoing.Outgoing.add_to_parent",
    ],
)
def test_an_interruption_after_the_last_member_left(shop, monkeypatch, step):
    where, _, name = step.rpartition(".")
    owner = pkgutil.resolve_name(where)
    plain, raised = getattr(owner, name), []

    def interrupted(self, *args):
        if not raised:
            raised.append(KeyboardInterrupt())
            raise raised[0]
        return plain(self, *args)

    monkeypatch.setattr(owner, name, interrupted)
    quiet = shop.add.s(1, 1).set(ignore_result=True)
    with pytest.raises(KeyboardInterrupt) as caught:
        group([shop.add.s(1, 1), quiet]).apply_async()
    result = caught.value.result
    assert caught.value.report is result.report
    assert result.report.complete
    assert _sent(shop) == 2
    with shop.app.worker(concurrency=1):
        group([shop.add.s(1, 1), quiet]).resume(result)
        assert result.members.barrier.is_sealed
        assert _sent(shop) == 0


def test_sending_from_an_event_loop_that_is_interrupted(shop):
    def members():
        yield from (shop.add.s(i, i) for i in range(600))
        raise SoftTimeLimitExceeded

    async def main():
        await shop.app.asend(group(members()))

    with pytest.raises(SoftTimeLimitExceeded) as caught:
        asyncio.run(main())
    count = caught.value.report.counts()["confirmed"]
    assert _sent(shop) == count > 0


async def _cancelled(sending, is_under_way, go_on):
    await until_in_loop(is_under_way.is_set)
    sending.cancel()
    # The cancellation reaches the coroutine first.
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await sending
    return caught.value


def test_a_cancelled_send_sends_no_more_of_a_generator(shop):
    is_under_way, go_on = threading.Event(), threading.Event()

    def members():
        for i in range(100_000):
            if i == 700:
                is_under_way.set()
                assert go_on.wait(20)
            yield shop.add.s(i, i)

    async def main():
        sending = asyncio.ensure_future(shop.app.asend(group(members())))
        return await _cancelled(sending, is_under_way, go_on)

    raised = asyncio.run(main())
    count = raised.report.counts()["confirmed"]
    assert raised.result.report is raised.report
    assert _sent(shop) == count
    assert 0 < count < 2_000


def test_a_cancelled_list_is_resumed(shop):
    is_under_way, go_on = threading.Event(), threading.Event()

    def route(*_args, **_kwargs):
        is_under_way.set()
        assert go_on.wait(20)

    members = [shop.add.s(i, i) for i in range(3)]
    shop.app.conf.task_routes = [route]

    async def main():
        sending = asyncio.ensure_future(shop.app.asend(group(members)))
        return await _cancelled(sending, is_under_way, go_on)

    raised = asyncio.run(main())
    assert raised.report.unsent == [(0, 3)]
    assert _sent(shop) == 0
    assert group(members).resume(raised.result).report.complete
    assert _sent(shop) == 3


def test_a_send_that_is_cancelled_too_late_has_its_result(shop):
    is_under_way, go_on = threading.Event(), threading.Event()

    def route(*_args, **_kwargs):
        is_under_way.set()
        assert go_on.wait(20)

    shop.app.conf.task_routes = [route]

    async def main():
        sending = asyncio.ensure_future(shop.app.asend(shop.add.s(1, 2)))
        return await _cancelled(sending, is_under_way, go_on)

    raised = asyncio.run(main())
    (message,) = drain("memory://", shop.app.conf.task_default_queue)
    assert raised.result.id == message.headers["id"]


def test_an_error_of_the_source_is_a_publish_error_whose_cause_it_is(shop):
    def members():
        yield from (shop.add.s(i, i) for i in range(600))
        message = "no more"
        raise LookupError(message)

    with pytest.raises(PublishError, match=r"group\[600\]: no more") as caught:
        group(members()).apply_async()
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.path == "group[600]"
    count = caught.value.report.counts()["confirmed"]
    assert caught.value.result.report is caught.value.report
    assert _sent(shop) == count > 0


def test_an_app_is_as_usable_after_an_interruption_as_before(shop):
    assert isinstance(shop.app, Celerant)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt) as caught:
            group(_interrupting(shop)).apply_async()
        assert shop.add.delay(1, 1).id
        assert _sent(shop) == 1 + caught.value.report.counts()["confirmed"]


def _interrupting(shop):
    yield from (shop.add.s(i, i) for i in range(500))
    raise KeyboardInterrupt
