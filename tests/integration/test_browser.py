"""The page in a real browser: scripts run under its policy, and follow a group."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import uuid

import pytest
import uvicorn

from celerant import Celerant, group
from celerant.web import make_site
from celerant.web.listing import page_events
from harness.redis_server import RedisServer, free_port
from harness.until import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


class Followed:
    """An ASGI app around another one that notes when progress is asked for."""

    def __init__(self, site):
        self._site = site
        self.begun = threading.Event()

    async def __call__(self, scope, receive, send):
        if scope.get("path", "").endswith("/events"):
            self.begun.set()
        await self._site(scope, receive, send)


@pytest.fixture
def app(tmp_path):
    name = f"h3browser{uuid.uuid4().hex[:6]}"
    with (
        RedisServer(tmp_path) as server,
        Celerant(
            name,
            broker=f"redis://127.0.0.1:{server.port}/0",
            task_default_queue=name,
            celerant_index_groups=True,
        ) as app,
    ):
        yield app


@pytest.fixture
def served(app):
    site, port = Followed(make_site(app, may_list=lambda _: True)), free_port()
    config = uvicorn.Config(site, port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield site, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def seen(served, app, tmp_path):
    """Return what a page is at the end of a group that runs once it is followed."""
    site, address = served

    def see(path, result):
        def work():
            # The page is there, and shows a group that has not begun.
            if site.begun.wait(60):
                with app.worker(concurrency=1):
                    result.get(timeout=30, propagate=False)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            return subprocess.run(
                [
                    *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu"),
                    *(f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"),
                    "--virtual-time-budget=60000",
                    f"{address}{path}",
                ],
                capture_output=True,
                text=True,
                timeout=90,
                check=True,
            ).stdout
        finally:
            site.begun.set()
            worker.join(60)

    return see


def send(app, **options):
    @app.task(name="halve")
    def halve(x):
        return 1 / x

    return group([halve.s(i) for i in range(5)]).apply_async(**options)


@pytest.mark.timeout(120)
def test_the_page_follows_a_group_to_its_end(app, seen):
    result = send(app)
    shown = seen(f"/group?handle={result.handle}", result)
    assert '<th scope="row">SUCCESS</th><td class="number">4</td>' in shown
    assert '<th scope="row">FAILURE</th><td class="number">1</td>' in shown
    # It was loaded again at the end, which tells the failures.
    assert "1 x ZeroDivisionError" in shown


@pytest.mark.timeout(120)
def test_the_page_follows_a_group_that_is_still_being_sent(app, seen):
    result = send(app, window=2)
    shown = seen(f"/group?group={result.id}", result)
    assert "<h1>Group of 5</h1>" in shown
    assert "1 x ZeroDivisionError" in shown


@pytest.mark.timeout(120)
def test_the_list_follows_its_groups(app, seen, monkeypatch):
    result = send(app)

    async def until_done(listing, number, interval):
        # A stream without an end has no last state.
        async for told in page_events(listing, number, 0.05):
            yield told
            if b'"state":"done"' in told:
                return

    monkeypatch.setattr("celerant.web.pages.page_events", until_done)
    shown = seen("/", result)
    assert f'id="group-{result.id}"' in shown
    assert re.search(r'data-field="state">done<', shown)
    assert re.search(r'data-field="progress">5 of 5<', shown)
    assert re.search(r'data-field="failed">1<', shown)
    assert re.search(r"<progress[^>]* value=\"5\"", shown)
