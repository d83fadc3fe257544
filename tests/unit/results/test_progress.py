"""How far a group has come: exact where it is watched, else by a sample."""

from __future__ import annotations

import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from celerant._core import Barrier
from celerant.results.consuming import sweeping
from celerant.results.progress import Progress
from celerant.results.tracking import pace, sampling
from celerant.results.tracking.sampling import margin_of
from harness.groups import Fed, group_of
from harness.until import until

WAIT = 10


@pytest.fixture
def shared(fake):
    """A store that other processes have written to."""
    fake.supports_handles = True
    return fake


def store(backend, result, indices, state="SUCCESS"):
    for index in indices:
        task_id = result.roster.id(index)
        value = ValueError("no") if state == "FAILURE" else index
        payload = backend.codec.encode(task_id, value, state, None, None)
        backend.records[task_id] = payload


def test_progress_of_a_watched_group_is_exact_and_asks_no_store(shared, monkeypatch):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)
    result = group_of(500, shared)
    store(shared, result, range(10))
    result.ready()
    until(lambda: result.members.is_watched)
    shared.fetched.clear()
    for index, state in ((10, "SUCCESS"), (11, "FAILURE"), (12, "REVOKED")):
        value = 1 if state == "SUCCESS" else ValueError("x")
        shared.push(result.roster.id(index), value, state)
    until(lambda: result.progress().done == 13)
    progress = result.progress()
    assert progress.total == 500
    assert (progress.succeeded, progress.failed, progress.revoked) == (11, 1, 1)
    assert progress.margin == 0
    assert shared.fetched == []


def test_an_open_group_has_no_total_and_no_end(memory):
    fed = Fed(memory)
    fed.grow(4)
    fed.members.settle([1], Barrier.NOT_SENT)
    fed.store(0)
    fed.members.look()
    until(lambda: fed.result.progress().done == 2)
    progress = fed.result.progress()
    assert progress.total is None
    assert progress.eta is None
    assert progress.share is None
    assert progress.failed == 1
    assert "more are being sent" in str(progress)
    fed.seal()
    assert fed.result.progress().total == 4


def test_an_empty_group_is_done(memory):
    progress = group_of(0, memory).progress()
    assert (progress.total, progress.done, progress.eta, progress.share) == (0, 0, 0, 1)


def test_of_a_group_that_nobody_watches_one_sample_is_read(shared):
    result = group_of(100_000, shared)
    store(shared, result, range(60_000))
    store(shared, result, range(60_000, 80_000), "FAILURE")
    progress = result.progress()
    assert [len(ids) for ids in shared.fetched] == [sampling.SAMPLE]
    assert not result.members.is_watched
    assert len(result.members.values) == 0
    assert 0 < progress.margin < 4000
    # Of a fair sample: wrong once in a thousand runs of this test.
    assert abs(progress.done - 80_000) < 2 * progress.margin
    assert abs(progress.succeeded - 60_000) < 6000
    assert abs(progress.failed - 20_000) < 6000
    assert progress.done == progress.succeeded + progress.failed
    assert f"(+-{progress.margin:,})" in str(progress)


def test_members_found_by_a_sample_are_not_read_again(shared):
    result = group_of(3000, shared)
    store(shared, result, range(3000))
    seen = [result.progress() for _ in range(4)]
    assert [progress.margin == 0 for progress in seen] == [False, False, True, True]
    assert all(progress.done == 3000 for progress in seen)
    read = [task_id for ids in shared.fetched for task_id in ids]
    assert len(read) == len(set(read)) == 3000


def test_the_last_thousand_are_exact(shared):
    result = group_of(1000, shared)
    store(shared, result, range(0, 1000, 3))
    progress = result.progress()
    assert (progress.done, progress.margin) == (334, 0)
    store(shared, result, range(1, 1000, 3))
    assert result.progress().done == 667


def test_members_known_to_be_done_are_not_drawn(shared):
    result = group_of(1200, shared)
    store(shared, result, range(500))
    for index in range(500):
        result.members.take(index)
    shared.fetched.clear()
    progress = result.progress()
    assert (progress.done, progress.margin) == (500, 0)
    assert len(shared.fetched[0]) == 700


def test_a_record_that_only_kombu_reads_counts(shared):
    result = group_of(2, shared)
    store(shared, result, [0])
    huge = {"status": "SUCCESS", "result": 2**70, "traceback": None}
    shared.records[result[1].id] = shared.codec.pack(huge)
    assert result.progress().done == 2


def test_a_few_that_are_left_of_many_are_drawn_fairly(shared, monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLE", 10)
    monkeypatch.setattr(sampling, "_SHARE", 0.5)
    drawn = set()
    for seed in range(40):
        random.seed(seed)
        result = group_of(200, shared)
        result.members.settle(range(150), Barrier.IGNORED)
        result.progress()
        drawn |= {result.roster.index(task_id) for task_id in shared.fetched[-1]}
    # Each of the fifty is drawn by one of forty samples of ten, but for one in 7,000.
    assert drawn == set(range(150, 200))


@pytest.mark.parametrize(("size", "step"), [(1500, 1), (3000, 3)])
def test_threads_that_look_at_once_each_get_an_estimate(
    shared, monkeypatch, size, step
):
    result = group_of(size, shared)
    store(shared, result, range(0, size, step))
    together, fetch = threading.Barrier(3, timeout=WAIT), shared.fetch

    def meet(ids):
        found = fetch(ids)
        # All wait for the store at once: none of them holds up another.
        together.wait()
        return found

    monkeypatch.setattr(shared, "fetch", meet)
    with ThreadPoolExecutor(3) as pool:
        seen = list(pool.map(lambda _: result.progress(), range(3)))
    for progress in seen:
        assert progress.total == size
        assert abs(progress.done - size // step) < max(1, 2 * progress.margin)


def test_threads_that_look_again_and_again_are_right(shared, short_switches):
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            result = group_of(1500, shared)
            store(shared, result, range(1500))
            looks = [pool.submit(result.progress) for _ in range(8)]
            assert {look.result(WAIT).done for look in looks} == {1500}


@pytest.mark.timeout(WAIT)
def test_a_draw_ends_though_others_have_found_most_members():
    barrier = Barrier()
    barrier.grow(1500)
    barrier.arrive_range(0, 600, Barrier.SUCCESS)
    assert len(sampling._drawn(barrier, 1500)) == 900


def test_members_that_are_sent_once_more_are_not_known_to_be_done(shared):
    result = group_of(5, shared)
    store(shared, result, range(5), "FAILURE")
    assert result.progress().done == 5
    result.members.mend([1, 2])
    result.members.seal(5)
    for index in (1, 2):
        del shared.records[result.roster.id(index)]
    assert result.progress().done == 3


def coverage(population, drawn, done):
    """How probable it is that the margin holds, of so many members that are done."""
    held, total = 0.0, 0.0
    least, most = max(0, drawn - (population - done)), min(drawn, done)
    log = math.lgamma

    def choose(n, k):
        return log(n + 1) - log(k + 1) - log(n - k + 1)

    for found in range(least, most + 1):
        chance = math.exp(
            choose(done, found)
            + choose(population - done, drawn - found)
            - choose(population, drawn)
        )
        total += chance
        estimate = found / drawn * population
        if abs(estimate - done) <= margin_of(found, drawn, population) + 1:
            held += chance
    return held / total


@pytest.mark.parametrize("population", [1500, 20_000, 1_000_000])
def test_the_margin_holds_in_95_of_100_cases(population):
    shares = [0.0, 0.001, 0.01, 0.03, 0.1, 0.25, 0.5, 0.77, 0.9, 0.99, 0.999, 1.0]
    found = [coverage(population, 1000, round(share * population)) for share in shares]
    assert min(found) > 0.94
    assert sum(found) / len(found) > 0.95


def test_the_margin_shrinks_with_what_is_left(shared):
    margins = [margin_of(500, 1000, population) for population in (10**6, 10**4, 1100)]
    assert margins == sorted(margins, reverse=True)
    assert margins[0] < 0.035 * 10**6
    assert margin_of(1000, 1000, 1000) == 0
    assert margin_of(0, 1000, 10**6) > 0


def test_the_rate_is_that_of_the_last_half_minute(memory, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])
    fed = Fed(memory)
    fed.grow(100)
    fed.seal()
    fed.members.look()
    for second in range(40):
        now[0] += 1.0
        count = 1 if second < 30 else 4
        before = fed.members.barrier.arrived
        fed.members.settle(range(before, before + count), Barrier.SUCCESS)
    progress = fed.result.progress()
    assert progress.done == 70
    # The last 29 seconds: 19 of one each, 10 of four.
    assert progress.rate == pytest.approx(59 / 29, rel=0.05)
    assert progress.eta == pytest.approx(30 / progress.rate)
    now[0] += 100
    assert fed.result.progress().rate < 0.5


def test_the_rate_of_a_group_attached_to_is_the_mean_since_it_was_sent(shared):
    result = group_of(100, shared, sent_at=time.time() - 50)
    store(shared, result, range(25))
    progress = result.progress()
    assert progress.rate == pytest.approx(0.5, rel=0.1)
    assert progress.eta == pytest.approx(150, rel=0.1)


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(10, 10, 10, 0, 0, None, 0.0), "10 of 10 done (100.0%)"),
        (
            Progress(4000, 1000, 990, 8, 2, 12.34, 243.1, 30),
            "(+-30) of 4,000 done (25.0%), 8 failed, 2 revoked, 12.3/s, 4 min left",
        ),
        (Progress(None, 5, 5, 0, 0, 1.0, None), "5 done, and more are being sent, "),
        (Progress(2, 1, 1, 0, 0, 0.1, 10.0), "10 s left"),
        (Progress(2, 1, 1, 0, 0, 0.0001, 9000.0), "2.5 h left"),
    ],
)
def test_progress_is_shown_as_one_line(progress, text):
    assert text in str(progress)


@pytest.mark.parametrize(("ago", "gone"), [(0, 0), (10, 495)])
def test_members_whose_results_have_expired_have_failed(shared, ago, gone):
    shared.expires = 5
    result = group_of(500, shared, sent_at=time.time() - ago)
    store(shared, result, range(5))
    progress = result.progress()
    assert (progress.succeeded, progress.failed) == (5, gone)
    assert progress.done == 5 + gone


def test_members_of_a_group_that_is_being_sent_have_not_expired(shared):
    shared.expires = 5
    fed = Fed(shared)
    fed.members.sent_at = time.time() - 10
    fed.grow(3)
    assert fed.result.progress().done == 0
