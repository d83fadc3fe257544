"""Records written by strangers: each is a result, and none ends anything."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from celerant.errors import CelerantError, SettingError, TaskError
from celerant.results.async_result import AsyncResult
from celerant.results.backends import open_backend
from celerant.results.saving import restore
from celerant.results.tracking.exceptions import RemoteTraceback


def meta(**fields):
    known = {"status": "FAILURE", "result": None, "traceback": None, "children": []}
    return json.dumps({**known, **fields}).encode()


def failure(kind="ValueError", message=(), module="builtins"):
    return {"exc_type": kind, "exc_message": message, "exc_module": module}


MARKED = {"__type__": "datetime", "__value__": 5}

RECORDS = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "a number": b"5",
    "null": b"null",
    "a list": b"[1, 2]",
    "no status": b'{"result": 1}',
    "a status that is a number": b'{"status": 5, "result": 1}',
    "a status that is an object": b'{"status": {"a": 1}, "result": 1}',
    "a number past all limits": b'{"status": "SUCCESS", "result": '
    + b"9" * 5000
    + b"}",
    "too deep": b'{"status": "SUCCESS", "result": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}",
    "cut off": b'{"status": "SUCCESS", "result": [1, 2',
    "a mark of compression": b"\x00celery-compressed\x00application/x-gzip\x00junk",
    "an unknown compression": b"\x00celery-compressed\x00nothing\x00junk",
    "marked children": meta(result=failure(), children=MARKED),
    "a marked traceback": meta(result=failure(), traceback=MARKED),
    "a traceback of 5,000 digits": meta(result=failure())[:-1]
    + b', "x": '
    + b"1" * 5000
    + b"}",
    "deep children": meta(result=failure())[:-1]
    + b', "x": '
    + b"[" * 5000
    + b"]" * 5000
    + b"}",
    "a failure that is a number": meta(result=5),
    "a failure that is a list": meta(result=[[[]], {}]),
    "a type that is an object": meta(result=failure({"a": []})),
    "a type of 100 KB": meta(result=failure("x" * 100_000)),
    "a type with new lines": meta(result=failure("Value\nError\x1b[31m")),
    "a module that is a list": meta(result=failure(module=["os"])),
    "arguments that are an object": meta(result=failure(message={"a": 1})),
    "a constructor that ends the program": meta(
        result=failure("Ending", ["now"], __name__)
    ),
    "revoked by garbage": meta(status="REVOKED", result={"exc_message": [{"a": 1}]}),
}


class Ending(Exception):  # noqa: N818 - named as the record names it
    def __init__(self, *_args):
        raise SystemExit(3)


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_hostile_record_is_a_failure_beside_its_neighbours(fake, group_of, record):
    result = group_of(3, fake)
    first, hostile, last = result.roster.ids(0, 3)
    fake.records[first] = meta(status="SUCCESS", result=1)
    fake.records[hostile] = record
    fake.records[last] = meta(status="SUCCESS", result=3)
    got = result.get(timeout=5, propagate=False)
    assert got[::2] == [1, 3]
    assert isinstance(got[1], Exception)
    assert len(str(got[1])) < 1000
    assert str(got[1]).isprintable()
    member = result[1]
    assert member.state in {"FAILURE", "REVOKED"}
    assert member.children == []
    for name in ("date_done", "name", "args", "kwargs", "worker", "retries", "queue"):
        assert getattr(member, name) is None
    assert AsyncResult(hostile, fake).failed() == (
        record is not RECORDS["revoked by garbage"]
    )


def test_a_hostile_record_that_is_pushed_ends_no_thread(fake, group_of):
    result = group_of(len(RECORDS) + 1, fake)
    assert not result.ready()
    for index, record in enumerate(RECORDS.values()):
        fake.feed.records.append((result.roster.id(index), record))
    fake.feed.records.append(
        (result.roster.id(len(RECORDS)), meta(status="SUCCESS", result="last"))
    )
    fake.feed.wake()
    assert result.get(timeout=5, propagate=False)[-1] == "last"


def test_fields_of_a_record_have_their_type_or_are_left_out(fake):
    fake.records["id"] = meta(
        status="SUCCESS",
        result=1,
        date_done=5,
        name=["x"],
        args="abc",
        kwargs=[],
        worker={},
        retries="many",
        queue=1,
        children=[5, None, [], [["a"]], [[["b"], None], None], [["ok", None], None]],
    )
    result = AsyncResult("id", fake)
    assert result.get(timeout=5) == 1
    for name in ("date_done", "name", "args", "kwargs", "worker", "retries", "queue"):
        assert getattr(result, name) is None
    assert "ok" in [child.id for child in result.children]


def test_tasks_that_have_sent_each_other_are_walked_once(fake):
    for own, other in (("a", "b"), ("b", "a")):
        fake.records[own] = meta(
            status="SUCCESS", result=own, children=[[[other, None], None]]
        )
    assert [value for _, value in AsyncResult("a", fake).collect()] == ["a", "b", "a"]
    assert AsyncResult("a", fake).build_graph().nodes.keys() == {"a", "b"}


@dataclasses.dataclass(frozen=True)
class Declined(Exception):  # noqa: N818 - a name of a user's
    code: int


def test_an_exception_that_cannot_be_changed_comes_back_with_its_traceback(fake):
    stored = failure("Declined", [7], __name__)
    fake.records["id"] = meta(result=stored, traceback="Traceback ...")
    found = AsyncResult("id", fake).get(timeout=5, propagate=False)
    assert found == Declined(7)
    assert isinstance(found.__cause__, RemoteTraceback)


class Unshowable(Exception):  # noqa: N818 - a name of a user's
    def __repr__(self):
        raise RuntimeError

    __str__ = __repr__


class Unreadable:
    def __reduce__(self):
        return _raise, ()


def _raise():
    raise Unshowable


def test_a_pickle_whose_error_cannot_be_shown_is_a_failure(fake, group_of):
    backend = type(fake)(serializer="pickle", accept=["pickle"])
    result = group_of(1, backend)
    backend.records[result[0].id] = pickle.dumps(
        {"status": "FAILURE", "result": Unreadable()}
    )
    (found,) = result.get(timeout=5, propagate=False)
    assert isinstance(found, TaskError)
    assert "cannot be read" in str(found)
    backend.close()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(0.5, 1), (1.2, 2), (0, 0), (None, 0), (float("inf"), 0), (60, 60)],
)
def test_a_time_to_live_is_whole_seconds_and_never_rounded_to_for_ever(given, seconds):
    backend = open_backend("memory://", name="expiring", expires=given)
    assert backend.expires == seconds
    backend.close()


@pytest.mark.parametrize("given", [-1, -0.5, float("nan"), "x", [], object()])
@pytest.mark.parametrize("name", ["expires", "failure_expires", "chord_expires"])
def test_an_impossible_time_to_live_is_refused_by_its_name(name, given):
    with pytest.raises(SettingError, match=f"result_{name} must be a number"):
        open_backend("memory://", name="expiring", **{name: given})


@pytest.mark.parametrize(
    "kept", [b"junk", b"5", b"{}", b'{"result": 5}', b'{"result": [[["a"], 5], [7]]}']
)
def test_a_saved_group_that_is_none_is_told(memory, monkeypatch, kept):
    monkeypatch.setattr(type(memory.chord_counter()), "header", lambda *_: kept)
    with pytest.raises(CelerantError, match="what is saved as group 'g' is none"):
        restore("g", memory)
