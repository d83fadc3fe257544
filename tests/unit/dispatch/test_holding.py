"""Canvases that are held: frozen and checked now, sent later or never."""

from __future__ import annotations

import json
import uuid

import pytest
from kombu import Connection, Producer

from celerant import CanvasError, NotSent, PublishError, chain, chord, group
from celerant.context.call import Call
from celerant.errors import SettingError
from harness.capture import drain


class Failing(Producer):
    """Cannot publish from the third on, while it is broken."""

    is_broken = True
    count = 0

    def publish(self, *args, **kwargs):
        if self.is_broken and self.count >= 2:
            raise ConnectionResetError
        self.count += 1
        return super().publish(*args, **kwargs)


@pytest.fixture
def failing():
    with Connection("memory://localhost//") as connection:
        yield Failing(connection)


def hold(shop, canvas, args=(), kwargs=None, **options):
    call = Call(args, kwargs or {}, options)
    return shop.app.sender.hold(canvas, call, unsent="no word")


def queued(shop):
    return drain("memory://", shop.app.conf.task_default_queue)


def arguments(message):
    return json.loads(message.body)[0]


def test_a_held_canvas_sends_nothing_before_its_send_and_keeps_its_ids(shop):
    held = hold(shop, group([shop.add.s(1), shop.add.s(2)]), (10,), task_id="g")
    ids = [member.id for member in held.result]
    assert queued(shop) == []

    held.send()

    sent = queued(shop)
    assert [message.headers["id"] for message in sent] == ids
    assert [arguments(message) for message in sent] == [[10, 1], [10, 2]]
    assert {message.headers["group"] for message in sent} == {"g"}
    assert held.result.id == "g"
    assert held.result.report.complete


def test_a_second_word_sends_nothing(shop):
    held = hold(shop, shop.add.s(1, 2))
    held.send()
    held.send()
    assert len(queued(shop)) == 1


def test_a_task_keeps_the_id_it_is_given(shop):
    held = hold(shop, shop.add.s(1, 2), task_id="t")
    assert held.result.id == "t"
    held.send()
    assert [message.headers["id"] for message in queued(shop)] == ["t"]


def test_the_result_of_a_dropped_message_says_so(shop):
    told = []
    held = hold(shop, group([shop.add.s(1, 1), shop.ignored.s()]))
    result, member = held.result, held.result[0]
    result.then(lambda _: told.append("done"), on_error=lambda _: told.append("failed"))

    del held

    assert queued(shop) == []
    assert told == ["failed"]
    assert result.counts()["NOT_SENT"] == 1
    with pytest.raises(NotSent, match="member 0 was not sent: no word"):
        member.get(timeout=5)


def test_results_reach_callbacks_that_were_there_first(shop):
    told = []
    held = hold(shop, group([shop.add.s(1, 1), shop.add.s(2, 2)]))
    # As in the transaction whose end it waits for.
    held.refuse_waiting(pytest.fail)
    held.result.then(lambda result: told.append(result.get(timeout=0)))
    with shop.app.worker(concurrency=1):
        held.send()
        assert held.result.get(timeout=10) == [2, 4]
    shop.app.close()
    assert told == [[2, 4]]


def test_a_held_canvas_is_sent_as_it_was_when_held(shop):
    members = [shop.add.s(1, 1)]
    canvas = group(members)
    held = hold(shop, canvas)
    members[0].set(queue="elsewhere")
    members.append(shop.add.s(2, 2))
    held.send()
    assert [arguments(message) for message in queued(shop)] == [[1, 1]]
    assert canvas.id is None


def test_a_held_canvas_can_be_resumed_after_the_broker_failed(shop, failing):
    shop.app.conf.task_publish_retry_policy = {"max_retries": 0}
    canvas = group(shop.add.s(i, i) for i in range(5))
    held = hold(shop, canvas, producer=failing)
    result = held.result
    ids = [member.id for member in result]

    with pytest.raises(PublishError) as caught:
        held.send()

    assert caught.value.result is result
    assert result.report.counts() == {
        "confirmed": 2,
        "rejected": 0,
        "unknown": 1,
        "unsent": 2,
    }
    del held
    assert result.counts()["NOT_SENT"] == 2
    failing.is_broken = False
    assert canvas.resume(result) is result
    assert [message.headers["id"] for message in queued(shop)] == ids
    assert result.counts()["NOT_SENT"] == 0


def test_a_held_canvas_that_cannot_be_sent_fails_at_the_send_and_at_get(shop):
    held = hold(shop, shop.add.s(1, object()))
    with pytest.raises(TypeError):
        held.send()
    with pytest.raises(NotSent, match="EncodeError"):
        held.result.get(timeout=5)


@pytest.mark.parametrize(
    ("canvas", "options", "error", "path"),
    [
        (lambda shop: shop.add.s(1, 2), {"quue": "q"}, SettingError, "task"),
        (lambda shop: shop.add.s(1), {}, TypeError, "task"),
        (lambda shop: group([shop.add.s(1, 2)]), {"quue": "q"}, SettingError, "group"),
        (
            lambda shop: group([shop.add.s(1, 2), shop.add.s(1)]),
            {},
            TypeError,
            "group[1]",
        ),
        (
            lambda shop: group([shop.add.s(1, 2).set(quue="q")]),
            {},
            SettingError,
            "group[0]",
        ),
        (
            lambda shop: group([group([shop.add.s(1, 2)]), group([shop.add.s(1)])]),
            {},
            TypeError,
            "group[1][0]",
        ),
        (lambda shop: shop.add.s(1, 2).set(quue="q"), {}, SettingError, "task"),
        (
            lambda shop: shop.add.s(1, 2).set(link=shop.add.s(1).set(quue="q")),
            {},
            SettingError,
            "task.link[0]",
        ),
    ],
)
def test_holding_refuses_wrong_options_and_arguments_at_once(
    shop, canvas, options, error, path
):
    with pytest.raises(error) as caught:
        hold(shop, canvas(shop), **options)
    assert caught.value.path == path


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_a_link_of_a_group_is_refused_when_it_is_held(shop, option):
    with pytest.raises(TypeError, match="Cannot add link to group"):
        hold(shop, group([shop.add.s(1, 2)]), **{option: shop.echo.s()})


def test_a_task_that_is_not_here_can_be_held(shop):
    held = hold(shop, shop.app.signature("elsewhere.run", (1,)))
    held.send()
    assert [message.headers["task"] for message in queued(shop)] == ["elsewhere.run"]


CANVASES = {
    "chain": (
        lambda add, echo: chain(add.s(1, 1), add.s(2), echo.s()),
        [4, 4, 2],
    ),
    "chain to a group": (
        lambda add, _: add.s(1, 1) | group(add.s(1), add.s(2)),
        [[3, 4], 2],
    ),
    "chord": (
        lambda add, echo: chord([add.s(1, 1), add.s(2, 2)], echo.s()),
        [[2, 4], [2, 4]],
    ),
    "generated chord": (
        lambda add, echo: chord((add.s(n, n) for n in range(3)), echo.s()),
        [[0, 2, 4], [0, 2, 4]],
    ),
    "empty chord": (lambda _, echo: chord([], echo.s()), [[], []]),
    "chord in a chain": (
        lambda add, echo: add.s(1, 1) | group(add.s(1), add.s(2)) | echo.s() | echo.s(),
        [[3, 4], [3, 4], [3, 4], 2],
    ),
    "chain in a chord": (
        lambda add, echo: chord(
            [add.s(1, 1) | group(add.s(1), add.s(2)), add.s(3, 3)],
            chain(echo.s(), echo.s()),
        ),
        [[[3, 4], 6]] * 3,
    ),
}


@pytest.fixture
def tasks(shop):
    @shop.app.task(name="holding.add")
    def add(x, y):
        return x + y

    @shop.app.task(name="holding.echo")
    def echo(value):
        return value

    @shop.app.task(name="holding.fail")
    def fail(*_):
        raise ValueError("no")

    shop.plus, shop.echo, shop.fail = add, echo, fail
    return shop


def line(result):
    """Return a result and those that it follows."""
    found = []
    while result is not None:
        found.append(result)
        result = result.parent
    return found


@pytest.mark.parametrize("eager", [False, True], ids=["sent", "in place"])
@pytest.mark.parametrize("name", CANVASES)
def test_chains_and_chords_have_their_results_before_the_word(tasks, name, eager):
    make, values = CANVASES[name]
    canvas = make(tasks.plus, tasks.echo)
    with tasks.app.worker(concurrency=1):
        tasks.app.conf.task_always_eager = eager
        last = str(uuid.uuid4())
        named = {} if "to a group" in name else {"task_id": last}
        held = hold(tasks, canvas, **named)
        results = line(held.result)
        ids = [result.id for result in results]
        assert not any(result.ready() for result in results if values[0] != [])
        held.send()
        assert [result.get(timeout=10) for result in results] == values
    assert [result.id for result in results] == ids
    assert ids[0] == last or not named


@pytest.mark.parametrize("name", CANVASES)
def test_all_that_was_dropped_says_so(tasks, name):
    held = hold(tasks, CANVASES[name][0](tasks.plus, tasks.echo))
    results = line(held.result)
    del held
    assert queued(tasks) == []
    for result in results:
        if getattr(result, "results", None) == []:
            continue
        with pytest.raises(NotSent, match="was not sent: no word"):
            result.get(timeout=5)


def test_a_step_that_fails_in_place_is_told_twice(tasks):
    tasks.app.conf.task_always_eager = True
    held = hold(tasks, tasks.fail.s() | tasks.echo.s())
    with pytest.raises(ValueError, match="no"):
        held.send()
    with pytest.raises(NotSent, match="ValueError: no"):
        held.result.get(timeout=5)


def test_steps_behind_one_that_ends_its_chain_in_place_are_not_sent(tasks):
    from celerant import Ignore

    @tasks.app.task(name="holding.ignore")
    def ignore():
        raise Ignore

    tasks.app.conf.task_always_eager = True
    held = hold(tasks, ignore.s() | tasks.echo.s())
    held.send()
    with pytest.raises(NotSent, match="a step before it ended the chain"):
        held.result.get(timeout=5, follow_parents=False)


def test_a_held_chord_can_be_resumed_after_the_broker_failed(tasks, failing):
    tasks.app.conf.task_publish_retry_policy = {"max_retries": 0}
    canvas = chord([tasks.plus.s(n, n) for n in range(5)], tasks.echo.s())
    held = hold(tasks, canvas, producer=failing)
    with pytest.raises(PublishError) as caught:
        held.send()
    assert caught.value.report.counts()["confirmed"] == 2
    assert caught.value.result is held.result
    with pytest.raises(NotSent):
        held.result.get(timeout=5)
    assert held.result.parent.counts()["NOT_SENT"] == 2


@pytest.mark.parametrize(
    ("canvas", "options", "error", "path"),
    [
        (lambda add, _: add.s(1, 2) | add.s(3), {"quue": "q"}, SettingError, None),
        (lambda add, _: add.s(1) | add.s(3), {}, TypeError, "celery.chain[0]"),
        (
            lambda add, _: add.s(1, 2) | add.s(3).set(quue="q"),
            {},
            SettingError,
            "celery.chain[1]",
        ),
        (
            lambda add, echo: chord([add.s(1, 2), add.s(1)], echo.s()),
            {},
            TypeError,
            "celery.chord[1]",
        ),
        (
            lambda add, echo: chord([add.s(1, 2)], echo.s().set(quue="q")),
            {},
            SettingError,
            "celery.chord.chord_body",
        ),
        (lambda add, _: chord([add.s(1, 2)]), {}, CanvasError, None),
    ],
)
def test_holding_refuses_errors_in_chains_and_chords_at_once(
    tasks, canvas, options, error, path
):
    with pytest.raises(error) as caught:
        hold(tasks, canvas(tasks.plus, tasks.echo), **options)
    assert path is None or caught.value.path == path
    assert queued(tasks) == []
