"""Who is let in, and where the site's own forms lead."""

from __future__ import annotations

import functools

import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount
from starlette.testclient import TestClient

from celerant import group
from celerant.web import make_site

SAME_SITE = {"sec-fetch-site": "same-origin"}
HOOKS = ("may_see", "may_list", "may_change")


@pytest.fixture
def sent(shop):
    """A group that the index notes and that nobody runs."""
    shop.app.conf.celerant_index_groups = True
    return group(shop.add.s(i, i) for i in range(3)).apply_async(cancellable=True)


@pytest.fixture(autouse=True)
def _no_endless_answer(monkeypatch):
    async def once(_listing, number, _interval):
        yield str(number).encode()

    monkeypatch.setattr("celerant.web.pages.page_events", once)


def everybody(_request):
    return True


def client(shop, **options):
    hooks = {**dict.fromkeys(HOOKS, everybody), **options}
    return TestClient(make_site(shop.app, **hooks), raise_server_exceptions=False)


def cancelled(web, result, **headers):
    return web.post(
        "/cancel",
        data={"group": result.id},
        headers=headers or SAME_SITE,
        follow_redirects=False,
    )


def statuses(web, result):
    """Return the answers' codes of all that may be asked of a group."""
    asked = {"group": result.id}
    paths = ("/group", "/events", "/groups/events")
    return {
        *(web.get(path, params=asked).status_code for path in paths),
        cancelled(web, result).status_code,
    }


async def yes(_request):
    # As a check that asks a database.
    return await run_in_threadpool(lambda: True)


async def no(request):
    return not await yes(request)


async def _yielding(_request):
    yield False


class Check:
    async def __call__(self, request):
        return await no(request)


# -- checks that are coroutines -----------------------------------------------------


@pytest.mark.parametrize(
    "nobody",
    [no, Check(), functools.partial(no)],
    ids=["function", "object", "partial"],
)
@pytest.mark.parametrize("hook", ["may_see", "may_list"])
def test_an_async_check_keeps_visitors_out(shop, sent, hook, nobody):
    with client(shop, **{hook: nobody}) as web:
        assert statuses(web, sent) == {403}
        home = web.get("/")
    assert sent.id not in home.text
    assert home.status_code == (403 if hook == "may_see" else 200)


def test_an_async_check_keeps_visitors_from_changing_a_group(shop, sent):
    with client(shop, may_change=no) as web:
        assert "Cancel" not in web.get("/group", params={"group": sent.id}).text
        assert cancelled(web, sent).status_code == 403
    assert sent.counts()["REVOKED"] == 0


def test_an_async_check_lets_visitors_in(shop, sent):
    hooks = dict.fromkeys(HOOKS, yes)
    with client(shop, **hooks) as web:
        assert sent.id in web.get("/").text
        assert "Cancel" in web.get("/group", params={"group": sent.id}).text
        assert cancelled(web, sent).status_code == 303


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    "wrong",
    [_yielding, lambda _: everybody, lambda _: object()],
    ids=["generator", "function", "object"],
)
def test_an_answer_that_is_no_plain_value_lets_nobody_in(shop, sent, hook, wrong):
    with client(shop, **{hook: wrong}) as web:
        assert web.get("/").status_code == (200 if hook == "may_change" else 500)
        assert cancelled(web, sent).status_code == 500
    assert sent.counts()["REVOKED"] == 0


@pytest.mark.parametrize(
    ("answer", "status"), [("Ada", 303), (1, 303), ("", 403), (None, 403), ([], 403)]
)
def test_a_plain_answer_counts_by_its_truth(shop, sent, answer, status):
    with client(shop, may_change=lambda _: answer) as web:
        assert cancelled(web, sent).status_code == status


def test_members_to_send_once_more_may_come_from_a_coroutine(shop, monkeypatch):
    with shop.app.worker(concurrency=1):
        result = group([shop.add.s(1, 1), shop.add.s(1, "x")]).apply_async(
            cancellable=True
        )
        result.get(timeout=20, propagate=False)
    again = []
    monkeypatch.setattr(type(result), "retry", lambda _, *given: again.append(given))

    async def source_of(found):
        return [found.id] if await yes(None) else None

    shop.app.conf.celerant_index_groups = True
    with client(shop, source_of=source_of) as web:
        monkeypatch.setattr("celerant.web.pages.entry_of", lambda *_: Entry)
        monkeypatch.setattr("celerant.web.pages.result_of", lambda *_: result)
        answer = web.post(
            "/retry",
            data={"group": result.id},
            headers=SAME_SITE,
            follow_redirects=False,
        )
    assert (answer.status_code, again) == (303, [("failed", [result.id])])


class Entry:
    sender = "here"


# -- forms --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["null", "http://[", "http://[::1", "", "evil.example", "http://"]
)
@pytest.mark.parametrize("host", ["testserver", ""])
def test_an_origin_that_cannot_be_read_is_of_another_site(shop, sent, origin, host):
    with client(shop) as web:
        assert cancelled(web, sent, origin=origin, host=host).status_code == 403


def test_the_pages_let_browsers_tell_the_site_where_a_form_is_from(shop, sent):
    # With "no-referrer" they send `Origin: null`, and on plain http that is all.
    with client(shop) as web:
        page = web.get("/group", params={"group": sent.id})
    assert page.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("mount", ["", "/celerant"])
def test_a_change_leads_back_to_where_the_browser_came_from(shop, sent, mount):
    outer = Starlette(
        routes=[Mount(mount, make_site(shop.app, **dict.fromkeys(HOOKS, everybody)))]
    )
    # The proxy's own name of this server, which no visitor can reach.
    with TestClient(outer, base_url="http://127.0.0.1:8800", root_path="/ops") as web:
        answer = web.post(
            f"/ops{mount}/cancel",
            data={"group": sent.id},
            headers=SAME_SITE,
            follow_redirects=False,
        )
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/ops{mount}/group?group={sent.id}"


# -- addresses ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/groups/events"])
def test_a_number_of_a_page_may_be_of_any_length(shop, sent, path):
    with client(shop) as web:
        assert web.get(path, params={"page": "9" * 5000}).status_code == 200


@pytest.mark.parametrize("n", [301, 5000])
def test_a_group_with_a_long_id_is_shown_from_the_list(shop, n):
    shop.app.conf.celerant_index_groups = True
    name = "é " + "x" * n
    result = group(shop.add.s(i, i) for i in range(3)).apply_async(task_id=name)
    with client(shop) as web:
        link = web.get("/").text.partition('href="/group?')[2].partition('"')[0]
        page = web.get(f"/group?{link}")
    assert page.status_code == 200
    assert result.id in page.text
