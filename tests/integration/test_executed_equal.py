"""Random canvases run to the end: all give the values of Celery on a stock worker.

A fleet is a sender and the workers of one queue. Every canvas tells of every call of
its tasks; values show the order and the nesting of the earlier tasks.
"""

from __future__ import annotations

import contextlib
import itertools
import os

import celery
import pytest
import redis
from celery import _state

import celerant
from harness.celery_worker import CeleryWorker
from harness.redis_server import RedisServer
from harness.stock_client import stock_client
from harness.traced_canvases import (
    errbacks_of,
    errbacks_of_first_steps,
    has_uplift,
    random_recipes,
)
from harness.traced_runs import REFUSED, Run, settled, side
from harness.traced_tasks import calls_key, define_traced_tasks
from harness.until import until

QUEUE = "traced"
SETTINGS = {
    "task_default_queue": QUEUE,
    # So that nothing is under way if neither the queue nor a worker holds anything.
    "task_acks_late": True,
    "worker_prefetch_multiplier": 1,
}
#: The outcome of canvases that Celery leaves pending for ever.
PENDING = ("PENDING", None)
#: A run is given up if nothing changes for so long.
PATIENCE_S = 10
#: The worker is idle again within so long.
IDLE_WITHIN_S = 60


class Place:
    """A Redis of the test's own: messages, results, and notes of tasks."""

    def __init__(self, server):
        self.broker, self.backend = (f"{server.url()[:-1]}{db}" for db in (0, 1))
        self._messages = redis.Redis.from_url(self.broker)
        self._results = redis.Redis.from_url(self.backend)
        self._numbers = itertools.count()

    def run(self, fetch=None):
        """Return a run; its records are in Redis, or `fetch` finds them."""
        return Run(f"run-{next(self._numbers)}", self._results, fetch or self._fetch)

    def _fetch(self, ids):
        return self._results.mget([f"celery-task-meta-{id_}" for id_ in ids])

    def stock_worker(self):
        return CeleryWorker(
            broker=self.broker,
            backend=self.backend,
            queue=QUEUE,
            module="harness.stock_traced_worker:app",
            settings=SETTINGS,
        )

    @contextlib.contextmanager
    def stock_sender(self):
        """Yield Celery's side. It sends some members by way of its current app."""
        before = _state._tls.current_app
        urls = {"broker": self.broker, "backend": self.backend}
        with stock_client(**urls, queue=QUEUE) as app:
            _state._set_current_app(app)
            tasks = define_traced_tasks(app, self.backend, celery, shared=False)
            yield side(app, celery, tasks)
            _state._set_current_app(before)

    @contextlib.contextmanager
    def sender(self, name, broker=None, backend=None):
        """Yield Celerant's side."""
        with celerant.Celerant(name, broker=broker, backend=backend) as app:
            app.conf.update(SETTINGS)
            yield side(app, celerant, define_traced_tasks(app, self.backend, celerant))

    def is_idle(self):
        return not self._messages.llen(QUEUE) and not self._messages.hlen("unacked")

    def await_idle(self):
        until(self.is_idle, IDLE_WITHIN_S)

    def await_end(self, run, lib):
        """Wait until the one worker has nothing more to do.

        A message is nowhere while the worker takes it: the queue is at its end if a
        task sent after that finds that nothing else was run meanwhile.
        """
        told = None
        while told != (told := self._results.llen(calls_key(run.name))):
            self.await_idle()
            lib.tasks["note"].delay(at=["aside", 0, "t0"]).get(timeout=PATIENCE_S)
            self.await_idle()


@pytest.fixture
def place(tmp_path):
    with RedisServer(tmp_path) as server:
        yield Place(server)


def agree(recipe, expected, found):
    """Return whether two outcomes differ only as docs/compatibility.md says.

    Results that Celery leaves pending fail, and their errbacks are called; so are those
    of the body of a chord that took a task's place, and of the first step of a body.
    """
    if _is_refused(expected) or _is_refused(found):
        return _is_refused(expected) and _is_refused(found)
    if not _results_agree(expected.results, found.results):
        return False
    if expected.calls - found.calls:
        return False
    extra = _names(found.calls - expected.calls)
    may_fail_more = expected.results != found.results or has_uplift(recipe)
    if may_fail_more and extra <= errbacks_of(recipe):
        return True
    return extra <= errbacks_of_first_steps(recipe)


def _is_refused(outcome):
    return isinstance(outcome.results, str) and outcome.results.startswith(REFUSED)


def _results_agree(expected, found):
    if isinstance(expected, list) and isinstance(found, list):
        pairs = itertools.zip_longest(expected, found)
        return all(_results_agree(one, other) for one, other in pairs)
    is_failure = isinstance(found, tuple) and found[0] == "FAILURE"
    return expected == found or (expected == PENDING and is_failure)


def _names(calls):
    return {call.split('"')[1] for call in calls}


def differences(recipes, expected, found):
    """Return the differences, smallest canvas first."""
    triples = zip(recipes, expected, found, strict=True)
    different = [triple for triple in triples if not agree(*triple)]
    return sorted(different, key=lambda triple: triple[0].size)


def check(place, name, recipes, expected, lib, *, fetch=None):
    """Send the recipes, and wait until they have given the expected outcomes."""
    run = place.run(fetch)
    run.send(recipes, lib)

    def is_settled(found):
        return not differences(recipes, expected, found) and place.is_idle()

    settled(run, is_settled, PATIENCE_S)
    different = differences(recipes, expected, run.outcomes())
    told = "\n".join(
        f"{recipe}\n  expected {wanted}\n  found    {found}"
        for recipe, wanted, found in different[:3]
    )
    assert not different, f"{len(different)} differ with {name}:\n{told}"


def check_fleets(place, recipes):
    """Run the recipes with stock Celery, then with every other fleet."""
    mine = {"broker": place.broker, "backend": place.backend}
    with place.sender("ours", **mine) as ours:
        with place.stock_worker():
            with place.stock_sender() as stock:
                run = place.run()
                run.send(recipes, stock)
                place.await_end(run, stock)
                expected = run.outcomes()
            assert sum(not _is_refused(one) for one in expected) > len(recipes) / 2
            check(place, "a stock worker", recipes, expected, ours)
            with ours.app.worker(concurrency=2):
                check(place, "a mixed fleet", recipes, expected, ours)
        with ours.app.worker(concurrency=2):
            check(place, "the embedded worker", recipes, expected, ours)
    with place.sender("traced-memory") as memory, memory.app.worker(concurrency=2):
        fetch = memory.app.backend.fetch
        check(place, "memory", recipes, expected, memory, fetch=fetch)


@pytest.mark.timeout(180)
def test_canvases_give_celerys_results(place):
    number = int(os.environ.get("CELERANT_EXECUTED_SEED", "5"))
    check_fleets(place, random_recipes(80, number))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(5))
def test_many_canvases_give_celerys_results(place, number):
    check_fleets(place, random_recipes(1_000, number))
