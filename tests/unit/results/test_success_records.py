"""The core writes the records of plain values as Python would."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from celerant import _core
from celerant.context.request import Request
from celerant.results.tracking import record
from celerant.results.tracking.record import Codec


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("moment", [1_796_061_600.0, 1_796_061_600.25, 0.000_001])
def test_the_core_writes_the_bytes_of_the_encoder(monkeypatch, moment):
    codec = Codec()
    when = datetime.fromtimestamp(moment, timezone.utc).isoformat()
    monkeypatch.setattr(record, "_now", lambda: when)
    monkeypatch.setattr(record, "time", SimpleNamespace(time=lambda: moment))
    written = []

    def success_record(*args):
        written.append(_core.success_record(*args))
        return written[-1]

    requests = [
        Request("id", "task"),
        Request('i"d\u2603', "task", group="g\u00e9", parent_id="p"),
        Request("", "task", group="", parent_id=""),
        Request("\ud800", "task"),
    ]
    plain = [0, -(2**63), True, None, "", 'text "\u2603"', "a\n\x00", 1.5, -0.0, 1e300]
    plain += [float("nan"), [], {}, (), [1, [2.5, {"a": (None, "é")}]], nested(90)]
    others = [
        2**63,
        -(2**70),
        2**3_000,
        "\ud800",
        nested(150),
        {1: 2},
        {"a": {None: 1}},
    ]
    for request in requests:
        for value in [*plain, *others]:
            found = []
            for write in (success_record, lambda *_: None):
                monkeypatch.setattr(record, "success_record", write)
                stored = codec.encode(request.id, value, "SUCCESS", None, request)
                found.append(stored)
            assert found[0] == found[1]
    by_core = [one is not None for one in written]
    assert sum(by_core) == 3 * len(plain)
