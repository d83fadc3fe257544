"""Parameters annotated `GroupResult`, over memory:// and in place."""

from __future__ import annotations

import importlib.util
import inspect
import os
import typing
import uuid
from typing import Any

import celery.result
import pytest

from celerant import (
    Celerant,
    ChordError,
    GroupResult,
    HandleError,
    Task,
    chain,
    chord,
    group,
)
from celerant.tasks import group_results

WAIT = 10


@pytest.fixture
def shop():
    with Celerant(f"headers-{uuid.uuid4().hex[:8]}") as app:

        @app.task(name="add")
        def add(x: int, y: int) -> int:
            return x + y

        @app.task(name="fail")
        def fail(x: int) -> int:
            raise ValueError(x)

        @app.task(name="quiet", ignore_result=True)
        def quiet(x: int) -> int:
            return x

        @app.task(name="gather")
        def gather(values: GroupResult[Any], note: str = "") -> list[Any]:
            got = values if isinstance(values, list) else values.get(timeout=WAIT)
            return [type(values).__name__, got, note]

        @app.task(name="bound", bind=True)
        def bound(self: Any, values: GroupResult[Any]) -> list[Any]:
            came = [member.get() for member in values.as_completed(timeout=WAIT)]
            return [self.name, sorted(came)]

        @app.task(name="plain")
        def plain(values: list[int]) -> int:
            return sum(values)

        yield app


def test_body_streams_the_result_over_memory(shop):
    add, gather, bound, plain = (
        shop.tasks[name] for name in ("add", "gather", "bound", "plain")
    )
    with shop.worker(concurrency=2):
        header = [add.s(i, i) for i in range(3)]
        first = chord(header)(gather.s("x"))
        second = chord(header)(bound.s())
        nested = chord([add.s(1, 1) | group([add.s(1), add.s(2)])])(gather.s())
        listed = chord(header)(plain.s())
        empty = chord([])(gather.s())
        own_id = chord([add.s(1, 1).set(task_id=uuid.uuid4().hex)])(gather.s())
        assert first.get(timeout=WAIT) == ["GroupResult", [0, 2, 4], "x"]
        assert second.get(timeout=WAIT) == ["bound", [0, 2, 4]]
        assert nested.get(timeout=WAIT) == ["GroupResult", [[3, 4]], ""]
        assert listed.get(timeout=WAIT) == 6
        assert empty.get(timeout=WAIT) == ["GroupResult", [], ""]
        assert own_id.get(timeout=WAIT) == ["GroupResult", [2], ""]


def test_children_that_do_not_share_the_memory_get_a_list():
    import header_tasks

    with header_tasks.app as app, app.worker(concurrency=1, pool="processes"):
        header = [header_tasks.add.s(i, i) for i in range(3)]
        kind, total, pid = chord(header)(header_tasks.gather.s()).get(timeout=30)
    assert (kind, total) == ("list", 6)
    assert pid != os.getpid()


def test_body_of_a_failed_header_is_not_called(shop):
    with shop.worker(concurrency=2):
        add, fail, gather = (shop.tasks[name] for name in ("add", "fail", "gather"))
        result = chord([add.s(1, 1), fail.s(2)])(gather.s())
        with pytest.raises(ChordError, match="ValueError"):
            result.get(timeout=WAIT)


def test_list_is_told_once_for_each_task(shop, caplog):
    # Of a name that no other test has told of.
    name = f"gather-{uuid.uuid4().hex[:8]}"

    @shop.task(name=name)
    def gather(values: GroupResult[Any]) -> Any:
        return values

    with shop.worker(concurrency=1):
        header = [shop.tasks["quiet"].s(4)]
        for _ in range(2):
            assert chord(header)(gather.s()).get(timeout=WAIT) == [4]
    said = [record.getMessage() for record in caplog.records]
    sent = f"the body '{name}' of a chord gets a list instead of a GroupResult"
    assert sum(sent in one for one in said) == 1
    assert sum(f"task {name} gets a list of 1 values" in one for one in said) == 1


def test_task_that_says_it_takes_lists_is_told_nothing(shop, caplog):
    group_results._told.get().clear()

    @shop.task(name="either")
    def either(values: GroupResult[Any] | list[int]) -> str:
        return type(values).__name__

    assert either([1]) == "list"
    assert shop.tasks["gather"]([1]) == ["list", [1], ""]
    assert [record.args[0] for record in caplog.records] == ["gather"]


def test_in_place_the_body_gets_the_result_itself(shop):
    add, gather = shop.tasks["add"], shop.tasks["gather"]
    header = [add.s(i, i) for i in range(3)]
    assert (group(header) | gather.s()).apply().get() == [
        "GroupResult",
        [0, 2, 4],
        "",
    ]
    shop.conf.task_always_eager = True
    canvas = chain(add.s(1, 1), group([add.s(1), add.s(2)]), gather.s("y"))
    assert canvas.delay().get() == ["GroupResult", [3, 4], "y"]
    with pytest.raises(ValueError, match="7"):
        chord([shop.tasks["fail"].s(7)])(gather.s())


def test_some_tasks_of_a_body_take_it_and_others_do_not_so_all_get_a_list(shop):
    group_results._told.get().clear()
    with shop.worker(concurrency=2):
        body = group([shop.tasks["gather"].s(), shop.tasks["plain"].s()])
        result = chord([shop.tasks["add"].s(1, 1)])(body)
        assert result.get(timeout=WAIT) == [["list", [2], ""], 2]


def test_text_that_is_no_handle_fails_the_task(shop):
    with pytest.raises(HandleError, match="is no handle"):
        shop.tasks["gather"]("something else")


class Streaming(Task[[Any], int]):
    name = "streaming"

    def run(self, values: GroupResult[int], *, more: int = 0) -> int:
        return sum(values.get(timeout=WAIT)) + more


def test_classes_of_tasks_get_it_too(shop):
    task = shop.register_task(Streaming())
    with shop.worker(concurrency=1):
        assert chord([shop.tasks["add"].s(1, 1)])(task.s(more=1)).get(WAIT) == 3


def written(annotation: str) -> bool:
    """Whether a parameter is found to take a result that is annotated so."""
    space = {"GroupResult": GroupResult, "typing": typing, "celery": celery}

    def run(values: Any, other: int = 0) -> None: ...

    run = type(run)(run.__code__, space)
    run.__annotations__ = {"values": annotation}
    return group_results.parameters_of(run, inspect.signature(run)) == ["values"]


@pytest.mark.parametrize(
    "annotation",
    [
        GroupResult,
        GroupResult[int],
        GroupResult[int] | None,
        typing.Annotated[GroupResult[int], "of the header"],
        "GroupResult",
        "GroupResult[int]",
        "GroupResult[int] | list[int]",
        "typing.Optional[GroupResult[int]]",
        # Others of its names cannot be looked up.
        "GroupResult[list[unknown.Shop]]",
        "unknown.Other[int] | GroupResult[int, str]",
        "typing.Optional[GroupResult[list[unknown.Shop]]]",
        "celerant.GroupResult[int]",
        "celerant.results.group_result.GroupResult | None",
    ],
    ids=repr,
)
def test_annotations_that_ask_for_a_result(annotation):
    assert written(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        list[int],
        celery.result.GroupResult,
        "celery.result.GroupResult",
        "list[GroupResult[int]]",
        "list[unknown.GroupResult[int]]",
        "list[celerant.GroupResult[int]]",
        "unknown.MyGroupResult",
        "unknown.GroupResult[int]",
        "celery.result.GroupResult[unknown.Shop]",
        "GroupResultish",
    ],
    ids=repr,
)
def test_annotations_that_do_not(annotation):
    assert not written(annotation)


@pytest.fixture
def module(tmp_path):
    """Return a function that makes a module of its source."""

    def make(source: str) -> Any:
        file = tmp_path / f"annotated_{uuid.uuid4().hex}.py"
        file.write_text(source)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    return make


#: A function whose annotation has names that type checkers alone import.
CHECKED = """
from __future__ import annotations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    {imports}

def run(values: {annotation}):
    return values
"""


@pytest.mark.parametrize(
    ("imports", "annotation", "is_ours"),
    [
        ("from celerant import GroupResult", "GroupResult", True),
        ("from celerant import GroupResult", "GroupResult[list[Shop]] | None", True),
        ("from celerant import GroupResult as OurGroupResult", "OurGroupResult", True),
        ("from celerant.results.group_result import GroupResult", "GroupResult", True),
        ("import celerant", "celerant.GroupResult[int]", True),
        ("import celerant as ce", "ce.GroupResult[int]", True),
        ("import celerant.results.group_result", "celerant.results.GroupResult", True),
        ("from reports import GroupResult", "GroupResult", False),
        ("from .reports import GroupResult", "GroupResult[int] | None", False),
        ("from celery.result import GroupResult", "GroupResult", False),
        ("import celery.result as celerant", "celerant.GroupResult", False),
        ("class GroupResult: ...", "GroupResult", False),
        ("from celerant import GroupResult", "other.GroupResult", False),
        (
            "from celerant import GroupResult; from reports import GroupResult",
            "GroupResult",
            False,
        ),
    ],
)
def test_name_that_type_checkers_import_is_looked_up_in_the_source(
    module, imports, annotation, is_ours
):
    run = module(CHECKED.format(imports=imports, annotation=annotation)).run
    found = group_results.parameters_of(run, inspect.signature(run))
    assert found == (["values"] if is_ours else [])


def test_class_of_another_module_with_the_same_name_gets_the_values(shop, module):
    text = CHECKED.format(
        imports="from reports import GroupResult", annotation="GroupResult"
    )
    body = shop.task(name="body")(module(text).run)
    with shop.worker(concurrency=1):
        assert chord([shop.tasks["add"].s(1, 1)])(body.s()).get(timeout=WAIT) == [2]
        assert body.delay("plain text").get(timeout=WAIT) == "plain text"


def test_names_of_a_module_without_source_are_not_looked_up(module):
    source = CHECKED.format(
        imports="from celerant import GroupResult", annotation="GroupResult"
    )
    space = {"__name__": "nowhere"}
    exec(compile(source, "<nowhere>", "exec"), space)
    run = space["run"]
    assert group_results.parameters_of(run, inspect.signature(run)) == []
