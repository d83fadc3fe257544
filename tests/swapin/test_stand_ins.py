"""Functions that only look like Celery's own are told apart from Celery's own."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from unittest import mock

import celery
import pytest
import redis
from celery import canvas, chord, group
from celery.app.base import Celery
from celery.backends.base import KeyValueStoreBackend
from celery.backends.redis import RedisBackend
from celery.canvas import Signature
from kombu.exceptions import EncodeError
from kombu.messaging import Producer
from wrapt import FunctionWrapper

from celerant.celery import explain, install, uninstall
from harness.capture import drain
from swapin.conftest import RESULTS

WRAPPED = [
    (celery.Task, "apply_async"),
    (Celery, "send_task"),
    (Producer, "publish"),
    (Signature, "freeze"),
]


@pytest.mark.parametrize(("owner", "name"), WRAPPED, ids=lambda x: str(x)[-20:])
def test_a_wrapper_that_shows_the_code_of_what_it_wraps(
    make_app, both_ways, owner, name, monkeypatch
):
    side, calls = make_app(), Counter()

    def count(wrapped, _instance, args, kwargs):
        calls[name] += 1
        return wrapped(*args, **kwargs)

    monkeypatch.setattr(owner, name, FunctionWrapper(vars(owner)[name], count))
    members = [side.add.s(i, i) for i in range(5)]
    stock, ours = both_ways(side, lambda: group(members).apply_async())
    assert ours == stock
    assert calls == {name: 10}


def test_a_wrapt_wrapper_of_groups_before_us_is_called(make_app, monkeypatch):
    side, calls = make_app(), []

    def count(wrapped, _instance, args, kwargs):
        calls.append(wrapped)
        return wrapped(*args, **kwargs)

    wrapper = FunctionWrapper(vars(canvas.group)["apply_async"], count)
    monkeypatch.setattr(canvas.group, "apply_async", wrapper)
    with install():
        group([side.add.s(1, 1)] * 2).apply_async()
    assert len(calls) == 1


def test_wrapper_of_a_method_that_others_put_back_is_called(make_app, monkeypatch):
    side, seen = make_app(), []
    with mock.patch.object(canvas.group, "apply_async"):
        install()
    uninstall()
    original = vars(canvas.group)["apply_async"]

    def theirs(self, *args, **kwargs):
        seen.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(canvas.group, "apply_async", theirs)
    with install():
        found = vars(canvas.group)["apply_async"]
        group([side.add.s(1, 1)] * 2).apply_async()
    assert found is not theirs
    assert len(seen) == 1


def test_a_method_that_others_put_back_is_replaced_again(make_app, volleys):
    side = make_app()
    # A patch whose end restores the method it found: Celery's own.
    with mock.patch.object(canvas.group, "apply_async"):
        install()
    uninstall()
    with install():
        group([side.add.s(1, 1)] * 2).apply_async()
    assert volleys == [2]


@pytest.mark.parametrize("known", [True, False])
def test_groups_of_tasks_by_name_leave_as_volleys(make_app, both_ways, volleys, known):
    side = make_app()
    side.app.set_current()
    name = side.add.name if known else "elsewhere.task"

    def make():
        by_name = [celery.signature(name, args=(i, i)) for i in range(5)]
        return group([*by_name, side.add.s(1, 1)])

    with install():
        assert explain(make())
    stock, ours = both_ways(side, lambda: make().apply_async())
    assert ours == stock
    assert volleys == [6]


def test_headers_of_tasks_by_name_leave_as_volleys(make_app, both_ways, volleys):
    side = make_app(backend=RESULTS)
    side.app.set_current()

    def make():
        return chord([celery.signature("elsewhere", args=(i,)) for i in range(5)])

    stock, ours = both_ways(side, lambda: make()(side.echo.s()))
    assert ours == stock
    assert volleys == [5]


class Unfrozen(Signature):
    def freeze(self, *_args, **_kwargs):
        raise ZeroDivisionError


def test_a_header_that_is_never_frozen_stays_as_it_was(make_app):
    side = make_app(backend=RESULTS)
    header = group([side.add.s(i, i) for i in range(2)])
    body = Unfrozen(side.echo.s(), app=side.app)
    with install(), pytest.raises(ZeroDivisionError):
        chord(header, body, app=side.app).run(header, body, (), app=side.app)
    assert "_freeze_group_tasks" not in vars(header)
    assert len(header.freeze().results) == 2


def injecting(function):
    @functools.wraps(function)
    def wrapper(x):
        return function("injected", x)

    return wrapper


@pytest.mark.parametrize(("args", "sent"), [((1,), [3]), ((1, 2), [0])])
def test_a_decorated_task_takes_the_options_of_its_decorator(
    make_app, volleys, args, sent
):
    side = make_app()

    @side.app.task(name="decorated", shared=False)
    @injecting
    def decorated(_first, x):
        return x

    members = [decorated.s(*args) for _ in range(3)]
    with install():
        if len(args) == 1:
            group(members).apply_async()
        else:
            with pytest.raises(TypeError):
                group(members).apply_async()
    assert volleys == sent
    assert len(drain(side.url, side.queue)) == sum(sent)


def test_errors_after_the_first_member_left_are_celerys(make_app):
    side = make_app()

    def members():
        for i in range(60):
            yield side.echo.s(object() if i == 50 else i)

    with install(), pytest.raises(EncodeError, match="not JSON serializable"):
        group(members()).apply_async()
    drain(side.url, side.queue)


class Single(KeyValueStoreBackend):
    """A store that gives one key at a time, as Celery's for S3."""

    kept: dict[str, bytes] = {}  # noqa: RUF012 - shared on purpose

    def get(self, key):
        return self.kept.get(self.key_t(key))

    def set(self, key, value):
        self.kept[self.key_t(key)] = value


class Own(RedisBackend):
    asked: list[str] = []  # noqa: RUF012 - shared on purpose

    def _get_task_meta_for(self, task_id):
        self.asked.append(task_id)
        return super()._get_task_meta_for(task_id)


def test_a_store_that_gives_one_key_at_a_time_is_asked_so(make_app, monkeypatch):
    side = make_app()
    own = Single(app=side.app)
    monkeypatch.setattr(Celery, "backend", property(lambda _app: own))
    with install():
        result = group([side.add.s(i, i) for i in range(3)]).apply_async()
        assert not result.ready()
        for one in result.results:
            own.store_result(one.id, 7, "SUCCESS")
        assert result.ready()
        assert result.completed_count() == 3


def test_a_store_that_reads_in_its_own_way_is_asked_so(make_app, monkeypatch):
    side = make_app()
    own = Own(app=side.app, url=RESULTS)
    monkeypatch.setattr(Celery, "backend", property(lambda _app: own))
    Own.asked.clear()
    with install():
        result = group([side.add.s(i, i) for i in range(3)]).apply_async()
        assert not any(one.ready() for one in result.results)
        assert result.completed_count() == 0
    assert len(Own.asked) == 6


def test_replies_come_to_the_sender_whoever_looks(make_app):
    side = make_app("redis", "rpc://")
    with install():
        result = group([side.add.s(i, i) for i in range(3)]).apply_async()
    found = []
    other = threading.Thread(
        target=lambda: found.extend(one.backend.oid for one in result.results)
    )
    other.start()
    other.join()
    assert found == [side.app.thread_oid] * 3
    assert not result.ready()


def group_of(result):
    """Return the members' results without having `result` make them."""
    made = []
    for segment in result._segments:
        made += segment.results()
    return made


@pytest.fixture
def away(monkeypatch):
    """Have Redis lost at the first bulk reads; gives how often it was asked."""
    asked = []
    mget = RedisBackend.mget

    def lost(self, keys):
        asked.append(len(keys))
        if len(asked) <= 2:
            raise redis.exceptions.ConnectionError("gone")
        return mget(self, keys)

    monkeypatch.setattr(RedisBackend, "mget", lost)
    return asked


def stored(side):
    """Return the result of a group of three that are done."""
    result = group([side.add.s(i, i) for i in range(3)]).apply_async()
    for one in group_of(result):
        side.app.backend.store_result(one.id, 7, "SUCCESS")
    return result


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_a_wait_outlives_a_lost_store(make_app, away):
    side = make_app(backend=RESULTS)
    with install():
        assert stored(side).get(timeout=10) == [7, 7, 7]
    assert away == [3, 3, 3]


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_a_look_at_a_lost_store_is_celerys(make_app, away):
    side = make_app(backend=RESULTS)
    with install():
        assert stored(side).ready()
    assert away == [3]
