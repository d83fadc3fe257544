"""If other code listens or has changed a method, Celery's own code runs."""

from __future__ import annotations

import functools
from unittest import mock

import celery
import kombu
import pytest
from celery import chain, group
from celery.app.amqp import AMQP

import celerant.celery
from harness.capture import drain


@pytest.fixture
def side(make_app):
    return make_app()


def members_of(side, n=3):
    return [side.add.s(i, i) for i in range(n)]


class Loud(celery.Task):
    abstract = True
    seen: list[str] = []  # noqa: RUF012 - shared on purpose

    def apply_async(self, *args, **kwargs):
        self.seen.append(self.name)
        return super().apply_async(*args, **kwargs)


class Shadowed(celery.Task):
    abstract = True

    def shadow_name(self, args, kwargs, options):  # noqa: ARG002 - Celery's
        return f"{self.name}({args[0]})"


@pytest.mark.parametrize("base", [Loud, Shadowed])
def test_overridden_tasks_are_asked(side, both_ways, volleys, base):
    Loud.seen.clear()

    @side.app.task(name="own", base=base, shared=False)
    def own(x):
        return x

    canvas = group([side.add.s(1, 1), own.s(2), own.s(3), side.add.s(4, 4)])
    stock, ours = both_ways(side, lambda: group.apply_async(canvas))
    assert ours == stock
    assert volleys == [1, 1]
    if base is Loud:
        assert Loud.seen == ["own"] * 4
    else:
        assert ours[1]["headers"]["shadow"] == "own(2)"


def wrapped(function):
    """Wrap as Sentry and others do: the wrapper looks like the wrapped function."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        wrapper.calls += 1
        return function(*args, **kwargs)

    wrapper.calls = 0
    return wrapper


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (celery.Task, "apply_async"),
        (celery.Celery, "send_task"),
        (kombu.Producer, "publish"),
        (AMQP, "as_task_v2"),
        (celery.canvas.Signature, "apply_async"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_wrappers_are_called_for_each_member(make_app, volleys, owner, name):
    wrapper = wrapped(getattr(owner, name))
    with celerant.celery.install(), mock.patch.object(owner, name, wrapper):
        side = make_app()
        members = members_of(side)
        group(members).apply_async()
    assert wrapper.calls == 3
    assert not volleys
    assert len(drain(side.url, side.queue)) == 3


def test_an_app_that_sends_in_its_own_way_is_asked(make_app, volleys):
    side = make_app()
    side.app.send_task = wrapped(side.app.send_task)
    with celerant.celery.install():
        group(members_of(side)).apply_async()
    assert side.app.send_task.calls == 3
    assert not volleys


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task_protocol": 1}, "task_protocol is 1"),
        ({"task_send_sent_event": True}, "task_send_sent_event"),
        ({"task_always_eager": True}, "task_always_eager"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_ask_for_each_task(make_app, volleys, settings, said):
    side = make_app(**settings)
    canvas = group(members_of(side))
    assert said in str(celerant.celery.explain(canvas))
    with celerant.celery.install():
        result = canvas.apply_async()
    assert not volleys
    assert len(result) == 3
    sent = 0 if "task_always_eager" in settings else 3
    assert len(drain(side.url, side.queue)) == sent


@pytest.mark.skipif(not hasattr(kombu.Producer, "batch"), reason="new in kombu 5.7")
def test_a_producer_of_the_callers_and_its_batch_are_used(make_app, volleys):
    side = make_app("redis")
    canvas = group(members_of(side))
    with (
        celerant.celery.install(),
        side.app.producer_pool.acquire(block=True) as producer,
    ):
        explained = celerant.celery.explain(canvas, producer=producer)
        assert "producer" in str(explained)
        with producer.batch():
            canvas.apply_async(producer=producer)
            assert len(drain(side.url, side.queue)) == 0
    assert len(drain(side.url, side.queue)) == 3
    assert not volleys


class Mine(celery.group):
    def apply_async(self, *args, **kwargs):
        return super().apply_async(*args, **{**kwargs, "priority": 8})


def test_subclasses_keep_their_ways(side, volleys):
    with celerant.celery.install():
        Mine(members_of(side)).apply_async()
        group([side.add.s(1, 1), Mine(members_of(side))]).apply_async()
    assert volleys == [1]
    found = [message.properties["priority"] for message in drain(side.url, side.queue)]
    assert found == [8, 8, 8, 0, 0, 0, 0]


def test_link_is_refused_as_by_celery(side):
    with celerant.celery.install():
        for option in ("link", "link_error"):
            with pytest.raises(TypeError, match="Cannot add link to group"):
                group(members_of(side)).apply_async(**{option: side.echo.s()})


def test_arguments_that_do_not_fit_are_celerys_error(side):
    canvas = group([side.add.s(1, 1), side.add.s(1)])
    raised = []
    for way in (lambda: None, celerant.celery.install):
        way()
        with pytest.raises(TypeError) as caught:
            canvas.apply_async()
        raised.append((str(caught.value), len(drain(side.url, side.queue))))
    assert raised[0] == raised[1]
    assert raised[0][1] == 1


def test_a_broker_that_is_gone_is_celerys_error(side):
    side.app.conf.broker_url = "redis://127.0.0.1:1/0"
    canvas = group(members_of(side))
    with pytest.raises(kombu.exceptions.OperationalError):
        canvas.apply_async(retry=False)
    with (
        celerant.celery.install(),
        pytest.raises(kombu.exceptions.OperationalError) as caught,
    ):
        canvas.apply_async(retry=False)
    report = caught.value.__cause__.report
    assert report.counts()["unsent"] == 3


def test_unencodable_arguments_are_kombus_error(side):
    canvas = group([side.echo.s(1), side.echo.s(object())])
    with celerant.celery.install(), pytest.raises(kombu.exceptions.EncodeError):
        canvas.apply_async()


def test_options_that_nobody_knows_go_celerys_way(side, both_ways, volleys):
    canvas = group([side.add.s(1, 1).set(app_id="a"), side.add.s(2, 2)])
    stock, ours = both_ways(side, lambda: group.apply_async(canvas))
    assert (ours, volleys) == (stock, [1])
    volleys.clear()
    celerant.celery.uninstall()
    stock, ours = both_ways(side, lambda: canvas.apply_async(user_id="u"))
    assert (ours, volleys) == (stock, [])
    assert "user_id" in str(celerant.celery.explain(canvas, user_id="u"))


def test_a_group_of_one_chain_that_ends_in_a_group_is_that_group(side, both_ways):
    def send():
        # Older versions write ids into it, which it has when it is sent again.
        inner = group([side.echo.s(), side.echo.s()])
        return group([chain(side.add.s(1, 1), inner)]).apply_async()

    stock, ours = both_ways(side, send)
    assert ours == stock


def test_an_empty_group_is_celerys(side, both_ways, volleys):
    stock, ours = both_ways(side, lambda: group([]).apply_async())
    assert (ours, volleys) == (stock, [])
