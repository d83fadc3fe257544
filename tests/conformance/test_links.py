"""Links and marks reach the same messages as in Celery, in whatever form a canvas is.

Members may be arguments, a list or a generator; they and callbacks may be plain dicts,
as they come out of JSON. Celery refuses some of these, so that it gets signatures.
"""

from __future__ import annotations

import json

import pytest

from harness.oracle import Call, both_sides, difference, sent

pytestmark = pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")


@pytest.fixture(scope="module")
def sides():
    with both_sides() as both:
        yield both


def _as_it_is(canvas):
    return canvas


def _plain(canvas):
    return json.loads(json.dumps(canvas))


def _one(lib, number=1):
    return lib.tasks["one"].s(number)


def _two(lib, number=2):
    return lib.tasks["two"].s(number)


def _seen(lib):
    return lib.tasks["three"].s("seen")


def _chord(lib, body=None):
    return lib.chord([_one(lib, 10), _two(lib, 20)], body or _one(lib))


def _linked(canvas, callback):
    canvas.link(callback)
    return canvas


def _marked(canvas):
    canvas.set_immutable(True)
    return canvas


def _given_body(canvas, body):
    canvas.body = body
    return canvas


#: A canvas of a library, whose inner canvases are given in a form.
CASES = {
    "callback of a group": lambda lib, form: _linked(
        lib.group(form(_one(lib)), form(_two(lib))), form(_seen(lib))
    ),
    "callback of a group of a list": lambda lib, form: _linked(
        lib.group([form(_one(lib)), form(_two(lib))]), form(_seen(lib))
    ),
    "callback of a group whose first member is a chord": lambda lib, form: _linked(
        lib.group(form(_chord(lib)), form(_two(lib))), form(_seen(lib))
    ),
    "callback of a group that is a body": lambda lib, form: _linked(
        _chord(lib, lib.group(form(_one(lib)), form(_two(lib)))), form(_seen(lib))
    ),
    "callback of a body given later": lambda lib, form: _linked(
        _given_body(_chord(lib), form(_two(lib))), form(_seen(lib))
    ),
    "callback of a chain that ends in a group": lambda lib, form: (
        _one(lib)
        | _linked(
            lib.chain(_one(lib), lib.group(form(_one(lib)), form(_two(lib)))),
            form(_seen(lib)),
        )
    ),
    "errback of a group": lambda lib, form: lib.group(
        form(_one(lib)), form(_two(lib))
    ).on_error(form(_seen(lib))),
    "errback of a group of a list": lambda lib, form: lib.group(
        [form(_one(lib)), form(_two(lib))]
    ).on_error(form(_seen(lib))),
    "errback of a group of a generator": lambda lib, form: lib.group(
        form(member) for member in (_one(lib), _two(lib))
    ).on_error(form(_seen(lib))),
    "errback of a group of a chord and a chain": lambda lib, form: lib.group(
        form(_chord(lib)), form(lib.chain(_one(lib), _two(lib)))
    ).on_error(form(_seen(lib))),
    "errback of a group that is a body": lambda lib, form: _chord(
        lib, lib.group(form(_one(lib)), form(_two(lib)))
    ).on_error(form(_seen(lib))),
    "errback of a chord in a header": lambda lib, form: lib.chord(
        [form(_chord(lib)), form(_two(lib))], form(_one(lib))
    ).on_error(form(_seen(lib))),
    "errback of a chord in a header of a generator": lambda lib, form: lib.chord(
        (form(task) for task in (_chord(lib), _two(lib))), form(_one(lib))
    ).on_error(form(_seen(lib))),
    "errback of a chord in a header that is a group": lambda lib, form: lib.chord(
        lib.group(form(_chord(lib)), form(_two(lib))), form(_one(lib))
    ).on_error(form(_seen(lib))),
    "errback of a chain that ends in a group": lambda lib, form: (
        _one(lib)
        | lib.signature(
            form(
                lib.chain(_one(lib), lib.group([_one(lib), _two(lib)])).on_error(
                    _seen(lib)
                )
            ),
            app=lib.app,
        )
    ),
    "mark of a header": lambda lib, form: _marked(
        lib.chord([form(_one(lib)), form(_two(lib))], form(_one(lib)))
    ),
    "mark of a header with a chord": lambda lib, form: _marked(
        lib.chord([form(_chord(lib)), form(_two(lib))], form(_one(lib)))
    ),
    "mark of a chord in a group": lambda lib, form: _marked(
        lib.group(form(_chord(lib)), form(_two(lib)))
    ),
    "mark of a chord in a group that is copied": lambda lib, form: _marked(
        lib.group(form(_chord(lib)), form(_two(lib)))
    ).clone(),
    "mark of a chord after a task": lambda lib, form: (
        _one(lib) | _marked(lib.group(form(_chord(lib)), form(_two(lib))))
    ),
}


@pytest.mark.parametrize("form", [_as_it_is, _plain])
@pytest.mark.parametrize("case", CASES)
def test_links_and_marks_are_celerys(sides, case, form):
    call = Call(args=(0,))
    expected = sent(CASES[case](sides.celery, _as_it_is), call)
    found = sent(CASES[case](sides.celerant, form), call)

    assert found == expected, difference(found, expected)


@pytest.mark.parametrize("form", [_as_it_is, _plain])
def test_errbacks_come_to_headers_as_celerys_if_the_setting_says_so(sides, form):
    def found(side, form):
        side.app.conf.task_allow_error_cb_on_chord_header = True
        try:
            made = side.chord([form(_one(side)), form(_two(side))], form(_two(side)))
            return sent(made.on_error(form(_seen(side))))
        finally:
            side.app.conf.task_allow_error_cb_on_chord_header = False

    expected = found(sides.celery, _as_it_is)
    # Celery puts this among the errback's options, where nothing reads it.
    text = json.dumps(expected).replace('{"immutable": true}', "{}")
    assert found(sides.celerant, form) == json.loads(text)


@pytest.mark.parametrize("immutable", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_a_chords_own_arguments_come_to_its_header_as_celerys(sides, immutable, copied):
    def found(side):
        plain = {**_plain(_chord(side)), "args": [7], "immutable": immutable}
        made = side.signature(plain, app=side.app)
        return sent(made.clone((8,)) if copied else made, Call(args=(9,)))

    expected = found(sides.celery)
    assert found(sides.celerant) == expected
