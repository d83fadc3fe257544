"""The page of an app in memory, served by the process that sends and works."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext

import pytest
from click.testing import CliRunner
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from celerant import CanvasError, Celerant, CelerantError, chain, group
from celerant.cli import web as cli_web
from celerant.web import make_site, read, sign
from celerant.web.listing import Listing, page_events
from harness.fed_queue import Queue
from harness.until import until

SECRET = "of the tests alone"


@pytest.fixture
def noting(shop):
    shop.app.conf.celerant_index_groups = True
    return shop


@pytest.fixture
def web(noting):
    site = make_site(noting.app, secret=SECRET, may_list=lambda _: True)
    with TestClient(site) as client:
        yield client


def test_groups_in_memory_are_listed_and_shown(noting, web):
    with noting.app.worker(concurrency=1):
        result = group(noting.add.s(i, i) for i in range(3)).apply_async()
        result.get(timeout=20)
    assert "3 of 3" in web.get("/").text
    page = web.get("/group", params={"group": result.id}).text
    assert '<th scope="row">SUCCESS</th><td class="number">3</td>' in page


def test_a_group_that_is_being_sent_has_no_total(noting, web):
    queue = Queue(noting)
    result = group(noting.echo.s(i) for i in range(3)).apply_async(window=2)
    assert "0, and more are being sent" in web.get("/").text
    page = web.get("/group", params={"group": result.id}).text
    assert "<h1>Group</h1>" in page
    assert 'total="' not in page
    queue.finish_all(result)
    until(lambda: "3 of 3" in web.get("/").text)


def test_a_token_works_within_the_process(noting, web):
    with noting.app.worker(concurrency=1):
        result = group(noting.add.s(i, i) for i in range(3)).apply_async()
        result.get(timeout=20)
    token = sign(result, SECRET)
    del result
    assert len(read(token, SECRET, noting.app.backend)) == 3
    *_, last = web.get(f"/progress/{token}").text.strip().split("\n\n")
    assert json.loads(last.partition("data: ")[2])["done"] == 3


def test_a_group_that_is_being_sent_gets_its_token_later(noting):
    queue = Queue(noting)
    result = group(noting.echo.s(i) for i in range(3)).apply_async(window=2)
    with pytest.raises(CanvasError, match="still being sent"):
        sign(result, SECRET)
    queue.finish_all(result)


def test_a_store_that_keeps_nothing_has_no_tokens():
    with Celerant("h3notoken", backend="disabled://") as app:
        result = group([app.signature("x")]).apply_async()
        with pytest.raises(CelerantError, match="this process alone"):
            sign(result, SECRET)


@pytest.mark.parametrize("arguments", [(), ("--list",)])
def test_celerant_web_lists_groups_if_it_is_told_so(noting, monkeypatch, arguments):
    served = []
    monkeypatch.setattr("uvicorn.run", lambda site, **_: served.append(site))
    monkeypatch.setattr(cli_web, "given_app", lambda _: nullcontext(noting.app))
    result = group(noting.add.s(1, 1) for _ in range(2)).apply_async()
    ran = CliRunner().invoke(cli_web.web, arguments, standalone_mode=False)
    assert ran.exception is None
    with TestClient(served[0], base_url="http://localhost") as client:
        assert (result.id in client.get("/").text) is bool(arguments)
        # A site whose name was made to lead to this machine.
        assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_member_that_ends_in_a_group_is_shown_with_its_failure(noting, web):
    add, fail = noting.add, noting.fail
    shallow = chain(add.s(1, 1), group(fail.s(), add.s(1)))
    deep = chain(add.s(0, 1), group(chain(add.s(1), group(add.s(1), fail.s()))))
    with noting.app.worker(concurrency=1):
        result = group([shallow, deep, add.s(1, 1)]).apply_async()
        result.get(timeout=20, propagate=False)
    page = web.get("/group", params={"group": result.id})
    assert page.status_code == 200
    assert "2 x ValueError" in page.text
    assert "Traceback" in page.text


def test_streams_of_one_group_share_what_they_read(noting, web, monkeypatch):
    followed = []

    def follow(result):
        followed.append(result)
        return PlainTextResponse("")

    monkeypatch.setattr("celerant.web.pages.progress_events", follow)
    result = group(noting.add.s(i, i) for i in range(3)).apply_async()
    token = sign(result, SECRET)
    for _ in range(2):
        web.get(f"/progress/{token}")
    assert followed[0] is followed[1]


def test_a_store_that_is_away_ends_the_stream_of_the_list(noting, monkeypatch):
    def index():
        raise CelerantError("the store is away")

    async def follow():
        told = page_events(Listing(noting.app), 1, 0.01)
        first = await anext(told)
        monkeypatch.setattr("celerant.web.listing._PAGE_AGE", 0.0)
        monkeypatch.setattr(noting.app.backend, "index", index)
        return [first, *[part async for part in told]]

    (only,) = asyncio.run(asyncio.wait_for(follow(), 20))
    assert only.startswith(b"event: groups")
