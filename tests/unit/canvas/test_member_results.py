"""Results of groups in which there are chains and chords, run by the worker."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celerant import GroupResult, chain, chord, group


@pytest.fixture
def tasks(app):
    @app.task(name="add")
    def add(x, y):
        return x + y

    @app.task(name="quiet", ignore_result=True)
    def quiet(x, y):
        return x + y

    @app.task(name="gather")
    def gather(values):
        return values

    @app.task(name="sends")
    def sends():
        group(add.s(1, 1) | group(add.s(1), add.s(2))).apply_async()

    with app.worker(concurrency=2):
        yield SimpleNamespace(add=add, quiet=quiet, gather=gather, sends=sends)


def test_the_last_step_of_a_chain_counts(tasks):
    member = chain(tasks.quiet.s(1, 1), tasks.add.s(2))
    result = group(member, tasks.quiet.s(1, 1)).apply_async()
    assert result.get(timeout=10) == [4, None]
    assert result.counts()["IGNORED"] == 1


def test_a_lone_member_s_group_is_the_result(tasks):
    result = group([tasks.add.s(1, 1) | group(tasks.add.s(1), tasks.add.s(2))])()
    assert result.get(timeout=10) == [3, 4]
    assert result.parent.get(timeout=10) == 2
    assert result.report.complete
    assert [member.id for member in result] == result.as_list()[:2]


def test_a_chord_s_body_gets_groups_as_lists(tasks):
    pair = group(tasks.add.s(1), tasks.add.s(2))
    members = [tasks.add.s(1, 1), tasks.add.s(2, 2) | pair]
    body = tasks.gather.s()
    assert chord(members, body)().get(timeout=10) == [2, [5, 6]]
    assert chord(iter(members), body)().get(timeout=10) == [2, [5, 6]]
    assert group(tasks.add.s(0, 0), chord(members, body))().get(timeout=10) == [
        0,
        [2, [5, 6]],
    ]
    line = chain(group(members), body, tasks.gather.s())()
    assert line.get(timeout=10) == [2, [5, 6]]
    assert isinstance(line.parent, GroupResult)


def test_a_group_sent_by_a_task_is_a_group_among_its_children(tasks):
    result = tasks.sends.delay()
    result.get(timeout=10)
    (child,) = result.children
    assert isinstance(child, GroupResult)
    assert child.get(timeout=10) == [3, 4]
    assert child.parent.get(timeout=10) == 2


def test_members_of_which_nothing_is_sent_are_there(tasks):
    def silent():
        return chain(group())

    one = tasks.add.s(1, 0)
    pairs = [
        ([silent(), silent()], [[], []]),
        ([silent(), one], [[], 1]),
        ([*[one] * 500, silent()], [*[1] * 500, []]),
        ([chain(), one, chain(group(), group())], [1]),
    ]
    for members, values in pairs:
        for source in (members, iter(members)):
            result = group(source, app=tasks.add.app).apply_async()
            assert len(result) == len(values)
            assert result.report.complete
            assert result.get(timeout=10) == values
    lone = group([silent()], app=tasks.add.app).apply_async()
    assert lone.get(timeout=10) == []
