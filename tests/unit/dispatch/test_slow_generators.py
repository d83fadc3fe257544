"""Members of a generator that waits between them leave as they are drawn."""

from __future__ import annotations

import threading

import pytest

from celerant import chain, chord, group
from celerant.errors import PublishError
from celerant.sending import outgoing
from harness.capture import drain
from harness.until import until

WAIT = 10
#: Longer than a member may wait for the next one, in seconds.
PAUSE = 0.03


class Source:
    """Members that come slowly, and how many have left as each is drawn."""

    def __init__(self, shop, count=5, pause=PAUSE):
        self.shop = shop
        self.count = count
        self.pause = pause
        self.left = []

    def sent(self):
        queue = self.shop.app.conf.task_default_queue
        return len(drain("memory://", queue))

    def __iter__(self):
        seen = 0
        for i in range(self.count):
            threading.Event().wait(self.pause)
            seen += self.sent()
            self.left.append(seen)
            yield self.shop.echo.s(i)


@pytest.fixture
def source(shop):
    return Source(shop)


def test_each_member_of_a_group_leaves_when_it_is_drawn(source):
    group(iter(source)).apply_async()
    assert source.left == [0, 1, 2, 3, 4]


def test_a_chord_holds_back_its_last_member_alone(source, shop):
    chord(iter(source), shop.echo.s()).apply_async()
    assert source.left == [0, 0, 1, 2, 3]
    assert source.sent() == 2


def test_a_generator_inside_a_list_does_not_wait_for_its_end(source, shop):
    before, after = shop.echo.s("before"), shop.echo.s("after")
    group([before, group(iter(source)), after]).apply_async()
    assert source.left == [0, 2, 3, 4, 5]
    assert source.sent() == 2


def test_chains_from_a_generator_leave_when_they_are_drawn(shop):
    source = Source(shop)
    group(chain(member, shop.echo.s()) for member in source).apply_async()
    assert source.left == [0, 1, 2, 3, 4]


def test_a_chord_of_chains_holds_back_its_last_member_alone(shop):
    source = Source(shop)
    header = (chain(member, shop.echo.s()) for member in source)
    chord(header, shop.echo.s()).apply_async()
    assert source.left[:2] == [0, 0]
    assert source.left[2:] >= [1, 2, 3]
    assert source.sent() >= 1


def test_the_first_member_of_a_fast_generator_leaves_alone(shop):
    source = Source(shop, count=1200, pause=0)
    group(iter(source)).apply_async()
    assert source.left[:2] == [0, 1]
    # The others leave in chunks: few numbers are seen.
    assert len(set(source.left)) < 100


def test_a_bad_member_behind_the_held_one_leaves_it_in_the_report(shop):
    source = Source(shop, count=3)

    def members():
        yield from source
        raise ZeroDivisionError

    with pytest.raises(PublishError) as caught:
        chord(members(), shop.echo.s()).apply_async()
    report = caught.value.report
    assert (report.confirmed, report.unsent) == ([(0, 2)], [(2, 3)])


def test_the_path_of_a_held_member_is_its_own(shop):
    members = [shop.add.s(i, i) for i in range(501)]
    members[500] = shop.add.s(1)
    with pytest.raises(TypeError, match=r"group\[500\]"):
        chord(members, shop.echo.s()).apply_async()
    source = Source(shop, count=0)
    assert source.sent() == 0


@pytest.mark.parametrize("count", [1, 2, 499, 500, 501, 1000, 1001])
@pytest.mark.parametrize("form", [list, iter])
def test_the_size_of_a_chord_is_told_before_its_last_message(
    shop, monkeypatch, count, form
):
    told = []

    def tell(sizes):
        told.append((list(sizes.values()), source.sent()))

    monkeypatch.setattr(shop.app.backend, "set_chord_sizes", tell)
    source = Source(shop, count=0)
    members = [shop.echo.s(i) for i in range(count)]
    chord(form(members), shop.echo.s()).apply_async()
    ((sizes, before),) = told
    assert sizes == [count]
    # A list's is known before anything leaves.
    assert before < count
    assert before + source.sent() == count


def test_groups_that_wait_for_their_sources_hold_up_no_other_group(
    shop, queue, monkeypatch, caplog
):
    monkeypatch.setattr(outgoing, "_FEEDING_MOST", 2)
    monkeypatch.setattr(outgoing, "_FEEDING_WAITS", 0.01, raising=False)
    go = threading.Event()

    def slow():
        yield shop.echo.s(0)
        go.wait(WAIT)

    results = [group(slow()).apply_async(window=5) for _ in range(2)]
    until(lambda: queue.look() == 2)
    results.append(group([shop.echo.s(1)]).apply_async(window=5))
    until(lambda: queue.look() == 3)
    assert "all 2 connections have been in use" in caplog.text
    go.set()
    queue.finish(3)
    for result in results:
        assert len(result.get(timeout=WAIT)) == 1
