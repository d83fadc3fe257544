"""Chord headers leave as volleys without being frozen, as the same messages."""

from __future__ import annotations

import json

import pytest
from celery import canvas, chain, chord, group
from celery.backends.redis import RedisBackend
from celery.result import AsyncResult

import celerant.celery
from harness.capture import drain
from swapin.conftest import RESULTS


@pytest.fixture
def side(make_app):
    return make_app(backend=RESULTS)


def members(side, n=20):
    return [side.add.s(i, i) for i in range(n)]


CANVASES = {
    "list": lambda s: chord(members(s), s.echo.s()),
    "generator": lambda s: chord((m for m in members(s)), s.echo.s()),
    "pipe": lambda s: group(members(s)) | s.echo.s(),
    "start of a chain": lambda s: chain(group(members(s)), s.echo.s(), s.echo.s()),
    "groups in it": lambda s: chord(
        [*members(s, 2), group([*members(s, 3), group(members(s, 15))])], s.echo.s()
    ),
}


@pytest.mark.parametrize("name", CANVASES)
def test_a_header_leaves_as_by_celery(side, both_ways, volleys, name):
    stock, ours = both_ways(side, lambda: CANVASES[name](side).apply_async())
    assert ours == stock
    # The first of a generator leaves at once, and the others need not wait for all.
    if name == "generator":
        # The number that leaves together is a matter of time.
        assert volleys[0] == 1
        assert sum(volleys) == 20
    else:
        assert volleys == [20]


@pytest.mark.parametrize("name", CANVASES)
def test_no_result_is_made_of_a_header(side, monkeypatch, name):
    made = []
    init = AsyncResult.__init__

    def counted(self, *args, **kwargs):
        made.append(self)
        init(self, *args, **kwargs)

    canvas = CANVASES[name](side)
    monkeypatch.setattr(AsyncResult, "__init__", counted)
    with celerant.celery.install():
        result = canvas.apply_async()
    # Those of the tasks after it.
    assert len(made) == (2 if name == "start of a chain" else 1)
    while result.parent is not None:
        result = result.parent
    assert len(result.results) == len(result) == 20
    drain(side.url, side.queue)


@pytest.mark.parametrize(
    "backend", [RESULTS, "cache+memory://"], ids=["redis", "cache"]
)
def test_the_callers_signatures_stay_as_they_are(make_app, volleys, backend):
    side = make_app(backend=backend)
    header = members(side)
    whole = group(header)
    with celerant.celery.install():
        chord(whole, side.echo.s()).apply_async()
        (whole | side.echo.s()).apply_async()
        chord(header, side.echo.s()).apply_async()
    assert volleys == [20] * 3
    assert whole.options == {}
    assert all(member.options == {} for member in [*header, *whole.tasks])
    ids = [m.headers["id"] for m in drain(side.url, side.queue)]
    assert len({*ids}) == 60


def test_a_frozen_chord_keeps_its_ids(side, both_ways, volleys):
    frozen = chord(members(side, 5), side.echo.s())
    expected = frozen.freeze().as_tuple()
    stock, ours = both_ways(side, frozen.apply_async)
    assert ours == stock
    assert volleys == [5]
    with celerant.celery.install():
        assert frozen.apply_async().as_tuple() == expected
    drain(side.url, side.queue)


@pytest.mark.parametrize("uuid4", [False, True])
def test_the_task_that_unlocks_a_chord_gets_the_members_ids(
    make_app, both_ways, volleys, tmp_path, uuid4
):
    side = make_app(backend=tmp_path.as_uri())

    def send():
        own = side.add.s(1, 1).set(task_id="00000000-0000-4000-8000-000000000008")
        header = [*members(side, 3), side.echo.map([1, 2]), group([own])]
        header[3].set(task_id="00000000-0000-4000-8000-000000000007")
        return chord(header, side.echo.s()).apply_async()

    stock, ours = both_ways(side, send)
    for unlock, *_ in (stock, ours):
        # Text that tells ids, which are others each time.
        assert unlock["headers"].pop("argsrepr")
    assert ours == stock
    assert volleys == [5]
    with celerant.celery.install(uuid4=uuid4):
        result = send()
    unlock, *sent = drain(side.url, side.queue)
    told = json.loads(unlock.body)[1]["result"]
    ids = [message.headers["id"] for message in sent]
    assert [found[0][0] for found in told] == ids
    assert [found.id for found in result.parent.results] == ids


def test_a_backend_of_the_users_own_is_given_the_results(make_app, volleys):
    given = []

    class Curious(RedisBackend):
        def apply_chord(self, header_result_args, *args, **kwargs):
            given.append(header_result_args)
            super().apply_chord(header_result_args, *args, **kwargs)

    side = make_app(backend=RESULTS)
    side.app.backend.__class__ = Curious
    with celerant.celery.install():
        result = chord(members(side, 3), side.echo.s()).apply_async()
    assert volleys == [3]
    (found,) = given
    assert found[0] == result.parent.id
    assert [r.id for r in found[1]] == [r.id for r in result.parent.results]
    drain(side.url, side.queue)


@pytest.mark.parametrize(
    "name", ["apply_async", "_freeze_group_tasks", "_freeze_unroll", "_prepared"]
)
def test_a_wrapper_of_a_method_of_groups_is_called(side, volleys, monkeypatch, name):
    called = []

    def wrapped(original):
        def method(self, *args, **kwargs):
            called.append(len(self.tasks))
            return original(self, *args, **kwargs)

        return method

    original = getattr(canvas.group, name)
    monkeypatch.setattr(canvas.group, name, wrapped(original))
    with celerant.celery.install():
        chord(members(side, 4), side.echo.s()).apply_async()
    assert called == [4]
    assert volleys == []
    assert len(drain(side.url, side.queue)) == 4


def test_a_later_wrapper_of_groups_is_called_with_the_header(
    side, volleys, monkeypatch
):
    called = []
    with celerant.celery.install():
        ours = canvas.group.apply_async

        def wrapped(self, *args, **kwargs):
            called.append((len(self.tasks), self.options["chord"].task))
            return ours(self, *args, **kwargs)

        monkeypatch.setattr(canvas.group, "apply_async", wrapped)
        chord(members(side, 4), side.echo.s()).apply_async()
        monkeypatch.setattr(canvas.group, "apply_async", ours)
    assert called == [(4, side.echo.name)]
    assert volleys == [4]
    drain(side.url, side.queue)


def test_the_backend_that_is_told_of_the_chord_is_that_of_its_app(
    make_app, both_ways, volleys
):
    """Of another app than the header's: one reads the results, the other does not."""
    side, other = make_app(backend=RESULTS), make_app(backend="cache+memory://")
    saved = []
    other.app.backend._apply_chord_incr = lambda given, *_args, **_kwargs: saved.append(
        [found.id for found in given[1]]
    )
    other.app.backend.apply_chord = other.app.backend._apply_chord_incr

    def send():
        header = group(members(side, 3), app=side.app)
        whole = chord(members(side, 1), side.echo.s(), app=other.app)
        return whole.run(header, side.echo.s(), ())

    stock, ours = both_ways(side, send)
    assert ours == stock
    assert volleys == [3]
    assert [len(ids) for ids in saved] == [3, 3]
