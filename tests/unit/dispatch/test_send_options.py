"""Options of `apply_async`: every one of Celery's is known and has its effect."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta, timezone

import celery
import pytest
from celery.app.amqp import AMQP
from kombu import Connection, Producer

from celerant import CanvasError, Celerant, SettingError, group
from celerant.canvas.options import ApplyOptions
from celerant.canvas.send_options import OPTIONS
from harness.capture import drain

#: Parameters of Celery's functions that are no options of a call.
_NO_OPTIONS = {"self", "name", "message", "args", "kwargs", "options", "compat_kwargs"}


def celerys_options():
    app = celery.Celery("o", set_as_current=False)
    functions = [
        celery.Task.apply_async,
        celery.Task.apply,
        celery.Celery.send_task,
        AMQP.as_task_v2,
        app.amqp.send_task_message,
        Producer.publish,
    ]
    return {
        name
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    } - _NO_OPTIONS


def test_every_option_of_celery_is_in_the_table():
    assert celerys_options() - OPTIONS.keys() == set()


def test_honoured_options_have_a_type():
    honoured = {n for n, o in OPTIONS.items() if o.treatment == "honoured"}
    # `apply` alone takes it.
    assert honoured == set(ApplyOptions.__annotations__) - {"throw"}


@pytest.fixture
def app():
    with Celerant("send-options") as app:
        app.task(name="o.task")(print)
        yield app
    drain("memory://", "send-options")


@pytest.mark.parametrize(
    "name", [n for n, o in OPTIONS.items() if o.treatment == "refused"]
)
def test_option_that_cannot_be_given_is_refused_with_the_reason(app, name):
    with pytest.raises(SettingError, match=OPTIONS[name].remark) as caught:
        app.tasks["o.task"].apply_async(**{name: 1})
    assert caught.value.name == name


WRONG = [
    ("eta", "tomorrow"),
    ("eta", 5),
    ("countdown", "soon"),
    ("countdown", float("nan")),
    ("countdown", True),
    ("expires", "never"),
    ("expires", []),
    ("time_limit", "10"),
    ("time_limit", -1),
    ("time_limit", float("inf")),
    ("soft_time_limit", float("nan")),
    ("priority", "high"),
    ("priority", 1.5),
    ("retries", "2"),
    ("ignore_result", "no"),
    ("retry", "false"),
    ("mandatory", "no"),
    ("add_to_parent", "no"),
    ("queue", 5),
    ("headers", ["a"]),
    ("stamped_headers", "abc"),
    ("declare", "queue"),
    ("task_id", 5),
    ("group_id", 5),
    ("link", "task"),
    ("timeout", "1"),
    ("properties", "a"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_impossible_value_is_refused_by_its_name(app, name, value):
    signature = app.tasks["o.task"].s()
    for send in (
        lambda: signature.apply_async(**{name: value}),
        lambda: signature.clone().set(**{name: value}).apply_async(),
        lambda: group([signature.clone().set(**{name: value})]).apply_async(),
        lambda: signature.apply(**{name: value}),
    ):
        # A canvas's maker is refused as a part of it.
        with pytest.raises((SettingError, CanvasError), match=name) as caught:
            send()
        assert getattr(caught.value, "name", name) == name
    assert drain("memory://", "send-options") == []


def test_times_may_have_the_types_that_celery_takes(app):
    moment = datetime(2030, 1, 1, tzinfo=timezone.utc)
    for eta in (moment, "2030-01-01T00:00:00Z", "2030-01-01"):
        app.tasks["o.task"].apply_async(eta=eta)
    for expires in (moment, 60, 0.5, "2030-01-01T00:00:00+00:00"):
        app.tasks["o.task"].apply_async(countdown=1.5, expires=expires)
    sent = drain("memory://", "send-options")
    assert [message.headers["eta"][:10] for message in sent[:3]] == ["2030-01-01"] * 3
    assert all(message.headers["expires"] for message in sent[3:])


PROPERTIES = [
    {"MessageGroupId": "g", "MessageDeduplicationId": "d"},
    {"DelaySeconds": 3},
    {"message_attributes": {"a": {"StringValue": "b", "DataType": "String"}}},
    {"properties": {"MessageGroupId": "g", "ordering_key": "k"}},
]


@pytest.mark.parametrize("options", PROPERTIES)
def test_properties_of_transports_are_the_messages(app, options):
    task = app.tasks["o.task"]
    task.apply_async(**options)
    task.s().set(**options).apply_async()
    group(task.s() for _ in range(2)).apply_async(**options)
    with Connection("memory://") as connection:
        task.apply_async(**options, producer=Producer(connection))
        task.apply_async(**options, connection=connection)
        task.apply_async(**options, publisher=Producer(connection))
    sent = drain("memory://", "send-options")
    assert len(sent) == 7
    expected = options.get("properties", options)
    for message in sent:
        assert expected.items() <= message.properties.items()


@pytest.mark.parametrize("name", ["queue", "headers", "content_type", "delivery_info"])
def test_properties_that_are_options_are_refused(app, name):
    with pytest.raises(SettingError, match=f"properties cannot have '{name}'"):
        app.tasks["o.task"].apply_async(properties={name: "x"})


def test_expiration_is_told_to_the_broker(app):
    app.tasks["o.task"].apply_async(expiration=2)
    (message,) = drain("memory://", "send-options")
    assert message.properties["expiration"] == "2000"


def test_limits_and_countdown_of_zero_are_none(app):
    app.tasks["o.task"].apply_async(time_limit=0, soft_time_limit=3, countdown=0)
    (message,) = drain("memory://", "send-options")
    assert message.headers["timelimit"] == [0, 3]
    assert message.headers["eta"] is None


def test_timedelta_is_no_time(app):
    with pytest.raises(SettingError, match="expires must be"):
        app.tasks["o.task"].apply_async(expires=timedelta(seconds=1))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("windw", "window"),
        ("canry", "canary"),
        ("stopif", "stop_if"),
        ("cancelable", "cancellable"),
        ("jurnal", "journal"),
        ("coutdown", "countdown"),
    ],
)
def test_an_unknown_option_of_a_group_is_told_with_the_nearest_that_it_has(
    app, name, near
):
    with pytest.raises(SettingError, match=f"did you mean '{near}'") as caught:
        group([app.tasks["o.task"].s()]).apply_async(**{name: 3})
    assert caught.value.nearest == near


@pytest.mark.parametrize("name", ["window", "canary", "stop_if", "journal"])
def test_an_option_of_groups_is_told_as_such_where_it_cannot_be(app, name):
    task = app.tasks["o.task"]
    sends = [
        lambda: task.apply_async((1,), **{name: 3}),
        lambda: (task.si() | task.si()).apply_async(**{name: 3}),
        lambda: group([task.s().set(**{name: 3})]).apply_async(),
    ]
    for send in sends:
        with pytest.raises(SettingError, match="only a group's apply_async") as caught:
            send()
        assert "did you mean" not in str(caught.value)
