"""Canvases as data: the same lines make the same canvases as in Celery."""

from __future__ import annotations

import copy
import json
import pickle
from types import SimpleNamespace

import pytest

from celerant import Celerant, chain, chord, group, signature
from celerant.canvas.chain import Chain
from celerant.canvas.signature import Signature
from celerant.errors import CanvasError


@pytest.fixture(scope="module")
def libraries():
    celery = pytest.importorskip("celery")
    stock = celery.Celery("table", broker="memory://", set_as_current=False)

    def nothing(*args, **kwargs):
        """Never run."""

    with Celerant("table") as ours:
        yield [
            SimpleNamespace(
                task=app.task(nothing, name="one", **more),
                s=app.tasks["one"].s,
                group=library.group,
                chain=library.chain,
                chord=library.chord,
                signature=library.signature,
                app=app,
            )
            for library, app, more in (
                (celery, stock, {"shared": False}),
                (__import__("celerant"), ours, {}),
            )
        ]
    stock.close()


def _changed(canvas, **attributes):
    for name, value in attributes.items():
        setattr(canvas, name, value)
    return canvas


def _plain(lib, canvas):
    return json.loads(json.dumps(canvas))


TABLE = {
    "on_error": lambda lib: lib.s(1).on_error(lib.s(2)),
    "on_error of a group": lambda lib: lib.group([lib.s(1), lib.s(3)]).on_error(
        lib.s(2)
    ),
    "on_error of a chain": lambda lib: lib.chain(lib.s(1), lib.s(3)).on_error(lib.s(2)),
    "on_error of a chord": lambda lib: lib.chord([lib.s(1)], lib.s(3)).on_error(
        lib.s(2)
    ),
    "replace": lambda lib: lib.s(1, a=1).replace((2,), {"b": 2}, {"queue": "q"}),
    "replace by nothing": lambda lib: lib.s(1, a=1).replace(
        args=(), kwargs={}, options={}
    ),
    "replace nothing": lambda lib: lib.s(1, a=1).set(queue="q").replace(),
    "replace of a group": lambda lib: lib.group([lib.s(1)]).replace(
        options={"queue": "q"}
    ),
    "skew": lambda lib: lib.group([lib.s(i) for i in range(3)]).skew(),
    "skew to": lambda lib: lib.group([lib.s(i) for i in range(5)]).skew(2, 6, 3),
    "skew of arguments": lambda lib: lib.group(lib.s(1), lib.s(2)).skew(step=0.5),
    "reprcall": lambda lib: lib.s(1, b=2).reprcall(5, c=3),
    "reprcall immutable": lambda lib: lib.task.si(1).reprcall(5),
    "repr": lambda lib: repr(lib.s(1, b="x")),
    "repr of a chain": lambda lib: repr(lib.chain(lib.s(1), lib.s(2))),
    "repr of a group": lambda lib: repr(lib.group([lib.s(1), lib.s(2)])),
    "group.from_dict": lambda lib: lib.group.from_dict(
        _plain(lib, lib.group([lib.s(1)]).set(queue="q")), app=lib.app
    ),
    "chain.from_dict": lambda lib: lib.chain.from_dict(
        _plain(lib, lib.chain(lib.s(1), lib.s(2)).set(queue="q")), app=lib.app
    ),
    "chord.from_dict": lambda lib: lib.chord.from_dict(
        _plain(lib, lib.chord([lib.s(1)], lib.s(2)).set(queue="q")), app=lib.app
    ),
    "signature of each": lambda lib: [
        lib.signature(_plain(lib, canvas), app=lib.app)
        for canvas in (
            lib.s(1),
            lib.group([lib.s(1)]),
            lib.chain(lib.s(1), lib.s(2)),
            lib.chord([lib.s(1)], lib.s(2)),
        )
    ],
    "task.signature": lambda lib: lib.task.signature((1,), {"a": 2}, queue="q"),
    "task.subtask": lambda lib: lib.task.subtask(
        args=(1,), kwargs={"a": 2}, options={"queue": "q"}, immutable=True
    ),
    "signature by name": lambda lib: lib.signature(
        "any", (1,), {"a": 2}, {"queue": "q"}, priority=3
    ),
    "clone": lambda lib: lib.s(1, a=1).clone((2,), {"a": 2}, queue="q"),
    "clone of an immutable one": lambda lib: lib.task.si(1).clone((2,), queue="q"),
    "set": lambda lib: lib.s(1).set(immutable=True, queue="q"),
    "set of a group": lambda lib: lib.group([lib.s(1)]).set(immutable=True, queue="q"),
    "set of a chain": lambda lib: lib.chain(lib.s(1), lib.s(2)).set(immutable=True),
    "set of a chord": lambda lib: lib.chord([lib.s(1)], lib.s(2)).set(immutable=True),
    "attributes": lambda lib: _changed(
        lib.s(1), args=(2,), kwargs={"a": 1}, options={"queue": "q"}, immutable=True
    ),
    "tasks of a group": lambda lib: _changed(
        lib.group([lib.s(1)]), tasks=[lib.s(2), lib.s(3)]
    ),
    "tasks of a chain": lambda lib: _changed(
        lib.chain(lib.s(1), lib.s(2)), tasks=[lib.s(3), lib.s(4)]
    ),
    "tasks and body of a chord": lambda lib: _changed(
        lib.chord([lib.s(1)], lib.s(2)), tasks=[lib.s(3)], body=lib.s(4)
    ),
    "ids": lambda lib: [
        getattr(lib.s().set(task_id="a", root_id="b", parent_id="c"), name)
        for name in ("id", "root_id", "parent_id")
    ],
    "kinds": lambda lib: [
        canvas.subtask_type
        for canvas in (lib.s(1), lib.group([lib.s(1)]), lib.chord([lib.s(1)], lib.s(2)))
    ],
    "link": lambda lib: _linked(lib.s(1), lib),
    "link of a group": lambda lib: _linked(lib.group([lib.s(1), lib.s(5)]), lib),
    "link of a chain": lambda lib: _linked(lib.chain(lib.s(1), lib.s(5)), lib),
    "link of a chord": lambda lib: _linked(lib.chord([lib.s(1)], lib.s(5)), lib),
    "equal": lambda lib: [
        lib.chord([lib.s(1)], lib.s(2)) == lib.group([lib.s(1)]) | lib.s(2),
        lib.chain(lib.s(1), lib.s(2)) == lib.chain(lib.s(2), lib.s(1)),
    ],
    "pickled": lambda lib: pickle.loads(pickle.dumps(_nested(lib))),
    "copied": lambda lib: [copy.copy(_nested(lib)), copy.deepcopy(_nested(lib))],
    "xmap": lambda lib: _kept(
        lib.task.map([1, 2]), "task", "args", "kwargs", "immutable"
    ),
    "starmap": lambda lib: _kept(lib.task.starmap([(1, 2)]), "task", "args", "kwargs"),
    "chunks": lambda lib: [
        _kept(part, "task", "args", "kwargs", "immutable")
        for part in lib.task.chunks([(1,), (2,), (3,)], 2).group().tasks
    ],
}


def _linked(canvas, lib):
    canvas.link(lib.s(2))
    canvas.link(lib.s(2))
    canvas.link_error(lib.s(3))
    return canvas


def _nested(lib):
    return lib.chain(
        lib.s(1), lib.group([lib.s(2), lib.chord([lib.s(3)], lib.s(4))]), lib.s(5)
    )


def _kept(canvas, *keys):
    return {key: canvas[key] for key in keys}


@pytest.mark.parametrize("row", TABLE)
@pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")
def test_the_same_line_makes_the_same_canvas(libraries, row):
    theirs, ours = (json.dumps(TABLE[row](lib), sort_keys=True) for lib in libraries)

    assert json.loads(ours) == json.loads(theirs)


@pytest.fixture(
    params=["chains", "headers", "bodies", "groups in chains", "a long chain"]
)
def deep(request, shop):
    """A canvas of 200 levels, or of 1,000 steps."""
    step = shop.echo.s
    if request.param == "a long chain":
        return chain(*(step(i) for i in range(1000)))
    made = step(0)
    for level in range(200):
        if request.param == "chains":
            made = Chain([step(level), made], {})
        elif request.param == "headers":
            made = chord([made], step(level))
        elif request.param == "bodies":
            made = chord([step(level)], made)
        else:
            made = (
                group([made, step(level)])
                if level % 2
                else Chain([step(level), made], {}, app=shop.app)
            )
    return made


def _deepest(canvas):
    """Return the depth of a canvas, and its innermost part."""
    levels = 0
    while not isinstance(canvas, Signature):
        inner = canvas["kwargs"]
        held = [*(inner.get("header") or inner.get("tasks")), inner.get("body")]
        canvas = max(
            (part for part in held if part), key=lambda p: not isinstance(p, Signature)
        )
        levels += 1
    return levels, canvas


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda canvas: pickle.loads(pickle.dumps(canvas)),
        lambda canvas: canvas.clone(),
        signature,
    ],
    ids=["copy", "deepcopy", "pickle", "clone", "signature"],
)
def test_deep_and_long_canvases_are_copied_whole(deep, copied):
    made = copied(deep)

    assert type(made) is type(deep)
    assert made == deep
    assert len(made) == len(deep)
    assert _deepest(made) == _deepest(deep)
    assert _deepest(made)[1] is not _deepest(deep)[1]


def test_deep_and_long_canvases_are_shown_in_few_words(deep):
    assert len(repr(deep)) < 1500


def test_a_deep_copy_shares_nothing_but_the_app(shop):
    made = chain(shop.echo.s([1]).set(headers={"a": [1]}), shop.echo.s(2))
    both = chord([made], shop.echo.s(3), app=shop.app)
    copied = copy.deepcopy(both)
    copied.tasks[0].tasks[0].args[0].append(2)
    copied.tasks[0].tasks[0].options["headers"]["a"].append(2)

    assert made.tasks[0].args == ([1],)
    assert made.tasks[0].options == {"headers": {"a": [1]}}
    assert copied.app is both.app is shop.app


def test_a_part_that_is_held_twice_is_held_twice_in_a_copy(shop):
    inner = chain(shop.echo.s(1), shop.echo.s(2))
    for copied in (copy.deepcopy, lambda canvas: pickle.loads(pickle.dumps(canvas))):
        first, second = copied(group([inner, inner])).tasks
        assert first is second
        assert first is not inner


def test_a_long_argument_is_cut_in_the_representation(shop):
    assert len(repr(shop.echo.s("x" * 10_000, y=list(range(10_000))))) < 400


def test_arguments_set_as_text_are_refused(shop):
    with pytest.raises(TypeError, match="list or tuple"):
        shop.echo.s(1).args = "ab"
    with pytest.raises(TypeError, match="list or tuple"):
        shop.echo.s(1).replace(args="ab")


@pytest.mark.parametrize(
    "use",
    [
        lambda made, body: made | body,
        lambda made, body: chain(body, made, body),
        lambda made, body: body | made | body,
        lambda made, _body: made(),
        lambda made, _body: made.apply(),
        lambda made, _body: made.freeze(),
        lambda made, body: made.link(body),
        lambda made, body: made.link_error(body),
        lambda made, body: (body | made).delay(),
    ],
    ids=[
        "piped",
        "chained",
        "in-a-pipe",
        "call",
        "apply",
        "freeze",
        "link",
        "link_error",
        "step",
    ],
)
def test_a_chord_without_a_body_refuses_to_be_used(shop, use):
    with pytest.raises(CanvasError, match=r"no body.*write chord\(header, body\)"):
        use(chord([shop.echo.s(1)]), shop.echo.s(2))


def test_a_chord_without_a_body_can_be_given_one(shop):
    made = chord([shop.echo.s(1)]).stamp(a=1)
    assert (len(made), made.clone(), pickle.loads(pickle.dumps(made))) == (
        1,
        made,
        made,
    )
    made.body = shop.echo.s(2)
    assert repr(made) == "chord([celerant_test.echo(1)], celerant_test.echo(2))"


def test_piping_a_step_after_nested_chords_copies_each_once(shop, monkeypatch):
    made = shop.echo.s(0)
    for level in range(50):
        made = chord([shop.echo.s(level)], made)
    copied = []
    clone = chord.clone
    monkeypatch.setattr(chord, "clone", lambda self: copied.append(1) or clone(self))

    assert _deepest(made | shop.echo.s("end"))[0] == 51
    assert len(copied) == 50


def test_links_are_listed_flat_as_in_celery(libraries):
    for lib in libraries:
        first, second, third = lib.s(1), lib.s(2), lib.s(3)
        second.link(third)
        first.link(second)
        first.link(lib.s(4))
        first.link_error(lib.s(5))
        assert [one.args for one in first.flatten_links()] == [(1,), (2,), (3,), (4,)]


def test_options_that_are_lists_grow_as_in_celery(libraries):
    for lib in libraries:
        made = lib.s(1)
        made.append_to_list_option("link", lib.s(2))
        made.append_to_list_option("link", lib.s(2))
        made.extend_list_option("link", [lib.s(3), lib.s(4)])
        assert [link["args"] for link in made.options["link"]] == [(2,), (3,), (4,)]


def test_canvases_have_a_name_arguments_and_a_partial_as_in_celery(libraries):
    for lib in libraries:
        assert lib.s(1).name == "one"
        assert lib.s(1).type.name == "one"
        assert lib.s(1).partial((0,), queue="q").args == (0, 1)
        assert lib.s(1).partial((0,), queue="q").options["queue"] == "q"
        members = lib.group([lib.s(1), lib.s(2)])
        assert tuple(members.args) == ()
        assert len(members.kwargs["tasks"]) == 2
        steps = lib.s(1) | lib.s(2)
        steps.link(lib.s(3))
        assert [step["task"] for step in steps.unchain_tasks()] == ["one", "one"]


def test_chord_takes_how_celery_would_poll_for_its_header():
    with Celerant("polling") as app:

        @app.task
        def add(x, y):
            return x + y

        @app.task
        def total(values):
            return sum(values)

        members = [add.s(1, 1), add.s(2, 2)]
        held = [add.si(1, 1), add.si(2, 2)]
        polls = {"interval": 0.5, "max_retries": 3}
        with app.worker(concurrency=2):
            for result in (
                chord(members, total.s(), **polls)(),
                chord(members, total.s()).apply_async(**polls),
                chord(members)(total.s(), **polls),
                (add.s(0, 0) | chord(held, total.s(), **polls))(),
            ):
                assert result.get(timeout=10) == 6
