"""The core writes the records of plain values as Python would."""

from __future__ import annotations

import enum
import uuid
from collections import OrderedDict
from datetime import date, datetime, timezone
from decimal import Decimal
from types import SimpleNamespace

import pytest

from celerant import _core
from celerant.context.request import Request
from celerant.errors import EncodeError
from celerant.results.tracking import record
from celerant.results.tracking.record import Codec


def endless():
    value = []
    value.append(value)
    return value


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


class Text(str):
    __slots__ = ()


class Number(enum.IntEnum):
    ONE = 1


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
        Request("id", "task", group=uuid.UUID(int=1)),
        Request("id", "task", group=0, parent_id=()),
    ]
    plain = [0, -(2**63), True, None, "", 'text "\u2603"', "a\n\x00", 1.5, -0.0, 1e300]
    plain += [float("nan"), [], {}, (), [1, [2.5, {"a": (None, "é")}]], nested(99)]
    plain += [float("-inf"), list(range(10_000))]
    others = [
        Text("a"),
        Number.ONE,
        Decimal("1.5"),
        date(2026, 1, 1),
        [date(2026, 1, 1)],
        {Text("a"): 1},
        OrderedDict(a=1),
        nested(100),
        list(range(40_000)),
        dict.fromkeys(map(str, range(80_000))),
        endless(),
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
                try:
                    stored = codec.encode(request.id, value, "SUCCESS", None, request)
                except EncodeError as exc:
                    stored = str(exc)
                found.append(stored)
            assert found[0] == found[1]
    by_core = [one is not None for one in written]
    assert sum(by_core) == 3 * len(plain)
