"""Seed 002, "Groups: parallel task execution": its code with `celerant` for `celery`.

What it calls with names of Celery's own tests is defined here as it is there.
"""

from __future__ import annotations

import threading

import pytest

from celerant import Celerant, GroupResult, chord, group

WAIT = 20


@pytest.fixture
def add(myapp):
    @myapp.task
    def add(x, y):
        return x + y

    return add


@pytest.fixture
def add_replaced(myapp, add):
    @myapp.task(bind=True)
    def add_replaced(self, x, y):
        raise self.replace(add.s(x, y))

    return add_replaced


def test_the_group_signature_is_lazy(myapp):
    runs = []

    @myapp.task
    def run():
        runs.append("run")

    lazy = group(run.s(), run.s())
    assert runs == []
    assert lazy.apply_async().get(timeout=WAIT) == [None, None]
    assert runs == ["run", "run"]


def test_generator_expressions(myapp):
    """The crawler of Celery's examples, in a web of four pages."""
    web = {"a": ["b", "c"], "b": ["a", "c", "d"], "c": [], "d": ["a"]}
    crawled = []
    all_seen = threading.Event()

    @myapp.task
    def crawl(url, seen=()):
        crawled.append(url)
        wanted_urls = [link for link in web[url] if link not in seen]
        seen = [*seen, url, *wanted_urls]

        subtasks = group(crawl.s(url, seen) for url in wanted_urls)
        subtasks.delay()
        if set(crawled) == set(web):
            all_seen.set()

    crawl.delay("a")

    assert all_seen.wait(WAIT)


def test_explicit_lists(add):
    tasks = [(1, 2), (3, 4), (5, 6)]
    queue = "myqueue"

    result = group(
        add.s(*tasks[0]),
        add.s(*tasks[1]),
        add.s(*tasks[2]),
    ).apply_async(queue=queue)

    # Nobody serves that queue: they went where they were told.
    assert result.completed_count() == 0
    with add.app.worker(concurrency=1, queues=[queue]):
        assert result.get(timeout=WAIT) == [3, 7, 11]


@pytest.mark.parametrize("how", ["apply_async", "call"])
def test_execution_and_result_management(add, how):
    lazy = group(add.s(n, n) for n in range(3))

    result = lazy.apply_async() if how == "apply_async" else lazy()

    assert isinstance(result, GroupResult)
    assert result.get(timeout=WAIT) == [0, 2, 4]
    assert result.ready()
    assert result.successful()
    assert result.completed_count() == 3


def test_eager_execution():
    with Celerant("eager", task_always_eager=True) as app:
        threads = []

        @app.task
        def add(x, y):
            threads.append(threading.current_thread())
            return x + y

        result = group(add.s(n, n) for n in range(3)).apply_async()

        assert isinstance(result, GroupResult)
        assert result.get() == [0, 2, 4]
        assert threads == [threading.current_thread()] * 3


def test_automatic_chord_upgrade(myapp, add):
    @myapp.task
    def total(values):
        return sum(values)

    upgraded = group(add.s(n, n) for n in range(4)) | total.s()

    assert isinstance(upgraded, chord)
    assert upgraded.apply_async().get(timeout=WAIT) == 12


def test_a_group_as_the_final_stage_of_a_chain(add, add_replaced):
    g = group(add.s(i) for i in range(4))
    c = add.s(2, 2) | (add.s(4) | add_replaced.s(8) | add.s(16) | add.s(32)) | g
    res = c()

    assert res.get(timeout=WAIT) == [64, 65, 66, 67]


def test_a_group_as_the_final_stage_of_a_chain_in_place(add, add_replaced):
    g = group(add.s(i) for i in range(4))
    c = add.s(2, 2) | (add.s(4) | add_replaced.s(8) | add.s(16) | add.s(32)) | g

    assert c.apply().get() == [64, 65, 66, 67]


def test_error_links(myapp):
    told = []
    all_told = threading.Event()

    @myapp.task
    def fail(number):
        raise ValueError(number)

    @myapp.task
    def handle(request, exc, traceback):
        told.append((request.id, exc.args[0]))
        if len(told) == 2:
            all_told.set()

    failing = group(fail.s(1), fail.s(2))
    handlers = failing.link_error(handle.s())
    result = failing.apply_async()

    assert len(handlers) == 2
    assert all_told.wait(WAIT)
    ids = [member.id for member in result]
    assert sorted(told, key=lambda entry: entry[1]) == [(ids[0], 1), (ids[1], 2)]


def test_success_links_are_forbidden(add):
    with pytest.raises(TypeError, match="Cannot add link to group: use a chord"):
        group(add.s(1, 1)).apply_async(link=add.s(1))


def test_unrolling(add):
    nested = group(
        add.s(0, 1),
        group(add.s(0, 2), group(add.s(0, 3), add.s(0, 4))),
        add.s(0, 5),
    )

    result = nested.apply_async()

    assert result.get(timeout=WAIT) == [1, 2, 3, 4, 5]
    assert len(result) == 5
