"""Stamps: the parts that get them, and refused ones."""

from __future__ import annotations

import pytest

from celerant import StampingVisitor, chain, chord, group, signature
from celerant.errors import CanvasError, TaskRevoked
from harness.capture import drain


class _Numbers(StampingVisitor):
    def __init__(self):
        self.count = 0

    def on_signature(self, _sig, **_headers):
        self.count += 1
        return {"number": self.count}


def _stamps(shop):
    found = drain("memory://", shop.app.conf.task_default_queue)
    return [message.headers["stamps"] for message in found]


def test_every_kind_returns_itself(shop):
    task = shop.echo.s
    for made in (
        task(1),
        group([task(1)]),
        chain(task(1), task(2)),
        chord([task(1)], task(2)),
        shop.echo.chunks([(1,)], 1),
    ):
        assert made.stamp(a=1) is made


def test_a_generators_members_are_stamped_when_they_come(shop):
    visitor = _Numbers()
    made = group(shop.echo.s(i) for i in range(3)).stamp(visitor)
    assert visitor.count == 0
    made.apply_async()
    assert visitor.count == 3
    assert _stamps(shop) == [{"number": 1}, {"number": 2}, {"number": 3}]


@pytest.mark.parametrize("items", [[1, 2], iter([1, 2])])
def test_a_map_holds_no_signatures_for_common_stamps(shop, items):
    made = group.map(shop.echo, items).stamp(a=1).stamp(append_stamps=True, a=2)
    assert type(made["kwargs"]["tasks"]).__name__ == "Mapped"
    made.apply_async()
    assert _stamps(shop) == [{"a": [2, 1]}] * 2


def test_a_visitor_stamps_each_item_of_a_map(shop):
    group.map(shop.echo, [1, 2]).stamp(_Numbers()).apply_async()
    assert _stamps(shop) == [{"number": 1}, {"number": 2}]


def test_lists_are_not_shared_between_members(shop):
    given = ["a"]
    made = group([shop.echo.s(i).stamp(tags=[f"own{i}"]) for i in range(2)])
    made.stamp(tags=given)
    assert given == ["a"]
    made.apply_async()
    assert _stamps(shop) == [{"tags": ["a", "own0"]}, {"tags": ["a", "own1"]}]


def test_a_visitors_stamps_of_one_member_do_not_reach_the_next(shop):
    class First(StampingVisitor):
        def on_signature(self, sig, **_headers):
            return {"first": True} if sig.args == (0,) else {}

    group([shop.echo.s(0), shop.echo.s(1)]).stamp(First(), a=1).apply_async()
    assert _stamps(shop) == [{"a": 1, "first": True}, {"a": 1}]


def test_the_callers_list_keeps_its_dicts(shop):
    given = [dict(shop.echo.s(1)), shop.echo.s(2)]
    made = group(given, app=shop.app).stamp(a=1)
    assert type(given[0]) is dict
    made.apply_async()
    assert _stamps(shop) == [{"a": 1}, {"a": 1}]


def test_a_header_is_a_list_again_when_its_visitor_has_left(shop):
    made = chord([shop.echo.s(1)], shop.echo.s(2))
    made.stamp(_Numbers())
    assert made["kwargs"]["header"] == [shop.echo.s(1).stamp(number=1)]


def test_stamps_stay_in_copies_and_whatever_a_call_says(shop):
    made = shop.echo.s(1).stamp(a=1)
    assert signature(dict(made)).options == made.clone().options == made.options
    made.apply_async(a=2, stamped_headers=["a"])
    assert _stamps(shop) == [{"a": 1}]


def test_a_canvas_in_itself_is_refused(shop):
    made = group([shop.echo.s(1)])
    made.add(made)
    with pytest.raises(CanvasError, match="contains itself"):
        made.stamp(a=1)
    linked = chain(shop.echo.s(1), shop.echo.s(2))
    linked.options["link"] = [linked]
    with pytest.raises(CanvasError, match="contains itself"):
        linked.stamp(a=1)


def test_200_canvases_inside_each_other_and_no_more_than_256(shop):
    made = shop.echo.s(1)
    for _ in range(200):
        made = group([made])
    made.stamp(_Numbers(), a=1).apply_async()
    assert _stamps(shop) == [{"a": 1, "number": 1}]
    for _ in range(100):
        made = group([made])
    with pytest.raises(CanvasError, match="256"):
        made.stamp(a=1)


def test_stamping_names_a_member_that_is_no_canvas(shop):
    with pytest.raises(CanvasError, match="not int"):
        group(iter([3])).stamp(a=1).apply_async()
    made = chain(shop.echo.s(1), shop.echo.s(2))
    made.tasks.append("three")
    with pytest.raises(CanvasError, match="not str"):
        made.stamp(a=1)


def test_stamps_are_with_every_step_that_a_worker_runs(app):
    seen = []

    @app.task(bind=True, name="stamped")
    def stamped(self, *_args):
        seen.append((self.request.stamped_headers, self.request.stamps))

    called = stamped.si()
    called.link(stamped.si())
    made = chain(stamped.si(), group(stamped.si(), stamped.si()), called, stamped.si())
    made.stamp(_Numbers(), append_stamps=True, a=1)
    with app.worker(concurrency=1):
        result = made.delay()
        result.get(timeout=10)
        result.parent.children[0].get(timeout=10)

    assert all(sorted(names) == ["a", "number"] for names, _ in seen)
    assert all(stamps["a"] == 1 for _, stamps in seen)
    assert sorted(stamps["number"] for _, stamps in seen) == [1, 2, 3, 4, 5, 6]


def test_a_later_step_is_revoked_by_its_stamp(app):
    ran = []

    @app.task(name="run")
    def run(number):
        ran.append(number)

    made = chain(run.si(1), run.si(2).stamp(batch="b"), run.si(3))
    with app.worker(concurrency=1):
        app.control.revoke_by_stamped_headers({"batch": ["b"]})
        result = made.delay()
        with pytest.raises(TaskRevoked):
            result.get(timeout=10)
    assert ran == [1]
