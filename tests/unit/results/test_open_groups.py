"""Groups that are watched from before their first member to their last."""

from __future__ import annotations

import threading
import time

import pytest

from celerant.results.consuming import subscriptions, sweeping
from harness.groups import Fed
from harness.until import until

WAIT = 10


@pytest.fixture(autouse=True)
def _no_sweep_helps(monkeypatch):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)


@pytest.fixture
def fed(memory):
    """A group without members so far, that somebody looks at already."""
    fed = Fed(memory)
    assert fed.members.look()
    return fed


def comes(fed, index):
    """Whether a member arrives by itself, without a look of ours."""
    until(lambda: fed.members.is_done(index))
    return fed.members.value(index) == index


def asked(fake, kind):
    return [what for found, what in fake.feed.asked if found == kind]


def push(fake, fed, *indices):
    for index in indices:
        fake.push(fed.members.roster.id(index), index)


def stored_as_it_is_asked_for(fake, fed):
    """Have the records of what is subscribed to stored just before."""
    subscribe = fake.feed.subscribe

    def store_and_subscribe(ids):
        fed.store(*map(fed.members.roster.index, ids))
        return subscribe(ids)

    fake.feed.subscribe = store_and_subscribe


def test_members_that_come_later_arrive_without_another_look(fed):
    for count in (1, 3, 700):
        fed.grow(count)
        fed.store(count - 1)
        assert comes(fed, count - 1)


def test_members_with_own_ids_that_come_later_arrive(fed):
    fed.grow(3, own={1: "mine", 2: "too"})
    fed.store(2, 1)
    assert comes(fed, 1)
    assert comes(fed, 2)


def test_an_own_id_that_was_read_but_not_sent_is_nobody_s_yet(fed):
    fed.grow(1)
    fed.members.roster.adopt(1, "early")
    fed.members.backend.store_result("early", 1, "SUCCESS")
    fed.store(0)
    assert comes(fed, 0)
    fed.grow(2)
    assert comes(fed, 1)


def test_a_group_in_a_group_that_comes_later_arrives(fed):
    fed.grow(1)
    shape = [("before", None), ("inner", [[("b", None)], [("c", None)]])]
    fed.grow(2, shapes={1: shape})
    for name in ("b", "c"):
        fed.members.backend.store_result(name, name, "SUCCESS")
    until(lambda: fed.members.is_done(1))
    fed.store(0)
    fed.seal()
    assert fed.result.get(timeout=WAIT) == [0, ["b", "c"]]
    assert fed.result[1].get(timeout=0) == ["b", "c"]


def test_a_group_in_a_group_is_found_though_it_was_not_known_at_the_first_look(memory):
    fed = Fed(memory)
    fed.grow(2)
    assert 1 not in fed.members.nested
    # What was held has its members before it is read.
    fed.members.roster.keep_shapes(1, 2, [("inner", [[("b", None)]])])
    fed.members.look()
    fed.seal()
    memory.store_result("b", "b", "SUCCESS")
    fed.store(0)
    assert fed.result.get(timeout=WAIT) == [0, ["b"]]


def test_a_thread_waits_for_all_from_before_the_first_member_to_the_last(fed):
    got = []
    waiting = threading.Thread(target=lambda: got.append(fed.result.get(timeout=WAIT)))
    waiting.start()
    until(lambda: len(fed.members.waiters))
    for count in range(1, 40):
        fed.grow(count, own={count - 1: f"own {count}"} if count % 3 else None)
        fed.store(count - 1)
    assert not got
    fed.seal()
    waiting.join(WAIT)
    assert got == [list(range(39))]


def test_the_seal_reads_nothing_again(fake):
    fed = Fed(fake)
    fed.grow(5)
    fed.members.look()
    until(lambda: asked(fake, "prefix"))
    fake.fetched.clear()
    waiting = threading.Thread(target=lambda: fed.result.get(timeout=WAIT))
    waiting.start()
    until(lambda: len(fed.members.waiters))
    fed.seal()
    push(fake, fed, *range(5))
    waiting.join(WAIT)
    assert not waiting.is_alive()
    assert fake.fetched == []


def test_a_group_that_grows_asks_for_one_pattern(fake):
    fed = Fed(fake)
    fed.members.look()
    for count in (2, 1000, 2500):
        fed.grow(count)
        push(fake, fed, count - 1)
        assert comes(fed, count - 1)
    assert asked(fake, "prefix") == [fed.members.roster.prefix]
    assert asked(fake, "ids") == []
    fed.seal()
    push(fake, fed, *range(2500))
    assert len(fed.result.get(timeout=WAIT)) == 2500
    until(lambda: not fake.consumer.service.routes.watches)


def test_own_ids_are_subscribed_to_and_read_as_they_come(fake):
    fed = Fed(fake)
    fed.members.look()
    stored_as_it_is_asked_for(fake, fed)
    fed.grow(3, own={1: "mine"})
    assert comes(fed, 1)
    fed.grow(4, own={3: "later"})
    assert comes(fed, 3)
    assert asked(fake, "ids") == [["mine"], ["later"]]


def test_members_have_a_channel_each_if_patterns_are_refused(fake, caplog):
    fake.feed.refused = {"prefix"}
    fed = Fed(fake)
    fed.grow(1)
    fed.members.look()
    stored_as_it_is_asked_for(fake, fed)
    fed.grow(3)
    assert comes(fed, 2)
    push(fake, fed, 0)
    assert comes(fed, 0)
    fed.grow(4)
    assert comes(fed, 3)
    assert [len(ids) for ids in asked(fake, "ids")] == [1, 2, 1]
    assert caplog.text.count("PSUBSCRIBE") == 1


@pytest.fixture
def crowd(fake, monkeypatch):
    """As many groups that grow as there are patterns for."""
    monkeypatch.setattr(subscriptions, "_CHANNELS_MOST", 10)
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL_ALONE", 0.01)
    crowd = [Fed(fake) for _ in range(4)]
    for fed in crowd:
        fed.grow(1)
        fed.members.look()
    until(lambda: len(asked(fake, "prefix")) == 4)
    return crowd


def test_beyond_the_patterns_a_group_has_channels_up_to_a_limit(fake, crowd):
    fed = Fed(fake)
    fed.grow(4)
    fed.members.look()
    fed.grow(10)
    until(lambda: len(asked(fake, "ids")) == 2)
    push(fake, fed, 9)
    assert comes(fed, 9)
    # Too many: they are read.
    fed.grow(11)
    until(lambda: asked(fake, "no ids"))
    assert sorted(asked(fake, "no ids")[0]) == sorted(fed.members.roster.ids(0, 10))
    fed.store(10)
    assert comes(fed, 10)
    assert len(asked(fake, "prefix")) == len(crowd)
    # A pattern that becomes free is theirs.
    first = crowd[0]
    first.seal()
    push(fake, first, 0)
    until(lambda: len(asked(fake, "prefix")) == len(crowd) + 1)
    assert asked(fake, "prefix")[-1] == fed.members.roster.prefix
    push(fake, fed, 5)
    assert comes(fed, 5)


def test_members_that_are_sent_again_are_heard_of_before_the_seal(fake):
    fed = Fed(fake)
    fed.grow(3)
    fed.members.settle([2], 5)
    fed.seal()
    assert fed.members.look()
    fed.members.send_again()
    assert not fed.members.is_watched
    until(lambda: fed.members.is_watched)
    push(fake, fed, 2)
    assert comes(fed, 2)
    fed.seal()
    push(fake, fed, 0, 1)
    assert fed.result.get(timeout=WAIT) == [0, 1, 2]


def test_members_that_were_not_sent_again_after_all_are_watched_as_before(fake):
    fed = Fed(fake)
    fed.grow(2)
    fed.seal()
    assert fed.members.look()
    fed.members.send_again()
    until(lambda: fed.members.is_watched)
    fed.members.abandon()
    until(lambda: fed.members.is_watched)
    push(fake, fed, 0, 1)
    assert fed.result.get(timeout=WAIT) == [0, 1]


def test_members_do_not_expire_while_more_are_sent(memory, monkeypatch):
    fed = Fed(memory)
    fed.grow(1)
    later = time.time() + 2 * memory.expires
    monkeypatch.setattr(time, "time", lambda: later)
    fed.members.look()
    assert not fed.members.is_done(0)
    fed.grow(2)
    fed.seal()
    assert not fed.members.may_have_expired()


def test_a_lost_feed_is_taken_up_for_members_that_come_later(fake):
    fed = Fed(fake)
    fed.grow(1)
    fed.members.look()
    fake.feed.lose = 1
    fake.feed.wake()
    until(lambda: len(asked(fake, "prefix")) == 2)
    fed.grow(600)
    push(fake, fed, 599)
    assert comes(fed, 599)
