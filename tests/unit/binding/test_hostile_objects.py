"""No object in a canvas makes the binding panic.

A Rust panic reaches Python as `PanicException`, which is no `Exception`.
"""

from __future__ import annotations

import pytest

from celerant import group
from celerant.errors import CanvasError, EncodeError, PublishError
from harness.capture import drain


def _sent(shop):
    return drain("memory://", shop.app.conf.task_default_queue)


class Raises:
    """Raises `error` wherever it is looked at."""

    def __init__(self, error):
        self.__dict__["error"] = error

    def _raise(self, *_):
        raise self.__dict__["error"]

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __eq__ = _raise
    __hash__ = __getattr__ = _raise


class LyingClass:
    """Claims to be of another class."""

    def __init__(self, claim):
        self.claim = claim

    @property
    def __class__(self):
        if isinstance(self.claim, Exception):
            raise self.claim
        return self.claim


@pytest.mark.parametrize(
    "make",
    [
        # Made in the test: pytest looks at parameters.
        lambda: Raises(ZeroDivisionError("no")),
        lambda: LyingClass(dict),
        lambda: LyingClass(list),
        lambda: LyingClass(str),
        lambda: LyingClass(ZeroDivisionError("no")),
    ],
    ids=["raises", "a dict", "a list", "a str", "class raises"],
)
def test_a_hostile_argument_is_an_encode_error_of_its_member(shop, make):
    with pytest.raises(EncodeError) as caught:
        group([shop.echo.s(1), shop.echo.s([make()])]).apply_async()
    assert caught.value.group_index == 1
    assert _sent(shop) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_in_a_repr_is_not_swallowed(shop, error):
    with pytest.raises(type(error)):
        group([shop.echo.s(Raises(error))]).apply_async()
    assert _sent(shop) == []


@pytest.mark.parametrize("value", [10**5_000, -(10**5_000)], ids=["large", "small"])
def test_an_integer_that_python_does_not_write(shop, value):
    with pytest.raises(EncodeError, match="digits") as caught:
        group([shop.echo.s(1), shop.echo.s(value)]).apply_async()
    assert caught.value.group_index == 1
    # Pickle takes it, though no repr shows it.
    group([shop.pickled.s(value)]).apply_async()
    assert len(_sent(shop)) == 1


def test_a_repr_that_empties_the_list_it_is_in(shop):
    values = []

    class Empties:
        def __repr__(self):
            values.clear()
            return "emptied"

        def __json__(self):
            return 1

    values += [1, Empties(), 2]
    group([shop.echo.s(values), shop.echo.s(values)]).apply_async()
    assert len(_sent(shop)) == 2


def test_a_repr_that_grows_the_dict_it_is_in(shop):
    values = {}

    class Grows:
        def __repr__(self):
            values.update({str(i): i for i in range(100)})
            return "grown"

        def __json__(self):
            return 1

    values.update(a=1, b=Grows(), c=2)
    group([shop.echo.s(values)]).apply_async()
    assert len(_sent(shop)) == 1


class Chatty(dict):
    """A dict subclass whose methods all raise."""

    def _raise(self, *_):
        msg = "not through me"
        raise ZeroDivisionError(msg)

    __getitem__ = __iter__ = __len__ = __contains__ = get = keys = items = _raise


@pytest.mark.parametrize("place", ["member", "kwargs", "options"])
def test_a_dict_subclass_is_refused_or_read_past_its_methods(shop, place):
    member = dict(shop.echo.s(1))
    if place == "member":
        member = Chatty(member)
    else:
        member[place] = Chatty()
    try:
        group([shop.echo.s(1), member], app=shop.app).apply_async()
    except (CanvasError, EncodeError, ZeroDivisionError):
        assert _sent(shop) == []
    else:
        # Empty all the same: read past the methods.
        assert place != "member"
        assert len(_sent(shop)) == 2


class SameHash:
    """A key that collides with 'task' and cannot be compared."""

    def __hash__(self):
        return hash("task")

    def __eq__(self, other):
        msg = "compared"
        raise ZeroDivisionError(msg)


@pytest.mark.parametrize("field", ["immutable", "subtask_type", "task", "args"])
def test_a_hostile_field_of_a_signature_sends_nothing(shop, field):
    member = dict(shop.echo.s(1))
    member[field] = Raises(ZeroDivisionError("looked at"))
    with pytest.raises((ZeroDivisionError, CanvasError)):
        group([shop.echo.s(1), member], app=shop.app).apply_async()
    with pytest.raises((ZeroDivisionError, CanvasError)):
        group([{SameHash(): 1}], app=shop.app).apply_async()
    assert _sent(shop) == []


@pytest.mark.parametrize("tasks", [3, None, "ab", {"a": 1}, object()])
def test_a_nested_group_whose_tasks_are_none(shop, tasks):
    nested = dict(group([shop.echo.s(1)]))
    nested["kwargs"] = {"tasks": tasks}
    with pytest.raises(CanvasError, match=r"group\[1\]") as caught:
        group([shop.echo.s(1), nested], app=shop.app).apply_async()
    assert caught.value.path.startswith("group[1]")
    assert _sent(shop) == []


def test_errors_of_iterating_come_through(shop):
    class Broken:
        def __init__(self, error):
            self.error = error

        def __iter__(self):
            raise self.error

    with pytest.raises(KeyboardInterrupt):
        group.starmap(shop.add, [(1, 2), Broken(KeyboardInterrupt())]).apply_async()
    with pytest.raises(ZeroDivisionError):
        group.starmap(shop.add, [(1, 2), Broken(ZeroDivisionError())]).apply_async()
    with pytest.raises(ZeroDivisionError):
        group(Broken(ZeroDivisionError())).apply_async()
    with pytest.raises(CanvasError, match="starmap"):
        group.starmap(shop.add, [(1, 2), 3]).apply_async()
    assert _sent(shop) == []


def test_an_argument_that_sends_a_group_while_it_is_read(shop):
    class Sends:
        def __repr__(self):
            group([shop.add.s(1, 1)]).apply_async()
            return "sends"

        def __json__(self):
            group([shop.add.s(2, 2)]).apply_async()
            return 3

    group([shop.echo.s(Sends())]).apply_async()
    sent = [m.headers["task"].rpartition(".")[2] for m in _sent(shop)]
    assert sorted(sent) == ["add", "add", "echo"]


def test_a_generator_that_looks_at_its_own_group(shop):
    def members():
        yield shop.echo.s(1)
        yield once

    once = group(members())
    with pytest.raises(PublishError, match=r"generator|cycle") as caught:
        once.apply_async()
    assert caught.value.report.confirmed == [(0, 1)]
    assert len(_sent(shop)) == 1


def test_a_list_that_shrinks_and_one_that_grows_while_it_is_read(shop):
    members = [shop.echo.s(0)]

    class Changes:
        def __init__(self, change):
            self.change = change

        def __json__(self):
            self.change()
            return 1

    members += [
        shop.echo.s(Changes(lambda: members.append(shop.echo.s(2)))),
        shop.echo.s(Changes(members.clear)),
        shop.echo.s(3),
    ]
    group(members).apply_async()
    assert len(_sent(shop)) == 3


@pytest.mark.parametrize("task_id", ["\ud800", 3, b"x"])
def test_a_task_id_that_no_result_can_have(shop, task_id):
    with pytest.raises((CanvasError, ValueError), match="task_id"):
        group([shop.echo.s(1).set(task_id=task_id)]).apply_async()
    assert _sent(shop) == []


def test_an_empty_task_id_is_none(shop):
    (member,) = group([shop.echo.s(1).set(task_id="")]).apply_async().results
    assert len(member.id) == 36
    assert _sent(shop)[0].headers["id"] == member.id
