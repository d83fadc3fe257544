"""The page of groups, over a real Redis."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import uuid
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from celerant import Celerant, HandleError, group
from celerant.web import make_site, read, sign
from harness.redis_server import free_port
from harness.services import is_listening
from harness.until import until
from harness.without_package import error_without

SECRET = "of the tests alone"


@pytest.fixture
def app(server):
    name = f"h3web{uuid.uuid4().hex[:6]}"
    url = f"redis://127.0.0.1:{server.port}/0"
    options = {"task_default_queue": name, "celerant_index_groups": True}
    with Celerant(name, broker=url, **options) as app:

        @app.task(name="halve")
        def halve(x):
            if x == "<b>":
                raise ValueError("<script>alert(1)</script>")
            return 1 / x

        yield app


def client(app, **options):
    return TestClient(make_site(app, secret=SECRET, **options))


def done(app, *values):
    """Return a group that has run."""
    halve = app.tasks["halve"]
    with app.worker(concurrency=1):
        result = group(halve.s(value) for value in values).apply_async()
        result.get(timeout=20, propagate=False)
    return result


def waiting(app, n=3):
    """Return a group that nobody runs."""
    return group(app.tasks["halve"].s(1) for _ in range(n)).apply_async()


def everybody(_request):
    return True


def events(text):
    blocks = [block.splitlines() for block in text.strip().split("\n\n")]
    return [json.loads(data.removeprefix("data: ")) for _, data in blocks]


def test_the_page_of_a_group_shows_states_and_failures(app):
    result = done(app, 1, 0, "<b>")
    with client(app) as web:
        page = web.get("/group", params={"handle": result.handle})
    assert page.status_code == 200
    assert result.id in page.text
    assert '<th scope="row">FAILURE</th><td class="number">2</td>' in page.text
    assert "1 x ZeroDivisionError: division by zero" in page.text
    assert "Traceback" in page.text


def test_failures_that_are_alike_are_one(app):
    result = done(app, 0, 1, 0, 0)
    with client(app) as web:
        page = web.get("/group", params={"handle": result.handle}).text
    assert "3 x ZeroDivisionError: division by zero" in page
    assert "Members 0, 2, 3" in page
    assert "in halve" in page
    assert page.count("<details>") == 1


def test_text_of_others_is_escaped(app):
    result = done(app, "<b>")
    with client(app) as web:
        page = web.get("/group", params={"handle": result.handle}).text
        wrong = web.get("/group", params={"handle": "<script>"}).text
    assert "&lt;script&gt;alert(1)" in page
    for text in (page, wrong):
        assert re.findall(r"<script(?! type=\"module\" src)", text) == []


def test_nothing_is_of_another_site_and_nothing_is_inline(app):
    result = done(app, 0)
    with client(app) as web:
        for path in ("/", f"/group?handle={result.handle}", "/static/style.css"):
            answer = web.get(path)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["referrer-policy"] == "same-origin"
            assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)
            assert not re.search(r"<style|\sstyle=|\son\w+=", answer.text)


def test_the_pages_files_are_there(app):
    result = done(app, 1)
    with client(app) as web:
        page = web.get("/group", params={"handle": result.handle}).text
        files = re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", page)
        assert len(files) == 4
        for path in files:
            assert web.get(path).status_code == 200


def test_the_site_works_where_it_is_mounted(app):
    result = done(app, 1)
    outer = Starlette(routes=[Mount("/celerant", make_site(app, secret=SECRET))])
    with TestClient(outer) as web:
        page = web.get("/celerant/group", params={"handle": result.handle})
        assert '"/celerant/static/style.css"' in page.text
        assert '"/celerant/events?handle=' in page.text
        assert web.get("/celerant/static/style.css").status_code == 200


def test_a_token_shows_counts_and_gives_nothing_else(app):
    result = done(app, 1, 0)
    token = sign(result, SECRET)
    assert result.handle not in token
    with client(app) as web:
        told = events(web.get(f"/progress/{token}").text)[-1]
        assert (told["total"], told["failed"]) == (2, 1)
        assert web.get("/group", params={"handle": token}).status_code == 404
        assert web.get(f"/progress/{result.handle}").status_code == 404


def test_a_wrong_or_old_token_is_refused(app):
    token = sign(done(app, 1), SECRET)
    with pytest.raises(HandleError, match="not made with this site's secret"):
        read(token, "another secret", app.backend)
    # Not its last character, of which not every bit counts.
    text, _, proof = token.rpartition(".")
    changed = f"{text}.{'a' if proof[0] != 'a' else 'b'}{proof[1:]}"
    with pytest.raises(HandleError, match="not made with this site's secret"):
        read(changed, SECRET, app.backend)
    with pytest.raises(HandleError, match="older than"):
        read(token, SECRET, app.backend, max_age=-1)


def test_a_group_has_one_name_beside_its_results_however_often_it_is_signed(app):
    result = done(app, 1)
    before = set(app.backend.client.keys("celerant-aside-*"))
    for _ in range(3):
        sign(result, SECRET)
    assert len(set(app.backend.client.keys("celerant-aside-*")) - before) == 1
    assert read(sign(result, SECRET), SECRET, app.backend).id == result.id


def test_a_token_of_expired_results_is_told(app, server):
    token = sign(done(app, 1), SECRET)
    app.backend.client.flushdb()
    with pytest.raises(HandleError, match="expired"):
        read(token, SECRET, app.backend)


def test_cancelling_is_off_unless_a_hook_permits_it(app):
    result = waiting(app)
    same = {"sec-fetch-site": "same-origin"}
    with client(app) as web:
        page = web.get("/group", params={"handle": result.handle}).text
        assert "Cancel" not in page
        form = {"handle": result.handle}
        assert web.post("/cancel", data=form, headers=same).status_code == 403


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"sec-fetch-site": "same-origin"}, 303),
        ({"origin": "http://testserver"}, 303),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({}, 403),
    ],
)
def test_a_group_is_cancelled_by_the_sites_own_form_alone(app, headers, code):
    result = waiting(app)
    with client(app, may_change=lambda _: True) as web:
        page = web.get("/group", params={"handle": result.handle}).text
        assert "Cancel" in page
        answer = web.post(
            "/cancel",
            data={"handle": result.handle},
            headers=headers,
            follow_redirects=False,
        )
    assert answer.status_code == code


def test_a_visitor_who_may_not_see_gets_nothing(app):
    result = done(app, 1)
    with client(app, may_see=lambda _: False) as web:
        for path in ("/", "/group", "/events"):
            answer = web.get(path, params={"handle": result.handle})
            assert answer.status_code == 403


def test_a_store_that_is_away_is_told():
    closed = "redis://127.0.0.1:1/0"
    options = {"retry_policy": {"max_retries": 0}}
    with Celerant(
        "h3webaway", broker=closed, result_backend_transport_options=options
    ) as app:
        handle = "cel2." + "A" * 60
        with client(app) as web:
            answer = web.get("/group", params={"handle": handle})
    assert answer.status_code == 503


def test_a_broker_that_is_away_is_told(app, server):
    handle = waiting(app).handle
    away = {"task_default_queue": app.conf.task_default_queue}
    store = f"redis://127.0.0.1:{server.port}/0"
    with Celerant(
        "h3webaway", broker="redis://127.0.0.1:1/0", backend=store, **away
    ) as (other):
        site = make_site(other, secret=SECRET, may_change=everybody)
        with TestClient(site) as web:
            answer = web.post(
                "/cancel",
                data={"handle": handle},
                headers={"sec-fetch-site": "same-origin"},
                follow_redirects=False,
            )
    assert answer.status_code == 503
    assert "refused" in answer.text


def test_a_store_that_goes_away_while_a_group_is_read_is_told(app, monkeypatch):
    result = done(app, 1, 0)

    def fetch(_ids):
        raise app.backend.connection_errors[0]("the store is away")

    with client(app) as web:
        monkeypatch.setattr("celerant.web.groups.told", lambda _: {})
        monkeypatch.setattr(app.backend, "fetch", fetch)
        answer = web.get("/group", params={"handle": result.handle})
    assert answer.status_code == 503
    assert "the store is away" in answer.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_the_page_though_a_browser_follows_a_group(
    app, server, tmp_path, number
):
    handle, port = waiting(app).handle, free_port()
    url = f"redis://127.0.0.1:{server.port}/0"
    (tmp_path / "served.py").write_text(
        f"from celerant import Celerant\napp = Celerant('served', broker='{url}')\n"
    )
    command = [sys.executable, "-m", "celerant", "web", "-A", "served:app"]
    page = subprocess.Popen(
        [*command, "--port", str(port)], cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        until(lambda: is_listening(port), 30)
        stream = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        stream.request("GET", f"/events?handle={quote(handle)}")
        assert stream.getresponse().readline() == b"event: progress\n"
        page.send_signal(number)
        page.wait(10)
        stream.close()
    finally:
        page.kill()
        _, logged = page.communicate()
    assert b"Traceback" not in logged


def test_a_missing_extra_is_named():
    setup = "from celerant import Celerant\nfrom celerant.web import make_site"
    told = error_without(["itsdangerous"], setup, "make_site(Celerant('plain'))")
    assert "pip install 'celerant[web]'" in told
