from __future__ import annotations

import json
import sys
import zlib

import pytest
from kombu.message import Message
from kombu.serialization import dumps

from celerant.worker.headers import timestamp
from celerant.worker.message import Reader
from celerant.worker.refused import Refused

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.fixture
def reader(app):
    app.task("add", lambda x, y: x + y)
    app.task("quiet", lambda: None, ignore_result=True)
    return Reader(app.tasks, {"application/json"}, "w@here")


@pytest.fixture
def message(headers):
    def make(name="add", body=((1, 2), {}, EMBED), **options):
        changed = options.pop("headers", {})
        fields = {
            "body": json.dumps(body) if not isinstance(body, (str, bytes)) else body,
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "headers": headers(name, "id-1", **changed),
            "properties": {"reply_to": "back", "correlation_id": "id-1"},
            "delivery_info": {"exchange": "e", "routing_key": "r"},
        }
        return Message(**{**fields, **options})

    return make


def test_request_holds_the_fields_of_the_message(reader, message):
    embed = {**EMBED, "callbacks": [{"task": "next"}]}
    changed = {
        "group": "g",
        "group_index": 4,
        "retries": 2,
        "timelimit": [10, None],
        "parent_id": "p",
        "x-own": "kept",
        "stamps": {"a": 1},
    }
    made = message(body=([1], {"y": 2}, embed), headers=changed)
    request = reader.read(made).request
    assert (request.id, request.task, request.root_id) == ("id-1", "add", "id-1")
    assert (request.args, request.kwargs) == ([1], {"y": 2})
    assert (request.group, request.group_index, request.retries) == ("g", 4, 2)
    assert request.timelimit == (10, None)
    assert request.parent_id == "p"
    assert request.headers == {"x-own": "kept"}
    assert request.stamps == {"a": 1}
    assert request.callbacks == [{"task": "next"}]
    assert (request.reply_to, request.correlation_id) == ("back", "id-1")
    assert request.delivery_info["routing_key"] == "r"
    assert request.hostname == "w@here"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 7),
        ("id", ""),
        ("id", None),
        ("task", 7),
        ("task", ["add"]),
        ("root_id", 7),
        ("parent_id", []),
        ("group", {}),
        ("group_index", "1"),
        ("eta", 12.5),
        ("eta", "tomorrow"),
        ("expires", 12.5),
        ("expires", "99999-01-01"),
        ("shadow", 1),
        ("origin", 1),
        ("stamped_headers", "a"),
        ("stamps", [1]),
        ("retries", "many"),
        ("replaced_task_nesting", "x"),
        ("ignore_result", "yes"),
        ("timelimit", 10),
        ("timelimit", [1]),
        ("timelimit", ["1", "2"]),
        ("timelimit", [float("nan"), None]),
        ("timelimit", [None, -1]),
        ("id", "\ud800"),
        ("group_index", -1),
        ("group_index", 10**400),
        ("stamped_headers", [["a"]]),
    ],
)
def test_header_of_a_wrong_type_is_refused_by_name(reader, message, name, value):
    with pytest.raises(Refused, match=name):
        reader.read(message(headers={name: value}))


@pytest.mark.parametrize(
    "body",
    [
        "",
        '[[1, 2], {}, {"callbacks": nu',
        b"\xff\xfe",
        "[]",
        "{}",
        "7",
        "[1, {}, {}]",
        "[[1], [], {}]",
        "[[1], {}, []]",
        "[" * 100_000,
        '[[{"__type__": "unheard", "__value__": 1}], {}, {}]',
    ],
)
def test_broken_body_is_refused_with_its_id(reader, message, body):
    with pytest.raises(Refused) as caught:
        reader.read(message(body=body))
    assert caught.value.request.id == "id-1"
    assert len(caught.value.reason) < 400


def test_content_that_is_not_accepted_is_refused(reader, message):
    kind, encoding, body = dumps(((1, 2), {}, EMBED), "pickle")
    made = message(body=body, content_type=kind, content_encoding=encoding)
    with pytest.raises(Refused, match="pickle"):
        reader.read(made)


def test_unknown_content_type_is_refused(reader, message):
    with pytest.raises(Refused, match="body"):
        reader.read(message(content_type="application/x-unheard"))


def test_body_of_a_broken_compression_is_refused(reader, message):
    made = message(body=b"no zlib", headers={"compression": "application/x-gzip"})
    with pytest.raises(Refused, match="body"):
        reader.read(made)


def test_compressed_body_is_read(reader, message):
    body = zlib.compress(json.dumps([[1, 2], {}, EMBED]).encode())
    made = message(body=body, headers={"compression": "application/x-gzip"})
    assert reader.read(made).request.args == [1, 2]


def test_marked_values_come_back_as_kombu_gives_them(reader, message):
    kind, encoding, body = dumps(([1, {"when": b"raw"}], {}, EMBED), "json")
    made = message(body=body, content_type=kind, content_encoding=encoding)
    assert reader.read(made).request.args == [1, {"when": b"raw"}]


def test_unknown_task_is_stored_as_stock_celery_does(reader, message):
    with pytest.raises(Refused) as caught:
        reader.read(message("never.heard"))
    stored = caught.value.exception
    assert type(stored).__qualname__ == "NotRegistered"
    assert type(stored).__module__ == "celery.exceptions"
    assert stored.args == ("never.heard",)


def test_protocol_one_is_refused_with_its_id(reader):
    body = {"task": "add", "id": "old", "args": [1, 2], "kwargs": {}}
    with pytest.raises(Refused, match="protocol 1") as caught:
        reader.read(_bare(body))
    assert caught.value.request.id == "old"


def _bare(body):
    return Message(
        body=json.dumps(body),
        content_type="application/json",
        content_encoding="utf-8",
    )


def test_message_of_somebody_else_is_refused_without_a_request(reader):
    with pytest.raises(Refused, match="no task message") as caught:
        reader.read(_bare({"event": "hello"}))
    assert caught.value.request is None


@pytest.mark.parametrize(
    ("name", "header", "ignored"),
    [
        ("add", None, False),
        ("add", True, True),
        ("quiet", None, True),
        ("quiet", False, False),
    ],
)
def test_message_decides_over_the_task_whether_to_store(
    reader, message, name, header, ignored
):
    made = message(name, headers={"ignore_result": header})
    assert reader.read(made).request.ignore_result is ignored


def test_times_are_read_as_utc_unless_they_say_otherwise(reader, message):
    made = message(headers={"eta": "2030-01-02T03:04:05+02:00", "expires": None})
    assert reader.read(made).due == 1893546245.0
    assert timestamp("2030-01-02T01:04:05Z") == timestamp("2030-01-02T01:04:05")
    assert timestamp("2030-01-02T01:04:05.5") - 0.5 == 1893546245.0
    assert reader.read(message()).due is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reply_to", 5),
        ("reply_to", "x" * 256),
        ("correlation_id", ["a"]),
        ("correlation_id", "\ud800"),
        ("priority", "high"),
    ],
)
def test_property_that_cannot_be_is_refused_by_name(reader, message, name, value):
    with pytest.raises(Refused, match=f"property '{name}'"):
        reader.read(message(properties={name: value}))


@pytest.mark.parametrize(
    ("embed", "said"),
    [
        ({"errbacks": 5}, "its errbacks are no list but 5"),
        ({"callbacks": "x"}, "its callbacks are no list but 'x'"),
        ({"chord": 1}, "its chord is no signature but 1"),
        ({"chain": [{"options": {}}]}, r"its chain\[0\] names no task but None"),
        (
            {"chain": [{"task": "a", "args": 5}]},
            "has args that cannot be 5",
        ),
        ({"chord": {"task": "a", "options": "x"}}, "chord has options that cannot"),
        ({"callbacks": [{"task": "a", "kwargs": []}]}, "has kwargs that cannot"),
        ([], "its embed is no object"),
    ],
)
def test_an_impossible_embed_is_refused_by_name(reader, message, embed, said):
    with pytest.raises(Refused, match=said):
        reader.read(message(body=([1, 2], {}, embed)))


def test_a_refused_message_tells_waiters_for_every_defect(reader, message):
    after = {"task": "after"}
    embed = {"callbacks": 5, "chain": [5, after], "chord": after, "errbacks": [after]}
    made = message(
        body=(5, 5, embed),
        headers={"eta": "tomorrow", "retries": "x", "group": "g", "group_index": 3},
        properties={"reply_to": 5, "correlation_id": "c"},
    )
    with pytest.raises(Refused) as caught:
        reader.read(made)
    request = caught.value.request
    assert (request.group, request.group_index) == ("g", 3)
    assert (request.chain, request.chord, request.errbacks) == ([after], after, [after])
    assert request.correlation_id == "c"


def test_the_name_of_a_task_is_a_call_of_it(reader, message):
    request = reader.read(message(body=([1, 2], {}, {"errbacks": ["tell"]}))).request
    assert request.errbacks == [{"task": "tell"}]


def test_an_exit_while_a_body_is_read_does_not_end_the_worker(app, message):
    class Exits:
        def __reduce__(self):
            return sys.exit, (1,)

    kind, encoding, body = dumps(((Exits(),), {}, EMBED), "pickle")
    app.task("add", lambda x, y: x + y)
    reader = Reader(app.tasks, {"application/x-python-serialize"})
    made = message(body=body, content_type=kind, content_encoding=encoding)
    with pytest.raises(Refused, match="SystemExit") as caught:
        reader.read(made)
    assert caught.value.request.id == "id-1"
