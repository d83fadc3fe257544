"""A retry that is refused changes nothing: not the group, and not what is stored."""

from __future__ import annotations

import pytest

from celerant import chain, chord, group
from celerant.errors import CanvasError
from harness.until import until

WAIT = 10


def ended(desk, members, failed, **options):
    """Send a group; the members `failed` fail, all others are done well."""
    result = group(members).apply_async(**options)
    count = 0

    def all_have_left():
        nonlocal count
        # Each ends once: as they come, in their order.
        fresh = range(count, count + len(desk.take()))
        count = fresh.stop
        desk.finish(result, *(i for i in fresh if i not in failed))
        desk.finish(result, *(i for i in fresh if i in failed), state="FAILURE")
        return count >= len(members) and result.sealed

    until(all_have_left)
    until(result.ready)
    return result


def unchanged(desk, result, failed):
    """Check that nothing has left, and nothing is changed."""
    assert desk.take() == []
    assert result.report.complete
    assert result.members.stamps == [result.id]
    assert result.sealed
    assert result.counts()["FAILURE"] == len(failed)
    assert result.counts()["PENDING"] == result.counts()["NOT_SENT"] == 0
    for index in failed:
        assert desk.app.backend.read(result.roster.id(index)) is not None


#: Of a group of six that is fed: its window has room for what failed, or has not.
OPTIONS = [{"cancellable": True}, {"window": 50}, {"window": 1}]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("form", [list, iter])
def test_a_refused_source_leaves_the_group_as_it_was(desk, options, form):
    sent = [desk.echo.s(i) for i in range(6)]
    result = ended(desk, sent, [2, 4], **options)
    other = form([desk.echo.s(i if i < 4 else 70) for i in range(6)])
    with pytest.raises(CanvasError, match=r"group\[4\].*source is another"):
        result.retry("failed", source=other)
    unchanged(desk, result, [2, 4])
    result.retry("failed")
    taken = []
    until(lambda: taken.extend(desk.take()) or taken)
    assert {each[2] for each in taken} == {result.members.stamps[1]}


def test_a_resume_after_a_refused_retry_sends_nothing(desk):
    members = group([desk.echo.s(i) for i in range(6)])
    result = members.apply_async(window=50)
    until(lambda: result.sealed)
    desk.take()
    desk.finish(result, 0, 1, 3, 5)
    desk.finish(result, 2, 4, state="FAILURE")
    until(result.ready)
    with pytest.raises(CanvasError, match="source is another"):
        result.retry("failed", source=[desk.echo.s(7 * i) for i in range(6)])
    members.resume(result)
    result.feeding.await_end()
    unchanged(desk, result, [2, 4])


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("form", [list, iter])
@pytest.mark.parametrize("size", [3, 5])
def test_a_source_that_is_too_short_is_refused(desk, options, form, size):
    sent = [desk.echo.s(i) for i in range(6)]
    result = ended(desk, sent, [4, 5], **options)
    short = form([desk.echo.s(i) for i in range(size)])
    with pytest.raises(CanvasError, match=rf"group\[{size}\]: the source ends here"):
        result.retry("failed", source=short)
    unchanged(desk, result, [4, 5])


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_chords_are_refused_before_anything_is_deleted(desk, options):
    def chorded(i):
        return chord([desk.echo.s(i), desk.echo.s(i)], desk.echo.s())

    result = group([chorded(i) for i in range(3)]).apply_async(**options)

    def all_have_failed():
        desk.take()
        desk.finish(result, *range(len(result.members.barrier)), state="FAILURE")
        return result.sealed

    until(all_have_failed)
    until(result.ready)
    desk.take()
    with pytest.raises(CanvasError, match="a chord cannot be sent once more"):
        result.retry("failed")
    unchanged(desk, result, [0, 1, 2])


def test_the_tasks_in_a_refused_source_are_not_taken_for_the_groups(desk):
    sent = [chain(desk.echo.s(i), desk.echo.s()) for i in range(2)]
    result = group(sent).apply_async(cancellable=True)
    desk.take()
    form = result.as_tuple()
    desk.finish(result, 0, 1, state="FAILURE")
    until(result.ready)
    longer = [chain(desk.echo.s(i), desk.echo.s(), desk.echo.s()) for i in (0, 7)]
    with pytest.raises(CanvasError, match="source is another"):
        result.retry("failed", source=longer)
    assert result.as_tuple() == form


def test_a_store_that_is_away_keeps_a_retry_from_leaving(desk, monkeypatch):
    result = ended(desk, [desk.echo.s(i) for i in range(4)], [1], cancellable=True)

    def away(_ids):
        raise ConnectionError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(desk.app.backend, "forget", away)
        with pytest.raises(ConnectionError, match="away"):
            result.retry("failed")
    unchanged(desk, result, [1])


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_a_generator_is_read_once_and_no_further_than_needed(desk, options):
    read = []

    def source(last):
        for index in range(last):
            read.append(index)
            yield desk.echo.s(index)

    result = ended(desk, [desk.echo.s(i) for i in range(6)], [1, 3], **options)
    result.retry("failed", source=source(1000))
    taken = []

    def both_have_left():
        fresh = desk.take()
        taken.extend(fresh)
        desk.finish(result, *(result.roster.index(each[0]) for each in fresh))
        return len(taken) == 2

    until(both_have_left)
    assert [each[1] for each in taken] == ["(1,)", "(3,)"]
    assert read == list(range(len(read)))
    assert result.get(timeout=WAIT) == list(range(6))


def test_groups_inside_a_generator_keep_their_places(desk):
    def source():
        yield desk.echo.s(0)
        yield group(desk.echo.s(i) for i in range(1, 4))
        yield group([desk.echo.s(4), group(desk.echo.s(i) for i in (5, 6))])
        yield desk.echo.s(7)

    result = group(source()).apply_async(cancellable=True)
    desk.take()
    desk.finish(result, 0, 1, 3, 5, 7)
    desk.finish(result, 2, 4, 6, state="FAILURE")
    until(result.ready)
    for form in (iter, list):
        result.retry("failed", source=form(list(source())))
        assert [each[1] for each in desk.take()] == ["(2,)", "(4,)", "(6,)"]
        desk.finish(result, 2, 4, 6, state="FAILURE")
        until(result.ready)


def test_a_long_generator_is_compared_as_it_is_sent(desk, monkeypatch):
    monkeypatch.setattr("celerant.dispatch.checking.HELD_BYTES", 1)
    monkeypatch.setattr("celerant.dispatch.dispatching.HELD_BYTES", 1)
    size = 3000
    result = group.map(desk.echo, range(size)).apply_async(cancellable=True)
    desk.take()
    desk.finish(result, *range(size), state="FAILURE")
    until(result.ready)
    result.retry("failed", source=group.map(desk.echo, iter(range(size))))
    assert [each[1] for each in desk.take()] == [f"({i},)" for i in range(size)]


def test_what_a_source_raises_comes_before_anything_leaves(desk):
    def torn():
        yield desk.echo.s(0)
        raise OSError("the disk is gone")

    result = ended(desk, [desk.echo.s(i) for i in range(4)], [1, 2], window=1)
    with pytest.raises(OSError, match="the disk is gone"):
        result.retry("failed", source=torn())
    unchanged(desk, result, [1, 2])
