"""Groups and headers from generators that wait between members, with the swap-in."""

from __future__ import annotations

import threading

import celery
import pytest
from celery import chain, chord, group

import celerant.celery
from celerant.celery.generators import drawn
from harness.capture import drain

#: Longer than a member may wait for the next one, in seconds.
PAUSE = 0.03


class Source:
    """Members that come slowly, and how many have left as each is drawn."""

    def __init__(self, side, count=5):
        self.side = side
        self.count = count
        self.left = []

    def sent(self):
        return len(drain(self.side.url, self.side.queue))

    def __iter__(self):
        seen = 0
        for i in range(self.count):
            threading.Event().wait(PAUSE)
            seen += self.sent()
            self.left.append(seen)
            yield self.side.echo.s(i)


@pytest.fixture
def side(make_app):
    made = make_app(backend="redis")
    made.app.backend.set_chord_size = lambda *_told: None
    return made


def test_each_member_of_a_group_leaves_when_it_is_drawn(side):
    source = Source(side)
    with celerant.celery.install():
        group(member for member in source).apply_async()
    assert source.left == [0, 1, 2, 3, 4]


def test_a_chord_holds_back_its_last_member_alone(side):
    source = Source(side)
    with celerant.celery.install():
        chord(member for member in source)(side.echo.s())
    # Celery looks whether a header is empty, for which it draws two.
    assert source.left == [0, 0, 1, 2, 3]


def test_nothing_leaves_later_than_with_celery(side):
    makes = [
        lambda source: group(member for member in source).apply_async(),
        lambda source: chord(member for member in source)(side.echo.s()),
        lambda source: group(
            chain(member, side.echo.s()) for member in source
        ).apply_async(),
        lambda source: group(group([member]) for member in source).apply_async(),
    ]
    for make in makes:
        stock, ours = Source(side), Source(side)
        make(stock)
        stock.sent()
        with celerant.celery.install():
            make(ours)
        ours.sent()
        assert all(a >= b for a, b in zip(ours.left, stock.left, strict=True))


def test_drawn_members_stay_with_the_group(side):
    made = []

    def members():
        for i in range(4):
            made.append(i)
            yield side.echo.s(i)

    lazy = group(members()).tasks
    found = drawn(lazy)
    assert [next(found)["args"], next(found)["args"]] == [(0,), (1,)]
    assert made == [0, 1]
    assert [member["args"] for member in drawn(lazy)] == [(i,) for i in range(4)]
    assert made == [0, 1, 2, 3]
    assert list(found) == list(lazy)[2:]
    assert len(lazy) == 4


def test_a_generator_that_raises_is_not_drawn_again(side):
    def members():
        yield side.echo.s(0)
        raise ZeroDivisionError

    lazy = group(members()).tasks
    with pytest.raises(ZeroDivisionError):
        list(drawn(lazy))
    assert len(list(drawn(lazy))) == 1
    assert isinstance(lazy, celery.utils.functional._regen)
