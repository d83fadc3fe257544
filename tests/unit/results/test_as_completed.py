"""Members as they come: for ``for``, for ``async for``, and forgotten behind it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celerant import states
from celerant._core import Barrier
from celerant.errors import CelerantError, ResultExpired, ResultTimeout, TaskError
from celerant.results.consuming import sweeping
from harness.groups import Fed, group_of
from harness.until import until

WAIT = 10


def in_thread(fed, acts):
    """Do `acts` one after the other, each once the one before has been seen."""

    def run():
        for act in acts:
            until(lambda: len(fed.members.waiters))
            act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_members_come_in_the_order_of_their_arrival(fed):
    fed.seal()
    come = fed.result.as_completed(timeout=WAIT)
    fed.store(1)
    assert next(come).index == 1
    fed.store(2)
    fed.members.backend.store_result(fed.result[0].id, ValueError("no"), "FAILURE")
    rest = [(member.index, member.state) for member in come]
    assert rest == [(2, "SUCCESS"), (0, "FAILURE")]
    assert list(come) == []


def test_members_of_a_group_that_is_still_sent_come_too(fed):
    def grow(count):
        fed.grow(count)
        fed.store(count - 1)

    def end():
        fed.store(0, 1)
        fed.seal()

    acts = [lambda: grow(5), lambda: grow(9), end, lambda: fed.store(3, 5, 6, 7, 2)]
    thread = in_thread(fed, acts)
    come = [member.index for member in fed.result.as_completed(timeout=WAIT)]
    thread.join(WAIT)
    assert come[:2] == [4, 8]
    assert sorted(come) == list(range(9))


def test_a_batch_has_all_that_have_come(fed):
    fed.seal()
    fed.store(2, 1)
    come = fed.result.as_completed(timeout=WAIT, batch=True)
    assert [[member.index for member in batch] for batch in [next(come)]] == [[1, 2]]
    fed.store(0)
    assert [[member.get() for member in batch] for batch in come] == [[0]]


def test_members_that_no_record_told_of_come_before_the_end(fed):
    fed.seal()
    fed.store(1)
    come = fed.result.as_completed(timeout=WAIT)
    assert next(come).index == 1
    # The barrier is complete a moment before anybody is told.
    fed.members.barrier.arrive_range(0, 3, Barrier.IGNORED)
    assert [member.index for member in come] == [0, 2]


def test_members_without_records_do_not_pile_up_in_sweeps(fake, monkeypatch):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 0.01)
    result = group_of(500, fake)
    come = result.as_completed(timeout=WAIT)
    fake.push(result[3].id, 3)
    assert next(come).index == 3
    fake.fetched.clear()
    until(lambda: len(fake.fetched) > 5)
    assert len(come._coming._noted) <= 1


@pytest.mark.parametrize("batch", [False, True])
def test_an_empty_group_has_none_to_come(memory, batch):
    assert list(group_of(0, memory).as_completed(timeout=0, batch=batch)) == []


def test_iteration_can_go_on_after_a_timeout(fed):
    fed.seal()
    come = fed.result.as_completed(timeout=0)
    fed.store(0)
    assert next(come).index == 0
    with pytest.raises(ResultTimeout) as caught:
        next(come)
    assert caught.value.remaining == 2
    fed.store(1, 2)
    assert fed.result.wait(WAIT) == 3
    assert [member.index for member in come] == [1, 2]


def test_an_open_group_says_that_more_may_be_missing(fed):
    with pytest.raises(ResultTimeout, match="3 or more results are missing"):
        next(fed.result.as_completed(timeout=0.01))


def test_iteration_can_go_on_after_an_error_of_the_store(fake, monkeypatch):
    result = group_of(2, fake)
    come = result.as_completed(timeout=WAIT)
    fake.push(result[0].id, 0)
    fake.retry_policy = {"max_retries": 0}
    fake.broken = 1
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)
    with pytest.raises(CelerantError, match="gone"):
        list(come)
    for member in result:
        payload = fake.codec.encode(member.id, member.index, "SUCCESS", None, None)
        fake.records[member.id] = payload
    assert sorted(member.index for member in come) == [0, 1]


def test_in_an_event_loop_others_run_meanwhile(fed):
    fed.seal()
    fed.members.look()

    async def main():
        come = fed.result.as_completed(timeout=WAIT)

        async def store():
            for index in (2, 0, 1):
                fed.store(index)
                await asyncio.sleep(0)

        storing = asyncio.ensure_future(store())
        found = [member.index async for member in come]
        await storing
        return found

    assert asyncio.run(main()) == [2, 0, 1]


def test_in_an_event_loop_a_timeout_can_be_gone_on_after(fed):
    fed.seal()

    async def main():
        come = fed.result.as_completed(timeout=0.01, batch=True)
        with pytest.raises(ResultTimeout):
            await anext(come)
        fed.store(0, 1, 2)
        await fed.result
        return [[member.index for member in batch] async for batch in come]

    assert asyncio.run(main()) == [[0, 1, 2]]


def stored(fed):
    ids = fed.members.roster.ids(0, len(fed.members.barrier))
    return [record is not None for record in fed.members.backend.fetch(ids)]


@pytest.mark.parametrize("batch", [False, True])
def test_used_results_are_forgotten_here_and_in_the_store(fed, batch):
    fed.seal()
    fed.store(0, 2)
    fed.members.backend.store_result(fed.result[1].id, ValueError("no"), "FAILURE")
    seen = []
    for found in fed.result.as_completed(timeout=WAIT, batch=batch, forget=True):
        members = found if batch else [found]
        seen += [(member.index, member.get(propagate=False)) for member in members]
    assert [index for index, _ in seen] == [0, 1, 2]
    assert [value for _, value in seen][::2] == [0, 2]
    assert stored(fed) == [False] * 3
    assert len(fed.members.values) == 0
    assert fed.result.counts()["SUCCESS"] == 2
    with pytest.raises(ResultExpired, match="member 0 was forgotten"):
        fed.result[0].get(timeout=0)
    with pytest.raises(ResultExpired, match="member 1 was forgotten"):
        fed.result[1].get(timeout=0)
    with pytest.raises(ResultExpired, match="3 members was forgotten"):
        fed.result.get(timeout=0, propagate=False)


def test_in_an_event_loop_what_was_used_is_forgotten(fed):
    fed.seal()
    fed.store(0, 1, 2)

    async def main():
        come = fed.result.as_completed(timeout=WAIT, forget=True)
        return [await member async for member in come]

    assert sorted(asyncio.run(main())) == [0, 1, 2]
    assert stored(fed) == [False] * 3
    assert len(fed.members.values) == 0


def test_loop_that_is_left_early_keeps_the_other_results(fed):
    fed.seal()
    fed.store(0, 1, 2)
    come = fed.result.as_completed(timeout=WAIT, forget=True)
    assert next(come).get() == 0
    assert next(come).get() == 1
    assert fed.result[1].get(timeout=0) == 1
    assert fed.result[2].get(timeout=0) == 2


def test_records_are_deleted_in_volleys(memory, monkeypatch):
    fed = Fed(memory)
    fed.grow(2500)
    fed.seal()
    fed.store(*range(2500))
    volleys, forget = [], memory.forget

    def note(ids):
        volleys.append(len(ids))
        forget(ids)

    monkeypatch.setattr(memory, "forget", note)
    assert sum(1 for _ in fed.result.as_completed(timeout=WAIT, forget=True)) == 2500
    assert volleys == [1000, 1000, 500]
    assert not any(stored(fed))


def test_the_steps_of_a_chain_are_forgotten_with_it(memory):
    fed = Fed(memory)
    shape = [("first", None), ("last", None)]
    fed.grow(1, own={0: "last"}, shapes={0: shape})
    fed.seal()
    for step in ("first", "last"):
        memory.store_result(step, step, "SUCCESS")
    got = [m.get() for m in fed.result.as_completed(timeout=WAIT, forget=True)]
    assert got == ["last"]
    assert memory.fetch(["first", "last"]) == [None, None]


def test_a_group_in_a_group_is_forgotten_with_all_it_has(memory):
    fed = Fed(memory)
    fed.grow(1, shapes={0: [("inner", [[("b", None)], [("c", None)]])]})
    fed.seal()
    for name in ("b", "c"):
        memory.store_result(name, name, "SUCCESS")
    got = [m.get() for m in fed.result.as_completed(timeout=WAIT, forget=True)]
    assert got == [["b", "c"]]
    assert memory.fetch(["b", "c"]) == [None, None]
    assert len(fed.members.nested.members(0).values) == 0


def test_get_with_a_callback_takes_those_of_an_open_group_that_are_to_come(fed):
    calls = []

    def end():
        fed.grow(5)
        fed.seal()
        fed.store(1, 2, 3, 4)

    fed.store(0)
    thread = in_thread(fed, [end])
    fed.result.get(timeout=WAIT, callback=lambda _, value: calls.append(value))
    thread.join(WAIT)
    assert sorted(calls) == [0, 1, 2, 3, 4]


def test_with_hooks_an_open_group_is_iterated_over_from_its_seal(fed):
    records = []
    with pytest.raises(ResultTimeout, match="still being sent"):
        next(fed.result.iter_native(timeout=0.01, on_message=records.append))
    thread = in_thread(fed, [fed.seal])
    coming = fed.result.iter_native(timeout=WAIT, on_message=records.append)
    fed.store(0)
    assert next(coming)[1]["result"] == 0
    thread.join(WAIT)
    fed.store(1, 2)
    assert sorted(fields["result"] for _, fields in coming) == [1, 2]
    assert len(records) == 3


# Counting, and the first failure.


def test_a_wait_ends_with_the_count_whatever_became_of_them(fed):
    fed.store(0)
    fed.members.backend.store_result(fed.result[2].id, ValueError("no"), "FAILURE")
    assert fed.result.wait(WAIT, count=2) == 2
    with pytest.raises(ResultTimeout, match="2 are") as caught:
        fed.result.wait(0, count=3)
    assert caught.value.remaining == 1
    thread = in_thread(fed, [lambda: fed.store(1)])
    assert fed.result.wait(WAIT, 3) == 3
    thread.join(WAIT)


def test_a_wait_for_all_raises_no_member_s_error(fed):
    fed.store(0, 1)
    fed.members.backend.store_result(fed.result[2].id, ValueError("no"), "FAILURE")
    with pytest.raises(ResultTimeout, match="not all of the 3 members so far"):
        fed.result.wait(0)
    fed.seal()
    assert fed.result.wait(WAIT) == 3


def test_a_wait_for_more_than_come_ends_with_the_group(fed):
    fed.store(0, 1, 2)
    thread = in_thread(fed, [fed.seal])
    assert fed.result.wait(WAIT, count=50) == 3
    thread.join(WAIT)
    with pytest.raises(ValueError, match="from 1 to 3, the size of group"):
        fed.result.wait(0, count=50)


@pytest.mark.parametrize(
    ("count", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)]
)
def test_a_count_that_cannot_be_is_refused(fed, count, error):
    with pytest.raises(error, match="count must be"):
        fed.result.wait(0, count=count)
    with pytest.raises(error, match="count must be"):
        asyncio.run(fed.result.await_count(count))


def test_the_first_failure_is_returned_as_it_comes(fed):
    with pytest.raises(ResultTimeout):
        fed.result.first_failure(timeout=0)
    fed.store(1)
    thread = in_thread(fed, [lambda: fed.store(2, state="FAILURE")])
    failed = fed.result.first_failure(timeout=WAIT)
    thread.join(WAIT)
    assert failed.index == 2
    assert failed.state == states.FAILURE


def test_a_group_that_ends_well_has_no_first_failure(fed):
    fed.store(0, 1, 2)
    thread = in_thread(fed, [fed.seal])
    assert fed.result.first_failure(timeout=WAIT) is None
    thread.join(WAIT)


def test_an_event_loop_waits_for_a_count_and_a_failure(fed):
    async def main():
        with pytest.raises(ResultTimeout):
            await fed.result.await_count(2, timeout=0.01)
        with pytest.raises(ResultTimeout):
            await fed.result.await_first_failure(timeout=0.01)
        waits = asyncio.gather(
            fed.result.await_count(2, timeout=WAIT),
            fed.result.await_first_failure(timeout=WAIT),
        )
        await asyncio.sleep(0)
        fed.store(0)
        fed.store(1, state="FAILURE")
        return await waits

    count, failed = asyncio.run(main())
    assert count == 2
    assert failed.index == 1


def test_a_task_waits_for_none_of_its_own(app):
    @app.task
    def waits(name):
        result = Fed(app.backend).result
        ways = {
            "as_completed": lambda: next(result.as_completed()),
            "wait": result.wait,
            "first_failure": result.first_failure,
        }
        ways[name]()

    with app.worker():
        for name in ("as_completed", "wait", "first_failure"):
            with pytest.raises((RuntimeError, TaskError), match="inside task"):
                waits.delay(name).get(timeout=WAIT)
