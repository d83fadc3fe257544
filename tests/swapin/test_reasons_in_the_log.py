"""The logger `celerant` says at level DEBUG what `explain` says, once per reason."""

from __future__ import annotations

import functools
import logging

import celery
import pytest
from celery import chain, chord, group

import celerant.celery
from celerant.celery import explain, install


@pytest.fixture
def side(make_app):
    return make_app()


@pytest.fixture
def logged(caplog, lines_at):
    """Return the lines so far about Celery's own path."""
    caplog.set_level(logging.DEBUG, logger="celerant")
    return functools.partial(lines_at, logging.DEBUG)


class Special(group):
    pass


def of(side, cls=group):
    return cls([side.add.s(i, i) for i in range(3)])


@pytest.mark.parametrize("cls", [group, celerant.celery.group], ids=["celery", "ours"])
def test_an_option_of_the_call(side, logged, cls):
    canvas = of(side, cls)
    with install():
        (reason,) = explain(canvas, app_id="x").reasons
        canvas.apply_async(app_id="x")
    assert logged() == [f"a group takes Celery's own path: {reason.reason}"]


def test_a_producer_in_the_call(side, logged):
    canvas = of(side)
    with install(), side.app.producer_or_acquire() as producer:
        (reason,) = explain(canvas, producer=producer).reasons
        canvas.apply_async(producer=producer)
    assert logged() == [f"a group takes Celery's own path: {reason.reason}"]
    assert "brings a producer" in logged()[0]


def test_links_of_the_call(side, logged):
    canvas = of(side)
    with install():
        (reason,) = explain(canvas, link=side.echo.s()).reasons
        with pytest.raises(TypeError, match="link"):
            canvas.apply_async(link=side.echo.s())
    assert logged() == [f"a group takes Celery's own path: {reason.reason}"]


def test_a_subclass_of_group(side, logged):
    canvas = of(side, Special)
    with install():
        (reason,) = explain(canvas).reasons
        canvas.apply_async()
    assert logged() == [f"a group takes Celery's own path: {reason.reason}"]
    assert "Special is a subclass of group" in logged()[0]


@pytest.mark.parametrize("setting", ["task_always_eager", "task_send_sent_event"])
def test_settings(make_app, logged, setting):
    canvas = of(make_app(**{setting: True}))
    with install():
        (reason,) = explain(canvas).reasons
        canvas.apply_async()
    assert logged() == [f"a group takes Celery's own path: {reason.reason}"]
    assert setting in logged()[0]


def test_an_earlier_wrapper(side, logged, monkeypatch):
    original = celery.group.apply_async

    @functools.wraps(original)
    def wrapper(self, *args, **kwargs):
        return original(self, *args, **kwargs)

    monkeypatch.setattr(celery.group, "apply_async", wrapper)
    canvas = of(side)
    with install():
        (reason,) = explain(canvas).reasons
        canvas.apply_async()
    assert logged() == [f"a group takes Celery's own path: {reason.reason}"]


@pytest.mark.parametrize("is_generator", [False, True])
def test_members_are_logged_once_for_each_reason(make_app, logged, is_generator):
    side = make_app("redis", "redis")
    side.app.backend.set_chord_size = lambda *_told: None
    add = side.add
    members = [
        add.s(0, 0),
        chord([add.s(1, 1)], side.echo.s()),
        add.s(2, 2),
        chord([add.s(3, 3)], side.echo.s()),
        add.s(4, 4).set(app_id="x"),
        chain(add.s(5, 5)),
        Special([add.s(6, 6)]),
        dict(add.s(7, 7)),
    ]
    with install():
        reasons = explain(group(members)).reasons
        if is_generator:
            group(member for member in members).apply_async()
        else:
            group(members).apply_async()
    found = list(dict.fromkeys(reason.reason for reason in reasons))
    assert len(found) == 5
    assert logged() == [
        f"a member of a group takes Celery's own path: {reason}" for reason in found
    ]


def test_groups_in_volleys_and_groups_without_members_log_nothing(side, logged):
    with install():
        of(side).apply_async()
        of(side, celerant.celery.group).apply_async()
        group([]).apply_async()
    assert logged() == []
