"""Results with parents, and results of tasks' own sends."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading

import celery
import pytest

from celerant.errors import IncompleteStream, ResultTimeout, TaskRevoked
from celerant.results.async_result import AsyncResult
from celerant.results.group_result import GroupResult
from celerant.results.tree import result_from_tuple


def chained(backend, *ids):
    result = None
    for task_id in ids:
        result = AsyncResult(task_id, backend, parent=result)
    return result


@pytest.fixture(params=["one view", "a view each"])
def line(request, memory):
    """The result of c, which follows b, which follows a."""
    result = chained(memory, "a", "b", "c")
    if request.param == "one view":
        result = result_from_tuple(result.as_tuple(), memory)
    return result


def fail(backend, task_id, error, state="FAILURE"):
    backend.store_result(task_id, error, state)


@pytest.mark.parametrize("failed", ["a", "b"])
def test_get_raises_the_error_of_an_earlier_step(memory, line, failed):
    fail(memory, failed, KeyError(failed))
    with pytest.raises(KeyError, match=failed):
        line.get(timeout=5)


def test_get_raises_at_once_an_error_that_comes_while_it_waits(memory, line):
    waiting = threading.Event()
    memory.obstacle = waiting.set
    failing = threading.Thread(
        target=lambda: waiting.wait(5) and fail(memory, "a", KeyError("a"))
    )
    failing.start()
    with pytest.raises(KeyError, match="a"):
        line.get(timeout=5)
    failing.join()


def test_the_first_that_failed_is_told(memory, line):
    fail(memory, "b", ValueError("second"))
    fail(memory, "a", KeyError("first"))
    with pytest.raises(KeyError, match="first"):
        line.get(timeout=5)


def test_a_revoked_earlier_step_ends_the_wait(memory, line):
    fail(memory, "a", TaskRevoked("a"), "REVOKED")
    with pytest.raises(TaskRevoked):
        line.get(timeout=5)


@pytest.mark.parametrize("options", [{"propagate": False}, {"follow_parents": False}])
def test_get_waits_for_the_last_step_if_told_so(memory, line, options):
    fail(memory, "a", KeyError("a"))
    with pytest.raises(ResultTimeout):
        line.get(timeout=0, **options)
    memory.store_result("c", 3, "SUCCESS")
    assert line.get(timeout=5, **options) == 3


def test_a_done_last_step_counts_whatever_was_before(memory, line):
    fail(memory, "a", KeyError("a"))
    memory.store_result("c", 3, "SUCCESS")
    assert line.get(timeout=5) == 3


def test_errors_before_an_earlier_group_are_raised_too(memory):
    header = result_from_tuple(
        (("g", (("a", None), None)), [(("b", None), None)]), memory
    )
    line = AsyncResult("c", memory, parent=header)
    fail(memory, "a", KeyError("a"))
    with pytest.raises(KeyError, match="a"):
        line.get(timeout=5)


def test_an_awaited_last_step_raises_the_error_of_an_earlier_step(memory, line):
    fail(memory, "a", KeyError("a"))
    with pytest.raises(KeyError, match="a"):
        asyncio.run(asyncio.wait_for(_of(line), 5))


def test_an_awaited_last_step_returns_its_own_value(memory, line):
    async def both():
        waiting = asyncio.ensure_future(_of(line))
        await asyncio.sleep(0)
        memory.store_result("c", 3, "SUCCESS")
        return await asyncio.wait_for(waiting, 5)

    assert asyncio.run(both()) == 3


async def _of(result):
    return await result


def test_forms_are_celery_s(memory, line):
    client = celery.Celery("forms", backend="cache+memory://", set_as_current=False)
    members = [client.AsyncResult("x"), client.AsyncResult("y")]
    above = client.AsyncResult("b", parent=client.AsyncResult("a"))
    theirs = client.GroupResult("g", members, parent=above)
    ours = result_from_tuple(theirs.as_tuple(), memory)
    assert isinstance(ours, GroupResult)
    assert ours.as_tuple() == theirs.as_tuple()
    assert celery.result.result_from_tuple(ours.as_tuple(), client) == theirs
    assert celery.result.result_from_tuple(line.as_tuple(), client).as_list() == [
        "c",
        "b",
        "a",
    ]
    assert line.as_list() == ["c", "b", "a"]


@pytest.mark.parametrize(
    "form",
    [
        (("g", (("a", None), None)), [(("b", None), None)]),
        (("c", (("b", (("a", None), None)), None)), None),
    ],
    ids=["group", "chain"],
)
def test_forms_may_have_been_json(memory, form):
    result = result_from_tuple(json.loads(json.dumps(form)), memory)
    assert result.as_tuple() == form
    assert result_from_tuple(result) is result


def test_the_oldest_form_is_the_id_alone(memory):
    assert result_from_tuple(("a", None), memory).as_tuple() == (("a", None), None)


def test_a_long_chain_is_no_recursion(memory):
    line = chained(memory, *map(str, range(5_000)))
    again = result_from_tuple(line.as_tuple(), memory)
    assert again.as_list() == line.as_list()


def test_forget_and_revoke_of_a_line(memory, line):
    revoked = []
    memory.revoke = lambda ids, **_: revoked.append(ids)
    for task_id in "abc":
        memory.store_result(task_id, 1, "SUCCESS")
    line.revoke()
    line.revoke(follow_parents=True)
    assert revoked == [["c"], ["c", "b", "a"]]
    line.forget()
    assert memory.fetch(["a", "b", "c"]) == [None] * 3


def sent_by(backend, task_id, value, *children):
    """Store a result whose task has sent others."""
    record = {
        "status": "SUCCESS",
        "result": value,
        "traceback": None,
        "children": [result_from_tuple(form, backend).as_tuple() for form in children],
        "task_id": task_id,
    }
    backend.store(task_id, json.dumps(record).encode(), expires=60)


@pytest.fixture
def tree(memory):
    """A has sent b and a group of c and d; d has sent e."""
    group = ("g", None), [("c", None), ("d", None)]
    sent_by(memory, "a", 1, ("b", None), group)
    sent_by(memory, "b", 2)
    sent_by(memory, "c", 3)
    sent_by(memory, "d", 4, ("e", None))
    sent_by(memory, "e", 5)
    return AsyncResult("a", memory)


def test_results_of_a_tasks_sends_are_its_children(tree):
    b, g = tree.children
    assert (b.id, g.id) == ("b", "g")
    assert [member.id for member in g.children] == ["c", "d"]
    assert b.children == []
    assert AsyncResult("nobody", tree.backend).children == []


def test_the_tree_is_followed_as_celery_follows_it(tree):
    pairs = [(p and p.id, r.id) for p, r in tree.iterdeps()]
    assert pairs == [
        (None, "a"),
        ("a", "b"),
        ("a", "g"),
        ("g", "c"),
        ("g", "d"),
        ("d", "e"),
    ]
    values = {r.id: value for r, value in tree.collect(timeout=5)}
    assert values == {"a": 1, "b": 2, "g": [3, 4], "c": 3, "d": 4, "e": 5}
    assert tree.get_leaf() == 5


def test_a_result_that_is_not_done_ends_the_tree(tree):
    tree.backend.forget(["d"])
    with pytest.raises(IncompleteStream, match=r"g .* not done, so that"):
        list(tree.iterdeps())
    ids = [result.id for _, result in tree.iterdeps(intermediate=True)]
    assert ids == ["a", "b", "g"]


def test_a_tree_is_written_as_dot_and_mermaid(tree):
    graph = tree.graph
    assert graph.edges.keys() == {
        ("a", "b"),
        ("a", "g"),
        ("g", "c"),
        ("g", "d"),
        ("d", "e"),
    }
    assert '"a" [label="a\\nSUCCESS", fillcolor=palegreen];' in graph.dot()
    assert '"g" [label="group\\ng\\n2 of 2", fillcolor=palegreen];' in graph.dot()
    assert '"a" -> "b";' in graph.dot()
    assert graph.mermaid().startswith('flowchart TD\n  n0["a<br/>SUCCESS"]\n')
    assert "  n0 --> n1\n" in graph.mermaid()


def test_a_tree_begins_at_the_first_step_of_the_chain(memory, line):
    for task_id, following in (("a", "b"), ("b", "c")):
        sent_by(memory, task_id, 1, (following, None))
    with pytest.raises(IncompleteStream):
        _ = line.graph
    graph = line.build_graph(intermediate=True)
    assert list(graph.nodes) == ["a", "b", "c"]
    assert list(graph.edges) == [("a", "b"), ("b", "c")]
    assert graph.nodes["c"][1] == "PENDING"


def test_quotes_in_names_do_not_break_the_text(memory):
    sent_by(memory, 'a"\\', 1)
    graph = AsyncResult('a"\\', memory).graph
    assert '"a\\"\\\\" [label="a\\"\\\\\\nSUCCESS"' in graph.dot()
    assert 'n0["a#quot;\\<br/>SUCCESS"]' in graph.mermaid()


def test_a_result_is_made_of_its_form_in_a_process_without_other_imports():
    code = (
        "from celerant.results.tree import result_from_tuple as made;"
        "from celerant.results.backends import open_backend;"
        "memory = open_backend('memory://', name='bare');"
        "print(made((('a', None), None), memory), made((('g', None), []), memory))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout == b"a g\n"
