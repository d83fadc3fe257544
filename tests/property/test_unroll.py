"""Unrolling and freezing against a naive model in Python."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celerant import Celerant, group
from celerant.canvas.freezing import freeze, leaves
from celerant.canvas.source import Mapped
from harness.capture import drain
from harness.tasks import define_tasks

APP = Celerant("celerant-t1-property")
ECHO = define_tasks(APP).echo

VALUES = st.integers(-9, 9) | st.text(max_size=3)
SIGNATURES = st.builds(
    lambda args, kwargs, immutable, own: (ECHO.si if immutable else ECHO.s)(
        *args, **kwargs
    ).set(**({"task_id": own} if own else {})),
    st.lists(VALUES, max_size=3),
    st.dictionaries(st.sampled_from("abc"), VALUES, max_size=2),
    st.booleans(),
    st.none() | st.uuids().map(str),
)


def _group(members, form):
    if form == "generator":
        return group(member for member in members)
    if form == "dict":
        return dict(group(list(members)))
    return group(form(members))


CANVASES = st.recursive(
    SIGNATURES | SIGNATURES.map(dict),
    lambda inner: (
        st.builds(
            _group,
            st.lists(inner, max_size=4),
            st.sampled_from([list, tuple, "generator", "dict"]),
        )
        | st.lists(VALUES, max_size=3).map(lambda items: group.map(ECHO, items))
    ),
    max_leaves=25,
)
GROUPS = st.lists(CANVASES, max_size=5)


def _model(canvas):
    """Return (args, kwargs, immutable, own id) of each leaf, left to right."""
    if canvas.get("subtask_type") != "group":
        own = canvas["options"].get("task_id")
        yield tuple(canvas["args"]), canvas["kwargs"], canvas["immutable"], own
        return
    tasks = canvas["kwargs"]["tasks"]
    if isinstance(tasks, Mapped):
        yield from (((item,), {}, False, None) for item in tasks.items)
        return
    # A generator is held first, so that it is there again for the code under test.
    for member in tasks if isinstance(tasks, (list, tuple)) else tasks.hold():
        yield from _model(member)


def _unique(leaves_of_it):
    own = [leaf[3] for leaf in leaves_of_it if leaf[3]]
    return len(own) == len(set(own))


@given(GROUPS)
def test_leaves_are_those_of_the_model_in_order(members):
    canvas = group(members)
    expected = list(_model(canvas))
    found = [
        (leaf.args, leaf.kwargs, leaf.immutable, leaf.id)
        for leaf in leaves(canvas, APP)
    ]
    assert found == expected


@given(GROUPS, st.binary(min_size=16, max_size=16))
def test_freezing_gives_each_leaf_one_id_and_sending_keeps_it(members, seed):
    canvas = group(members, app=APP)
    expected = list(_model(canvas))
    if not _unique(expected):
        return
    roster, barrier = freeze(canvas, seed, APP)
    ids = [leaf.id for leaf in canvas.tasks]
    assert len(set(ids)) == len(ids) == len(roster) == len(barrier) == len(expected)
    assert ids == [roster.id(index) for index in range(len(ids))]
    assert [roster.index(task_id) for task_id in ids] == list(range(len(ids)))
    for task_id, leaf in zip(ids, expected, strict=True):
        assert leaf[3] in {None, task_id}
    result = canvas.apply_async()
    assert [member.id for member in result] == ids
    sent = drain("memory://", "celerant-t1-property")
    assert [message.headers["id"] for message in sent] == ids


@given(
    GROUPS,
    st.lists(VALUES, max_size=2),
    st.dictionaries(st.sampled_from("abc"), VALUES, max_size=2),
)
def test_the_messages_are_those_of_the_model(members, args, kwargs):
    canvas = group(members, app=APP)
    expected = list(_model(canvas))
    if not _unique(expected):
        return
    result = canvas.apply_async(args, kwargs)
    sent = drain("memory://", "celerant-t1-property")
    assert len(result) == len(sent) == len(expected)
    for index, (message, leaf) in enumerate(zip(sent, expected, strict=True)):
        own_args, own_kwargs, immutable, own_id = leaf
        call = (
            (own_args, own_kwargs)
            if immutable
            else ((*args, *own_args), {**own_kwargs, **kwargs})
        )
        assert json.loads(message.body)[:2] == [list(call[0]), call[1]]
        assert message.headers["group_index"] == index
        assert message.headers["group"] == result.id
        assert message.headers["root_id"] == message.headers["id"]
        assert message.headers["id"] == own_id or own_id is None


@given(GROUPS, st.data())
def test_a_stranger_is_named_by_its_path(members, data):
    at = data.draw(st.integers(0, len(members)))
    inner = [ECHO.s()]
    members.insert(at, group(inner))
    # Too late for the constructor, which would refuse it.
    inner.append(3)
    with pytest.raises(ValueError, match="must be a signature") as caught:
        leaves(group(members), APP)
    assert caught.value.path == f"group[{at}][1]"
