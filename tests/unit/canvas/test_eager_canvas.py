"""Chains and chords with groups in them run in place as Celery's do."""

from __future__ import annotations

from types import SimpleNamespace

import celery
import celery.canvas
import pytest

import celerant
from celerant.canvas.chain import Chain
from celerant.results.group_result import GroupResult


def _tasks(app, seen, **common):
    @app.task(name="ec.add", **common)
    def add(x, y=0):
        return x + y

    @app.task(name="ec.total", **common)
    def total(values):
        return sum(values)

    @app.task(name="ec.listed", **common)
    def listed(*args):
        return list(args)

    @app.task(name="ec.fail", **common)
    def fail(*_args):
        raise ValueError("no")

    @app.task(name="ec.note", **common)
    def note(value, *more):
        seen.append((value, *more))

    return {"add": add, "total": total, "listed": listed, "fail": fail, "note": note}


def _side(app, library, chain_as_it_is, **common):
    seen = []
    return SimpleNamespace(
        app=app,
        group=library.group,
        chain=library.chain,
        chord=library.chord,
        # Groups in it are not made chords of.
        raw=chain_as_it_is,
        seen=seen,
        **_tasks(app, seen, **common),
    )


@pytest.fixture
def sides():
    stock = celery.Celery(
        "ec", broker="memory://", backend="cache+memory://", set_as_current=False
    )
    ours = celerant.Celerant("ec")
    yield SimpleNamespace(
        celery=_side(
            stock,
            celery,
            lambda *steps: celery.canvas._chain(*steps, app=stock),
            shared=False,
        ),
        celerant=_side(ours, celerant, lambda *s: Chain(list(s), {}, app=ours)),
    )
    ours.close()
    stock.close()


def _pair(lib):
    return lib.group([lib.add.s(1), lib.add.s(2)])


def _ending_in_a_group(lib):
    return lib.chain(lib.add.s(1, 1), _pair(lib))


#: A canvas, and its value in both libraries.
CASES = {
    "last": (_ending_in_a_group, [3, 4]),
    "alone": (lambda lib: lib.chain(lib.group([lib.add.s(1), lib.add.s(2)])), [1, 2]),
    "of-one": (lambda lib: lib.chain(lib.add.s(1, 1), lib.group([lib.add.s(1)])), 3),
    "middle-of-a-raw-chain": (
        lambda lib: lib.raw(lib.add.s(1, 1), _pair(lib), lib.total.s()),
        7,
    ),
    "two-of-a-raw-chain": (
        lambda lib: lib.raw(
            lib.add.s(1, 1), _pair(lib), lib.group([lib.total.s(), lib.listed.s()])
        ),
        [7, [[3, 4]]],
    ),
    "group-in-it": (
        lambda lib: lib.chain(
            lib.add.s(1, 1), lib.group([lib.group([lib.add.s(1)]), lib.add.s(2)])
        ),
        [3, 4],
    ),
    "chain-in-it": (
        lambda lib: lib.chain(
            lib.add.s(1),
            lib.group([lib.chain(lib.add.s(2), _pair(lib)), lib.add.s(3)]),
        ),
        [[4, 5], 4],
    ),
    "empty-ones-beside": (
        lambda lib: lib.chain(
            lib.add.s(1, 1), lib.group([]), _pair(lib), lib.group([])
        ),
        [3, 4],
    ),
    "empty-alone": (lambda lib: lib.chain(lib.group([])), []),
    "in-a-group": (
        lambda lib: lib.group([_ending_in_a_group(lib), lib.add.s(3, 3)]),
        [[3, 4], 6],
    ),
    "in-a-chord-header": (
        lambda lib: lib.chord([_ending_in_a_group(lib), lib.add.s(5)], lib.listed.s()),
        [[[3, 4], 5]],
    ),
    "in-a-chord-body": (
        lambda lib: lib.chord(
            [lib.add.s(1), lib.add.s(2)], lib.chain(lib.total.s(), _pair(lib))
        ),
        [4, 5],
    ),
    "after-a-chord": (
        lambda lib: lib.chain(
            lib.add.s(1, 1), lib.chord([lib.add.s(1)] * 2, lib.total.s()), _pair(lib)
        ),
        [7, 8],
    ),
    "failing": (
        lambda lib: lib.chain(lib.add.s(1), lib.group([lib.add.s(1), lib.fail.s()])),
        [2, "ValueError('no')"],
    ),
    "failing-in-a-group": (
        lambda lib: lib.group(
            [lib.chain(lib.add.s(1), lib.group([lib.fail.s(), lib.add.s(1)]))] * 2
        ),
        [["ValueError('no')", 2], ["ValueError('no')", 2]],
    ),
}


def _told(value):
    if isinstance(value, list):
        return [_told(item) for item in value]
    return repr(value) if isinstance(value, BaseException) else value


def _outcome(side, canvas, *, always):
    """Return the value of `get`, and its exception."""
    side.app.conf.task_always_eager = always
    made = canvas(side)
    result = made.apply_async() if always else made.apply()
    try:
        result.get()
    except ValueError as exc:
        raised = repr(exc)
    else:
        raised = None
    return _told(result.get(propagate=False)), raised


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_groups_in_chains_give_celerys_results(sides, case, always):
    canvas, value = CASES[case]
    expected = _outcome(sides.celery, canvas, always=always)

    assert expected[0] == value
    assert _outcome(sides.celerant, canvas, always=always) == expected


def test_a_failed_group_ends_the_chain(sides):
    for side in (sides.celery, sides.celerant):
        canvas = side.raw(
            side.add.s(1), side.group([side.fail.s(), side.add.s(1)]), side.note.s()
        )
        with pytest.raises(ValueError, match="no"):
            canvas.apply()
        assert side.seen == []


@pytest.mark.parametrize("last", ["group", "chord"])
def test_a_chains_callback_follows_each_task_of_its_last_step(sides, last):
    def run(side):
        body = side.group([side.add.s(1), side.add.s(2)])
        if last == "chord":
            body = side.chord(
                [side.add.s(1), side.add.s(2)],
                side.group([side.total.s(), side.listed.s()]),
            )
        side.app.conf.task_always_eager = True
        side.chain(side.add.s(1), body).apply(link=[side.note.s()])
        return side.seen

    expected = run(sides.celery)
    assert len(expected) == 2
    assert run(sides.celerant) == expected


def test_each_result_knows_its_parent(sides):
    canvas = sides.celerant.chord(
        [sides.celerant.add.s(1)] * 2,
        sides.celerant.chain(sides.celerant.total.s(), _pair(sides.celerant)),
    )
    result = canvas.apply()

    assert result.parent.get() == 2
    assert result.parent.parent.get() == [1, 1]
    assert result.parent.parent.parent is None


def test_a_group_in_a_group_is_a_group_by_its_own_ids(sides):
    result = sides.celerant.group(
        [_ending_in_a_group(sides.celerant), sides.celerant.add.s(3, 3)]
    ).apply()

    inner = result[0]
    assert isinstance(inner, GroupResult)
    assert [member.get() for member in inner] == [3, 4]
    ids = [inner[0].id, inner[1].id, inner.parent.id, result[1].id]
    assert result.as_list() == ids


def test_a_value_that_is_a_groups_result_stays_a_value(sides):
    app = sides.celerant.app
    other = sides.celerant.group([sides.celerant.add.s(1)]).apply()

    @app.task(name="ec.other")
    def give_other():
        return other

    chain = sides.celerant.chain(sides.celerant.add.si(1), give_other.si())
    assert sides.celerant.group([give_other.s(), chain]).apply().get() == [other, other]


def test_hundreds_of_groups_with_a_task_after_each_run_in_one_chain(sides):
    # 200 chords, each in the body of the one before: deeper than Python's stack.
    side, pairs = sides.celerant, 200
    steps = [side.add.s(0, 1)]
    for _ in range(pairs):
        steps += [side.group(side.add.s(0), side.add.s(-1)), side.total.s()]
    canvas = side.chain(*steps)
    before = str(canvas.tasks)
    result = canvas.apply()
    # x -> x + (x - 1)
    assert result.get() == 1
    followed = 0
    while result.parent is not None:
        result, followed = result.parent, followed + 1
    assert followed == 2 * pairs
    assert str(canvas.tasks) == before


def test_an_ignored_step_ends_a_chain_that_is_a_body(sides):
    side = sides.celerant

    @side.app.task(name="ec.ignored")
    def ignored(_values):
        raise celerant.Ignore

    body = side.raw(ignored.s(), side.note.s())
    result = side.chord([side.add.s(1, 1)], body).apply()
    assert result.state == "IGNORED"
    assert result.parent.get() == [2]
    assert side.seen == []


_FAILING = {
    "a task": lambda side: side.fail,
    "a signature": lambda side: side.fail.s(1),
    "a member of a group": lambda side: side.group([side.add.s(1), side.fail.s(1)]),
    "a chain's first step": lambda side: side.fail.s(1) | side.note.s(),
    "a chain's last step": lambda side: side.add.s(1) | side.fail.s(),
    "a chord's header": lambda side: side.chord([side.fail.s(1)], side.total.s()),
}


@pytest.mark.parametrize("name", _FAILING)
def test_apply_with_throw_raises_the_error_of_a_task(sides, name):
    for side in (sides.celery, sides.celerant):
        with pytest.raises(ValueError, match="no"):
            _FAILING[name](side).apply(throw=True)


def test_apply_with_throw_raises_the_error_of_a_chords_body(sides):
    lib = sides.celerant
    with pytest.raises(ValueError, match="no"):
        lib.chord([lib.add.s(1)], lib.fail.s()).apply(throw=True)


def test_apply_with_throw_off_returns_the_failure_whatever_the_setting(sides):
    for side in (sides.celery, sides.celerant):
        side.app.conf.task_eager_propagates = True
        with pytest.raises(ValueError, match="no"):
            side.fail.apply((1,))
        assert side.fail.apply((1,), throw=False).failed()


def test_throw_is_no_option_of_a_send():
    with celerant.Celerant("ec") as app:
        fail = _tasks(app, [])["fail"]
        with pytest.raises(
            celerant.SettingError, match="option 'throw' cannot be given"
        ):
            fail.apply_async((1,), throw=True)
