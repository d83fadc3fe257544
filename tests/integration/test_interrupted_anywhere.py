"""An interruption before any line of sending loses no member and hides no double."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

import celerant
from celerant import Celerant, chain, chord, group
from celerant.dispatch.wires.chunk_limits import ChunkLimits
from harness.capture import drain
from harness.tasks import define_tasks

SIZE, CHUNK = 60, 20
#: The folders whose lines are interrupted.
WHERE = tuple(
    str(Path(celerant.__file__).parent / room) for room in ("dispatch", "sending")
)
#: Farewells: an interruption while one ends is a second interruption.
LEAVING = frozenset({"abort", "close", "disconnect", "leave", "settle", "_leave"})


class _Interrupt(BaseException):
    """As `KeyboardInterrupt`, which pytest takes for its own."""


@pytest.fixture(params=["redis", "rabbitmq"])
def shop(request, redis_url, rabbitmq_url, queue, monkeypatch):
    small = ChunkLimits(CHUNK, 1 << 20)
    for wire in ("base", "redis_talk"):
        monkeypatch.setattr(f"celerant.dispatch.wires.{wire}.NEAR", small)
    url = redis_url["broker"] if request.param == "redis" else rabbitmq_url
    results = redis_url["backend"]
    with Celerant(f"celerant-{queue}", broker=url, backend=results) as app:
        app.conf.task_default_queue = queue
        tasks = define_tasks(app)
        tasks.url, tasks.queue = url, queue
        yield tasks


class _Lines:
    """Notes the lines that run, or interrupts before one of them."""

    def __init__(self, target=None, times=1):
        self.seen = Counter()
        self._target, self._left = target, times

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_exc):
        sys.settrace(self._before)

    def _call(self, frame, _event, _arg):
        code = frame.f_code
        if code.co_filename.startswith(WHERE) and code.co_name not in LEAVING:
            return self._line
        return None

    def _line(self, frame, event, _arg):
        if event != "line":
            return self._line
        line = frame.f_code.co_filename, frame.f_lineno
        self.seen[line] += 1
        if line == self._target:
            self._left -= 1
            if not self._left:
                raise _Interrupt
        return self._line


def _messages(shop):
    """Return how often each message is in the queue, which is emptied.

    A message is a member's number, and its own in the member.
    """
    return Counter(
        tuple(map(int, message.headers["argsrepr"].strip("()").split(",")))
        for message in drain(shop.url, shop.queue)
    )


def _of_tasks(shop):
    return [shop.add.s(i, 0) for i in range(SIZE)]


def _of_canvases(shop):
    """Members of one message, and of several."""
    return [
        (
            shop.add.s(i, 0),
            chain(shop.add.s(i, 0), shop.add.s(1)),
            chord([shop.add.s(i, k) for k in range(3)], shop.echo.s()),
        )[i % 3]
        for i in range(SIZE // 2)
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("make", [_of_tasks, _of_canvases])
def test_each_line_of_sending_may_be_interrupted(shop, make):
    members = group(make(shop))
    members.apply_async()
    once = _messages(shop)
    assert set(once.values()) == {1}
    with _Lines() as lines:
        members.apply_async()
    assert _messages(shop) == once
    wrong = []
    for target, times in lines.seen.items():
        result = report = None
        try:
            with _Lines(target, times):
                members.apply_async()
        except _Interrupt as exc:
            result, report = getattr(exc, "result", None), getattr(exc, "report", None)
        said = set()
        if result is not None:
            said = {i for a, b in report.unknown for i in range(a, b)}
            result = members.resume(result)
            said |= {i for a, b in result.report.maybe_double for i in range(a, b)}
        found = _messages(shop)
        lost = sorted(once - found)
        doubled = sorted(one for one in found - once if one[0] not in said)
        is_silent = result is None and found in ({}, once)
        if (lost or doubled) and not is_silent:
            path, line = target
            wrong.append((f"{Path(path).name}:{line}", str(report), lost, doubled))
    assert wrong == []
