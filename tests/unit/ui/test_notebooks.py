"""What notebooks show of objects."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from celerant import Celerant, ResultSet, chain, chord, group
from celerant.results.failures import Failure, Failures

N = 20_000


class Checked(HTMLParser):
    """Reads HTML; every tag must be closed, and nothing may come from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in {"div", "strong", "table", "tr", "th", "td", "pre", "tbody"}
        allowed = {"style", "title", "role", "aria-hidden", "scope"}
        assert {name for name, _ in attrs} <= allowed
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def shown(thing):
    html = thing._repr_html_()
    assert len(html) < 4_000
    return " ".join(Checked(html).texts)


@pytest.fixture
def things(shop):
    add = shop.add
    members = [add.s(i, i) for i in range(N)]
    result = group(members).apply_async()
    return {
        "app": shop.app,
        "signature": add.s("x" * N, list(range(N))),
        "group": group(members),
        "chain": chain(*members[:500]),
        "chord": chord(members, add.s(1)),
        "mapped": group.map(shop.echo, range(N)),
        "result": result,
        "report": result.report,
    }


def test_html_is_small_and_sound_for_any_size(things):
    for thing in things.values():
        assert shown(thing)


def test_representations_are_short_whatever_the_size(things):
    others = [
        ResultSet(list(things["result"])),
        things["result"][3],
        things["app"].control,
        things["app"].control.inspect(),
    ]
    for thing in [*things.values(), *others]:
        assert len(repr(thing)) < 400, repr(thing)[:400]
        assert " at 0x" not in repr(thing)


def test_an_app_shows_no_password(things):
    app = Celerant("h3shown", broker="redis://:secret@127.0.0.1:1/0")
    text = shown(app)
    assert "secret" not in text
    assert "redis://:**@127.0.0.1:1/0" in text


def test_a_canvas_shows_its_first_tasks(things):
    text = shown(things["group"])
    assert "add(9, 9)" in text
    assert "add(10, 10)" not in text
    assert "... 19,990 more" in text


def test_a_result_shows_what_is_known_and_asks_nobody(things, monkeypatch):
    result = things["result"]
    monkeypatch.setattr(type(result.backend), "fetch", None)
    assert f"{N:,} PENDING" in shown(result)
    assert "not looked at" in shown(result)


def test_a_result_shows_its_states(result):
    assert "3 SUCCESS, 1 FAILURE" in shown(result)


def test_a_report_shows_its_states(things):
    assert f"{N:,} confirmed" in shown(things["report"])


def test_failures_are_shown_by_exception_and_place(result):
    text = shown(result.failures())
    assert f"1 of 4 members of group {result.id} failed" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "in halve" in text


def test_no_failure_is_shown_as_none(shop):
    with shop.app.worker(concurrency=1):
        done = group(shop.add.s(i, i) for i in range(3)).apply_async()
        done.get(timeout=10)
    assert f"0 of 3 members of group {done.id} failed" in shown(done.failures())


def test_failures_are_small_and_escaped_in_however_many_ways_they_failed():
    ways = [
        Failure(f"Error{i}", "<b>" + 9_000 * "x", None, 7, (1, 2), ("a", "b"))
        for i in range(300)
    ]
    failures = Failures("some", 9_000, ways)
    text = shown(failures)
    assert "Error0: <b>xx" in text
    assert "&lt;b&gt;" in failures._repr_html_()
    assert "1, 2, ..." in text
    assert "... 292 more ways" in text
    assert "Error8" not in text


def test_an_empty_group_is_shown(app):
    assert "0 members" in shown(group([]).apply_async())


def test_text_of_arguments_is_escaped(shop):
    text = shop.add.s("<script>alert(1)</script>", "&")._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
