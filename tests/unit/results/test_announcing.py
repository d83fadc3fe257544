"""What the sender of a fed group announces, and when it leaves that to another."""

from __future__ import annotations

import math
import os
import threading
from types import SimpleNamespace

import pytest

from celerant._core import Roster
from celerant.common.per_process import PerProcess
from celerant.results import announcing
from celerant.results.announcing import Announcer
from celerant.results.group_result import GroupResult
from celerant.results.handle import attach
from celerant.results.handle_format import open_name, sealed_name
from celerant.results.renewing import Renewer
from celerant.results.tracking.members import Members
from harness.until import until


class Clock:
    """Counts seconds as it is told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(announcing, "monotonic", made)
    return made


@pytest.fixture
def shared(fake):
    """A backend that other processes could see, and that keeps results for an hour."""
    kept, puts = {}, []

    def put_aside(name, payload):
        puts.append(name)
        kept[name] = payload

    fake.supports_handles = True
    fake.expires = 3600
    fake.put_aside, fake.take_aside = put_aside, kept.get
    fake.handle_key = lambda: b"the store's own"
    fake.kept, fake.puts = kept, puts
    return fake


@pytest.fixture(autouse=True)
def renewer(monkeypatch):
    """Renews nothing: the tests do so themselves."""
    made = SimpleNamespace(add=lambda _: None, discard=lambda _: None)
    monkeypatch.setattr(announcing, "RENEWER", PerProcess(lambda: made))


@pytest.fixture
def result(shared):
    """Five members, of whom more may come."""
    members = Members(Roster(os.urandom(16), 5), shared, is_group=True)
    members.grow(5)
    return GroupResult(members.roster.uuid, members)


def begun(result, shared):
    made = Announcer(result.id, result.members, shared)
    made.begin()
    return made


def test_an_announcement_is_renewed_before_the_store_drops_it(clock, shared, result):
    announcer = begun(result, shared)
    name = open_name(result.roster.uuid)
    told = shared.kept[name]
    for _ in range(10):
        shared.puts.clear()
        clock.now += 1000
        assert announcer.renew() == 200
        assert shared.puts == []
        clock.now += 250
        # The store lost it.
        shared.kept.pop(name)
        assert announcer.renew() == 1200
        assert (shared.puts, shared.kept[name]) == ([name], told)


def test_an_announcement_is_renewed_once_a_store_that_was_away_is_back(
    clock, shared, result, monkeypatch
):
    announcer = begun(result, shared)

    def refuse(*_):
        raise OSError("away")

    clock.now += 1200
    with monkeypatch.context() as away:
        away.setattr(shared, "put_aside", refuse)
        assert announcer.renew() == 1
    shared.puts.clear()
    clock.now += 1
    assert announcer.renew() == 1200
    assert shared.puts == [open_name(result.roster.uuid)]


def test_an_announcement_that_is_kept_for_ever_is_told_once(clock, shared, result):
    shared.expires = 0
    announcer = begun(result, shared)
    shared.puts.clear()
    clock.now += 1e9
    assert announcer.renew() == math.inf
    assert shared.puts == []


def test_a_sender_that_was_replaced_announces_nothing(clock, shared, result):
    before, after = begun(result, shared), begun(result, shared)
    name = open_name(result.roster.uuid)
    told = shared.kept[name]
    clock.now += 3000
    assert before.renew() == math.inf
    result.roster.resize(7)
    result.members.grow(7)
    before.tell()
    result.members.seal(7)
    before.end()
    assert shared.kept[name] == told
    assert not shared.kept[sealed_name(result.roster.uuid)]
    after.end()
    assert (
        attach(shared.kept[sealed_name(result.roster.uuid)].decode(), shared) == result
    )


def test_what_no_sender_has_written_is_written_over(clock, shared, result):
    announcer = begun(result, shared)
    name = open_name(result.roster.uuid)
    shared.kept[name] = b"x" * 40
    clock.now += 3000
    announcer.renew()
    assert shared.kept[name] != b"x" * 40
    shared.kept[name] = b"x" * 40
    result.members.seal(5)
    announcer.end()
    assert shared.kept[sealed_name(result.roster.uuid)]


class Due:
    """Is due at once, and then not for a long time."""

    def __init__(self, renewer):
        self.renewer = renewer
        self.renewed = threading.Event()
        self.looks = 0

    def renew(self):
        self.looks += 1
        if self.looks == 3:
            self.renewed.set()
            return 1000
        return 0


def test_one_thread_renews_whatever_is_due_and_ends_with_the_last():
    renewer = Renewer()
    dues = [Due(renewer) for _ in range(3)]
    before = {thread.name for thread in threading.enumerate()}
    for due in dues:
        renewer.add(due)
    assert all(due.renewed.wait(10) for due in dues)
    threads = [one for one in threading.enumerate() if one.name == "celerant-renew"]
    assert len(threads) == 1 or "celerant-renew" in before
    for due in dues:
        renewer.discard(due)
    until(lambda: not renewer.is_running)
    renewer.add(dues[0])
    assert renewer.is_running
    renewer.discard(dues[0])
    until(lambda: not renewer.is_running)
