"""Groups that the index notes and that nobody can read any more."""

from __future__ import annotations

import json
import uuid

import pytest
from starlette.testclient import TestClient

from celerant import Celerant, group
from celerant.results import indexed
from celerant.results.handle_format import open_name
from celerant.web import make_site
from celerant.web.listing import Listing


@pytest.fixture
def app(server):
    name = f"h3gone{uuid.uuid4().hex[:6]}"
    url = f"redis://127.0.0.1:{server.port}/0"
    options = {"task_default_queue": name, "celerant_index_groups": True}
    with Celerant(name, broker=url, **options) as app:
        app.task(name="echo")(lambda x: x)
        yield app


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch):
    """Have this process know nothing of what it has sent."""
    monkeypatch.setattr("celerant.web.pages.live", lambda _: None)
    monkeypatch.setattr(indexed, "live", lambda _: None)


def client(app):
    return TestClient(make_site(app, may_list=lambda _: True))


def members(app, *values):
    return [app.tasks["echo"].s(value) for value in values]


def done(app, *values, **options):
    with app.worker(concurrency=1):
        result = group(members(app, *values)).apply_async(**options)
        result.get(timeout=20)
    return result


def test_a_group_whose_sender_was_killed_hides_no_other(app):
    lost = group(members(app, 1, 2, 3)).apply_async(window=1, queue="nobody")
    handle = lost.handle
    fine = done(app, 1)
    # As the store does when nobody renews it.
    app.backend.client.delete(app.backend._aside_prefix + open_name(lost.roster.uuid))
    found = {row.id: row for row in Listing(app).page(1).rows}
    assert (found[lost.id].state, found[fine.id].state) == ("gone", "done")
    assert "still being sent when" in found[lost.id].progress
    with client(app) as web:
        for asked in ({"group": lost.id}, {"handle": handle}):
            assert web.get("/group", params=asked).status_code == 404
            assert web.get("/events", params=asked).status_code == 404
    lost.cancel()


def test_results_that_have_expired_are_not_found(app):
    result = done(app, 1, task_id="x" * 100)
    app.backend.client.delete(app.backend._aside_prefix + result.roster.uuid)
    with client(app) as web:
        answer = web.get("/group", params={"handle": result.handle})
    assert answer.status_code == 404
    assert "is gone from" in answer.text


@pytest.mark.parametrize("at", [1e300, -1e300, "nan"])
def test_a_note_with_a_time_that_is_none_hides_no_other(app, at):
    fine = done(app, 1)
    ((payload, kept),) = app.backend.index()
    told = json.loads(payload)
    app.backend.add_to_index(json.dumps({**told, "id": "odd", "sent_at": at}), kept)
    with client(app) as web:
        page = web.get("/").text
    assert 'id="group-odd"' in page
    assert fine.id in page
