"""Bad input is refused with an error that names the place, and nothing is sent."""

from __future__ import annotations

import logging

import pytest

from celerant import Celerant, Signature, chain, chord, group
from celerant.canvas.chain import Chain
from celerant.errors import (
    ArgumentError,
    CanvasError,
    CelerantError,
    EncodeError,
    PublishError,
    SettingError,
)
from harness.capture import drain
from harness.tasks import define_tasks

QUEUE = "celerant-test-bad-input"


@pytest.fixture
def shop(app):
    app.conf.task_default_queue = QUEUE
    tasks = define_tasks(app)
    tasks.app = app
    yield tasks
    drain("memory://", QUEUE)


def _queue_is_empty():
    return drain("memory://", QUEUE) == []


STRANGERS = [3, None, "celerant_test.add", b"x", object(), [1], print]


@pytest.mark.parametrize("bad", STRANGERS)
@pytest.mark.parametrize("made", [group, lambda members: group(*members)])
def test_a_member_that_is_no_signature_is_refused_as_the_group_is_made(shop, bad, made):
    with pytest.raises(CanvasError) as caught:
        made([shop.add.s(1, 2), bad])
    assert caught.value.path == "group[1]"
    assert str(caught.value).startswith("group[1]: a member must be a signature")


@pytest.mark.parametrize("bad", STRANGERS)
def test_adding_a_member_that_is_no_signature_is_refused(shop, bad):
    members = group([shop.add.s(1, 2)])
    with pytest.raises(CanvasError, match="must be a signature") as caught:
        members.add(bad)
    assert caught.value.path == "group[1]"
    assert len(members) == 1


@pytest.mark.parametrize("bad", [*STRANGERS, {"args": []}])
def test_a_member_that_is_no_signature(shop, bad):
    inner = [shop.add.s(1, 2)]
    members = group([shop.add.s(1, 2), group(inner)])
    # Too late for the constructor: the send looks again.
    inner.append(bad)

    with pytest.raises(CanvasError) as caught:
        members.apply_async()

    assert caught.value.path == "group[1][1]"
    assert "group[1][1]" in str(caught.value)
    assert _queue_is_empty()


@pytest.mark.parametrize("bad", [3, None, "celerant_test.add", {"task": "x"}])
def test_a_group_refuses_members_that_are_no_signatures(bad):
    with pytest.raises(CanvasError, match=r"group\[0\]") as caught:
        group(bad)
    assert caught.value.path == "group[0]"


@pytest.mark.parametrize("form", ["map", "starmap"])
def test_mapping_over_a_value_that_is_not_iterable_is_refused(shop, form):
    with pytest.raises(CanvasError, match=f"group.{form} .*, not int; .* a list"):
        getattr(group, form)(shop.add, 5)


@pytest.mark.parametrize("task", [print, None, 3])
def test_mapping_a_value_that_is_no_task_is_refused(task):
    with pytest.raises(CanvasError, match=r"group.map .*@app\.task"):
        group.map(task, [1])


def test_a_task_instead_of_its_signature_is_refused(shop):
    with pytest.raises(CanvasError, match=r"group\[1\]") as caught:
        group([shop.add.s(1, 2), shop.add]).apply_async()
    assert ".s(" in str(caught.value)
    assert _queue_is_empty()


def test_a_cycle_is_refused(shop):
    members = [shop.add.s(1, 2)]
    cycle = group(members)
    members.append(group([cycle]))

    with pytest.raises(CanvasError, match="cycle") as caught:
        cycle.apply_async()

    assert caught.value.path.startswith("group[1]")
    assert _queue_is_empty()


def _nested(member, depth):
    for _ in range(depth):
        member = group([member])
    return member


def test_depth_ten_thousand_works(shop):
    with shop.app.worker(concurrency=1):
        result = _nested(shop.add.s(1, 2), 10_000).apply_async()
        assert result.get(timeout=20) == [3]


def test_depth_over_the_limit(shop):
    with pytest.raises(CanvasError, match="deep") as caught:
        _nested(shop.add.s(1, 2), 30_000).apply_async()
    assert caught.value.path.startswith("group[0]")
    # A path of thousands of steps is no help to anybody.
    assert len(str(caught.value)) < 400
    assert _queue_is_empty()


@pytest.mark.parametrize("kind", ["chain", "chord"])
def test_a_chain_or_chord_without_its_parts_is_refused(shop, kind):
    step = dict(shop.add.s(1, 2))
    broken = {**step, "task": f"celery.{kind}", "subtask_type": kind}

    with pytest.raises(CanvasError, match=kind) as caught:
        group([shop.add.s(1, 2), broken], app=shop.app).apply_async()

    assert caught.value.path == "group[1]"
    assert _queue_is_empty()


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda good, bad: group([good, Chain([good, bad], {})]), "group[1][1]"),
        (lambda good, bad: Chain([good, bad], {}), "chain[1]"),
        (lambda good, bad: chord([good], bad), "chord.chord_body"),
        (
            lambda good, bad: chord([chord([bad], good)], good),
            "group[0].chord_header[0]",
        ),
    ],
    ids=["group", "chain", "body", "header"],
)
def test_a_part_without_its_parts_is_named(shop, make, path):
    bad = Signature("celery.chain", subtask_type="chain")

    with pytest.raises(CanvasError) as caught:
        make(shop.add.s(1, 2), bad).apply_async()

    assert caught.value.path == path
    assert path in str(caught.value)
    assert _queue_is_empty()


def test_an_argument_that_no_serializer_takes(shop):
    members = [shop.echo.s(1), group([shop.echo.s(2), shop.echo.s(k={"a": object()})])]

    with pytest.raises(EncodeError) as caught:
        group(members).apply_async()

    error = caught.value
    assert (error.task, error.group_index) == ("celerant_test.echo", 2)
    assert error.path == "group[1][1]"
    assert error.value_type == "object"
    assert "group[1][1]" in str(error)
    assert "send plain data, or choose another serializer" in str(error)
    assert _queue_is_empty()


def test_a_late_bad_member_of_a_list_sends_nothing(shop):
    members = [shop.echo.s(i) for i in range(3_000)]
    members.append(shop.echo.s(object()))

    with pytest.raises(EncodeError) as caught:
        group(members).apply_async()

    assert caught.value.group_index == 3_000
    assert _queue_is_empty()


def test_an_argument_nested_in_itself_is_refused(shop):
    loop = []
    loop.append(loop)
    with pytest.raises(EncodeError):
        group([shop.echo.s(1), shop.echo.s(loop)]).apply_async()
    assert _queue_is_empty()


def test_an_argument_nested_too_deep_is_refused(shop):
    deep = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises((EncodeError, RecursionError)):
        group([shop.echo.s(deep)]).apply_async()
    assert _queue_is_empty()
    # Freed from the outside in: Python's own recursion would not survive it.
    while deep:
        deep = deep.pop()


def test_an_unknown_serializer_is_refused_with_the_nearest(shop):
    with pytest.raises(SettingError, match="jsn") as caught:
        group([shop.add.s(1, 2)]).apply_async(serializer="jsn")
    assert caught.value.nearest == "json"
    assert _queue_is_empty()


def test_an_unknown_compression_is_refused(shop):
    with pytest.raises(SettingError, match="gzp"):
        group([shop.add.s(1, 2)]).apply_async(compression="gzp")
    assert _queue_is_empty()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1,), {}), ((1, 2, 3), {}), ((1,), {"z": 2}), ((1, 2), {"x": 1}), ((), {})],
)
def test_arguments_that_the_task_does_not_take(shop, args, kwargs):
    wrong = shop.add.s(*args, **kwargs)
    members = group([shop.add.s(1, 2), group([shop.add.s(1, 2), wrong])])
    with pytest.raises(TypeError, match="add") as caught:
        members.apply_async()
    error = caught.value
    assert isinstance(error, ArgumentError)
    assert str(error).startswith("group[1][1]: task celerant_test.add: ")
    assert (error.path, error.group_index) == ("group[1][1]", 2)
    assert error.task == "celerant_test.add"
    assert _queue_is_empty()
    with pytest.raises(ArgumentError, match=r"^task celerant_test\.add: ") as caught:
        shop.add.apply_async(args, kwargs)
    assert (caught.value.path, caught.value.group_index) == ("task", None)
    assert _queue_is_empty()


@pytest.mark.parametrize("is_eager", [False, True])
@pytest.mark.parametrize(
    ("option", "value"),
    [("countdwn", 3), ("queue", 3), ("time_limit", "long")],
)
def test_a_members_option_is_refused_with_its_path(shop, is_eager, option, value):
    shop.app.conf.task_always_eager = is_eager
    wrong = shop.add.s(1, 2).set(**{option: value})
    with pytest.raises(SettingError, match=option) as caught:
        group([shop.add.s(1, 2), wrong]).apply_async()
    assert (caught.value.name, caught.value.path) == (option, "group[1]")
    assert str(caught.value).startswith("group[1]: task celerant_test.add: ")
    assert _queue_is_empty()


@pytest.mark.parametrize("option", ["serializer", "compression", "delivery_mode"])
def test_wrong_options_of_the_message_are_refused_with_their_path(shop, option):
    wrong = shop.add.s(1, 2).set(**{option: "jsn"})
    with pytest.raises(SettingError, match="jsn") as caught:
        group([shop.add.s(1, 2), group([wrong])]).apply_async()
    assert (caught.value.name, caught.value.path) == (option, "group[1][0]")
    assert str(caught.value).startswith("group[1][0]: task celerant_test.add: ")
    with pytest.raises(SettingError, match="jsn") as caught:
        wrong.apply_async()
    assert caught.value.path == "task"
    assert str(caught.value).startswith("task celerant_test.add: ")
    assert _queue_is_empty()


def test_an_option_of_the_task_is_refused_with_the_members_path(shop):
    @shop.app.task(name="celerant_test.misspelt", serializer="jsn")
    def misspelt():
        return None

    with pytest.raises(SettingError, match=r"task celerant_test\.misspelt: ") as caught:
        group([shop.add.s(1, 2), misspelt.s()]).apply_async()
    assert (caught.value.path, caught.value.nearest) == ("group[1]", "json")


@pytest.mark.parametrize("option", ["serializer", "compression", "countdwn"])
def test_an_option_of_the_call_is_refused_without_blaming_a_member(shop, option):
    with pytest.raises(SettingError, match=f"^group: .*{option}") as caught:
        group([shop.add.s(1, 2)]).apply_async(**{option: "jsn"})
    assert caught.value.path == "group"
    assert _queue_is_empty()


@pytest.mark.parametrize(
    ("bad", "kind"),
    [("task", CanvasError), ("arguments", ArgumentError), ("value", EncodeError)],
)
def test_a_late_bad_member_of_a_generator_is_named_once(shop, bad, kind):
    wrong = {
        "task": {"args": []},
        "arguments": shop.add.s(1),
        "value": shop.echo.s(object()),
    }[bad]

    def members():
        for i in range(1_200):
            yield shop.add.s(i, 1)
        yield group([shop.add.s(1, 1), wrong])
        pytest.fail("what is behind a bad member is not read")

    with pytest.raises(PublishError) as caught:
        group(members()).apply_async()

    error = caught.value
    assert isinstance(error.__cause__, kind)
    assert error.path == error.__cause__.path == "group[1200][1]"
    assert str(error).count("group[") == 1
    # Read and good: 1201. The bad one is in no report.
    sent = len(drain("memory://", QUEUE))
    assert error.report.total == 1_201
    assert error.report.confirmed == [(0, sent)]
    assert error.report.counts()["unsent"] == 1_201 - sent


def test_a_second_member_with_the_same_task_id_is_refused(shop):
    first, second = (shop.add.s(i, 2).set(task_id="mine") for i in (1, 2))
    with pytest.raises(CanvasError, match="that of member 0") as caught:
        group([first, group([second])]).apply_async()
    assert caught.value.path == "group[1][0]"


def test_wrong_arguments_of_a_task_without_typing_are_sent(shop):
    @shop.app.task(name="celerant_test.loose", typing=False)
    def loose(x):
        return x

    group([loose.s(1, 2, 3)]).apply_async()

    assert len(drain("memory://", QUEUE)) == 1


def test_a_generator_that_raises_half_way_reports_the_sent_members(shop):
    def members():
        for i in range(1_200):
            yield shop.add.s(i, 1)
        msg = "the source is broken"
        raise LookupError(msg)

    with pytest.raises(CelerantError) as caught:
        group(members()).apply_async()

    report = caught.value.report
    sent = [m.headers["group_index"] for m in drain("memory://", QUEUE)]
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.path == "group[1200]"
    assert str(caught.value) == ("sending stopped at group[1200]: the source is broken")
    assert report.counts()["confirmed"] == len(sent)
    assert sent == list(range(len(sent)))


def test_a_generator_used_twice_is_refused(shop):
    once = group(shop.add.s(i, i) for i in range(3))
    once.apply_async()
    assert len(drain("memory://", QUEUE)) == 3

    with pytest.raises(CanvasError, match="generator"):
        once.apply_async()

    assert _queue_is_empty()


def test_get_inside_a_task(shop):
    @shop.app.task(name="celerant_test.waits")
    def waits():
        return shop.add.delay(1, 2).get(timeout=5)

    with shop.app.worker(concurrency=2):
        with pytest.raises(RuntimeError, match="task"):
            waits.delay().get(timeout=20)
        group_result = group([waits.s()]).apply_async()
        (error,) = group_result.get(timeout=20, propagate=False)
    assert isinstance(error, RuntimeError)


@pytest.mark.parametrize("option", ["link", "link_error"])
@pytest.mark.parametrize("as_list", [False, True])
def test_a_callback_of_a_members_own_that_is_none(shop, option, as_list):
    def wrong():
        callback = [shop.add.s(1), 7] if as_list else 7
        return shop.add.s(1, 2).set(**{option: callback})

    for canvas, path in [
        (wrong(), "task"),
        (group([shop.add.s(1, 2), wrong()]), "group[1]"),
        (group(wrong() for _ in range(2)), "group[0]"),
        (chain(shop.add.s(1, 2), wrong()), "chain[1]"),
        (group([chain(shop.add.s(1, 2), wrong())]), "group[0][1]"),
        (chord([wrong()], shop.add.s(1)), "group[0]"),
        (chord([shop.add.s(1, 2)], wrong()), "chord.chord_body"),
    ]:
        said = rf"{option} must be a signature or a list of them, not int"
        with pytest.raises(CanvasError, match=said) as caught:
            canvas.apply_async()
        assert caught.value.path == path
        assert _queue_is_empty()


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_a_link_on_the_call_of_a_group(shop, option):
    with pytest.raises(TypeError, match="Cannot add link to group"):
        group([shop.add.s(1, 2)]).apply_async(**{option: shop.add.s(1, 2)})
    assert _queue_is_empty()


def test_an_unknown_option_suggests_the_nearest(shop):
    with pytest.raises(SettingError, match="countdown") as caught:
        group([shop.add.s(1, 2)]).apply_async(countdwn=3)
    assert (caught.value.name, caught.value.nearest) == ("countdwn", "countdown")
    with pytest.raises(SettingError, match="countdown"):
        shop.add.apply_async((1, 2), countdwn=3)
    assert _queue_is_empty()


def test_an_unknown_setting_suggests_the_nearest(shop):
    with pytest.raises(SettingError, match="task_default_queue") as caught:
        shop.app.conf.task_defalt_queue = "q"
    assert caught.value.nearest == "task_default_queue"


def test_settings_that_only_celery_uses_are_accepted(shop):
    shop.app.conf.worker_max_tasks_per_child = 10
    shop.app.conf.beat_schedule = {}
    assert shop.app.conf.worker_max_tasks_per_child == 10


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("countdown", "soon"),
        ("eta", 5),
        ("expires", object()),
        ("priority", "high"),
        ("queue", 3),
        ("headers", 3),
        ("time_limit", "long"),
    ],
)
def test_an_option_of_an_impossible_value_is_refused(shop, option, value):
    with pytest.raises((SettingError, TypeError, ValueError), match=option):
        group([shop.add.s(1, 2)]).apply_async(**{option: value})
    assert _queue_is_empty()


def test_a_soft_limit_over_the_hard_one(shop):
    with pytest.raises(ValueError, match="soft"):
        group([shop.add.s(1, 2)]).apply_async(time_limit=5, soft_time_limit=10)
    assert _queue_is_empty()


@pytest.mark.parametrize("handle", ["", "x", "celerant", "a" * 5_000, "ä", "1." * 40])
def test_a_handle_that_is_none(shop, handle):
    with pytest.raises(CelerantError):
        shop.app.attach(handle)


def test_a_result_of_memory_cannot_be_attached(shop):
    result = group([shop.add.s(1, 2)]).apply_async()
    with pytest.raises(CelerantError, match="memory"):
        shop.app.attach(result.handle)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hidden@127.0.0.1:1/0",
        "amqp://user:hidden@127.0.0.1:1//",
    ],
)
def test_passwords_are_masked(url, caplog):
    with (
        Celerant("celerant-test-masked", broker=url) as masked,
        caplog.at_level(logging.DEBUG, "celerant"),
    ):
        shown = f"{masked!r} {masked.conf!r} {masked}"
    assert "hidden" not in shown
    assert "hidden" not in caplog.text


def test_an_empty_group_is_ready_at_once(shop):
    for empty in (group(), group([]), group(iter(()))):
        result = empty.apply_async()
        assert result.get(timeout=1) == []
        assert result.ready()
        assert len(result) == 0
    assert _queue_is_empty()


def test_signatures_are_left_as_they_were(shop):
    members = [shop.add.s(1), shop.echo.s(k=[1]).set(priority=3)]
    before = [repr(dict(m)) for m in members]

    group(members).apply_async((5,), priority=7)

    assert [repr(dict(m)) for m in members] == before
