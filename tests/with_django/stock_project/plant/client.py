"""Sends canvases with the swap-in, and prints their results."""

from __future__ import annotations

import json

import django
from celery import chain, chord, group
from celery.result import AsyncResult
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

import celerant.celery
from plant.cluster import add, app, fail, spread, total


def looks():
    """Return the number of queries for a look at 1,500 members, and the answers."""
    result = group(add.s(i, i).set(queue="nobody") for i in range(1500))()
    backend = app.backend
    for one in result[:20]:
        backend.store_result(one.id, {"of": one.id}, "SUCCESS")
    backend.store_result(result[20].id, KeyError("k"), "FAILURE", traceback="tb")
    backend.store_result(result[21].id, None, "STARTED")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        told = [result.ready(), result.completed_count(), result.failed()]
    same = all(
        repr(AsyncResult(one.id)._get_task_meta()) == repr(one._cache)
        for one in result[:21]
    )
    return [len(queries), told, same]


def comes_back():
    """Return the results of canvases."""
    numbers = range(20)
    members = [add.s(i, i) for i in numbers]
    failed = group([add.s(1, 1), fail.s("no")])()
    ids = spread.delay(5).get(timeout=30)
    return [
        group(members)().get(timeout=30),
        chord(members, total.s())().get(timeout=30),
        chain(add.s(1, 1), group([add.s(1), add.s(2)]))().get(timeout=30),
        repr(failed.get(timeout=30, propagate=False)),
        [AsyncResult(task_id).get(timeout=30) for task_id in ids],
    ]


if __name__ == "__main__":
    django.setup()
    call_command("migrate", verbosity=0)
    celerant.celery.install()
    print("migrated", flush=True)  # noqa: T201 - who waits for it reads it
    input()
    print(json.dumps([looks(), comes_back()]))  # noqa: T201 - the answer
