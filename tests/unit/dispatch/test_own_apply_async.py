"""Task classes with an `apply_async` of their own: every canvas calls it."""

from __future__ import annotations

from unittest import mock

import pytest

from celerant import Celerant, Task, chain, chord, group
from celerant.errors import CanvasError

WAIT = 10


class Tenant(Task):
    """Adds a header to each message."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, **options):
        headers = {**(options.pop("headers", None) or {}), "tenant": "t1"}
        self.app.sends.append((self.name, options.get("task_id")))
        sent = super().apply_async(args, kwargs, headers=headers, **options)
        self.app.returned.append(sent.id)
        return sent


class Once(Task):
    """Sends no task with a negative argument."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, **options):
        if args and args[-1] < 0:
            return None
        return super().apply_async(args, kwargs, **options)


@pytest.fixture
def app():
    with Celerant("own", set_as_current=False) as app:
        app.sends, app.returned = [], []

        @app.task(base=Tenant, bind=True, name="own.tenant", max_retries=1)
        def tenant(self, *args, again=False):
            if again and not self.request.retries:
                raise self.retry(countdown=0)
            headers = self.request.headers or {}
            return [*args, headers.get("tenant"), headers.get("more")]

        @app.task(name="own.plain", bind=True)
        def plain(self, *args):
            return [*args, (self.request.headers or {}).get("tenant")]

        @app.task(base=Once, name="own.once")
        def once(x):
            return x

        with app.worker(concurrency=2):
            yield app


@pytest.fixture
def tenant(app):
    return app.tasks["own.tenant"]


def test_a_signature_is_sent_by_its_tasks_own_method(app, tenant):
    for send in (tenant.delay, tenant.s().delay, tenant.s().apply_async):
        assert send().get(timeout=WAIT) == ["t1", None]
    assert tenant.s(2).apply_async((1,), headers={"more": 3}).get(timeout=WAIT) == [
        1,
        2,
        "t1",
        3,
    ]
    assert [name for name, _ in app.sends] == ["own.tenant"] * 4


@pytest.mark.parametrize("kind", [list, iter])
def test_the_members_of_a_group_are_sent_by_it(app, tenant, kind):
    plain = app.tasks["own.plain"]
    members = [
        tenant.s(1),
        plain.s(2),
        group(tenant.s(3), plain.s(4)),
        tenant.s(5) | plain.s(),
        tenant.s(6),
    ]
    result = group(kind(members), app=app).apply_async((0,), headers={"more": 7})
    assert result.get(timeout=WAIT) == [
        [0, 1, "t1", 7],
        [0, 2, None],
        [0, 3, "t1", 7],
        [0, 4, None],
        [[0, 5, "t1", 7], None],
        [0, 6, "t1", 7],
    ]
    # Each member is told its id, and so is whoever keeps what the method returns.
    ids = [result[0].id, result[2].id, result[5].id]
    assert [app.returned[at] for at in (0, 1, -1)] == ids
    assert [app.sends[at][1] for at in (0, 1, -1)] == ids


def test_mapped_members_are_sent_by_it(app, tenant):
    assert group.map(tenant, [1, 2]).apply_async().get(timeout=WAIT) == [
        [1, "t1", None],
        [2, "t1", None],
    ]


def test_fed_members_are_sent_by_it(app, tenant):
    result = group(tenant.s(i) for i in range(7)).apply_async(window=2)
    assert result.get(timeout=WAIT) == [[i, "t1", None] for i in range(7)]


def test_all_steps_of_a_chain_are_sent_by_it(app, tenant):
    canvas = chain(tenant.s(1), tenant.s(), tenant.si(2))
    assert canvas.apply_async((0,), headers={"more": 3}).get(timeout=WAIT) == [
        2,
        "t1",
        None,
    ]
    assert app.sends[0][0] == "own.tenant"
    assert len(app.sends) == 3
    first = canvas.apply_async((0,), headers={"more": 3})
    while first.parent is not None:
        first = first.parent
    assert first.get(timeout=WAIT) == [0, 1, "t1", 3]


@pytest.mark.parametrize("kind", [list, iter])
def test_header_and_body_of_a_chord_are_sent_by_it(app, tenant, kind):
    result = chord(kind([tenant.s(1), tenant.s(2)]), tenant.s(), app=app)()
    assert result.get(timeout=WAIT) == [
        [[1, "t1", None], [2, "t1", None]],
        "t1",
        None,
    ]


def test_callbacks_and_retries_are_sent_by_it(app, tenant):
    result = tenant.apply_async((1,), {"again": True}, link=tenant.s())
    assert result.get(timeout=WAIT) == [1, "t1", None]
    (callback,) = result.children
    assert callback.get(timeout=WAIT) == [[1, "t1", None], "t1", None]
    assert len(app.sends) == 3


def test_a_member_that_its_method_does_not_send_is_left_out(app):
    once = app.tasks["own.once"]
    result = group(once.s(x) for x in (1, -1, 2)).apply_async()
    assert result.get(timeout=WAIT) == [1, 2]
    assert [member.get(timeout=WAIT) for member in result] == [1, 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda once: chain(once.s(-1), once.s()),
        lambda once: chord([once.s(1), once.s(-1)], once.s()),
        lambda once: group([chain(once.s(-1), once.s())]),
    ],
    ids=["chain", "chord", "chain in a group"],
)
def test_a_canvas_that_needs_it_is_refused(app, make):
    with pytest.raises(CanvasError, match="did not go on to") as found:
        make(app.tasks["own.once"]).apply_async()
    assert "[" in found.value.path


def test_a_group_whose_members_are_known_by_position_is_refused(app):
    once = app.tasks["own.once"]
    with pytest.raises(CanvasError, match="leave the task out"):
        group([once.s(1), once.s(-1)]).apply_async(cancellable=True)


def test_a_replaced_method_of_the_object_is_called(app):
    plain = app.tasks["own.plain"]
    with mock.patch.object(plain, "apply_async") as patched:
        plain.s().apply_async()
        plain.s().delay()
        group(plain.s(), plain.s()).apply_async()
    assert patched.call_count == 4
    assert plain.delay(1).get(timeout=WAIT) == [1, None]


def test_sending_by_name_goes_past_it(app):
    assert app.send_task("own.tenant").get(timeout=WAIT) == [None, None]
    assert app.sends == []


def test_a_hook_that_is_set_on_the_object_is_called(app):
    plain, seen = app.tasks["own.plain"], []
    plain.on_success = lambda value, *_: seen.append(value)
    assert plain.delay(1).get(timeout=WAIT) == [1, None]
    assert seen == [[1, None]]
