"""Senders that are killed at any point, and others that go on by their journals."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from celerant.errors import JournalError, ResultExpired
from celerant.sending.journal_file import JournalFile
from harness import services
from harness.journal_sender import (
    Plan,
    app_of,
    counted,
    forget,
    members_of,
    run_killed,
    run_to_death,
    working,
)
from harness.tcp_proxy import TcpProxy
from harness.until import until

BROKERS = ["redis", "rabbitmq"]
PORTS = {"redis": services.REDIS_PORT, "rabbitmq": services.RABBITMQ_PORT}
SIZE = 3000
#: About how many bytes a member takes on the way; a bit less, so that all are reached.
BYTES = {"redis": 1050, "rabbitmq": 780}
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def rng():
    """Say the seed of the points, so that those of a failure can be had again."""
    seed = int(os.environ.get("CELERANT_TEST_SEED") or random.randrange(1 << 32))
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)


@pytest.fixture(autouse=True)
def nothing_left(own_urls, tmp_path):
    seeds = []
    yield seeds
    forget(own_urls["redis"], tmp_path, *seeds)


@pytest.fixture(params=BROKERS)
def broker(request):
    if request.param == "rabbitmq":
        request.getfixturevalue("rabbitmq_url")
    return request.param


@pytest.fixture
def plan(own_urls, new_queue, tmp_path):
    """Return plans of senders that reach a broker by a proxy."""

    def make(broker, proxy, **settings):
        url = own_urls[broker].replace(f":{PORTS[broker]}", f":{proxy.port}")
        name = new_queue()
        settings.setdefault("journal", str(tmp_path / f"{name}.journal"))
        return Plan(
            broker=url, backend=own_urls["results"], name=name, size=SIZE, **settings
        )

    return make


def was_begun(plan):
    path = Path(plan.journal)
    return path.exists() and path.stat().st_size > 0


def survive(plan, proxy, rng, broker):
    """Kill one sender or several, one after the other, and go on.

    Returns:
        How many messages each member has, and the members that may have two.
    """
    whole = SIZE * BYTES[broker]
    for _ in range(rng.choice([1, 1, 2, 3])):
        plan.resumes = was_begun(plan)
        at, loses_reply = rng.randrange(whole), rng.random() < 0.5
        if not run_killed(plan, proxy, at, loses_reply=loses_reply):
            break
    with app_of(plan) as app:
        members = members_of(app, plan)
        if was_begun(plan):
            result = members.resume(plan.journal)
        else:
            result = members.apply_async(journal=plan.journal)
        assert result.report.complete
        assert len(result) == SIZE
        counts = counted(plan.broker, plan.name, SIZE)
    named = result.report.maybe_double
    return counts, {index for start, stop in named for index in range(start, stop)}


def check_points(plan, broker, rng, points):
    """Kill senders at random points, and count by index what they have sent."""
    with TcpProxy(PORTS[broker]) as proxy:
        for point in range(points):
            made = plan(broker, proxy, streams=point % 2 == 1)
            counts, named = survive(made, proxy, rng, broker)
            assert sorted(counts) == list(range(SIZE))
            twice = {index for index, count in counts.items() if count > 1}
            if broker == "redis":
                assert not twice
                assert not named
            assert twice <= named


def test_the_rest_of_a_killed_sender_is_sent_once(plan, broker, rng):
    check_points(plan, broker, rng, points=3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_rest_of_a_sender_is_sent_once_wherever_it_was_killed(plan, broker, rng):
    check_points(plan, broker, rng, points=50)


def test_members_in_doubt_count_as_sent_if_they_are_to_be_skipped(plan, rabbitmq_url):
    with TcpProxy(PORTS["rabbitmq"]) as proxy:
        made = plan("rabbitmq", proxy)
        assert run_killed(made, proxy, 1_500_000, loses_reply=False)
        with app_of(made) as app:
            result = members_of(app, made).resume(made.journal, unknown="skip")
            counts = counted(made.broker, made.name)
    unknown = {i for one in result.report.unknown for i in range(*one)}
    assert unknown
    assert not result.report.unsent
    assert set(counts.values()) == {1}
    assert set(range(SIZE)) - set(counts) <= unknown


# -- groups that are fed ---------------------------------------------------------------


def direct(plan, own_urls, broker):
    """Have a plan's sender reach its broker without a proxy."""
    return replace(plan, broker=own_urls[broker], size=900, options={"window": 60})


@pytest.mark.parametrize("streams", [False, True])
def test_a_fed_group_goes_on_with_its_window(
    plan, broker, own_urls, rng, runs, streams
):
    with TcpProxy(PORTS[broker]) as proxy:
        made = direct(plan(broker, proxy, streams=streams), own_urls, broker)
    made.streams = True
    with working(made, runs):
        for _ in range(2):
            run_to_death(replace(made, dies_at=rng.randrange(1, 800)))
            made.resumes = was_begun(made)
    made.streams = streams
    with working(made, runs) as app:
        members = members_of(app, made)
        if was_begun(made):
            result = members.resume(made.journal)
        else:
            result = members.apply_async(journal=made.journal, window=60)
        assert result.get(timeout=60) == list(range(900))
        assert result.feeding.options.window == 60
    counts = runs.counts()
    named = {i for one in result.report.maybe_double for i in range(*one)}
    assert sorted(counts) == list(range(900))
    twice = {index for index, count in counts.items() if count > 1}
    assert twice <= named
    if broker == "redis":
        assert not twice


def test_a_fed_group_goes_on_by_its_handle_once_the_lease_is_over(
    plan, own_urls, rng, runs, tmp_path, nothing_left
):
    with TcpProxy(PORTS["redis"]) as proxy:
        made = direct(plan("redis", proxy, streams=True), own_urls, "redis")
    path = tmp_path / "handle"
    made = replace(made, journal=True, handle_to=str(path), lease=2.0)
    with working(made, runs) as app:
        run_to_death(replace(made, dies_at=rng.randrange(300, 800)))
        handle = path.read_text()
        before = app.attach(handle)
        assert not before.sealed
        members = members_of(app, made)
        with pytest.raises(JournalError, match=r"process \d+ on .* try again in"):
            members.resume(handle)

        def resumed():
            try:
                return members.resume(handle)
            except JournalError:
                return None

        resumed_at = time.time()
        result = until(resumed, 60)
        nothing_left.append(result.roster.seed)
        # The mean rate counts from the first sender's begin.
        assert result.members.sent_since < resumed_at
        assert result.get(timeout=60) == list(range(900))
        until(lambda: not result.feeding.is_running)
        assert app.attach(handle).get(timeout=60) == list(range(900))
        # What was attached while nobody sent has followed the sender that went on.
        assert before.get(timeout=60) == list(range(900))
        # All of it was sent: nothing more is.
        again = members_of(app, made).resume(handle)
        assert again.get(timeout=60) == list(range(900))
    assert runs.counts() == Counter(range(900))


def test_results_that_went_to_the_dead_sender_are_not_waited_for(
    plan, own_urls, runs, rabbitmq_url
):
    with TcpProxy(PORTS["rabbitmq"]) as proxy:
        made = direct(plan("rabbitmq", proxy, streams=True), own_urls, "rabbitmq")
    made.backend = "rpc://"
    with working(made, runs) as app:
        run_to_death(replace(made, dies_at=500))
        result = members_of(app, made).resume(made.journal)
        assert result.wait(timeout=60) == 900
        counts = result.counts()
    assert counts["EXPIRED"] > 300
    assert counts["SUCCESS"] == 900 - counts["EXPIRED"]
    assert sorted(runs.counts()) == list(range(900))


def test_used_results_do_not_come_again(plan, own_urls, runs):
    with TcpProxy(PORTS["redis"]) as proxy:
        made = direct(plan("redis", proxy), own_urls, "redis")
    with working(made, runs) as app:
        first = members_of(app, made).apply_async(journal=made.journal, window=60)
        came = []
        for member in first.as_completed(timeout=60, forget=True):
            came.append(member.index)
            if len(came) == 500:
                break
        first.feeding.stop("close")
    file, past = JournalFile.open(made.journal)
    file.close()
    used = {index for one in past.used for index in range(*one)}
    with working(made, runs) as app:
        result = members_of(app, made).resume(made.journal)
        rest = [m.index for m in result.as_completed(timeout=60, forget=True)]
    assert used <= set(came)
    assert used
    assert not used & set(rest)
    with pytest.raises(ResultExpired):
        result[min(used)].get()
    assert len(rest) == len(set(rest))
    assert set(came) | set(rest) == set(range(900))
    assert runs.counts() == Counter(range(900))


def test_a_chord_that_left_in_part_is_sent_again_and_named(plan, own_urls):
    with TcpProxy(PORTS["redis"]) as proxy:
        made = replace(plan("redis", proxy), size=3, header=1800)
        # Two of its four transactions are in.
        assert run_killed(made, proxy, 1_600_000, loses_reply=False)
        with app_of(made) as app:
            result = members_of(app, made).resume(made.journal)
            assert result.report.complete
            assert result.report.maybe_double == [(1, 2)]
            ids = ids_in(own_urls["redis"], made.name)
    counts = Counter(ids)
    assert set(counts.values()) == {1, 2}
    assert counts[result[0].id] == counts[result[2].id] == 1
    assert len(counts) == 1802


def ids_in(url, queue):
    """Return the ids of all messages in a queue."""
    with redis.Redis.from_url(url) as client:
        raw = client.lrange(queue, 0, -1)
    return [json.loads(one)["headers"]["id"] for one in raw]
