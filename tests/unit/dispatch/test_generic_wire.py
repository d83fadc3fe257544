"""The states of members on a transport that fails."""

from __future__ import annotations

import pytest
from kombu import Connection, Producer
from kombu.exceptions import OperationalError

from celerant import chord, group
from celerant.errors import NotSent, PublishError
from harness.capture import drain


class Failing(Producer):
    """Raises `error` at the publications numbered in `at`, counted from 0."""

    def __init__(self, connection, error, at):
        super().__init__(connection)
        self.error = error
        self.at = at
        self.count = 0

    def publish(self, *args, **kwargs):
        number, self.count = self.count, self.count + 1
        if number in self.at:
            raise self.error
        return super().publish(*args, **kwargs)


@pytest.fixture
def shop(shop):
    shop.app.conf.task_publish_retry_policy = {"max_retries": 2, "interval_max": 0}
    return shop


@pytest.fixture
def failing():
    with Connection("memory://localhost//") as connection:
        yield lambda error, at: Failing(connection, error, at)


def _indices(shop):
    sent = drain("memory://", shop.app.conf.task_default_queue)
    return [message.headers["group_index"] for message in sent]


def test_a_passing_failure_is_tried_again_and_named(shop, failing):
    producer = failing(ConnectionResetError("gone"), {2, 3})
    members = group([shop.add.s(i, i) for i in range(5)])

    result = members.apply_async(producer=producer)

    assert _indices(shop) == [0, 1, 2, 3, 4]
    assert result.report.complete
    assert result.report.maybe_double == [(2, 3)]


def test_a_lasting_failure_ends_the_dispatch_and_resume_sends_the_rest(shop, failing):
    producer = failing(ConnectionResetError("gone"), {2, 3, 4})
    members = group([shop.add.s(i, i) for i in range(5)])

    with pytest.raises(PublishError) as caught:
        members.apply_async(producer=producer)

    error = caught.value
    assert error.recoverable
    assert isinstance(error.__cause__, ConnectionResetError)
    assert error.report.counts() == {
        "confirmed": 2,
        "rejected": 0,
        "unknown": 1,
        "unsent": 2,
    }
    assert error.result[3].failed()
    with pytest.raises(NotSent):
        error.result.get(timeout=5)
    assert _indices(shop) == [0, 1]
    ids = [member.id for member in error.result]

    again = members.resume(error.result, unknown="skip")
    assert _indices(shop) == [3, 4]
    assert again.report.unknown == [(2, 3)]
    again = members.resume(error.result)
    assert _indices(shop) == [2]
    assert again is error.result
    assert again.report.complete
    assert [member.id for member in again] == ids
    members.resume(error.result)
    assert _indices(shop) == []


def test_an_error_that_is_not_the_brokers_is_not_tried_again(shop, failing):
    producer = failing(ValueError("no"), {1})
    with pytest.raises(PublishError) as caught:
        group([shop.add.s(i, i) for i in range(3)]).apply_async(producer=producer)
    error = caught.value
    assert not error.recoverable
    assert isinstance(error.__cause__, ValueError)
    assert error.report.unknown == [(1, 2)]
    assert error.report.unsent == [(2, 3)]
    assert _indices(shop) == [0]


def test_an_interrupt_leaves_its_member_unknown(shop, failing):
    producer = failing(KeyboardInterrupt(), {1})
    with pytest.raises(KeyboardInterrupt):
        group([shop.add.s(i, i) for i in range(3)]).apply_async(producer=producer)
    assert _indices(shop) == [0]


def test_a_failed_publish_of_a_single_task_is_unknown(shop, failing):
    producer = failing(OperationalError("gone"), range(9))
    with pytest.raises(PublishError) as caught:
        shop.add.apply_async((1, 2), producer=producer)
    assert caught.value.report.counts()["unknown"] == 1
    assert caught.value.recoverable


def test_ignored_members_need_nobody_after_a_resume(shop, failing):
    producer = failing(ConnectionResetError("gone"), {1, 2, 3})
    members = group([shop.ignored.s(), shop.add.s(1, 1), shop.ignored.s()])
    with pytest.raises(PublishError) as caught:
        members.apply_async(producer=producer)
    result = members.resume(caught.value.result)
    with shop.app.worker(concurrency=1):
        assert result.get(timeout=10) == [None, 2, None]


def _around_a_chord(shop):
    """Return three members, of which the second is the messages 1, 2 and 3."""
    header = [shop.add.s(i, i) for i in range(3)]
    middle = chord(header, shop.add.si(0, 0))
    return group([shop.add.s(1, 1), middle, shop.add.s(2, 2)])


def _sent(shop):
    return len(drain("memory://", shop.app.conf.task_default_queue))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_lasting_failure_within_a_member_makes_it_unknown(shop, failing, at):
    producer = failing(ConnectionResetError("gone"), {at, at + 1, at + 2})
    members = _around_a_chord(shop)
    with pytest.raises(PublishError) as caught:
        members.apply_async(producer=producer)
    report = caught.value.report
    assert report.confirmed == [(0, 1)]
    assert report.unknown == [(1, 2)]
    assert report.unsent == [(2, 3)]
    assert _sent(shop) == at
    result = members.resume(caught.value.result)
    assert _sent(shop) == 4
    assert result.report.complete
    assert result.report.maybe_double == [(1, 2)]
