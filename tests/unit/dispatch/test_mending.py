"""Members of a group that are sent once more, under their ids, into their places."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from celerant import chain, chord, group
from celerant.common.group_stamp import GROUP_STAMP
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.wires.base import Broken
from celerant.errors import CanvasError, PublishError
from celerant.sending import mending
from harness.until import until

WAIT = 10


@pytest.fixture
def result(desk):
    members = group([desk.echo.s(i) for i in range(6)])
    made = members.apply_async(cancellable=True)
    desk.first = desk.take()
    desk.finish(made, 0, 1, 3, 5)
    desk.finish(made, 2, 4, state="FAILURE")
    return made


def test_failed_members_are_sent_once_more_under_their_ids(desk, result):
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=WAIT)
    assert result.retry("failed") is result
    again = desk.take()
    assert [each[:2] for each in again] == [desk.first[i][:2] for i in (2, 4)]
    assert {each[2] for each in again} == {result.members.stamps[1]}
    assert result.members.stamps[1].startswith(f"{result.id}.")
    assert result.counts()["PENDING"] == 2
    assert not result.failed()
    desk.finish(result, 2, 4)
    assert result.get(timeout=WAIT) == list(range(6))
    assert result.report.complete


def test_stored_results_of_mended_members_do_not_come_again(desk, result):
    assert result.failed()
    result.retry([2])
    assert desk.app.backend.read(result.roster.id(2)) is None
    assert result[2].state == "PENDING"
    assert result[4].state == "FAILURE"


def test_a_member_can_fail_and_be_sent_again_and_again(desk, result):
    for count in (1, 2, 3):
        result.retry("failed")
        assert {stamp for _, _, stamp in desk.take()} == {result.members.stamps[count]}
        desk.finish(result, 2, 4, state="FAILURE")
        until(result.ready)
    result.retry("failed")
    desk.finish(result, 2, 4)
    assert result.get(timeout=WAIT) == list(range(6))


def test_indices_may_be_of_members_that_are_done(desk, result):
    result.retry(range(1, 3))
    assert [each[1] for each in desk.take()] == ["(1,)", "(2,)"]
    assert result.counts()["SUCCESS"] == 3
    assert result.retry([]) is result
    assert desk.take() == []


@pytest.mark.parametrize("options", [{"cancellable": True}, {"window": 2}])
def test_two_threads_send_failed_members_once(desk, monkeypatch, options):
    members = group([desk.echo.s(i) for i in range(6)])
    result = members.apply_async(**options)
    left = [0]

    def finish_all():
        left[0] += len(desk.take())
        pending = result.members.barrier.select(0, 0, 6)
        desk.finish(result, *pending, state="FAILURE")
        return result.sealed and result.counts()["FAILURE"] == 6

    until(finish_all)
    assert left == [6]
    both, refused = threading.Barrier(2), []
    plain = mending.refuse_unfit

    def slowly(*args):
        # Without turns, both would have chosen by now.
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return plain(*args)

    monkeypatch.setattr(mending, "refuse_unfit", slowly)

    def retry():
        try:
            result.retry("failed")
        except CanvasError as exc:
            refused.append(exc)

    threads = [threading.Thread(target=retry) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    sent = len(desk.take())
    assert sent == (6 if "cancellable" in options else 2)
    assert len(refused) == ("window" in options)
    assert not [m for m in range(6) if result.members.barrier.state(m) == 4]


def test_missing_members_are_those_that_were_cancelled_or_not_sent(desk):
    members = [desk.echo.s(i) for i in range(20)]
    result = group(members).apply_async(window=4)
    until(lambda: result.members.barrier.remaining and len(result.members.waiters))
    taken = []
    until(lambda: taken.extend(desk.take()) or len(taken) == 4)
    desk.finish(result, 0)
    result.cancel()
    until(result.ready)
    with pytest.raises(CanvasError, match="member 1 was cancelled, and no worker"):
        result.retry("missing")
    # A worker drops what it finds.
    desk.finish(result, 1, 2, 3, state="REVOKED")
    result.retry("missing")
    until(lambda: taken.extend(desk.take()) or len(taken) == 8)
    assert {stamp for _, _, stamp in taken[4:]} == {result.members.stamps[1]}
    for index in range(1, 20):
        # Of those that left twice, this one is the next.
        until(lambda at=index: taken.extend(desk.take()) or len(taken) - 4 >= at)
        assert len(taken) - 4 - (index - 1) <= 4
        desk.finish(result, index)
    assert result.get(timeout=WAIT) == list(range(20))
    assert result.stopped_by is None


def test_a_cancel_after_a_retry_names_both_stamps(desk, result):
    told = []
    desk.app.backend.revoke_by_stamped_headers = lambda what, **_: told.append(what)
    result.retry("failed")
    result.cancel()
    (again,) = {stamp for _, _, stamp in desk.take()}
    assert told == [{GROUP_STAMP: [result.id, again]}]


def test_a_generator_is_asked_for_once_more(desk):
    def source(last=5):
        yield from (desk.echo.s(i) for i in range(last))
        yield desk.echo.s(last)

    result = group(source()).apply_async(window=10)
    until(lambda: result.members.barrier.is_sealed)
    first = desk.take()
    desk.finish(result, 0, 1, 2, 4, 5)
    desk.finish(result, 3, state="FAILURE")
    until(result.ready)
    with pytest.raises(CanvasError, match="source="):
        result.retry("failed")
    result.retry("failed", source=source())
    assert [each[0] for each in desk.take()] == [first[3][0]]
    desk.finish(result, 3)
    assert result.get(timeout=WAIT) == list(range(6))


@pytest.mark.parametrize("form", ["list", "generator", "map", "group"])
def test_a_source_that_changed_is_refused_by_its_first_difference(desk, result, form):
    made = {
        "list": lambda: [desk.echo.s(i * 7) for i in range(6)],
        "generator": lambda: (desk.echo.s(i * 7) for i in range(6)),
        "map": lambda: group.map(desk.echo, [i * 7 for i in range(6)]),
        "group": lambda: group([desk.echo.s(i * 7) for i in range(6)]),
    }
    with pytest.raises(CanvasError, match=r"group\[2\].*source is another") as error:
        result.retry("failed", source=made[form]())
    assert error.value.path == "group[2]"
    assert desk.take() == []
    # Nothing has happened.
    assert result.counts()["FAILURE"] == 2
    assert result[2].failed()
    result.retry("failed")
    assert len(desk.take()) == 2


def test_members_that_may_run_are_refused(desk):
    members = group([desk.echo.s(i) for i in range(3)])
    result = members.apply_async(cancellable=True)
    desk.take()
    desk.finish(result, 0, state="FAILURE")
    with pytest.raises(CanvasError, match="member 1 is not done and may run"):
        result.retry([0, 1])
    assert desk.take() == []
    assert result.retry("failed")[0].state == "PENDING"


def test_a_group_that_is_fed_is_refused(desk):
    result = group([desk.echo.s(i) for i in range(30)]).apply_async(window=3)
    with pytest.raises(CanvasError, match="still being sent"):
        result.retry("failed")


def test_a_group_of_which_nothing_is_known_is_refused(desk):
    result = group([desk.echo.s(0)]).apply_async()
    desk.finish(result, 0, state="FAILURE")
    # Without a source, too: one would be refused.
    for source in (None, [desk.echo.s(0)]):
        with pytest.raises(CanvasError, match=r"without window= or cancellable=True"):
            result.retry("failed", source=source)


def test_a_group_that_was_cancelled_by_its_ids_is_refused(desk):
    result = group([desk.echo.s(0)]).apply_async()
    result.cancel()
    until(result.ready)
    with pytest.raises(CanvasError, match="cancelled by the ids"):
        result.retry("missing", source=[desk.echo.s(0)])


@pytest.mark.parametrize(
    "which", ["all", 3, None, ["1"], [True], [6], [-1], [1.0]], ids=repr
)
def test_a_wrong_choice_of_members_is_refused(desk, result, which):
    with pytest.raises(CanvasError, match="retry"):
        result.retry(which)
    assert desk.take() == []


def test_chains_are_sent_once_more_and_chords_refused(desk):
    members = [
        chain(desk.echo.s(0), desk.echo.s()),
        chord([desk.echo.s(1), desk.echo.s(2)], desk.echo.s()),
    ]
    result = group(members).apply_async(cancellable=True)
    first = desk.take()
    desk.finish(result, 0, 1, state="FAILURE")
    until(result.ready)
    with pytest.raises(CanvasError, match="a chord cannot be sent once more"):
        result.retry([1])
    assert desk.take() == []
    assert result[1].state == "FAILURE"
    result.retry([0])
    assert [each[0] for each in desk.take()] == [first[0][0]]


def test_a_waiting_thread_hears_of_members_that_are_sent_once_more(desk, result):
    result.retry("failed")
    desk.finish(result, 2)
    assert result[2].get(timeout=WAIT) == 2
    desk.finish(result, 4)
    assert result[4].get(timeout=WAIT) == 4


@pytest.mark.parametrize("options", [{"cancellable": True}, {"window": 9}], ids=repr)
def test_what_a_broker_refuses_of_a_retry_can_leave_later(desk, monkeypatch, options):
    members = group([desk.echo.s(i) for i in range(6)])
    result = members.apply_async(**options)
    until(lambda: result.sealed)
    desk.take()
    desk.finish(result, 0, 1, 3, 5)
    desk.finish(result, 2, 4, state="FAILURE")
    until(result.ready)

    def refuse(*_):
        raise Broken("the broker is away", recoverable=False)

    with monkeypatch.context() as patch:
        patch.setattr(Carrier, "send", refuse)
        with pytest.raises(PublishError, match="the broker is away"):
            result.retry("failed")
    assert result.report.unsent == [(2, 3), (4, 5)]
    assert result.counts()["NOT_SENT"] == 2
    if "window" in options:
        members.resume(result)
    else:
        result.retry("missing")
    taken = []
    until(lambda: taken.extend(desk.take()) or len(taken) == 2)
    assert {stamp for _, _, stamp in taken} == {result.members.stamps[-1]}
    desk.finish(result, 2, 4)
    assert result.get(timeout=WAIT) == list(range(6))
    assert result.report.complete


def test_members_that_never_left_are_unsent_after_a_retry_of_others(desk):
    result = group([desk.echo.s(i) for i in range(6)]).apply_async(window=2)
    taken = []
    until(lambda: taken.extend(desk.take()) or len(taken) == 2)
    result.feeding.stop("close")
    desk.finish(result, 0, state="FAILURE")
    desk.finish(result, 1)
    until(result.ready)
    # As in a process that has the group's handle.
    result.feeding = result.report = None
    result.retry("failed", source=[desk.echo.s(i) for i in range(6)])
    assert result.report.confirmed == [(0, 2)]
    assert result.report.unsent == [(2, 6)]
    assert result.counts()["NOT_SENT"] == 4
