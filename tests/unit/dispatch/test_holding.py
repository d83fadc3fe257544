"""Canvases that are held: frozen and checked now, sent later or never."""

from __future__ import annotations

import json

import pytest
from kombu import Connection, Producer

from celerant import NotSent, PublishError, group
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
    return shop.app.sender.hold(canvas, args, kwargs or {}, options, unsent="no word")


def queued(shop):
    return drain("memory://", shop.app.conf.task_default_queue)


def arguments(message):
    return json.loads(message.body)[0]


def test_nothing_is_sent_before_the_word_and_all_under_the_ids_after_it(shop):
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


def test_the_result_of_what_was_dropped_says_so(shop):
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
    held.result.then(lambda result: told.append(result.get(timeout=0)))
    with shop.app.worker(concurrency=1):
        held.send()
        assert held.result.get(timeout=10) == [2, 4]
    shop.app.close()
    assert told == [[2, 4]]


def test_what_is_changed_meanwhile_is_sent_as_it_was(shop):
    members = [shop.add.s(1, 1)]
    canvas = group(members)
    held = hold(shop, canvas)
    members[0].set(queue="elsewhere")
    members.append(shop.add.s(2, 2))
    held.send()
    assert [arguments(message) for message in queued(shop)] == [[1, 1]]
    assert canvas.id is None


def test_a_broker_that_fails_at_the_word_leaves_what_resume_needs(shop, failing):
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


def test_what_cannot_be_sent_at_all_is_told_twice(shop):
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
    ],
)
def test_what_is_wrong_is_told_at_once(shop, canvas, options, error, path):
    with pytest.raises(error) as caught:
        hold(shop, canvas(shop), **options)
    assert caught.value.path == path


def test_a_task_that_is_not_here_can_be_held(shop):
    held = hold(shop, shop.app.signature("elsewhere.run", (1,)))
    held.send()
    assert [message.headers["task"] for message in queued(shop)] == ["elsewhere.run"]
