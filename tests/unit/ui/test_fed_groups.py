"""Bars, `celerant watch` and streams, of a group whose size is not known yet."""

from __future__ import annotations

import asyncio
import io
import json
import threading

import pytest
from rich.console import Console

from celerant import group
from celerant.cli import results
from celerant.ui.events import events
from celerant.ui.telling import told
from harness.fed_queue import Queue
from harness.until import until


@pytest.fixture
def queue(shop):
    return Queue(shop)


@pytest.fixture
def fed(shop, queue):
    """A group of five of which two may be out at a time; one is done."""
    result = group(shop.echo.s(i) for i in range(5)).apply_async(window=2)
    until(lambda: queue.look() == 2)
    queue.finish(1)
    until(lambda: result.counts()["SUCCESS"] == 1)
    return result


def test_progress_has_no_total_until_all_was_sent(fed, queue):
    seen = told(fed)
    assert (seen["total"], seen["done"]) == (None, 1)
    assert seen["eta"] is None
    queue.finish_all(fed)
    until(fed.ready)
    seen = told(fed)
    assert (seen["total"], seen["done"], seen["failed"]) == (5, 5, 0)
    assert seen["eta"] == 0.0


def test_a_line_says_that_more_are_being_sent(fed, queue):
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    with fed.progress_bar(console=console):
        pass
    assert "1 done, and more are being sent" in console.file.getvalue()
    queue.finish_all(fed)


def test_a_bar_learns_the_total_when_all_was_sent(fed, queue):
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with fed.progress_bar(console=console):
        until(lambda: "1/?" in console.file.getvalue())
        queue.finish_all(fed)
        until(fed.ready)
    assert "5/5" in console.file.getvalue()


def test_watch_prints_no_total_until_all_was_sent(fed, queue, capsys, monkeypatch):
    over = threading.Event()
    fed.then(lambda _: over.set())

    def looks(over, timeout):
        yield
        queue.finish_all(fed)
        assert over.wait(timeout)

    monkeypatch.setattr(results, "looks", looks)
    results._print_changes(fed, over, timeout=20)
    first, *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["total"], first["done"]) == (None, 1)
    assert (last["total"], last["done"]) == (5, 5)


def test_a_stream_tells_no_total_until_all_was_sent(fed, queue):
    finishing = threading.Thread(target=queue.finish_all, args=[fed])

    async def read():
        found = []
        async for event in events(fed, 0.01):
            if not found:
                finishing.start()
            name, data = event.decode().strip().splitlines()
            found.append((name, json.loads(data.removeprefix("data: "))))
        return found

    (_, first), *_, (name, last) = asyncio.run(read())
    # Not after the end of this test: the next one has the same queue.
    finishing.join(20)
    assert (first["total"], first["done"]) == (None, 1)
    assert (name, last["total"], last["done"]) == ("event: end", 5, 5)
