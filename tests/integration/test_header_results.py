"""Bodies of chords that take the result of their header, by workers of all kinds."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import uuid
from pathlib import Path

import pytest
import redis

from celerant import chain, chord, group
from celerant.errors import ChordError
from harness import services
from harness.celerant_worker import CelerantWorker
from harness.celery_worker import CeleryWorker

pytestmark = pytest.mark.timeout(180)
WAIT = 60
TESTS = Path(__file__).resolve().parents[1]


URLS = {"broker": services.redis_url(7), "results": services.redis_url(8)}


@pytest.fixture(scope="module")
def shop():
    """The module of the tasks, with a queue and results of its own."""
    services.require_redis()
    name = f"celerant-test-{uuid.uuid4().hex[:8]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELERANT_TEST_NAME", name)
        patch.setenv("CELERANT_TEST_BROKER", URLS["broker"])
        patch.setenv("CELERANT_TEST_BACKEND", URLS["results"])
        patch.delitem(sys.modules, "harness.header_tasks", raising=False)
        module = importlib.import_module("harness.header_tasks")
        yield module
        module.app.close()
        module.stock.close()
        del sys.modules["harness.header_tasks"]
    with redis.Redis.from_url(URLS["broker"]) as client:
        client.delete(*client.keys(f"*{name}*") or ["-"])


@contextlib.contextmanager
def running(kind, shop):
    """Run a worker of a kind for the tasks of `shop`."""
    name = shop.app.name
    if kind == "threads":
        with shop.app.worker(concurrency=2):
            yield
    elif kind == "stock":
        with CeleryWorker(
            broker=URLS["broker"],
            backend=URLS["results"],
            queue=name,
            module="harness.header_tasks:stock",
            pool="prefork",
        ):
            yield
    else:
        with CelerantWorker(
            folder=TESTS,
            module="harness.header_tasks:app",
            hostname=name,
            pool=kind,
        ):
            yield


@pytest.fixture(params=["threads", "processes", "stock"], scope="module")
def worked(request, shop):
    with running(request.param, shop):
        yield shop


def test_body_gets_the_result_of_its_header(worked):
    flat = chord([worked.add.s(i, i) for i in range(200)])(worked.gather.s("x"))
    streamed = chord(worked.add.s(i, 1) for i in range(3))(worked.gather.s())
    mapped = (group.starmap(worked.add, [(1, 1), (2, 2)]) | worked.gather.s()).delay()
    chained = group([worked.add.s(1, 1)]) | worked.gather.s() | worked.echo.s()
    assert flat.get(timeout=WAIT) == ["GroupResult", [2 * i for i in range(200)], "x"]
    assert streamed.get(timeout=WAIT) == ["GroupResult", [1, 2, 3], ""]
    assert mapped.get(timeout=WAIT) == ["GroupResult", [2, 4], ""]
    assert chained.delay().get(timeout=WAIT) == ["GroupResult", [2], ""]


def test_header_with_groups_keeps_its_form(worked):
    nested = worked.add.s(1, 1) | group([worked.add.s(1), worked.add.s(2)])
    result = chord([worked.add.s(0, 0), nested])(worked.shape.s())
    assert result.get(timeout=WAIT) == [0, [3, 4]]


def test_body_is_not_called_if_a_task_of_the_header_fails(worked):
    result = chord([worked.add.s(1, 1), worked.fail.s(7)])(worked.gather.s())
    with pytest.raises(ChordError, match="ValueError"):
        result.get(timeout=WAIT)


def test_body_gets_a_list_if_results_of_its_header_are_not_stored(worked):
    result = chord([worked.quiet.s(1), worked.add.s(1, 1)])(worked.gather.s())
    assert result.get(timeout=WAIT) == ["list", [1, 2], ""]


def test_empty_header_is_an_empty_result(worked):
    assert chord([])(worked.gather.s()).get(timeout=WAIT) == ["GroupResult", [], ""]


def test_bodies_that_are_canvases_get_it_too(worked):
    header = [worked.add.s(i, i) for i in range(3)]
    both = chord(header)(group([worked.gather.s("a"), worked.size.s()]))
    inner = chord([worked.gather.s("b")], worked.shape.s())
    then = chord([worked.add.s(1, 2)])(inner)
    first = chord(header)(chain(worked.size.s(), worked.add.s(10)))
    assert both.get(timeout=WAIT) == [["GroupResult", [0, 2, 4], "a"], 3]
    assert then.get(timeout=WAIT) == [["GroupResult", [3], "b"]]
    assert first.get(timeout=WAIT) == 13


def test_list_that_a_task_of_the_header_sends_itself_stays_one(worked):
    result = chord([worked.call_body_itself.s(5)])(worked.gather.s())
    assert result.get(timeout=WAIT) == ["GroupResult", [5], ""]
    (sent,) = result.parent[0].children
    assert sent.get(timeout=WAIT) == ["list", [1, 2], ""]


@pytest.mark.parametrize("kind", ["threads", "stock"])
def test_message_of_the_body_has_no_results(shop, kind):
    queue = f"{shop.app.name}-body"
    with running(kind, shop):
        result = chord([shop.add.s(i, i) for i in range(1000)])(
            shop.gather.s().set(queue=queue)
        )
        result.parent.get(timeout=WAIT)
        with redis.Redis.from_url(URLS["broker"]) as client:
            found = client.brpop([queue], timeout=WAIT)
            assert found is not None
            client.lpush(queue, found[1])
    message = json.loads(found[1])
    assert message["headers"]["argsrepr"].startswith("('cel2.")
    # 16 bytes for each member and more, if the values were in it.
    assert len(message["body"]) < 1000
    with shop.app.worker(queues=[queue]):
        values = [2 * i for i in range(1000)]
        assert result.get(timeout=WAIT) == ["GroupResult", values, ""]


def test_handle_of_a_group_may_be_given_by_hand(shop):
    with shop.app.worker(concurrency=2):
        sent = group([shop.add.s(1, 1)]).apply_async()
        assert shop.size.delay(sent.handle).get(timeout=WAIT) == 1
        wrong = shop.size.delay("cel2.wrong")
        assert "HandleError" in repr(wrong.get(timeout=WAIT, propagate=False))


def test_wait_for_a_group_that_may_run_is_refused_inside_a_task(shop):
    with shop.app.worker(concurrency=2):
        sent = group([shop.add.s(1, 1)]).apply_async()
        inside = shop.gather.delay(sent.handle)
        assert isinstance(inside.get(timeout=WAIT, propagate=False), RuntimeError)
