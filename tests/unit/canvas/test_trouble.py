"""Canvases that are wrong, or go wrong: an error that says why, and nothing hangs."""

from __future__ import annotations

import pytest

from celerant import (
    CanvasError,
    Celerant,
    ChordError,
    EncodeError,
    MaxRetriesExceeded,
    SettingError,
    chain,
    chord,
    group,
)

WAIT = 10


@pytest.fixture
def shop():
    with Celerant("celerant-test-trouble") as app:

        @app.task(name="trouble.add")
        def add(x, y=0):
            return x + y

        @app.task(name="trouble.total")
        def total(values):
            return sum(values)

        @app.task(name="trouble.fail")
        def fail(*_args):
            raise ValueError("no")

        @app.task(name="trouble.replaced", bind=True)
        def replaced(self, how):
            raise self.replace(REPLACEMENTS[how](app))

        @app.task(name="trouble.again", bind=True, max_retries=2)
        def again(self, own):
            raise self.retry(exc=KeyError("own") if own else None, countdown=0)

        app.add, app.total, app.fail = add, total, fail
        app.replaced, app.again = replaced, again
        app.unknown = app.signature("trouble.unknown")
        with app.worker(concurrency=2):
            yield app


REPLACEMENTS = {
    "nothing": lambda _app: None,
    "no canvas": lambda _app: 3,
    "an empty chain": lambda app: chain(app=app),
    "part of a chord": lambda app: app.add.s(1).set(chord=dict(app.total.s())),
}
REASONS = {
    "nothing": "replace: it takes a signature, .*, not NoneType",
    "no canvas": "replace: it takes a signature, .*, not int",
    "an empty chain": "an empty chain cannot replace a task",
    "part of a chord": "part of a chord cannot replace a task",
}


def in_a_header(shop, member):
    return chord([member, shop.add.s(1)], shop.total.s())


# -- cycles ----------------------------------------------------------------------------


def chain_in_itself(shop):
    canvas = chain(shop.add.s(1), shop.add.s(2))
    canvas.tasks.append(canvas)
    return canvas


def chord_as_its_own_body(shop):
    canvas = in_a_header(shop, shop.add.s(1))
    canvas.body = canvas
    return canvas


def chord_in_its_own_header(shop):
    canvas = in_a_header(shop, shop.add.s(1))
    canvas.tasks.append(canvas)
    return canvas


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (chain_in_itself, "chain[2]"),
        (chord_as_its_own_body, "chord.chord_body.chord_body"),
        (chord_in_its_own_header, "group[2].chord_header[2]"),
    ],
)
def test_cycles_are_refused(shop, make, path):
    with pytest.raises(CanvasError, match="closes a cycle") as caught:
        make(shop).apply_async()
    assert caught.value.path == path


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_a_task_that_calls_itself_back_is_refused(shop, option):
    canvas = shop.add.s(1)
    getattr(canvas, option)(canvas)
    with pytest.raises(EncodeError, match=r"trouble\.add: .* Circular reference"):
        canvas.apply_async()


# -- values that are no signatures -----------------------------------------------------


@pytest.mark.parametrize("what", [3, "add", print, [1]])
@pytest.mark.parametrize("option", ["link", "link_error"])
@pytest.mark.parametrize("kind", ["task", "chain", "chord", "group"])
def test_a_callback_that_is_no_signature_is_refused(shop, kind, option, what):
    canvas = {
        "task": lambda: shop.add.s(1),
        "chain": lambda: shop.add.s(1) | shop.add.s(2),
        "chord": lambda: in_a_header(shop, shop.add.s(1)),
        "group": lambda: group(shop.add.s(1)),
    }[kind]()
    name = type(what).__name__
    with pytest.raises(CanvasError, match=rf"{option} takes a signature, not {name};"):
        getattr(canvas, option)(what)


@pytest.mark.parametrize("what", [3, "add", [3]])
@pytest.mark.parametrize("option", ["link", "link_error"])
@pytest.mark.parametrize("kind", ["task", "chain", "chord"])
def test_a_call_with_a_callback_that_is_no_signature_is_refused(
    shop, kind, option, what
):
    canvas = {
        "task": lambda: shop.add.s(1),
        "chain": lambda: shop.add.s(1) | shop.add.s(2),
        "chord": lambda: in_a_header(shop, shop.add.s(1)),
    }[kind]()
    with pytest.raises(SettingError, match=f"{option} must be a signature or a list"):
        canvas.apply_async(**{option: what})


@pytest.mark.parametrize("what", [3, "total", print, [1], {}, "the task itself"])
def test_a_body_that_is_no_signature_is_refused(shop, what):
    body = shop.total if what == "the task itself" else what
    for use in (lambda: chord([shop.add.s(1)], body), lambda: chord([])(body)):
        with pytest.raises(CanvasError, match=r"must be a signature|not a signature"):
            use()


# -- control flow ----------------------------------------------------------------------


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_a_wrong_replacement_fails_the_task_with_its_reason(shop, how):
    with pytest.raises(CanvasError, match=REASONS[how]):
        shop.replaced.delay(how).get(timeout=WAIT)


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_a_wrong_replacement_in_a_header_fails_the_chord(shop, how):
    result = in_a_header(shop, shop.replaced.s(how)).apply_async()
    with pytest.raises(ChordError, match=REASONS[how]):
        result.get(timeout=WAIT)
    assert [part.state for part in result.parent] == ["FAILURE", "SUCCESS"]


@pytest.mark.parametrize(
    ("own", "error"), [(False, MaxRetriesExceeded), (True, KeyError)]
)
@pytest.mark.parametrize("place", ["alone", "in a chain", "in a header"])
def test_the_limit_of_retries_fails_the_tasks_that_wait(shop, own, error, place):
    canvas = {
        "alone": lambda: shop.again.s(own),
        "in a chain": lambda: shop.again.s(own) | shop.add.s(1),
        "in a header": lambda: in_a_header(shop, shop.again.s(own)),
    }[place]()
    expected = ChordError if place == "in a header" else error
    result = canvas.apply_async()
    with pytest.raises(expected, match="own" if own else "max_retries is 2"):
        result.get(timeout=WAIT)
    # A chain raises its first step's error at once; its own end comes after that.
    result.get(timeout=WAIT, propagate=False)
    assert result.state == "FAILURE"


# -- unknown tasks ---------------------------------------------------------------------


@pytest.mark.parametrize("place", ["step", "last step", "member", "body"])
def test_an_unknown_task_fails_the_tasks_that_wait_for_it(shop, place):
    canvas = {
        "step": lambda: chain(shop.add.s(1), shop.unknown, shop.add.s(1)),
        "last step": lambda: chain(shop.add.s(1), shop.unknown),
        "member": lambda: in_a_header(shop, shop.unknown),
        "body": lambda: chord([shop.add.s(1)], shop.unknown),
    }[place]()
    result = canvas.apply_async()
    # Celery's class if Celery is imported.
    error = result.get(timeout=WAIT, propagate=False)
    assert isinstance(error, ChordError) == (place == "member")
    assert "trouble.unknown" in str(error)
    assert result.state == "FAILURE"


def test_an_unknown_callback_fails_alone(shop):
    callback = shop.unknown
    later = callback.freeze()
    assert shop.add.apply_async((1,), link=callback).get(timeout=WAIT) == 1
    assert "trouble.unknown" in str(later.get(timeout=WAIT, propagate=False))
    assert later.state == "FAILURE"


@pytest.mark.parametrize("what", ["unknown", "fail"])
def test_an_errback_that_is_unknown_or_fails_leaves_the_error(shop, what):
    errback = shop.unknown if what == "unknown" else shop.fail.si()
    canvas = in_a_header(shop, shop.fail.s()) | shop.add.s(1)
    result = canvas.on_error(errback).apply_async()
    with pytest.raises(ChordError, match=r"raised ValueError\('no'\)"):
        result.get(timeout=WAIT)


def test_a_callback_that_fails_fails_alone(shop):
    callback = shop.fail.s()
    later = callback.freeze()
    member = shop.add.s(2)
    member.link(callback)
    assert in_a_header(shop, member).apply_async().get(timeout=WAIT) == 3
    with pytest.raises(ValueError, match="no"):
        later.get(timeout=WAIT)


@pytest.mark.parametrize("how", ["return", "raise"])
@pytest.mark.parametrize("into", ["task", "group", "failing"])
def test_a_replacement_in_place_gives_its_value(shop, how, into):
    def canvas():
        return {
            "task": lambda: shop.add.s(1, 2),
            "group": lambda: group(shop.add.s(1, 2), shop.add.s(3, 4)),
            "failing": lambda: shop.add.s(1, "2"),
        }[into]()

    @shop.task(name="trouble.swapped", bind=True)
    def swapped(self):
        if how == "return":
            return self.replace(canvas())
        raise self.replace(canvas())

    result = swapped.s().apply()
    if into == "failing":
        with pytest.raises(TypeError, match="unsupported operand"):
            result.get()
    else:
        assert result.get() == {"task": 3, "group": [3, 7]}[into]


def test_the_errbacks_of_the_first_step_of_a_body_hear_of_its_header(shop):
    told = []

    @shop.task(name="trouble.told")
    def hear(request, exc, traceback):
        told.append((request.id, type(exc).__name__))

    body = shop.total.s().on_error(hear.s()) | shop.add.s(1)
    result = chord([shop.fail.s(), shop.add.s(1, 1)], body).apply_async()
    with pytest.raises(ChordError):
        result.get(timeout=WAIT)
    first = chord([shop.fail.s()], shop.total.s().on_error(hear.s())).apply_async()
    with pytest.raises(ChordError):
        first.get(timeout=WAIT)
    assert [kind for _, kind in told] == ["ChordError"] * 2
    assert told[1][0] == first.id
