"""Options of chords, chains and groups reach the tasks that run in place.

As in Celery, or, where Celery's `apply` forgets them, as in a send.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import celery
import pytest

import celerant

HEADERS = {"x": 1}
ID = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
OTHER_ID = "00000000-0000-4000-8000-000000000000"


def _side(app, library, **common):
    app.conf.task_always_eager = True
    runs = []

    @app.task(name="oip.add", bind=True, **common)
    def add(self, *args):
        runs.append(("add", args, dict(self.request.headers or {})))
        return sum(one if isinstance(one, int) else sum(one) for one in args)

    @app.task(name="oip.fail", **common)
    def fail(*_args):
        raise ValueError("no")

    @app.task(name="oip.seen", **common)
    def seen(*args):
        runs.append(("seen", args))

    @app.task(name="oip.rescue", **common)
    def rescue(_failed_id):
        runs.append(("rescue",))

    @app.task(name="oip.mourn", **common)
    def mourn(_failed_id):
        runs.append(("mourn",))

    return SimpleNamespace(
        app=app,
        group=library.group,
        chain=library.chain,
        chord=library.chord,
        signature=library.signature,
        add=add,
        fail=fail,
        seen=seen,
        rescue=rescue,
        mourn=mourn,
        runs=runs,
    )


@pytest.fixture
def sides():
    # Its tasks are looked up by name when Celery reads plain dicts.
    with celerant.Celerant("oip") as ours:
        stock = celery.Celery("oip", broker="memory://", backend="cache+memory://")
        yield SimpleNamespace(
            celery=_side(stock, celery, shared=False), celerant=_side(ours, celerant)
        )
        stock.close()


def _chord(lib, body=None):
    return lib.chord([lib.add.s(1)], body or lib.add.s(5))


def _pair(lib, task=None):
    return lib.group([lib.add.s(10), (task or lib.add).s(20)])


def _plain(canvas):
    return json.loads(json.dumps(canvas))


#: Runs, which are the same in both.
CASES = {
    "callback": lambda lib: _chord(lib).apply_async(link=lib.seen.s()),
    "own callback": lambda lib: _chord(lib).set(link=lib.seen.s()).apply_async(),
    "own callback and the call's": lambda lib: (
        _chord(lib).set(link=lib.seen.s(1)).apply_async(link=[lib.seen.s(2)])
    ),
    "callback as a dict": lambda lib: _chord(lib).apply_async(
        link=_plain(lib.seen.s())
    ),
    "callback beside the body's": lambda lib: _chord(
        lib, lib.add.s(5).set(link=[lib.seen.s(1)])
    ).apply_async(link=lib.seen.s(2)),
    "callback after a chain": lambda lib: _chord(
        lib, lib.chain(lib.add.s(5), lib.add.s(6))
    ).apply_async(link=lib.seen.s()),
    "callback after a chord": lambda lib: _chord(lib, _chord(lib)).apply_async(
        link=lib.seen.s()
    ),
    "callback of a group": lambda lib: _chord(lib, _pair(lib)).apply_async(
        link=lib.seen.s()
    ),
    "own callback of a group": lambda lib: (
        _chord(lib, lib.group(lib.add.s(10), lib.add.s(20)))
        .set(link=[lib.seen.s()])
        .apply_async()
    ),
    "callback of a group that a chord begins": lambda lib: _chord(
        lib, lib.group([_chord(lib), lib.add.s(20)])
    ).apply_async(link=lib.seen.s()),
    "errback": lambda lib: _chord(lib, lib.fail.s()).apply_async(
        link_error=lib.rescue.s()
    ),
    "own errback": lambda lib: (
        _chord(lib, lib.fail.s()).set(link_error=lib.rescue.s()).apply_async()
    ),
    "errback beside the body's": lambda lib: _chord(
        lib, lib.fail.s().on_error(lib.rescue.s())
    ).apply_async(link_error=lib.mourn.s()),
    "errback of a group": lambda lib: _chord(lib, _pair(lib, lib.fail)).apply_async(
        link_error=lib.rescue.s()
    ),
    "errback of a group that has its own": lambda lib: _chord(
        lib, _pair(lib, lib.fail).set(link_error=[lib.mourn.s()])
    ).apply_async(link_error=lib.rescue.s()),
    "errback of a chord in a group": lambda lib: _chord(
        lib, lib.group([lib.add.s(10), _chord(lib, lib.fail.s())])
    ).apply_async(link_error=_plain(lib.rescue.s())),
    "headers": lambda lib: _chord(lib).apply_async(headers=HEADERS),
    "headers of a chain": lambda lib: _chord(
        lib, lib.chain(lib.add.s(5), lib.add.s(6))
    ).apply_async(headers=HEADERS),
    "headers of a group": lambda lib: _chord(lib, _pair(lib)).apply_async(
        headers=HEADERS
    ),
    "headers of a chain in a group": lambda lib: lib.group(
        lib.chain(lib.add.s(1), lib.add.s(2)), lib.add.s(3)
    ).apply_async(headers=HEADERS),
    "own headers of a group with a chain": lambda lib: (
        lib.group(lib.chain(lib.add.s(1), lib.add.s(2)), lib.add.s(3))
        .set(headers=HEADERS)
        .apply_async()
    ),
    "own callback of a group with a chain": lambda lib: (
        lib.group(lib.chain(lib.add.s(1), lib.add.s(2)), lib.add.s(3))
        .set(link=lib.seen.s())
        .apply_async()
    ),
    "marked chord in a group": lambda lib: (
        lib.add.s(1)
        | _marked(lib.group(lib.chord([lib.add.s(10)], lib.add.s()), lib.add.s(20)))
    ).apply_async(),
    "own arguments": lambda lib: lib.signature(
        {**_plain(_chord(lib)), "args": [7]}, app=lib.app
    ).apply_async((3,)),
}


def _marked(canvas):
    canvas.set_immutable(True)
    return canvas


@pytest.mark.parametrize("case", CASES)
def test_options_reach_the_same_runs_as_in_celery(sides, case):
    for side in (sides.celery, sides.celerant):
        CASES[case](side)

    assert sides.celery.runs
    assert sides.celerant.runs == sides.celery.runs


@pytest.mark.parametrize(
    "run",
    [
        lambda lib: _chord(lib).set(headers=HEADERS).apply_async(),
        lambda lib: lib.group([_chord(lib), lib.add.s(3)]).apply_async(headers=HEADERS),
        lambda lib: _chord(lib, _chord(lib)).apply_async(headers=HEADERS),
        lambda lib: lib.chain(lib.add.s(1), _chord(lib)).apply_async(headers=HEADERS),
    ],
    ids=["own", "in a group", "in a body", "in a chain"],
)
def test_a_chords_body_gets_headers_in_place_as_in_a_send(sides, run):
    run(sides.celerant)
    bodies = [seen for name, args, seen in sides.celerant.runs if 5 in args]
    assert bodies[-1] == HEADERS


def test_a_chain_calls_the_errback_of_a_chord_that_ends_it(sides):
    lib = sides.celerant
    lib.chain(lib.add.s(1), _chord(lib, lib.fail.s())).apply_async(
        link_error=lib.rescue.s()
    )
    assert lib.runs.count(("rescue",)) == 1


OWN = {"task_id": OTHER_ID}
#: Canvases with ids of their own, and whether these come before the call's.
NAMED = {
    "none": (_chord, False),
    "a body's": (lambda lib: _chord(lib, lib.add.s(5).set(**OWN)), True),
    "a chord's": (lambda lib: _chord(lib).set(**OWN), False),
    "a group's": (lambda lib: _chord(lib, _pair(lib).set(**OWN)), True),
    "a chain's": (
        lambda lib: _chord(lib, lib.chain(lib.add.s(5), lib.add.s(6)).set(**OWN)),
        False,
    ),
    "a last step's": (
        lambda lib: _chord(lib, lib.chain(lib.add.s(5), lib.add.s(6).set(**OWN))),
        True,
    ),
    "an inner chord's": (lambda lib: _chord(lib, _chord(lib).set(**OWN)), False),
    "an inner body's": (
        lambda lib: _chord(lib, _chord(lib, lib.add.s(5).set(**OWN))),
        True,
    ),
    "a last step's of a chain": (
        lambda lib: lib.chain(lib.add.s(5), lib.add.s(6).set(**OWN)),
        True,
    ),
}


@pytest.mark.parametrize("is_eager", [False, True], ids=["sent", "in-place"])
@pytest.mark.parametrize("case", NAMED)
def test_the_end_of_a_canvas_has_the_same_id_in_place_as_in_a_send(
    sides, case, is_eager
):
    canvas, is_own = NAMED[case]
    lib = sides.celerant
    lib.app.conf.task_always_eager = is_eager
    result = canvas(lib).apply_async(task_id=ID)
    assert result.id == (OTHER_ID if is_own else ID)


@pytest.mark.parametrize("is_eager", [False, True], ids=["sent", "in-place"])
def test_a_member_has_the_id_of_its_last_task(sides, is_eager):
    lib = sides.celerant
    lib.app.conf.task_always_eager = is_eager
    ends_named = lib.chain(lib.add.s(5), lib.add.s(6).set(**OWN))
    result = lib.group([lib.add.s(1), ends_named]).apply_async()
    assert [member.id for member in result][1] == OTHER_ID


@pytest.mark.parametrize("body", ["task", "chain", "group", "chord"])
def test_a_frozen_chord_runs_in_place_under_its_ids(sides, body):
    lib = sides.celerant
    bodies = {
        "task": None,
        "chain": lib.chain(lib.add.s(5), lib.add.s(6)),
        "group": _pair(lib),
        "chord": _chord(lib),
    }
    made = _chord(lib, bodies[body])
    frozen = made.freeze()
    assert made.apply_async().id == frozen.id


def test_an_unknown_option_of_a_chord_is_refused_in_place(sides):
    lib = sides.celerant
    with pytest.raises(celerant.SettingError, match="unknown option 'qeue'"):
        _chord(lib).apply_async(qeue="q")
    assert lib.runs == []


def test_a_run_in_place_leaves_the_callers_canvas_as_it_was(sides):
    lib = sides.celerant
    made = _chord(lib, _pair(lib)).set(headers=HEADERS)
    before = _plain(made)
    made.apply_async(link=lib.seen.s(), link_error=lib.rescue.s())
    assert _plain(made) == before
