"""The page in a real browser: scripts run under its policy, and follow a group."""

from __future__ import annotations

import shutil
import subprocess
import threading
import uuid

import pytest
import uvicorn

from celerant import Celerant, group
from celerant.web import make_site
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
        if scope.get("path") == "/events":
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
        ) as app,
    ):
        yield app


@pytest.fixture
def served(app):
    site, port = Followed(make_site(app)), free_port()
    config = uvicorn.Config(site, port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield site, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.mark.timeout(120)
def test_the_page_follows_a_group_to_its_end(app, served, tmp_path):
    @app.task(name="halve")
    def halve(x):
        return 1 / x

    site, address = served
    result = group(halve.s(i) for i in range(5)).apply_async()

    def work():
        # The page is there, and shows a group that has not begun.
        if site.begun.wait(60):
            with app.worker(concurrency=1):
                result.get(timeout=30, propagate=False)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        shown = subprocess.run(
            [
                *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu"),
                *(f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"),
                "--virtual-time-budget=60000",
                f"{address}/group?handle={result.handle}",
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        ).stdout
    finally:
        site.begun.set()
        worker.join(60)
    assert '<th scope="row">SUCCESS</th><td class="number">4</td>' in shown
    assert '<th scope="row">FAILURE</th><td class="number">1</td>' in shown
    # It was loaded again at the end, which tells the failures.
    assert "1 x ZeroDivisionError" in shown
