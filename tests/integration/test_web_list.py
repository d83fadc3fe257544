"""The page's list of groups, and sending failed members once more from it."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from celerant import Celerant, PublishError, group
from celerant.results import indexed
from celerant.web import listing, make_site, pages
from celerant.web.listing import Listing, page_events
from harness.until import until

SAME_SITE = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def app(server):
    name = f"h3list{uuid.uuid4().hex[:6]}"
    url = f"redis://127.0.0.1:{server.port}/0"
    options = {"task_default_queue": name, "celerant_index_groups": True}
    with Celerant(name, broker=url, **options) as app:

        @app.task(name="halve")
        def halve(x):
            return 1 / x

        yield app


@pytest.fixture
def elsewhere(monkeypatch):
    """Have this process know nothing of what it has sent."""
    monkeypatch.setattr("celerant.web.pages.live", lambda _: None)
    monkeypatch.setattr(indexed, "live", lambda _: None)


def everybody(_request):
    return True


def client(app, **options):
    return TestClient(make_site(app, may_list=everybody, **options))


def members(app, *values):
    return [app.tasks["halve"].s(value) for value in values]


def done(app, *values, **options):
    with app.worker(concurrency=1):
        result = group(members(app, *values)).apply_async(**options)
        result.get(timeout=20, propagate=False)
    return result


def rows(app):
    return Listing(app).page(1).rows


def test_the_list_is_off_unless_a_hook_permits_it(app):
    result = done(app, 1)
    with TestClient(make_site(app)) as web:
        home = web.get("/")
        assert home.status_code == 200
        assert result.id not in home.text
        for path in ("/group", "/events"):
            answer = web.get(path, params={"group": result.id})
            assert answer.status_code == 403
        assert web.get("/groups/events").status_code == 403


def test_a_visitor_who_may_list_but_not_see_gets_nothing(app):
    result = done(app, 1)
    with client(app, may_see=lambda _: False) as web:
        for path in ("/", "/group", "/groups/events"):
            answer = web.get(path, params={"group": result.id})
            assert answer.status_code == 403


def test_the_list_has_tasks_progress_failures_and_a_link(app):
    result = done(app, 1, 0, 2)
    with client(app) as web:
        page = web.get("/").text
        assert "halve" in page
        assert "3 of 3" in page
        assert re.search(r'data-field="failed">1<', page)
        assert result.handle not in page
        (link,) = re.findall(r'href="(/group\?[^"]+)"', page)
        shown = web.get(link)
    assert result.id in shown.text
    assert "1 x ZeroDivisionError" in shown.text


def test_the_list_can_be_used_without_seeing_it(app):
    done(app, 1)
    with client(app) as web:
        page = web.get("/").text
    assert page.count("<h1>") == 1
    assert page.count('<th scope="col">') == 7
    assert 'th scope="row"' in page
    assert 'aria-label="members done"' in page
    assert 'role="status"' in page
    assert 'aria-labelledby="caption"' in page
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    assert re.findall(r"<script(?! type=\"module\" src)", page) == []


def test_an_empty_list_says_what_to_do(app):
    with client(app) as web:
        page = web.get("/").text
    assert "celerant_index_groups" in page


def test_a_group_is_running_until_its_members_are_done(app):
    waiting = group(members(app, 1, 2)).apply_async()
    (row,) = rows(app)
    assert (row.state, row.progress, row.total, row.done) == (
        "running",
        "0 of 2",
        2,
        0,
    )
    with app.worker(concurrency=1):
        waiting.get(timeout=20)
    (row,) = rows(app)
    assert (row.state, row.progress, row.rate) == ("done", "2 of 2", "")


def test_a_group_that_is_done_is_not_asked_for_again(app, elsewhere, monkeypatch):
    result = done(app, 1)
    looked = Listing(app)
    first = looked.page(1)
    monkeypatch.setattr(type(result), "progress", None)
    monkeypatch.setattr(listing, "result_of", None)
    assert looked.page(1) == first


def test_the_store_is_asked_once_however_many_look(app, monkeypatch):
    done(app, 1)
    looked = Listing(app)
    first = looked.lately(1)
    monkeypatch.setattr(app.backend, "index", None)
    assert looked.lately(1) is first
    monkeypatch.undo()
    monkeypatch.setattr(looked._pages, "_age", -1)
    assert looked.lately(1) is not first


def test_a_large_group_that_is_done_is_shown_as_done_at_once(app, elsewhere):
    done(app, *range(1, 3001))
    (row,) = rows(app)
    assert (row.state, row.done) == ("done", 3000)


def test_a_group_that_runs_is_attached_to_once(app, elsewhere, monkeypatch):
    group(members(app, 1)).apply_async()
    looked = Listing(app)
    first = looked.page(1)
    monkeypatch.setattr(listing, "result_of", None)
    assert looked.page(1).rows[0].state == first.rows[0].state == "running"


def test_a_group_that_another_process_sends_is_shown_as_far_as_it_is(app, elsewhere):
    result = group(members(app, 1, 2, 3)).apply_async(window=1)
    (row,) = rows(app)
    assert (row.state, row.total) == ("being sent", None)
    assert row.progress == "0, and more are being sent"
    with client(app) as web:
        page = web.get("/group", params={"group": result.id})
        assert page.status_code == 200
        assert "<celerant-progress" in page.text
        assert "still sending" not in page.text
    result.cancel()


def test_a_group_that_another_process_sends_and_nobody_can_follow(app, elsewhere):
    result = group(members(app, 1)).apply_async()
    (entry,) = indexed.entries(app.backend)
    noted = replace(entry, handle=None, size=None)
    with pytest.MonkeyPatch.context() as patch:
        # As a release before this one noted it.
        patch.setattr(listing, "entries", lambda _: [noted])
        (row,) = rows(app)
        patch.setattr(pages, "entry_of", lambda *_: noted)
        with client(app) as web:
            page = web.get("/group", params={"group": result.id})
            assert "still sending" in page.text
            assert web.get("/events", params={"group": result.id}).status_code == 404
    assert (row.state, row.progress) == ("being sent", f"being sent by {entry.sender}")


def test_a_group_that_this_process_sends_is_followed_and_stopped(app):
    result = group(members(app, 1, 2, 3)).apply_async(window=1)
    with client(app, may_change=everybody) as web:
        page = web.get("/group", params={"group": result.id}).text
        assert "Cancel" in page
        answer = web.post(
            "/cancel",
            data={"group": result.id},
            headers=SAME_SITE,
            follow_redirects=False,
        )
        assert answer.status_code == 303
        assert answer.headers["location"].endswith(f"/group?group={result.id}")
    assert result.stopped_by == "cancel"


def test_a_group_without_results_is_told_of(app, elsewhere):
    done(app, 1)
    app.backend.client.delete(app.backend._handle_key)
    (row,) = rows(app)
    assert row.state == "gone"
    assert "was not made by an app" in row.progress


def test_the_list_has_pages(app, monkeypatch):
    monkeypatch.setattr(listing, "_ROWS", 2)
    results = [done(app, 1) for _ in range(5)]
    with client(app) as web:
        first = web.get("/").text
        last = web.get("/", params={"page": "3"}).text
        odd = web.get("/", params={"page": "-1x"})
    assert "Older" in first
    assert "Newer" not in first
    assert results[4].id in first
    assert results[2].id not in first
    assert "Newer" in last
    assert "Older" not in last
    assert results[0].id in last
    assert odd.status_code == 200


def test_groups_that_were_sent_earlier_and_are_not_done_come_first(app, monkeypatch):
    monkeypatch.setattr(listing, "_ROWS", 2)
    waiting = group(members(app, 1)).apply_async(queue="nobody")
    with app.worker(concurrency=1):
        for _ in range(5):
            group(members(app, 1)).apply_async().get(timeout=20)
    looked = Listing(app)
    # Two of the earlier ones are looked at each time.
    assert looked.page(1).earlier == []
    (row,) = looked.page(1).earlier
    assert (row.id, row.state) == (waiting.id, "running")
    assert looked.page(2).earlier == []
    with client(app) as web:
        until(lambda: waiting.id in web.get("/").text)
        page = web.get("/").text
    assert "1 sent" in page
    assert page.count('<tr id="group-') == 3


def test_an_earlier_group_that_another_process_sends_comes_first(
    app, elsewhere, monkeypatch
):
    monkeypatch.setattr(listing, "_ROWS", 1)
    result = group(members(app, 1, 2, 3)).apply_async(window=1, queue="nobody")
    group(members(app, 1)).apply_async()
    (row,) = Listing(app).page(1).earlier
    assert (row.id, row.state) == (result.id, "being sent")
    result.cancel()


def test_the_list_is_told_again_when_it_changes(app):
    result = group(members(app, 1, 0)).apply_async()

    async def read():
        told = page_events(Listing(app), 1, 0.01)
        first = await anext(told)
        with app.worker(concurrency=1):
            await asyncio.to_thread(result.get, 20, propagate=False)
        async for event in told:
            last = json.loads(event.decode().partition("data: ")[2])
            if last["rows"][0]["state"] == "done":
                break
        await told.aclose()
        return json.loads(first.decode().partition("data: ")[2]), last

    first, last = asyncio.run(read())
    assert first["rows"][0]["progress"] == "0 of 2"
    assert last["rows"][0]["failed"] == "1"
    assert first["newest"] == last["newest"] == result.id


# -- once more ---------------------------------------------------------------------


def mended(web, group_id):
    return web.post(
        "/retry",
        data={"group": group_id},
        headers=SAME_SITE,
        follow_redirects=False,
    )


def test_failed_members_are_sent_once_more_from_the_page(app):
    broken = []

    @app.task(name="mend")
    def mend(x):
        if x in broken:
            raise ValueError(x)
        return x

    broken.append(1)
    source = [mend.s(i) for i in range(3)]
    with app.worker(concurrency=1):
        result = group(source).apply_async(cancellable=True)
        result.get(timeout=20, propagate=False)
        with client(app, may_change=everybody) as web:
            page = web.get("/group", params={"group": result.id}).text
            assert "Send once more what failed" in page
            broken.clear()
            assert mended(web, result.id).status_code == 303
        assert result.get(timeout=20) == [0, 1, 2]
    assert rows(app)[0].state == "done"
    assert rows(app)[0].failed == ""


def test_a_fed_group_of_this_process_needs_no_source(app):
    with app.worker(concurrency=1):
        result = group(members(app, 1, 0)).apply_async(window=2)
        result.get(timeout=20, propagate=False)
        until(lambda: rows(app)[0].state == "done")
        with client(app, may_change=everybody) as web:
            answer = web.post(
                "/retry",
                data={"handle": result.handle},
                headers=SAME_SITE,
                follow_redirects=False,
            )
        assert answer.status_code == 303
        result.get(timeout=20, propagate=False)


def test_members_that_another_process_sent_come_from_the_sites_owner(app, elsewhere):
    result = done(app, 1, 0, cancellable=True)
    asked = []

    def source_of(found):
        asked.append(found.id)
        return members(app, 1, 0)

    with client(app, may_change=everybody, source_of=source_of) as web:
        assert mended(web, result.id).status_code == 303
    assert asked == [result.id]
    (row,) = rows(app)
    assert (row.state, row.done) == ("running", 1)


def test_another_source_is_refused_with_the_reason(app, elsewhere):
    result = done(app, 1, 0, cancellable=True)
    with client(
        app, may_change=everybody, source_of=lambda _: members(app, 1, 3)
    ) as web:
        answer = mended(web, result.id)
    assert answer.status_code == 409
    assert "group[1]" in answer.text


def test_no_button_where_nobody_knows_the_members(app, elsewhere):
    group_id = done(app, 1, 0, cancellable=True).id
    with client(app, may_change=everybody) as web:
        page = web.get("/group", params={"group": group_id}).text
        assert "Send once more" not in page
        answer = mended(web, group_id)
    assert answer.status_code == 409
    assert "give them once more" in answer.text


def test_no_button_where_members_cannot_be_mended(app):
    result = done(app, 1, 0)
    with client(app, may_change=everybody) as web:
        page = web.get("/group", params={"group": result.id}).text
    assert "Send once more" not in page


@pytest.mark.parametrize("may_change", [None, everybody])
def test_nothing_is_sent_once_more_for_those_who_may_not(app, may_change):
    result = done(app, 1, 0, cancellable=True)
    cross = {"sec-fetch-site": "cross-site"}
    with client(app, may_change=may_change) as web:
        page = web.get("/group", params={"group": result.id}).text
        assert ("Send once more" in page) is (may_change is not None)
        headers = SAME_SITE if may_change is None else cross
        answer = web.post("/retry", data={"group": result.id}, headers=headers)
        assert answer.status_code == 403
        assert web.get("/retry").status_code == 405
    assert result.counts()["FAILURE"] == 1


def test_a_broker_that_refuses_is_told(app, monkeypatch):
    result = done(app, 1, 0, cancellable=True)

    def refuse(*_args, **_kwargs):
        raise PublishError("the broker is away")

    monkeypatch.setattr(type(result), "retry", refuse)
    with client(app, may_change=everybody) as web:
        answer = mended(web, result.id)
    assert answer.status_code == 503
    assert "the broker is away" in answer.text


def test_an_unknown_group_is_not_found(app):
    with client(app) as web:
        assert web.get("/group", params={"group": "none"}).status_code == 404
        assert web.get("/group", params={"group": "x" * 400}).status_code == 404


def test_a_fed_group_ends_in_the_list(app):
    with app.worker(concurrency=1):
        result = group(members(app, 1, 2, 4)).apply_async(window=1)
        result.get(timeout=20)
    until(lambda: rows(app)[0].state == "done")
