"""An interruption before any line of sending loses no member and hides no double."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

import celerant
from celerant import Celerant, group
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
    with Celerant(f"celerant-{queue}", broker=url) as app:
        app.conf.task_default_queue = queue
        app.conf.task_ignore_result = True
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


def _numbers(shop):
    """Return how often each member is in the queue, which is emptied."""
    return Counter(
        int(message.headers["argsrepr"].split(",")[0].strip("("))
        for message in drain(shop.url, shop.queue)
    )


@pytest.mark.timeout(300)
def test_each_line_of_sending_may_be_interrupted(shop):
    once = Counter(range(SIZE))
    members = group([shop.add.s(i, 0) for i in range(SIZE)])
    members.apply_async()
    _numbers(shop)
    with _Lines() as lines:
        members.apply_async()
    assert _numbers(shop) == once
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
        found = _numbers(shop)
        lost = [i for i in range(SIZE) if not found[i]]
        doubled = [i for i in found if found[i] > 1 and i not in said]
        is_silent = result is None and found in ({}, once)
        if (lost or doubled) and not is_silent:
            path, line = target
            wrong.append((f"{Path(path).name}:{line}", str(report), lost, doubled))
    assert wrong == []
