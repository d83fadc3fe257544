"""Senders whose group another one goes on with, and what they leave alone then."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from kombu import Connection, Exchange, Queue

from celerant import group
from celerant.errors import JournalError, PublishError
from celerant.results.handle import seed_of
from harness.elsewhere import app_elsewhere
from harness.journal_sender import (
    PATIENCE,
    Plan,
    app_of,
    counted,
    forget,
    is_stopped,
    members_of,
    start,
    working,
)
from harness.until import until

SIZE = 300
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def nothing_left(own_urls, tmp_path):
    seeds = []
    yield seeds
    forget(own_urls["redis"], tmp_path, *seeds)


@pytest.fixture
def plan(own_urls, new_queue, tmp_path):
    """Return a plan of a sender of 300 members."""

    def make(broker="redis", **settings):
        settings.setdefault("journal", str(tmp_path / "group.journal"))
        return Plan(
            broker=own_urls[broker],
            backend=own_urls["results"],
            name=new_queue(),
            size=SIZE,
            streams=True,
            **{"options": {"window": 40}, **settings},
        )

    return make


@pytest.fixture
def running():
    """Start senders in processes of their own, which end with the test."""
    processes = []

    def run(plan):
        processes.append(start(plan))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.join(PATIENCE)


def resumed(app, plan, handle):
    """Go on with a group once the lease of its sender is over."""

    def resume():
        try:
            return members_of(app, plan).resume(handle)
        except JournalError:
            return None

    return until(resume, PATIENCE)


def what_is_kept(client, name):
    """Return the records of a journal, and what members 700 to 900 were sent with."""
    records = client.lrange(f"{name}.records", 0, -1)
    return records, client.getrange(f"{name}.prints", 1400, 1799)


def waiting(members, go, at):
    """Yield the members of a group, and wait before one of them."""
    for index, member in enumerate(members["kwargs"]["tasks"]):
        if index == at:
            go.wait(PATIENCE)
        yield member


# -- a sender that was stopped for longer than its lease -------------------------------


def test_a_sender_that_was_replaced_writes_nothing(
    plan, running, own_urls, runs, tmp_path, nothing_left
):
    kept = tmp_path / "handle"
    made = plan(journal=True, handle_to=str(kept), lease=2.0)
    with working(made, runs) as app, redis.Redis.from_url(own_urls["redis"]) as client:
        first = running(replace(made, stops_at=100))
        until(lambda: is_stopped(first), PATIENCE)
        handle = kept.read_text()
        seed = seed_of(handle, app.backend)
        nothing_left.append(seed)
        name = f"_kombu.celerant.journal.{seed.hex()}"
        until(lambda: not client.exists(f"{name}.lease"), PATIENCE)
        second = running(
            replace(made, journal=handle, handle_to="", stops_at=200, resumes=True)
        )
        until(lambda: is_stopped(second), PATIENCE)
        records = client.lrange(f"{name}.records", 0, -1)
        os.kill(first.pid, signal.SIGCONT)
        first.join(PATIENCE)
        assert first.exitcode == 0
        assert client.lrange(f"{name}.records", 0, -1) == records
        assert app.attach(handle).sealed is False
        second.kill()
        result = resumed(app, replace(made, stops_at=None), handle)
        assert result.get(timeout=60) == list(range(SIZE))
        until(lambda: not result.feeding.is_running)
        assert app.attach(handle).get(timeout=60) == list(range(SIZE))
    assert runs.counts() == Counter(range(SIZE))


@pytest.mark.parametrize("how", ["is closed", "sends"])
def test_a_sender_that_has_not_heard_of_another_writes_nothing(
    plan, own_urls, runs, nothing_left, how
):
    # A chunk has 500 members.
    made = replace(plan(journal=True), size=1200)
    gate = threading.Event()

    def source(app):
        for index in range(made.size):
            if index == 700:
                gate.wait(PATIENCE)
            # Its rows have changed meanwhile.
            row = index if index < 700 else -index
            yield app.signature("fed.note", (row,))

    with (
        working(made, runs) as app,
        app_of(made) as other,
        redis.Redis.from_url(own_urls["redis"]) as client,
    ):
        members = group(source(other), app=other)
        first = members.apply_async(journal=True, window=2000)
        handle = first.handle
        until(lambda: len(first.members.barrier) >= 500, PATIENCE)
        nothing_left.append(first.roster.seed)
        name = f"_kombu.celerant.journal.{first.roster.seed.hex()}"
        # As after seconds in which its process stood still.
        client.delete(f"{name}.lease")
        go = threading.Event()
        late = waiting(members_of(app, made), go, 1100)
        second = group(late, app=app).resume(handle)
        until(lambda: runs.counts()[900], PATIENCE)
        kept = what_is_kept(client, name)
        if how == "is closed":
            first.feeding.stop("close")
            gate.set()
        else:
            gate.set()
            until(lambda: first.sealed, PATIENCE)
            assert isinstance(first.source_error, JournalError)
        assert what_is_kept(client, name) == kept
        assert not app.attach(handle).sealed
        go.set()
        assert second.get(timeout=60) == list(range(made.size))
    assert runs.counts() == Counter(range(made.size))


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_stopped_sender_keeps_its_file(plan, running, request, broker):
    if broker == "rabbitmq":
        request.getfixturevalue("rabbitmq_url")
    made = plan(broker, options={"window": 1000})
    process = running(replace(made, stops_at=150))
    until(lambda: is_stopped(process), PATIENCE)
    with app_of(made) as app:
        with pytest.raises(JournalError, match="sender that lives"):
            members_of(app, made).resume(made.journal)
        os.kill(process.pid, signal.SIGCONT)
        # It ends its thread only once its members are done, and nobody runs them.
        until(lambda: b'"end":' in Path(made.journal).read_bytes(), PATIENCE)
        process.kill()
        process.join(PATIENCE)
        result = members_of(app, made).resume(made.journal)
        until(lambda: result.sealed, PATIENCE)
        assert result.report.complete
        counts = counted(made.broker, made.name, SIZE)
    assert counts == Counter(range(SIZE))


# -- two at once -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_of_two_that_go_on_at_once_one_is_refused(plan, nothing_left, kind):
    made = plan(**({"journal": True} if kind == "redis" else {}))
    apps = [app_of(made) for _ in range(4)]
    first = members_of(apps[0], made)
    if kind == "redis":
        handle = first.freeze().handle
    begun = first.apply_async(journal=made.journal, window=100)
    nothing_left.append(begun.roster.seed)
    until(lambda: len(begun.members.barrier) == 100, PATIENCE)
    begun.feeding.stop("close")
    given = handle if kind == "redis" else made.journal
    together, told = threading.Barrier(len(apps)), []

    def resume(app):
        together.wait(PATIENCE)
        try:
            told.append(members_of(app, made).resume(given))
        except JournalError as exc:
            told.append(exc)

    threads = [threading.Thread(target=resume, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    refused = [one for one in told if isinstance(one, JournalError)]
    (went_on,) = (one for one in told if not isinstance(one, JournalError))
    assert len(refused) == len(apps) - 1
    # Its window is full of the members from before: nobody runs them.
    assert went_on.report.counts()["confirmed"] == 100
    went_on.feeding.stop("close")
    counts = counted(made.broker, made.name)
    for app in apps:
        app.close()
    assert counts == Counter(range(100))


# -- going on by a result, after another process -----------------------------------


@pytest.mark.parametrize(
    ("broker", "kind"), [("rabbitmq", "file"), ("redis", "file"), ("redis", "redis")]
)
def test_a_result_is_not_gone_on_with_after_another_went_on(
    make_app, plan, runs, nothing_left, broker, kind
):
    app = make_app(broker)

    @app.task(name="replaced.note")
    def note(index):
        runs.note(index)
        return index

    made = plan(broker)
    journal = True if kind == "redis" else made.journal
    with app_elsewhere(app) as other, app.worker(concurrency=2):
        members = group([note.s(index) for index in range(200)], app=app)
        first = members.apply_async(window=20, canary=5, journal=journal)
        nothing_left.append(first.roster.seed)
        handle = first.handle if kind == "redis" else journal
        first.feeding.stop("close")
        same = [other.signature("replaced.note", (index,)) for index in range(200)]
        second = group(same, app=other).resume(handle)
        assert second.get(timeout=60) == list(range(200))
        until(lambda: not second.feeding.is_running)
        with pytest.raises(JournalError, match="another sender"):
            members.resume(first)
        assert first.wait(timeout=60)
    assert runs.counts() == Counter(range(200))


def test_members_that_have_not_left_were_not_used(make_app, plan, runs):
    """That they were not sent has been seen, and forgotten."""
    app, path = make_app("redis"), plan().journal

    @app.task(name="replaced.note")
    def note(index):
        runs.note(index)
        return index

    members = [note.s(index) for index in range(100)]
    first = group(members, app=app).apply_async(window=20, journal=path)
    until(lambda: first.report.counts()["confirmed"] == 20)
    first.feeding.stop("close")
    with app.worker(concurrency=2):
        seen = [one.index for one in first.as_completed(timeout=60, forget=True)]
        assert sorted(seen) == list(range(100))
        result = group(members, app=app).resume(path)
        rest = {one.index: one.get() for one in result.as_completed(timeout=60)}
    assert rest == {index: index for index in range(20, 100)}
    assert runs.counts() == Counter(range(100))


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_group_that_was_gone_on_with_is_whole(make_app, plan, broker):
    app, path = make_app(broker), plan().journal

    def source(*, ends=True):
        for index in range(1200):
            yield app.signature("replaced.note", (index,))
        if not ends:
            raise OSError("no more rows")

    with pytest.raises(PublishError):
        group(source(ends=False), app=app).apply_async(journal=path)
    for _ in range(3):
        result = group(list(source()), app=app).resume(path)
        assert result.report.complete
    assert counted(app.conf.broker_url, app.name, 1200) == Counter(range(1200))


# -- a part that was gone on with ------------------------------------------------------


def test_members_that_had_left_are_known_after_a_part_was_sent(
    make_app, plan, runs, rabbitmq_url
):
    """Member 2 is refused, then sent alone; that sender comes to no end."""
    app, path = make_app("rabbitmq"), plan().journal
    bound = f"{app.name}-2"

    def members():
        made = [app.signature("replaced.note", (index,)) for index in range(10)]
        made[2] = made[2].set(exchange="amq.direct", routing_key=bound)
        return group(made, app=app)

    first = members()
    with pytest.raises(PublishError) as caught:
        first.apply_async(journal=path)
    with Connection(rabbitmq_url) as connection:
        channel = connection.default_channel
        exchange = Exchange("amq.direct", type="direct", passive=True)
        Queue(bound, exchange, bound, channel=channel).declare()
        first.resume(caught.value.result)
        cut_off_last_record(Path(path))
        result = members().resume(path)
        assert result.report.counts()["unsent"] == 0
        assert result.counts()["NOT_SENT"] == 0
        members().resume(path)
        twice = counted(rabbitmq_url, bound, 1)
        channel.queue_delete(bound)
    counts = counted(rabbitmq_url, app.name, 9)
    assert counts == Counter(index for index in range(10) if index != 2)
    # It was not confirmed, as far as the journal knows, and is named.
    assert set(twice) == {2}
    assert result.report.maybe_double == [(2, 3)]


def cut_off_last_record(path):
    """Leave of a journal what a sender has written that is killed before its end."""
    lines = path.read_bytes().splitlines(keepends=True)
    assert b'"end"' in lines[-1]
    path.write_bytes(b"".join(lines[:-1]))
