"""Members that are looked at while they are still being sent."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading

import pytest
from kombu import Producer
from kombu.exceptions import OperationalError

from celerant import Celerant, group
from celerant._core import Barrier, Roster
from celerant.context.call import Call
from celerant.errors import CelerantError, NotSent, PublishError
from celerant.results.group_result import GroupResult
from celerant.results.tracking.members import Members
from harness.until import until

WAIT = 10
_names = itertools.count()


@pytest.fixture
def growing(memory):
    """Three members, of whom more may come."""
    members = Members(Roster(os.urandom(16), 3), memory, is_group=True)
    members.grow(3)
    return GroupResult("g", members)


def store(result, *indices):
    for index in indices:
        result.backend.store_result(result.roster.id(index), index, "SUCCESS")


def test_a_group_is_not_done_before_its_seal_whatever_has_arrived(growing):
    store(growing, 0, 1, 2)
    assert growing.completed_count() == 3
    assert not growing.ready()
    assert not growing.successful()
    growing.members.seal(3)
    assert growing.ready()
    assert growing.get(timeout=0) == [0, 1, 2]


def test_members_that_come_after_the_first_look_are_waited_for(growing):
    store(growing, 0)
    assert growing.completed_count() == 1
    growing.members.grow(5)
    growing.roster.resize(5)
    assert len(growing.members.barrier) == 5
    store(growing, 3)
    growing.members.seal(5)
    store(growing, 4, 2, 1)
    assert growing.get(timeout=WAIT) == [0, 1, 2, 3, 4]


def test_a_result_of_a_member_that_another_sender_sent_stops_no_wait(growing):
    # This sender has read it, and is not the one that sends it.
    growing.roster.resize(5)
    arrivals = growing.as_completed(timeout=WAIT)
    waiting = threading.Thread(target=lambda: next(arrivals))
    waiting.start()
    until(lambda: growing.members.is_watched)
    store(growing, 4, 0)
    waiting.join(WAIT)
    assert growing.counts()["SUCCESS"] == 1
    store(growing, 1, 2)
    growing.members.seal(3)
    assert growing.get(timeout=WAIT) == [0, 1, 2]


def test_the_seal_wakes_a_waiting_thread_and_calls_back_once(growing):
    calls, called, got = [], threading.Event(), []

    def note(result):
        calls.append(result)
        called.set()

    growing.then(note)
    waiting = threading.Thread(target=lambda: got.append(growing.get(timeout=WAIT)))
    waiting.start()
    store(growing, 0, 1, 2)
    assert growing[2].get(timeout=WAIT) == 2
    assert not calls
    growing.members.seal(3)
    assert called.wait(WAIT)
    waiting.join(WAIT)
    assert got == [[0, 1, 2]]
    assert calls == [growing]


def test_the_seal_wakes_a_coroutine(growing):
    async def main():
        waiting = asyncio.ensure_future(_get(growing))
        store(growing, 0, 1, 2)
        await growing[2]
        assert not waiting.done()
        growing.members.seal(3)
        return await asyncio.wait_for(waiting, WAIT)

    assert asyncio.run(main()) == [0, 1, 2]


async def _get(result):
    return await result


def test_members_that_nobody_could_read_were_not_sent(growing):
    growing.members.send_again()
    growing.members.seal(2)
    with pytest.raises(NotSent):
        growing[2].get(timeout=0)


def test_an_abandoned_send_leaves_the_known_members(growing):
    growing.members.seal(3)
    store(growing, 0)
    assert growing[0].get(timeout=WAIT) == 0
    growing.members.send_again()
    assert not growing.members.barrier.is_sealed
    growing.members.settle([1], Barrier.IGNORED)
    growing.members.abandon()
    assert growing.members.barrier.is_sealed
    assert growing.counts()["SUCCESS"] == 1
    assert growing.counts()["IGNORED"] == 1


def test_a_closed_consumer_is_told_to_those_that_wait_and_not_to_the_sender(fake):
    members = Members(Roster(os.urandom(16), 1), fake, is_group=True)
    members.grow(1)
    GroupResult("g", members).then(lambda _: None)
    fake.consumer.close()
    members.seal(1)
    with pytest.raises(CelerantError, match="were closed"):
        members.raise_error()


class LookingProducer(Producer):
    """Looks at a result at each message that it publishes."""

    looks = None

    def publish(self, *args, **kwargs):
        self.looks()
        return super().publish(*args, **kwargs)


@pytest.fixture
def app():
    app = Celerant(f"growing-{next(_names)}")
    yield app
    app.close()


def test_a_held_group_is_looked_at_while_it_is_sent(app):
    double = app.task(lambda x: 2 * x, name="double")
    seen = []

    def look():
        is_sealed = result.members.barrier.is_sealed
        seen.append((len(result.results), result.ready(), is_sealed))

    with app.connection_for_write() as connection:
        producer = LookingProducer(connection)
        producer.looks = look
        members = group(double.s(n) for n in range(3))
        options = {"producer": producer}
        held = app.sender.hold(members, Call((), {}, options), unsent="no word")
        result = held.result
        assert result.members.barrier.is_sealed
        held.send()
    assert seen == [(3, False, False)] * 3
    assert result.members.barrier.is_sealed
    with app.worker():
        assert result.get(timeout=WAIT) == [0, 2, 4]


class BrokenProducer(Producer):
    """Publishes two messages and no more."""

    left = 2

    def publish(self, *args, **kwargs):
        if not self.left:
            msg = "gone"
            raise OperationalError(msg)
        self.left -= 1
        return super().publish(*args, **kwargs)


def test_a_resumed_group_shows_arrived_members_while_it_is_sent(app):
    double = app.task(lambda x: 2 * x, name="double")
    members = group([double.s(n) for n in range(4)])
    with app.connection_for_write() as connection:
        producer = BrokenProducer(connection)
        with pytest.raises(PublishError) as caught:
            members.apply_async(producer=producer, retry=False)
        result = caught.value.result
        with app.worker():
            assert result[1].get(timeout=WAIT) == 2
            assert result.counts()["NOT_SENT"] == 1
            producer.left = 4
            members.resume(result, unknown="send")
            assert result.get(timeout=WAIT) == [0, 2, 4, 6]
