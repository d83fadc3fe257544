from __future__ import annotations

import inspect
import json
import threading

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from celerant import group
from celerant.starlette import celerant_app, lifespan, progress_events
from harness.without_package import error_without


def served(app, *routes, **options):
    web = Starlette(
        lifespan=lifespan(app, **options),
        routes=[Route(f"/{route.__name__}", route) for route in routes],
    )
    return TestClient(web)


def read(text):
    """Return the events of a stream: (name, data)."""
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["event"], json.loads(fields["data"])))
    return events


def test_handlers_find_the_app_and_its_worker_runs_meanwhile(app):
    @app.task(name="add")
    def add(x, y):
        return x + y

    async def total(request):
        found = celerant_app(request)
        result = await found.asend(add.s(1, 2))
        return JSONResponse(await result)

    with served(app, total, worker=True, concurrency=1) as client:
        assert client.get("/total").json() == 3


def test_the_app_is_closed_with_the_server(app, monkeypatch):
    closed = []

    def close(self):
        closed.append(self)

    monkeypatch.setattr(type(app), "close", close)
    with served(app):
        assert closed == []
    assert closed == [app]


def test_the_dependency_has_a_type_that_fastapi_reads():
    assert inspect.signature(celerant_app).parameters["request"].annotation is Request


def test_progress_is_told_by_events_until_the_end(app):
    gate = threading.Event()

    @app.task(name="halve")
    def halve(x):
        gate.wait(10)
        return 1 / x

    results = []

    async def progress(request):
        results.append(group(halve.s(i) for i in range(3)).apply_async())
        response = progress_events(results[0], interval=0.01)
        gate.set()
        return response

    with served(app, progress, worker=True, concurrency=1) as client:
        response = client.get("/progress")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    *_, (name, last) = events = read(response.text)
    assert name == "end"
    assert {name for name, _ in events[:-1]} == {"progress"}
    assert (last["id"], last["total"]) == (results[0].id, 3)
    assert (last["done"], last["failed"]) == (3, 1)
    dones = [told["done"] for _, told in events]
    assert dones == sorted(dones)


def test_a_finished_group_is_told_at_once(app):
    app.task(name="any")(lambda: None)

    async def progress(request):
        return progress_events(result)

    with served(app, progress, worker=True, concurrency=1) as client:
        result = group(app.signature("any") for _ in range(2)).apply_async()
        result.get(timeout=10)
        events = read(client.get("/progress").text)
    assert [name for name, _ in events] == ["progress", "end"]


def test_an_empty_group_ends(app):
    async def progress(request):
        return progress_events(group([]).apply_async())

    with served(app, progress) as client:
        (_, first), (name, _) = read(client.get("/progress").text)
    assert (name, first["total"]) == ("end", 0)


def test_starlette_is_named_if_it_is_missing():
    told = error_without(["starlette"], "", "import celerant.starlette")
    assert "pip install 'celerant[starlette]'" in told
