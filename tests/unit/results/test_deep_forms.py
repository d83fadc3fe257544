"""Long lines: forms without recursion, and records that every reader can read."""

from __future__ import annotations

import uuid

import celery
import celery.result
import pytest
from kombu.serialization import dumps, enable_insecure_serializers, loads

from celerant import Celerant, chain, group
from celerant.results.async_result import AsyncResult
from celerant.results.tracking.forms import clipped, ids_in, line_in
from celerant.results.tree import result_from_tuple

STEPS = 1000
KEPT = 100


def _line(count, *, above=None, members=None):
    form = above
    for number in range(count):
        form = (str(number), form), members
    return form


def _depth(form):
    if not isinstance(form, (list, tuple)):
        return 0
    return 1 + max(map(_depth, form), default=0)


def test_a_line_keeps_its_end():
    kept = line_in(clipped(_line(STEPS)))

    assert [task_id for task_id, _ in kept] == list(map(str, range(900, 1000)))


def test_a_short_form_is_not_clipped():
    form = _line(KEPT, members=[(("member", None), None)])

    assert clipped(form) == form


def test_groups_keep_all_members_and_clip_their_lines():
    inner = ("group", _line(30)), [_line(STEPS), (("plain", None), None)]
    form = _line(50, above=inner)
    kept = line_in(clipped(form))

    assert len(kept) == 81
    (_, members) = kept[30]
    # It stands 51 deep, and its parents may be as deep as the rest.
    assert [len(line_in(member)) for member in members] == [49, 1]


@pytest.mark.parametrize("nested", [1, 3, 60])
def test_nesting_is_within_the_same_depth(nested):
    form = _line(STEPS)
    for _ in range(nested):
        form = _line(STEPS, above=(("group", _line(STEPS)), [form]))

    assert _depth(clipped(form)) <= 2 * KEPT + 1


@pytest.mark.parametrize("serializer", ["json", "yaml", "msgpack", "pickle"])
def test_every_serializer_and_celery_read_a_clipped_form(serializer):
    enable_insecure_serializers()
    kind, encoding, data = dumps([clipped(_line(STEPS))], serializer)
    (form,) = loads(data, kind, encoding, accept=[kind])
    stock = celery.Celery(backend="cache+memory://", set_as_current=False)

    result = celery.result.result_from_tuple(form, stock)
    assert len(result.as_list()) == KEPT


def test_a_line_of_a_thousand_groups_is_no_recursion(memory):
    form = _line(STEPS, members=[(("member", None), None)])
    result = result_from_tuple(form, memory)

    assert list(ids_in(result.as_tuple())) == ["member"] * STEPS
    last = AsyncResult("last", memory, parent=result)
    assert list(ids_in(last.as_tuple())) == [*["last"], *["member"] * STEPS]


def test_a_task_that_sends_a_long_chain_gets_its_result():
    with Celerant(f"long-{uuid.uuid4().hex[:8]}") as app:

        @app.task(name="long.add")
        def add(x, y):
            return x + y

        @app.task(name="long.sends")
        def sends():
            steps = chain(add.s(0, 1), *[add.s(1)] * (STEPS - 1))
            return group(steps, add.s(0, 0)).apply_async().results[0].id

        with app.worker(concurrency=2):
            result = sends.delay()
            last = result.get(timeout=20)
            (child,) = result.children
            assert child.results[0].id == last
            assert child.get(timeout=50) == [STEPS, 0]
        # The group is one of them.
        assert len(child.results[0].as_list()) == KEPT - 1
