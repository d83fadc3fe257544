"""The index of groups, in memory: what sending notes, and what is found by it."""

from __future__ import annotations

import logging

import pytest

from celerant import (
    Celerant,
    CelerantError,
    HandleError,
    SettingError,
    SoftTimeLimitExceeded,
    chord,
    group,
)
from celerant.context.call import Call
from celerant.results import indexed
from celerant.results.backends.beside import INDEX_MOST
from harness.fed_queue import Queue
from harness.until import until


@pytest.fixture
def noting(shop):
    """The test tasks on an app that notes its groups."""
    shop.app.conf.celerant_index_groups = True
    return shop


def noted(app):
    return indexed.entries(app.backend)


def test_nothing_is_noted_by_default(shop):
    group(shop.add.s(1, 1) for _ in range(2)).apply_async()
    assert noted(shop.app) == []


def test_a_group_is_noted_with_its_size_and_the_names_of_its_tasks(noting):
    members = [noting.add.s(1, 1), noting.echo.s(2), noting.add.s(3, 3)]
    result = group(members).apply_async()
    (entry,) = noted(noting.app)
    assert (entry.id, entry.size) == (result.id, 3)
    assert set(entry.tasks) == {noting.add.name, noting.echo.name}
    assert entry.sent_at <= entry.noted_at


def test_single_tasks_and_chains_are_not_noted(noting):
    noting.add.delay(1, 1)
    (noting.add.s(1, 1) | noting.add.s(2)).apply_async()
    assert noted(noting.app) == []


def test_a_chords_header_is_noted(noting):
    result = chord([noting.add.s(1, 1), noting.add.s(2, 2)], noting.echo.s())()
    (entry,) = noted(noting.app)
    assert (entry.id, entry.size) == (result.parent.id, 2)


def test_the_last_sent_come_first(noting):
    results = [group(noting.add.s(1, 1) for _ in range(2)).delay() for _ in range(3)]
    assert [entry.id for entry in noted(noting.app)] == [
        result.id for result in reversed(results)
    ]


def test_the_result_that_is_held_is_found(noting):
    result = group(noting.add.s(1, 1) for _ in range(2)).apply_async()
    (entry,) = noted(noting.app)
    assert indexed.result_of(entry, noting.app.backend) is result


def test_a_result_that_was_dropped_is_made_again(noting):
    with noting.app.worker(concurrency=1):
        result = group(noting.add.s(i, i) for i in range(3)).apply_async()
        result.get(timeout=10)
    del result
    (entry,) = noted(noting.app)
    assert indexed.live(entry.uuid) is None
    made = indexed.result_of(entry, noting.app.backend)
    assert made.get(timeout=10) == [0, 2, 4]


def test_a_fed_group_is_noted_at_its_beginning_and_at_its_end(noting):
    queue = Queue(noting)
    result = group(noting.echo.s(i) for i in range(4)).apply_async(window=2)
    (begun,) = noted(noting.app)
    assert begun.size is None
    assert indexed.result_of(begun, noting.app.backend) is result
    queue.finish_all(result)
    until(lambda: noted(noting.app)[0].size == 4)
    assert len(noted(noting.app)) == 1


def test_the_first_task_of_a_fed_group_is_known_before_it_has_left(noting, monkeypatch):
    # Nothing leaves before it is noted.
    monkeypatch.setattr("celerant.sending.feeding.Feeder.begin", lambda *_, **__: None)
    noting.app.backend.obstacle = lambda: None
    for canvas in (
        group([noting.echo.s(i) for i in range(3)]),
        group.map(noting.echo, range(3)),
    ):
        canvas.apply_async(window=1)
    assert [entry.tasks for entry in noted(noting.app)] == 2 * [(noting.echo.name,)]


def test_a_fed_group_that_is_stopped_is_noted_with_what_has_left(noting):
    queue = Queue(noting)
    result = group(noting.echo.s(i) for i in range(9)).apply_async(window=2)
    until(lambda: queue.look() == 2)
    result.cancel()
    until(lambda: noted(noting.app)[0].size is not None)


def test_the_index_is_bounded(noting):
    canvas = group([noting.add.s(1, 1)])
    for _ in range(INDEX_MOST + 2):
        canvas.apply_async()
    assert len(noted(noting.app)) == INDEX_MOST


def test_entries_go_with_the_results(noting, monkeypatch):
    group(noting.add.s(1, 1) for _ in range(2)).apply_async()
    end = noting.app.backend._checked().groups[0][2]
    monkeypatch.setattr("celerant.results.backends.memory.monotonic", lambda: end + 1)
    assert noted(noting.app) == []


@pytest.fixture
def without(shop):
    """An app that notes its groups, and whose store keeps no index."""
    options = {"backend": "disabled://", "celerant_index_groups": True}
    with Celerant("h3noindex", **options) as app:
        app.task(name="one")(lambda: 1)
        yield app


def test_a_store_without_an_index_is_refused_before_anything_leaves(without):
    with pytest.raises(SettingError, match="needs results in Redis") as caught:
        group([without.signature("one")]).apply_async()
    assert caught.value.name == "celerant_index_groups"
    with pytest.raises(CelerantError, match="keeps no index"):
        without.backend.index()


def test_a_group_that_is_held_is_refused_before_it_is_to_be_sent(without):
    canvas = group([without.signature("one")])
    with pytest.raises(SettingError):
        without.sender.hold(canvas, Call((), {}, {}), unsent="never")


def test_a_group_that_runs_in_place_needs_no_index(without):
    without.conf.task_always_eager = True
    assert group([without.signature("one")]).apply_async().get() == [1]


def test_a_store_that_fails_costs_no_group_and_is_told_once(
    noting, monkeypatch, caplog
):
    tried = []

    def fail(payload, kept):
        tried.append(payload)
        raise CelerantError("the store is away")

    monkeypatch.setattr(noting.app.backend, "add_to_index", fail)
    with caplog.at_level(logging.WARNING, "celerant"):
        for _ in range(3):
            result = group(noting.add.s(1, 1) for _ in range(2)).apply_async()
            assert result.report.complete
    assert len(tried) == 1
    (record,) = caplog.records
    assert "is not in the index of groups" in record.message
    assert "the store is away" in record.message


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SoftTimeLimitExceeded])
def test_an_interruption_is_no_failure_of_the_store(noting, monkeypatch, raised):
    def end(payload, kept):
        raise raised

    monkeypatch.setattr(noting.app.backend, "add_to_index", end)
    with pytest.raises(raised) as caught:
        group(noting.add.s(1, 1) for _ in range(2)).apply_async()
    assert caught.value.report.complete
    assert len(caught.value.result) == 2


def test_an_unknown_group_and_what_others_wrote_are_passed_over(noting):
    group(noting.add.s(1, 1) for _ in range(2)).apply_async()
    for payload in (b"", b"[]", b"{}", b'{"id": 1}', b"\xff"):
        noting.app.backend.add_to_index(payload, None)
    assert len(noted(noting.app)) == 1
    with pytest.raises(HandleError, match="is not in the index"):
        indexed.entry_of(noting.app.backend, "none")
