"""Every value arrives as Celery would deliver it, or both refuse it."""

from __future__ import annotations

import enum
import json
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import EncodeError as KombuEncodeError
from kombu.serialization import loads

from celerant.errors import EncodeError
from harness.capture import drain


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Name(str, enum.Enum):
    A = "a"


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Table(dict):
    pass


@dataclass
class Item:
    sku: str
    price: Decimal


class Sized:
    def __json__(self):
        return {"sized": 1}


class Opaque:
    def __repr__(self):
        return "<opaque>"


Point = namedtuple("Point", "x y")  # noqa: PYI024 - its untyped form

VALUES = {
    "nan": float("nan"),
    "inf": float("inf"),
    "minus-inf": float("-inf"),
    "minus-zero": -0.0,
    "tiny": 5e-324,
    "exponent": 1e16,
    "small-exponent": 1e-5,
    "int64-max": 2**63 - 1,
    "int64-min": -(2**63),
    "beyond-int64": 2**63,
    "big": 2**70,
    "big-negative": -(2**70),
    "lone-surrogate": "a\ud800b",
    "surrogate-pair-halves": "\udc00\ud800",
    "astral": "😀",
    "control": "\x00\x1f\x7f\x80",
    "bytes": b"abc",
    "bytes-binary": b"\xff\x00",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abc"),
    "datetime": datetime(2024, 2, 29, 12, 30, 1, 5),  # noqa: DTZ001
    "datetime-utc": datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc),
    "datetime-offset": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-3))),
    "date": date(2024, 2, 29),
    "time": time(12, 30, 1),
    "timedelta": timedelta(seconds=3),
    "uuid": uuid.UUID(int=7),
    "decimal": Decimal("1.10"),
    "set": {1},
    "frozenset": frozenset([1]),
    "enum": Colour.RED,
    "int-enum": Level.LOW,
    "str-enum": Name.A,
    "dataclass": Item("a", Decimal(1)),
    "str-subclass": Text("t"),
    "int-subclass": Whole(3),
    "dict-subclass": Table(a=1),
    "ordered-dict": OrderedDict(b=1, a=2),
    "namedtuple": Point(1, 2),
    "int-keys": {1: "a", 2: {3: 4}},
    "mixed-keys": {"a": 1, 2: 2, None: 3, True: 4, 1.5: 5},
    "tuple-key": {(1, 2): 3},
    "bytes-key": {b"a": 1},
    "enum-key": {Colour.RED: 1},
    "bool": True,
    "none": None,
    "tuple": (1, (2, 3)),
    "range": range(3),
    "complex": 1j,
    "json-hook": Sized(),
    "opaque": Opaque(),
    "function": json.dumps,
    "ellipsis": ...,
    "type": int,
    "nested": {
        "a": [{"at": date(2024, 1, 1), "n": [Decimal("0.1"), (uuid.UUID(int=1),)]}]
    },
    "nested-nan": [[float("nan"), {"x": [2**70]}]],
    "mark-alike": {"__type__": "datetime", "__value__": "2024-01-01"},
}

REFUSALS = (KombuEncodeError, EncodeError, TypeError, ValueError)


def _deliver(side, both, value, how):
    """Send `value` and return it as a worker would see it, or the refusal's type."""
    members = {
        "argument": lambda: side.group([side.echo.s(1), side.echo.s(value)]),
        "keyword": lambda: side.group([side.echo.s(1), side.echo.s(k=value)]),
    }[how]()
    try:
        members.apply_async()
    except REFUSALS as error:
        drain(both.url, both.queue)
        return "refused", isinstance(error, TypeError)
    message = drain(both.url, both.queue)[-1]
    body = loads(
        message.body,
        message.content_type,
        message.content_encoding,
        accept={"application/json"},
    )
    headers = message.headers
    return message.body, repr(body), headers["argsrepr"], headers["kwargsrepr"]


@pytest.mark.parametrize("how", ["argument", "keyword"])
@pytest.mark.parametrize("name", VALUES)
def test_the_value_that_arrives_is_celerys(pair, name, how):
    both = pair("memory")
    value = VALUES[name]

    theirs = _deliver(both.celery, both, value, how)
    ours = _deliver(both.celerant, both, value, how)

    assert ours[0] == theirs[0]
    if name not in {"memoryview", "opaque"} or theirs[0] == "refused":
        assert ours[1:] == theirs[1:] or theirs[0] == "refused"


@pytest.mark.parametrize("name", ["set", "opaque", "complex", "dataclass"])
def test_a_refused_value_names_its_member_and_sends_nothing(pair, name):
    both = pair("memory")
    side = both.celerant
    members = [side.echo.s(1), side.group([side.echo.s(2), side.echo.s(VALUES[name])])]
    refused = _deliver(both.celery, both, VALUES[name], "argument")[0] == "refused"
    if not refused:
        pytest.skip("this kombu takes it")

    with pytest.raises(EncodeError) as caught:
        side.group(members).apply_async()

    assert caught.value.group_index == 2
    assert caught.value.path == "group[1][1]"
    assert caught.value.task == "celerant_test.echo"
    assert drain(both.url, both.queue) == []


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.characters(codec=None).map(str)
)
jsonish = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(
    args=st.lists(jsonish, max_size=4),
    kwargs=st.dictionaries(st.text("abcdefg", min_size=1, max_size=3), jsonish),
)
def test_bodies_and_reprs_are_celerys_to_the_byte(memory_pair, args, kwargs):
    def sent(side):
        side.group([side.echo.s(*args, **kwargs)]).apply_async()
        (message,) = drain(memory_pair.url, memory_pair.queue)
        headers = message.headers
        return message.body, headers["argsrepr"], headers["kwargsrepr"]

    assert sent(memory_pair.celerant) == sent(memory_pair.celery)
