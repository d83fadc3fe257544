from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from unittest import mock

import celery
import pytest

from celerant.context.request import Request
from celerant.errors import EncodeError, SettingError, TaskRevoked
from celerant.results.async_result import AsyncResult
from celerant.results.backends import open_backend
from celerant.results.tracking.exceptions import rebuild
from celerant.results.tracking.record import Codec
from harness import hostile


def fields(codec, result, state="SUCCESS", traceback=None, request=None):
    return codec.decode(codec.encode("id", result, state, traceback, request))


def test_keys_stand_in_celery_s_order():
    request = Request(
        id="id",
        task="t",
        args=[1],
        group="g",
        parent_id="p",
        hostname="w@h",
        delivery_info={"routing_key": "q"},
        stamps={"s": 1, "other": 2},
        stamped_headers=["s"],
        children=[[["c", None], None]],
    )
    payload = Codec(extended=True).encode("id", 3, "SUCCESS", None, request)
    expected = "status result traceback children date_done group_id parent_id name args"
    expected += " kwargs worker retries queue stamped_headers s task_id"
    decoded = json.loads(payload)
    assert list(decoded) == expected.split()
    assert decoded["children"] == [[["c", None], None]]
    assert decoded["queue"] == "q"
    assert datetime.fromisoformat(decoded["date_done"]).tzinfo is not None


def test_a_record_without_a_request_has_the_short_form():
    decoded = fields(Codec(), 1, "STARTED")
    assert list(decoded) == (
        "status result traceback children date_done task_id".split()
    )
    assert decoded["date_done"] is None


def test_an_exception_with_very_many_arguments_is_stored_with_some():
    decoded = fields(Codec(), ValueError(*range(1_000_000)), "FAILURE", "tb")
    assert decoded["result"]["exc_message"][-2:] == [998, "... 999,001 more"]


def test_an_exception_is_stored_by_name_and_arguments():
    decoded = fields(Codec(), KeyError("k", object), "FAILURE", "tb")
    assert decoded["result"] == {
        "exc_type": "KeyError",
        "exc_message": ["k", repr(object)],
        "exc_module": "builtins",
    }
    assert decoded["traceback"] == "tb"


def test_stock_clients_know_a_revocation_by_its_name():
    decoded = fields(Codec(), TaskRevoked("gone"), "REVOKED")
    assert decoded["result"]["exc_type"] == "TaskRevokedError"
    assert decoded["result"]["exc_module"] == "celery.exceptions"


def test_pickle_carries_the_exception_itself():
    codec = Codec(serializer="pickle", accept=["pickle"])
    decoded = fields(codec, KeyError("k"), "FAILURE")
    assert type(decoded["result"]) is KeyError


def test_an_exception_as_a_value_of_success_is_no_failure():
    with pytest.raises(EncodeError, match="does not take it"):
        Codec().encode("id", KeyError("k"), "SUCCESS", None, None)


def test_compressed_records_are_marked_and_read_by_anyone():
    payload = Codec(compression="gzip").encode("id", "x" * 999, "SUCCESS", None, None)
    assert payload.startswith(b"\x00celery-compressed\x00application/x-gzip\x00")
    assert Codec().decode(payload)["result"] == "x" * 999


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"serializer": "nope"}, "result_serializer"),
        ({"compression": "nope"}, "result_compression"),
    ],
)
def test_an_unknown_form_is_a_setting_error(settings, name):
    with pytest.raises(SettingError) as caught:
        Codec(**settings)
    assert caught.value.name == name


class Point(NamedTuple):
    """Has fields that results have as methods."""

    as_tuple: int
    id: str


class Symbol:
    """An object as algebra libraries have them: with a method for every question."""

    def as_tuple(self):
        return "x", 2

    def __json__(self):
        return {"symbol": "x"}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (Decimal("1.10"), Decimal("1.10")),
        ([Decimal("1.10")], [Decimal("1.10")]),
        (Point(1, "i"), [1, "i"]),
        (Symbol(), {"symbol": "x"}),
        ({"as_tuple": 1, "__json__": 2}, {"as_tuple": 1, "__json__": 2}),
    ],
)
def test_a_value_is_told_by_its_class_and_not_by_names(value, read):
    codec = Codec()
    assert fields(codec, value)["result"] == read
    part = codec.pack([1, "id", "SUCCESS", codec.plain(value, "SUCCESS")])
    assert codec.decode(part)[3] == read
    # As Celery delivers it.
    stock = celery.Celery(set_as_current=False).backend
    assert stock.decode(stock.encode(stock.prepare_value(value))) == read


def test_results_are_stored_as_their_forms():
    codec = Codec()
    ours = AsyncResult("a", open_backend("memory://", name="forms"))
    theirs = celery.Celery(set_as_current=False).AsyncResult("b")
    assert fields(codec, ours)["result"] == [["a", None], None]
    assert fields(codec, theirs)["result"] == [["b", None], None]


def test_a_mock_that_answers_to_every_name_is_refused():
    with pytest.raises(EncodeError):
        Codec().encode("id", mock.Mock(), "SUCCESS", None, None)


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("name", sorted(hostile.EXCEPTIONS))
def test_every_exception_has_a_record(name, serializer):
    codec = Codec(serializer=serializer, accept=[serializer])
    raised = hostile.EXCEPTIONS[name]()
    assert fields(codec, raised, "FAILURE", "tb")["status"] == "FAILURE"


def test_a_frozen_exception_is_made_again_with_its_traceback():
    record = fields(Codec(), hostile.Declined(5), "FAILURE", "where it was")
    made = rebuild(record)
    assert made == hostile.Declined(5)
    assert "where it was" in str(made.__cause__)
