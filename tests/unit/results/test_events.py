"""Callbacks at the events of a group: each once, however late it is asked for."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from celerant import Celerant, group
from celerant._core import Barrier
from harness.groups import Fed, group_of
from harness.until import until, until_in_loop

WAIT = 10
EVENTS = ("sealed", "complete", "success", "first_failure", "member")


class Heard:
    """Notes what a group's callbacks are called with."""

    def __init__(self, result, events=EVENTS):
        self.calls = []
        self.off = {event: result.on(event, self.note(event)) for event in events}

    def note(self, event):
        return lambda told: self.calls.append((event, told.index, told))

    def named(self, *events):
        return [(event, index) for event, index, _ in self.calls if event in events]


def test_each_event_comes_once_as_it_happens(fed):
    heard = Heard(fed.result)
    fed.store(1)
    until(lambda: heard.calls)
    assert heard.named(*EVENTS) == [("member", 1)]
    fed.store(0, state="FAILURE")
    until(lambda: len(heard.calls) == 3)
    assert set(heard.named(*EVENTS)) == {
        ("member", 1),
        ("member", 0),
        ("first_failure", 0),
    }
    fed.grow(4)
    fed.seal()
    until(lambda: heard.named("sealed"))
    assert heard.named("complete", "success") == []
    fed.store(2, 3, state="FAILURE")
    until(lambda: heard.named("complete"))
    assert sorted(heard.named("member")) == [("member", index) for index in range(4)]
    assert heard.named("first_failure") == [("first_failure", 0)]
    assert heard.named("success") == []
    assert fed.members.callbacks == []
    whole = [told for event, _, told in heard.calls if event in {"sealed", "complete"}]
    assert whole == [fed.result, fed.result]


def test_a_group_that_ends_well_succeeds_and_has_no_failure(fed):
    heard = Heard(fed.result)
    fed.seal()
    fed.store(0, 1, 2)
    until(lambda: heard.named("success"))
    until(lambda: not fed.members.callbacks)
    assert sorted(heard.named(*EVENTS), key=str) == [
        ("complete", None),
        ("member", 0),
        ("member", 1),
        ("member", 2),
        ("sealed", None),
        ("success", None),
    ]


def test_earlier_event_calls_its_callback_at_once(fed):
    fed.seal()
    fed.store(0, 1)
    fed.store(2, state="FAILURE")
    fed.result.wait(WAIT)
    heard = Heard(fed.result)
    assert heard.named(*EVENTS) == [
        ("sealed", None),
        ("complete", None),
        ("first_failure", 2),
        ("member", 0),
        ("member", 1),
        ("member", 2),
    ]


def test_an_empty_group_is_sealed_complete_and_a_success(memory):
    heard = Heard(group_of(0, memory))
    told = [("sealed", None), ("complete", None), ("success", None)]
    assert heard.named(*EVENTS) == told


def test_an_open_group_that_ends_empty_is_complete_at_its_seal(memory):
    fed = Fed(memory)
    heard = Heard(fed.result)
    assert heard.calls == []
    fed.seal()
    until(lambda: len(heard.calls) == 3)
    assert {event for event, _, _ in heard.calls} == {"sealed", "complete", "success"}


def test_members_that_are_not_sent_or_ignored_are_told_too(fed):
    heard = Heard(fed.result, ["member", "first_failure"])
    fed.members.settle([1], Barrier.IGNORED)
    until(lambda: heard.calls)
    fed.members.settle(range(2, 3), Barrier.NOT_SENT)
    until(lambda: len(heard.calls) == 3)
    assert sorted(heard.named(*EVENTS)) == [
        ("first_failure", 2),
        ("member", 1),
        ("member", 2),
    ]


def test_a_callback_that_is_taken_off_is_not_called(fed):
    heard = Heard(fed.result)
    fed.store(0)
    until(lambda: heard.calls)
    for off in heard.off.values():
        off()
        off()
    fed.seal()
    fed.store(1, 2)
    assert fed.result.wait(WAIT) == 3
    assert heard.named(*EVENTS) == [("member", 0)]


def test_a_group_whose_callbacks_are_taken_off_can_be_dropped(fake):
    result = group_of(2, fake)
    members = weakref.ref(result.members)
    offs = list(Heard(result).off.values())
    until(lambda: fake.consumer.service.kept)
    for off in offs:
        off()
    until(lambda: not fake.consumer.service.kept)
    del result, offs, off

    def is_dropped():
        gc.collect()
        return members() is None

    until(is_dropped)


def test_a_group_with_callbacks_outlives_its_result(fake):
    result = group_of(2, fake)
    calls, ids = [], result.roster.ids(0, 2)
    result.on("complete", lambda told: calls.append(told.get(timeout=0)))
    del result
    gc.collect()
    for index, task_id in enumerate(ids):
        fake.push(task_id, index)
    until(lambda: calls)
    assert calls == [[0, 1]]


def test_an_error_of_one_callback_costs_no_other_its_call(fed, caplog):
    calls = []

    def fail(_):
        msg = "bad callback"
        raise ValueError(msg)

    fed.result.on("member", fail)
    fed.result.on("member", lambda member: calls.append(member.index))
    fed.store(0, 1, 2)
    until(lambda: len(calls) == 3)
    until(lambda: caplog.text.count("bad callback") >= 3)


def test_a_callback_may_take_itself_off_and_put_others_on(fed):
    calls = []

    def first(member):
        off()
        calls.append(("first", member.index))
        fed.result.on("member", lambda member: calls.append(("then", member.index)))

    fed.members.look()
    off = fed.result.on("member", first)
    fed.store(0)
    until(lambda: ("then", 0) in calls)
    fed.store(1)
    until(lambda: ("then", 1) in calls)
    assert calls == [("first", 0), ("then", 0), ("then", 1)]


def test_the_failure_of_a_group_inside_is_a_failure(memory):
    fed = Fed(memory)
    fed.grow(2, shapes={1: [("inner", [[("b", None)], [("c", None)]])]})
    heard = Heard(fed.result)
    memory.store_result("c", ValueError("no"), "FAILURE")
    until(lambda: heard.calls)
    assert heard.named(*EVENTS) == [("first_failure", 1)]


def test_in_an_event_loop_callbacks_run_in_it(fed):
    threads, awaited = set(), []

    async def later(member):
        await asyncio.sleep(0)
        awaited.append((member.index, await member))

    async def main():
        fed.result.on("member", lambda _: threads.add(threading.current_thread()))
        fed.result.on("member", later)
        heard = Heard(fed.result)
        off = Heard(fed.result).off["complete"]
        fed.store(0, 1, 2)
        fed.seal()
        off()
        await until_in_loop(lambda: len(awaited) == 3)
        await until_in_loop(lambda: heard.named("success"))
        return heard

    heard = asyncio.run(main())
    assert threads == {threading.main_thread()}
    assert sorted(awaited) == [(0, 0), (1, 1), (2, 2)]
    assert len(heard.calls) == 6


def test_in_an_event_loop_what_was_before_is_told_after_the_call(fed):
    fed.seal()
    fed.store(0, 1, 2)
    fed.result.wait(WAIT)

    async def main():
        heard, less = Heard(fed.result), Heard(fed.result)
        assert heard.calls == less.calls == []
        # It was on its way already.
        less.off["member"]()
        await until_in_loop(lambda: len(heard.calls) == 6 and len(less.calls) == 3)
        return heard, less

    heard, less = asyncio.run(main())
    assert len(heard.calls) == 6
    assert less.named("member") == []


def test_a_loop_that_is_closed_is_left_alone(fed):
    async def main():
        Heard(fed.result)

    asyncio.run(main())
    fed.store(0, 1, 2)
    fed.seal()
    assert fed.result.wait(WAIT) == 3
    until(lambda: not fed.members.callbacks)


@pytest.mark.parametrize("event", ["Complete", "done", None, 3])
def test_an_event_that_there_is_not_is_refused(fed, event):
    with pytest.raises(ValueError, match="there are 'sealed', 'complete'"):
        fed.result.on(event, print)


def test_a_callback_that_cannot_be_called_is_refused(fed):
    async def coroutine(_):
        pass

    with pytest.raises(TypeError, match="function of one argument"):
        fed.result.on("member", None)
    with pytest.raises(TypeError, match="needs an event loop"):
        fed.result.on("member", coroutine)
    assert fed.members.callbacks == []


def test_events_come_once_while_many_threads_bring_members(memory, short_switches):
    for _ in range(10):
        fed = Fed(memory)
        fed.grow(200)
        heard = Heard(fed.result)
        starts = range(0, 200, 20)
        threads = [
            threading.Thread(target=fed.store, args=range(start, start + 20))
            for start in starts
        ]
        threads.append(threading.Thread(target=fed.seal))
        for thread in threads:
            thread.start()
        late = Heard(fed.result)
        for thread in threads:
            thread.join(WAIT)
        for each in (heard, late):
            until(lambda each=each: len(each.calls) >= 203)
            members = sorted(index for _, index in each.named("member"))
            assert members == list(range(200))
            rest = sorted(event for event, index, _ in each.calls if index is None)
            assert rest == ["complete", "sealed", "success"]


def test_results_that_ran_in_place_have_their_events():
    with Celerant("events-eager", task_always_eager=True) as app:

        @app.task
        def odd(x):
            if not x % 2:
                raise ValueError(x)
            return x

        heard = Heard(group(odd.s(n) for n in range(4)).apply_async())
    told = heard.named("complete", "first_failure")
    assert told == [("complete", None), ("first_failure", 0)]
    assert len(heard.named("member")) == 4
