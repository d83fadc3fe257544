"""What a journal refuses, and what it leaves as it was."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import time
from types import SimpleNamespace

import pytest

from celerant import Celerant, group
from celerant.errors import (
    CanvasError,
    EncodeError,
    HandleError,
    JournalError,
    PublishError,
    SettingError,
)
from harness import services
from harness.journal_sender import counted, forget
from harness.tcp_proxy import TcpProxy
from harness.until import until, until_in_loop

pytestmark = pytest.mark.timeout(120)
SIZE = 1200


@pytest.fixture
def path(tmp_path):
    return tmp_path / "group.journal"


@pytest.fixture
def app(make_app):
    return make_app("redis")


@pytest.fixture(autouse=True)
def nothing_left(own_urls, tmp_path):
    yield
    forget(own_urls["redis"], tmp_path)


class TornError(Exception):
    """Ends a source."""


def source(app, size=SIZE, *, other=None, ends=True):
    """Yield members; number `other` is another, and at the end an error may come."""
    note = app.signature("journal.note")
    for index in range(size):
        yield note.clone((index if index != other else -1,))
    if not ends:
        raise TornError


def begun(app, journal, **options):
    """Send 1,200 members from a source that raises then."""
    with pytest.raises(PublishError):
        group(source(app, ends=False), app=app).apply_async(journal=journal, **options)


def left(app):
    return counted(app.conf.broker_url, app.name)


def test_a_source_that_raised_is_gone_on_with(app, path):
    begun(app, path)
    result = group(source(app, 2000), app=app).resume(path)
    assert len(result) == 2000
    assert result.report.complete
    assert left(app) == dict.fromkeys(range(2000), 1)


@pytest.mark.parametrize("kind", [list, iter])
def test_the_first_member_that_differs_is_named_and_nothing_is_sent(app, path, kind):
    begun(app, path)
    before = left(app)
    assert sorted(before) == list(range(len(before)))
    assert len(before) > 777
    other = group(kind(source(app, 2000, other=777)), app=app)
    with pytest.raises(CanvasError, match=r"group\[777\].*source is another") as caught:
        other.resume(path)
    assert caught.value.path == "group[777]"
    assert not left(app)
    group(kind([*source(app, 2000)]), app=app).resume(path)
    assert left(app) == dict.fromkeys(range(len(before), 2000), 1)


@pytest.mark.parametrize("window", [None, 2000])
def test_a_source_that_ends_too_early_is_refused(app, path, window):
    if window is None:
        begun(app, path)
    else:
        options = {"journal": path, "window": window}
        result = group(source(app, ends=False), app=app).apply_async(**options)
        until(lambda: result.sealed)
    with pytest.raises(CanvasError, match=r"group\[900\]: the source ends here"):
        group(source(app, 900), app=app).resume(path)
    assert sum(left(app).values()) > 900


@pytest.mark.parametrize("window", [None, 2000])
def test_a_source_that_has_more_than_was_sent_is_refused(app, path, window):
    options = {"journal": path} if window is None else {"journal": path, "window": 2000}
    result = group(source(app), app=app).apply_async(**options)
    until(lambda: result.sealed)
    with pytest.raises(CanvasError, match=r"group\[1200\]: the source had 1200"):
        group(source(app, 2000), app=app).resume(path)
    again = group(source(app), app=app).resume(path)
    assert len(again) == SIZE
    assert left(app) == dict.fromkeys(range(SIZE), 1)


def test_a_list_of_another_length_is_refused(app, path):
    group([*source(app)], app=app).apply_async(journal=path)
    with pytest.raises(CanvasError, match=r"a group of 1200 members.*has 1000"):
        group([*source(app, 1000)], app=app).resume(path)


def test_a_journal_of_another_app_or_broker_is_refused(app, make_app, path, own_urls):
    begun(app, path)
    other = make_app("redis")
    with pytest.raises(
        JournalError, match=rf"of app '{app.name}' on redis.*{other.name}"
    ):
        group(source(other), app=other).resume(path)
    elsewhere = own_urls["redis"].rpartition("/")[0] + "/5"
    with (
        Celerant(app.name, broker=elsewhere, set_as_current=False) as other,
        pytest.raises(JournalError, match=rf"on {elsewhere}"),
    ):
        group(source(other), app=other).resume(path)


def test_a_journal_of_another_group_is_refused(app, path):
    begun(app, path)
    frozen = group([*source(app)], app=app)
    frozen.freeze()
    with pytest.raises(JournalError, match="frozen as"):
        frozen.resume(path)
    with pytest.raises(JournalError, match="holds something already"):
        group(source(app), app=app).apply_async(journal=path)


def test_a_sender_that_lives_is_not_joined_by_another(app, path):
    result = group(source(app), app=app).apply_async(journal=path, window=50)
    until(lambda: len(result.members.barrier) == 50)
    with pytest.raises(JournalError, match="written by a sender that lives, process"):
        group(source(app), app=app).resume(path)
    result.feeding.stop("close")
    left(app)
    result = group(source(app), app=app).resume(path)
    result.feeding.stop("close")


def test_a_sender_is_stopped_if_another_goes_on_from_a_copy(app, path):
    @app.task(name="journal.note")
    def note(index):
        return index

    result = group(source(app), app=app).apply_async(journal=path, window=500)
    until(lambda: len(result.members.barrier) == 500)
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    with app.worker(concurrency=2):
        result.pause()
        # It goes on with what the first one has not sent.
        again = group(source(app), app=app).resume(copy)
        until(lambda: len(again.members.barrier) > 600, 60)
        result.resume_feeding()
        until(lambda: result.sealed, 60)
        assert isinstance(result.source_error, JournalError)
        assert "another sender goes on" in str(result.source_error)
        until(lambda: again.sealed, 60)
    assert again.report.complete
    with pytest.raises(JournalError, match="an older copy"):
        group(source(app), app=app).resume(path)


def test_a_handle_that_was_changed_or_has_no_journal_is_refused(app):
    sent = group([*source(app, 3)], app=app).apply_async()
    members = group([*source(app, 3)], app=app)
    with pytest.raises(JournalError, match="has no journal in Redis"):
        members.resume(sent.handle)
    with pytest.raises(HandleError):
        members.resume(sent.handle[:-3] + "abc")
    with pytest.raises(FileNotFoundError):
        members.resume("no such file")


def test_a_group_with_a_journal_in_redis_leaves_no_lease(app, monkeypatch):
    # A handle has the second in which its group was made or sent.
    now = time.time()
    clock = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr("celerant.results.tracking.arriving.time", clock)
    members = group([*source(app, 3)], app=app)
    frozen = members.freeze()
    handle = frozen.handle
    sent = members.apply_async(journal=True)
    assert sent.handle == handle
    with pytest.raises(JournalError, match="sent with a journal already"):
        members.apply_async(journal=True)
    assert members.resume(handle).report.complete
    assert left(app) == dict.fromkeys(range(3), 1)
    with services.redis_client(7) as client:
        keys = client.keys(f"_kombu.celerant.journal.{sent.roster.seed.hex()}*")
        assert not [key for key in keys if key.endswith(b"lease")]
        client.delete(*keys)


def test_a_journal_that_cannot_be_is_refused_with_the_reason(own_urls, make_app, path):
    with (
        Celerant("celerant-test-memory") as memory,
        pytest.raises(SettingError, match="memory:// broker"),
    ):
        group([memory.signature("x")], app=memory).apply_async(journal=path)
    with (
        Celerant("bare", broker=own_urls["redis"], backend="disabled://") as bare,
        pytest.raises(SettingError, match="needs a result store"),
    ):
        group([bare.signature("x")], app=bare).apply_async(journal=True)
    app = make_app("rabbitmq")
    with pytest.raises(JournalError, match="no Redis"):
        group([app.signature("x")], app=app).apply_async(journal=True)
    with pytest.raises(SettingError, match="path of a file, or True"):
        group([app.signature("x")], app=app).apply_async(journal=5)
    with pytest.raises(SettingError, match="option 'producer'"):
        group([app.signature("x")], app=app).apply_async(journal=path, producer=1)
    assert not path.exists()


def test_a_group_of_which_nothing_left_leaves_no_journal(app, path):
    bad = group([app.signature("x", (object(),))], app=app)
    with pytest.raises(EncodeError):
        bad.apply_async(journal=path)
    assert not path.exists()


@pytest.mark.parametrize("window", [None, 2000])
def test_a_send_that_failed_goes_on_here_and_elsewhere(app, path, own_urls, window):
    with TcpProxy(services.REDIS_PORT, lose_reply=_second_chunk, times=100) as proxy:
        url = own_urls["redis"].replace(str(services.REDIS_PORT), str(proxy.port))
        with Celerant(
            app.name,
            broker=url,
            backend=own_urls["results"],
            task_default_queue=app.name,
            set_as_current=False,
        ) as torn:
            options = {"retry": False, "journal": path, "window": window}
            members = group([*source(torn)], app=torn)
            if window is None:
                with pytest.raises(PublishError) as caught:
                    members.apply_async(**options)
                result = caught.value.result
            else:
                result = members.apply_async(**options)
                until(lambda: result.sealed, 60)
            assert result.report.counts()["unknown"]
            proxy.forward()
            if window is None:
                members.resume(result)
                assert result.report.complete
            result = group([*source(torn)], app=torn).resume(path)
            until(lambda: result.sealed, 60)
            assert result.report.complete
            assert not result.report.maybe_double
    assert left(app) == dict.fromkeys(range(SIZE), 1)


def _second_chunk(stream):
    return stream.count(b"EXEC\r\n") - stream.count(b"EXISTS") > 2


@pytest.mark.parametrize("window", [None, 2000])
def test_an_event_loop_goes_on_with_an_async_iterable(app, path, window):
    async def rows(size, *, ends=True):
        for member in source(app, size, ends=ends):
            await asyncio.sleep(0)
            yield member

    async def main():
        options = (
            {"journal": path} if window is None else {"journal": path, "window": 2000}
        )
        torn = await group(rows(600, ends=False), app=app).asend(**options)
        # Its journal is closed after it is sealed.
        await until_in_loop(lambda: not torn.feeding.is_running, 60)
        assert isinstance(torn.source_error, TornError)
        result = await group(rows(900), app=app).aresume(path)
        await until_in_loop(lambda: result.sealed, 60)
        return result

    result = asyncio.run(main())
    assert result.report.complete
    assert left(app) == dict.fromkeys(range(900), 1)


def test_results_that_have_expired_are_not_waited_for(app, path):
    begun(app, path)
    os.utime(path, (0, 0))
    result = group(source(app), app=app).resume(path)
    assert result.report.complete
    assert result.counts()["EXPIRED"] > 777


def stop_early(app, path):
    members = group([*source(app, 300)], app=app)
    result = members.apply_async(journal=path, window=20, stop_if=3)
    until(lambda: result.stopped_by == "stop_if" and result.sealed, 60)


def test_failures_from_before_do_not_stop_a_group_that_goes_on(app, make_app, path):
    @app.task(name="journal.note")
    def note(index):
        if index < 5:
            raise ValueError(index)
        return index

    with app.worker(concurrency=2):
        stop_early(app, path)
        # Of a group that is held twice here one hears of members by sweeps alone.
        gc.collect()
        again = group(source(app, 300), app=app).resume(path)
        values = again.get(timeout=60, propagate=False)
    assert again.stopped_by is None
    assert values[5:] == list(range(5, 300))


def test_a_cancelled_group_is_not_gone_on_with(app, path):
    result = group(source(app), app=app).apply_async(journal=path, window=50)
    until(lambda: len(result.members.barrier) == 50)
    app.backend.revoke_by_stamped_headers = lambda *_, **__: None
    result.cancel()
    with pytest.raises(CanvasError, match="was cancelled"):
        group(source(app), app=app).resume(path)
