"""Dispatches over memory://: threads, nesting, leaks, leftovers."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from celerant import Celerant, group
from celerant.dispatch import carriers
from celerant.errors import (
    CanvasError,
    EncodeError,
    NotSent,
    PublishError,
    SettingError,
)
from harness.capture import drain
from harness.inside import kept_carriers
from harness.tasks import define_tasks


def _sent(shop):
    return drain("memory://", shop.app.conf.task_default_queue)


def _in_threads(count, work):
    failures = []

    def run(number):
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


@pytest.mark.parametrize("limit", [1, 2, None])
def test_twenty_threads_that_send_while_they_send(shop, limit):
    shop.app.conf.broker_pool_limit = limit

    def members(number):
        for i in range(10):
            # Needs a second connection while this thread holds one.
            shop.add.delay(number, -1)
            yield shop.add.s(number, i)

    _in_threads(20, lambda number: group(members(number)).apply_async())
    assert len(_sent(shop)) == 20 * 20


def test_one_group_can_be_applied_by_many_threads(shop):
    members = group([shop.add.s(i, i) for i in range(600)])
    ids = []
    _in_threads(4, lambda _: ids.append(members.apply_async().id))
    assert len(set(ids)) == 4
    assert len({message.headers["id"] for message in _sent(shop)}) == 4 * 600


def test_threads_of_one_app_share_one_pool(shop, monkeypatch):
    make = carriers._Pool
    made, asked, all_asked = [], [], threading.Event()

    class Lock:
        """The pool's own, which tells when all threads have asked for it."""

        def __init__(self, lock):
            self.lock = lock

        def __enter__(self):
            asked.append(1)
            if len(asked) == 4:
                all_asked.set()
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()

    def making(*args):
        made.append(make(*args))
        assert all_asked.wait(10)
        return made[-1]

    monkeypatch.setattr(carriers, "_Pool", making)
    kept = kept_carriers(shop.app)
    kept.lock = Lock(kept.lock)
    _in_threads(4, lambda _: shop.add.delay(1, 1))
    assert len(made) == 1


def test_a_dispatch_leaves_no_cycles(shop):
    shop.add.delay(1, 1)
    rounds = 1000
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for i in range(rounds):
            group([shop.add.s(i, i)]).apply_async()
            group(shop.add.s(i, i) for i in range(3)).apply_async()
        gc.collect()
        kinds = Counter(type(found).__name__ for found in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    # A few are of tests before this one; a cycle of ours would be there each time.
    assert {kind: n for kind, n in kinds.items() if n >= rounds} == {}


def test_two_thousand_groups_leave_nothing(shop):
    def volleys(count):
        for i in range(count):
            group([shop.add.s(i, i), shop.add.s(i, i).set(priority=i % 3)]).delay()
        _sent(shop)
        gc.collect()
        return len(gc.get_objects()), len(list(Path("/dev/fd").iterdir()))

    before = volleys(100)
    after = volleys(2_000)
    # A handful either way is the collector's and pytest's own.
    assert after[0] - before[0] < 50
    assert after[1] == before[1]


@pytest.mark.timeout(120)
def test_members_of_a_kind_each_are_not_kept(shop):
    def members(count):
        for i in range(count):
            yield shop.add.s(i, i).set(countdown=i + 1, queue="celerant-t1-kinds")
            if i % 500 == 0:
                # The broker's own memory is not measured.
                drain("memory://", "celerant-t1-kinds")

    group(members(600)).apply_async()
    tracemalloc.start()
    try:
        group(members(3_000)).apply_async()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    drain("memory://", "celerant-t1-kinds")
    # 1.5 MiB for any count; a kept template takes about 3 KiB.
    assert peak < 4 << 20


def test_an_interrupt_from_a_generator_goes_on_as_it_is(shop):
    def members():
        for i in range(1_200):
            yield shop.add.s(i, i)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group(members()).apply_async()
    # Whole chunks: all but the last, which has 500 at most. A slow machine makes
    # smaller ones, for members don't linger.
    assert 700 <= len(_sent(shop)) <= 1_200
    # The app is not the worse for it.
    assert group([shop.add.s(1, 2)]).apply_async().report.complete
    assert len(_sent(shop)) == 1


def test_members_sent_before_a_generator_broke_can_be_awaited(shop):
    def members():
        for i in range(700):
            yield shop.add.s(i, 0)
        yield shop.echo.s(object())

    streamed = group(members())
    with pytest.raises(PublishError, match=r"group\[700\]") as caught:
        streamed.apply_async()

    error = caught.value
    assert not error.recoverable
    assert isinstance(error.__cause__, EncodeError)
    assert error.result.report is error.report
    with pytest.raises(CanvasError, match="generator"):
        streamed.resume(error.result)
    with pytest.raises(ValueError, match="unknown must be"):
        streamed.resume(error.result, unknown="maybe")
    sent = len(_sent(shop))
    assert error.report.confirmed == [(0, sent)]
    # Members that never left are told of at once.
    if sent < len(error.result):
        with pytest.raises(NotSent):
            error.result.get(timeout=5)


@pytest.mark.parametrize("form", [list, tuple])
def test_a_list_over_the_held_size_streams(shop, form):
    text = "x" * 100_000
    members = form(shop.echo.s(text) for _ in range(200))
    group(members).apply_async()
    assert len(_sent(shop)) == 200


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"stamped_headers": ["trace"]}, "trace"),
        ({"delivery_mode": "eternal"}, "delivery_mode"),
        ({"countdown": float("nan")}, "countdown"),
        ({"countdown": 1e30}, "countdown"),
        ({"expires": float("inf")}, "expires"),
        ({"expires": 1e30}, "expires"),
        ({"eta": 5}, "eta"),
    ],
)
def test_an_impossible_option_is_a_setting_error(shop, options, name):
    for members in (
        lambda: group([shop.add.s(1, 2)]).apply_async(**options),
        lambda: group([shop.add.s(1, 2).set(**options)]).apply_async(),
        lambda: shop.add.apply_async((1, 2), **options),
    ):
        with pytest.raises(SettingError) as caught:
            members()
        assert caught.value.name == name
    assert _sent(shop) == []


def test_stamps_are_headers(shop):
    group([shop.add.s(1, 2)]).apply_async(stamped_headers=["trace"], trace="t1")
    (message,) = _sent(shop)
    assert message.headers["stamps"] == {"trace": "t1"}


def test_eta_is_fresh_per_chunk_and_equal_within_one(shop):
    group([shop.add.s(i, i) for i in range(1_100)]).apply_async(countdown=60)
    etas = [message.headers["eta"] for message in _sent(shop)]
    assert len(set(etas[:500])) == len(set(etas[500:1_000])) == 1
    assert len(set(etas)) == 3
    assert etas == sorted(etas)


def test_routes_that_look_at_arguments(shop):
    seen = []

    def by_first(name, args, kwargs, options, task=None, **rest):
        seen.append((name, args[0], task is shop.add))
        return {"queue": f"celerant-t1-route-{args[0] % 2}"}

    shop.app.conf.task_routes = (by_first,)
    group([shop.add.s(i, i) for i in range(600)]).apply_async()
    assert seen == [("celerant_test.add", i, True) for i in range(600)]
    for parity in (0, 1):
        sent = drain("memory://", f"celerant-t1-route-{parity}")
        assert [m.headers["group_index"] for m in sent] == list(range(parity, 600, 2))


def test_a_route_that_raises_sends_nothing(shop):
    def broken(name, args, kwargs, options, task=None, **rest):
        if args[0] == 3:
            msg = "no way"
            raise LookupError(msg)

    shop.app.conf.task_routes = (broken,)
    with pytest.raises(LookupError, match="no way"):
        group([shop.add.s(i, i) for i in range(5)]).apply_async()
    assert _sent(shop) == []


def test_a_closed_app_sends_again():
    with Celerant("celerant-t1-closed") as app:
        add = define_tasks(app).add
        add.delay(1, 1)
        app.close()
        add.delay(1, 1)
    assert len(drain("memory://", "celerant-t1-closed")) == 2
